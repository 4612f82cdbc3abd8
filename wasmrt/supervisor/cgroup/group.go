package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// removeTries bounds how often a group is tried to be removed: a process that was killed stays in it until the kernel
	// has taken it apart.
	removeTries = 100
	removePause = 10 * time.Millisecond
)

// Group is a runner's group in all hierarchies.
type Group struct {
	places []place
}

// Join moves the process into the group. What it has allocated before stays charged to where it was.
func (g *Group) Join(pid int) error {
	for _, p := range g.places {
		if err := write(filepath.Join(p.dir, procsFile), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("join group: %w", err)
		}
	}
	return nil
}

// OutOfMemory is how many processes of the group the kernel has killed because the group's memory was used up.
func (g *Group) OutOfMemory() uint64 {
	for _, p := range g.places {
		for _, file := range []string{"memory.events", "memory.oom_control"} {
			if n, ok := readKey(filepath.Join(p.dir, file), "oom_kill"); ok {
				return n
			}
		}
	}
	return 0
}

// MemoryBytes is what the group has charged to it, page cache too.
func (g *Group) MemoryBytes() uint64 {
	for _, p := range g.places {
		for _, file := range []string{"memory.current", "memory.usage_in_bytes"} {
			raw, err := os.ReadFile(filepath.Join(p.dir, file))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64); err == nil {
				return n
			}
		}
	}
	return 0
}

// readKey reads the value behind a key in a file of "key value" lines.
func readKey(path, key string) (uint64, bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == key {
			n, err := strconv.ParseUint(fields[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// Remove kills what is left in the group and removes it. A group that is not there is no error.
func (g *Group) Remove() error {
	var errs []error
	for _, p := range g.places {
		errs = append(errs, remove(p.dir))
	}
	return errors.Join(errs...)
}

// remove ends a group that has no groups below it.
func remove(dir string) error {
	for try := 0; ; try++ {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if try == removeTries {
			return fmt.Errorf("remove group: %w", err)
		}
		kill(dir)
		time.Sleep(removePause)
	}
}

// kill ends the processes of a group. Each is held before it is looked up again, so that no stranger is hit that got the
// number of one that has just ended.
func kill(dir string) {
	for _, pid := range processes(dir) {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		for _, still := range processes(dir) {
			if still == pid {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
		}
		_ = unix.Close(fd)
	}
}

func processes(dir string) []int {
	raw, err := os.ReadFile(filepath.Join(dir, procsFile))
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(string(raw)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Sweep removes the groups in holders but for those that are to be kept.
func Sweep(holders []string, keep func(name string) bool) error {
	var errs []error
	for _, holder := range holders {
		entries, err := os.ReadDir(holder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("sweep groups: %w", err))
		}
		for _, e := range entries {
			if e.IsDir() && !keep(e.Name()) { // what is no directory is a control file
				errs = append(errs, remove(filepath.Join(holder, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// Release removes holders that hold nothing any more.
func Release(holders []string) {
	for _, holder := range holders {
		_ = os.Remove(holder) // the kernel refuses when there are groups in it
	}
}
