package cgrouplock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	dirPerm = 0o755
	// marked is a mode that says that whoever made the group holds it: of others, who may be a program of an earlier version, it is
	// not known whether they live.
	marked = fs.ModeSticky
	// holdTries bounds how often a group is made again that a Sweep took away in the moment before it was held.
	holdTries = 10
)

// Hold makes the group at a directory, unless it is there, and holds it until the file is closed. Several may hold one.
func Hold(dir string) (*os.File, error) {
	for range holdTries {
		if err := os.MkdirAll(dir, dirPerm); err != nil {
			return nil, fmt.Errorf("make group: %w", err)
		}
		f, err := lock(dir, unix.LOCK_SH)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if same(f, dir) {
			if err = f.Chmod(dirPerm | marked); err == nil {
				return f, nil
			}
			err = fmt.Errorf("mark group: %w", err)
		}
		_ = f.Close() // of a directory
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("hold group %s: it is removed each time", dir)
}

func lock(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("hold group: %w", err)
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), how)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("hold group %s: %w", dir, err)
	}
	return f, nil
}

// same tells whether a directory that is open is still the one of that name.
func same(f *os.File, dir string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(dir)
	return err == nil && os.SameFile(held, named)
}

// Sweep removes the groups in a directory whose names have the prefix and that somebody held, with those below them, where
// nobody holds them any more and no process is in any. It answers which.
func Sweep(parent, prefix string) ([]string, error) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("look for groups that were left: %w", err)
	}
	var removed []string
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		gone, err := sweepOne(dir)
		errs = append(errs, err)
		if gone {
			removed = append(removed, dir)
		}
	}
	return removed, errors.Join(errs...)
}

func sweepOne(dir string) (bool, error) {
	f, err := lock(dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return false, nil // somebody holds it, or has removed it
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("look at group: %w", err)
	}
	if info.Mode()&marked == 0 || inUse(dir) {
		return false, nil
	}
	err = removeTree(dir)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) { // a process, or a group, came meanwhile
		return false, nil
	}
	return err == nil, err
}

// inUse tells whether a process is in a group, or in one below it; what cannot be looked into may have one.
func inUse(dir string) bool {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && len(raw) > 0 {
			err = unix.EBUSY
		}
		return err
	}) != nil
}

// removeTree removes a group and those below it, the lowest first.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove group: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() { // what is no directory is a control file
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
