package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrGone says that a machine has ended.
var ErrGone = errors.New("the machine has ended")

// Place is what it takes to enter a machine, from any process: it may be written down.
type Place struct {
	// Init is the machine's first process, and Started when it was started, in the kernel's ticks since it began: the
	// two together are never another process's.
	Init    int    `json:"init"`
	Started string `json:"started"`
	// Groups are the directories of its control groups, v2's first.
	Groups []string `json:"groups"`
}

func newPlace(pid int, g groups) (Place, error) {
	started, err := StartTime(pid)
	return Place{Init: pid, Started: started, Groups: g.dirs()}, err
}

// StartTime tells two processes apart that had the same number. One that has ended has none, though its parent may not
// have taken note yet.
func StartTime(pid int) (string, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", fmt.Errorf("read process %d: %w", pid, err)
	}
	// The second field is the program's name in parentheses and may hold anything, parentheses too.
	const stateField, startField = 0, 22 - 3 // counted from the third, which follows it
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) <= startField {
		return "", fmt.Errorf("read process %d: its status is cut off", pid)
	}
	if state := fields[stateField]; state == "Z" || state == "X" {
		return "", fmt.Errorf("read process %d: %w", pid, os.ErrProcessDone)
	}
	return fields[startField], nil
}

// hold answers a descriptor of the init, which stands for its namespaces.
func (p *Place) hold() (int, error) {
	fd, err := unix.PidfdOpen(p.Init, 0)
	if err != nil {
		return -1, errors.Join(ErrGone, fmt.Errorf("hold process %d: %w", p.Init, err))
	}
	if started, err := StartTime(p.Init); err != nil || started != p.Started {
		_ = unix.Close(fd)
		return -1, errors.Join(ErrGone, err)
	}
	return fd, nil
}

// Start starts a command in the machine. Its path and directory are the machine's, whose files are the host's, but for
// /proc, /sys and /run. attr may be nil. Whoever starts a command must wait for it, or the machine cannot end.
func (p *Place) Start(cmd *exec.Cmd, attr *syscall.SysProcAttr) error {
	if len(p.Groups) == 0 {
		return ErrGone
	}
	fd, err := p.hold()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	g := groups{Unified: p.Groups[0], V1: p.Groups[1:]}
	err = g.start(cmd, attr, func() error { return enter(fd) })
	if errors.Is(err, unix.ENOMEM) { // what fork answers in a process table whose first process has ended
		return errors.Join(ErrGone, err)
	}
	return err
}

// enter moves the calling thread into the namespaces of the process behind fd.
func enter(fd int) error {
	// Threads share their root and working directory, which the kernel does not let one thread alone change.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("part with other threads: %w", err)
	}
	if err := unix.Setns(fd, spaces|afterGroups); err != nil {
		return fmt.Errorf("enter machine: %w", err)
	}
	return nil
}

// Process is a process of a machine, by the number that this process knows it by.
type Process struct {
	PID  int      `json:"pid"`
	Args []string `json:"args"`
}

// Processes lists what runs in the machine, but for its init.
func (p *Place) Processes() []Process {
	var out []Process
	if len(p.Groups) == 0 {
		return nil
	}
	for _, pid := range processesBelow(p.Groups[0]) {
		if pid == p.Init {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil || len(raw) == 0 {
			continue // it has ended
		}
		out = append(out, Process{PID: pid, Args: strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")})
	}
	slices.SortFunc(out, func(a, b Process) int { return a.PID - b.PID })
	return out
}

// Kill ends the machine's processes that match, by SIGKILL, and answers how many there were.
func (p *Place) Kill(match func(Process) bool) (int, error) {
	var errs []error
	n := 0
	for _, process := range p.Processes() {
		if match(process) {
			errs = append(errs, killIn(p.Groups[0], process.PID))
			n++
		}
	}
	return n, errors.Join(errs...)
}
