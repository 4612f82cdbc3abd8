package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// memory is what a process occupies, in KiB.
type memory struct {
	RSS float64 // pages it has in memory
	PSS float64 // the same, with pages that several processes share divided among them
}

// memoryOf reads a process's memory from /proc.
func memoryOf(pid int) (memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, fmt.Errorf("read memory: %w", err)
	}
	return parseRollup(data)
}

func parseRollup(data []byte) (m memory, err error) {
	for field, into := range map[string]*float64{"Rss:": &m.RSS, "Pss:": &m.PSS} {
		if *into, err = rollupField(data, field); err != nil {
			return memory{}, err
		}
	}
	return m, nil
}

func rollupField(data []byte, name string) (float64, error) {
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == name {
			return strconv.ParseFloat(string(fields[1]), 64)
		}
	}
	return 0, fmt.Errorf("read memory: no %s in smaps_rollup", name)
}

// total sums the memory of processes.
func total(pids []int) (sum memory, err error) {
	for _, pid := range pids {
		m, err := memoryOf(pid)
		if err != nil {
			return memory{}, err
		}
		sum.RSS += m.RSS
		sum.PSS += m.PSS
	}
	return sum, nil
}
