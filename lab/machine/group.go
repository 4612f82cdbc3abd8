package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/cgrouplock"
)

const (
	// removeLimit bounds how long a group's processes are killed and waited for: the kernel takes some milliseconds to
	// take one apart, more when it has much memory.
	removeLimit = 60 * time.Second
	removePause = 10 * time.Millisecond
	groupPerm   = 0o755
)

// groups are a machine's control groups, one in each hierarchy.
type groups struct {
	Unified string   // directory of the v2 group
	V1      []string // directories of the v1 groups
}

// groupsAt says where the group of a path is below our own in each hierarchy.
func groupsAt(all []hierarchy, path string) groups {
	var g groups
	for _, h := range all {
		dir := filepath.Join(h.own, path)
		if h.unified() {
			g.Unified = dir
		} else {
			g.V1 = append(g.V1, dir)
		}
	}
	return g
}

func (g groups) dirs() []string { return append([]string{g.Unified}, g.V1...) }

// make makes the groups. What is left of earlier ones of the same path goes, processes and all.
func (g groups) make() error {
	if err := Sweep(g.dirs()...); err != nil {
		return err
	}
	for _, dir := range g.dirs() {
		if err := os.MkdirAll(dir, groupPerm); err != nil {
			return fmt.Errorf("make control group: %w", err)
		}
	}
	for _, dir := range g.V1 {
		if err := allowProcessors(dir); err != nil {
			return fmt.Errorf("make control group: %w", err)
		}
	}
	return nil
}

// allowProcessors gives a group of v1's cpuset, and those above it that have none, the processors of the first that has some:
// until then it takes nobody in. Groups of other hierarchies have no such files.
func allowProcessors(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		file := filepath.Join(dir, name)
		raw, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(raw)) != "" {
			continue
		}
		if err != nil {
			return err
		}
		if err := allowProcessors(filepath.Dir(dir)); err != nil {
			return err
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err == nil {
			err = os.WriteFile(file, above, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// joinThread moves the calling thread into the v1 groups, which take threads one by one; what it starts begins there.
func (g groups) joinThread() error {
	for _, dir := range g.V1 {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(unix.Gettid())), 0o644); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

// Sweep ends every process in the groups at the directories and below, and removes the groups. Those that are not there
// are no error.
func Sweep(dirs ...string) error {
	var errs []error
	deadline := time.Now().Add(removeLimit)
	for _, dir := range dirs {
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				errs = append(errs, fmt.Errorf("remove control group: %w", err))
				break
			}
			for _, pid := range processesBelow(dir) {
				_ = killIn(dir, pid)
			}
			time.Sleep(removePause)
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a group and those below it, which fails while one has a process.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// processesBelow lists the processes in the group at dir and below it.
func processesBelow(dir string) []int {
	var pids []int
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a group that has gone meanwhile has no processes
		}
		raw, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for line := range strings.Lines(string(raw)) {
			// 0 is a process of another process table, which is none of ours; our own is there while a thread of it is.
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// killIn ends a process of the group at dir. It is held before it is looked up again, so that no stranger is hit that
// got the number of one that has just ended.
func killIn(dir string, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !slices.Contains(processesBelow(dir), pid) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// HoldGroups makes the groups at the directories, and holds them until all files are closed.
func HoldGroups(dirs []string) (held []*os.File, err error) {
	for _, dir := range dirs {
		f, err := cgrouplock.Hold(dir)
		if err != nil {
			for _, f := range held {
				_ = f.Close() // of a directory
			}
			return nil, unsupported(err)
		}
		held = append(held, f)
	}
	return held, nil
}

// GroupDirs answers where a group of that path lies, below this process's own, in each hierarchy; v2's first.
func GroupDirs(path string) ([]string, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	return groupsAt(all, path).dirs(), nil
}
