package wasi

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// peer finds the directory of the same mount. Another mount is another file system, even where it is the same on the
// host: a link to a read-only mount's file would be a way to write to it.
func (d *hostDir) peer(to directory) (*hostDir, Errno) {
	if o, ok := to.(*overlay); ok {
		if o.base == nil {
			return nil, ErrnoRofs
		}
		to = o.base
	}
	other, ok := to.(*hostDir)
	if !ok || other.mount != d.mount {
		return nil, ErrnoXdev
	}
	return other, 0
}

func (d *hostDir) rename(from string, to directory, p string) Errno {
	other, errno := d.peer(to)
	if errno != 0 {
		return errno
	}
	return d.changeErrno(func() Errno {
		if strings.HasSuffix(from, "/") || strings.HasSuffix(p, "/") {
			if st, errno := d.statAt(strings.TrimRight(from, "/"), false); errno != 0 || st.kind != typeDirectory {
				return cmp.Or(errno, ErrnoNotDir)
			}
		}
		// os.Root's own Rename replaces no directory, which POSIX does when that is empty.
		return errnoOf(d.across(from, other, p, unix.Renameat))
	})
}

func (d *hostDir) link(from string, follow bool, to directory, p string) Errno {
	other, errno := d.peer(to)
	if errno != 0 {
		return errno
	}
	if follow {
		if st, err := d.root.Lstat(from); err == nil && st.Mode()&fs.ModeSymlink != 0 {
			return ErrnoInval // as Linux' link does, it is the link itself that gets another name, or nothing
		}
	}
	if strings.HasSuffix(p, "/") {
		return ErrnoNoEnt
	}
	return d.change(func() error {
		if other == d {
			return d.root.Link(from, p)
		}
		return d.across(from, other, p, func(fromFd int, from string, toFd int, to string) error {
			return unix.Linkat(fromFd, from, toFd, to, 0)
		})
	})
}

// across works between two directories of one mount. The parents are opened inside their jails, and only a name without
// slashes is left for the kernel, which follows nothing then.
func (d *hostDir) across(from string, other *hostDir, to string, do func(int, string, int, string) error) error {
	fromDir, fromName, err := d.parent(from)
	if err != nil {
		return err
	}
	defer fromDir.Close()
	toDir, toName, err := other.parent(to)
	if err != nil {
		return err
	}
	defer toDir.Close()
	return withFds(fromDir, toDir, func(a, b int) error { return do(a, fromName, b, toName) })
}

// parent opens the directory of a path's last element, which must not be a dot.
func (d *hostDir) parent(p string) (*os.File, string, error) {
	p = strings.TrimRight(p, "/")
	dir, name := path.Split(p)
	if name == "" || name == "." || name == ".." {
		return nil, "", unix.EINVAL
	}
	if dir == "" {
		dir = "."
	}
	f, err := d.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	return f, name, err
}

// withFds lends the numbers of two open files.
func withFds(a, b *os.File, do func(a, b int) error) error {
	connA, errA := a.SyscallConn()
	connB, errB := b.SyscallConn()
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	var result, inner error
	outer := connA.Control(func(fdA uintptr) {
		inner = connB.Control(func(fdB uintptr) { result = do(int(fdA), int(fdB)) })
	})
	return errors.Join(outer, inner, result)
}
