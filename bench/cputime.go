package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTicks is the kernel's unit of processes' times, 100 a second on every Linux that Go runs on.
const clockTicks = 100

// cpuTimeOf reads the processor time that a process has used, its own and the kernel's for it.
func cpuTimeOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return parseStat(data)
}

// parseStat reads utime and stime, the 14th and 15th field. The second is the program's name in parentheses and may have
// blanks and parentheses itself.
func parseStat(data []byte) (time.Duration, error) {
	_, after, found := cutLast(data, ')')
	fields := bytes.Fields(after)
	if !found || len(fields) < 13 {
		return 0, fmt.Errorf("read processor time: %q is no stat line", data)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

func cutLast(data []byte, sep byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(data, sep)
	if i < 0 {
		return data, nil, false
	}
	return data[:i], data[i+1:], true
}
