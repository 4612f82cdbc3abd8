package wasi

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hostMount is what all directories of one mount have in common.
type hostMount struct{ readOnly bool }

// hostDir is a directory of the host out of which no path leads: that is os.Root's doing.
type hostDir struct {
	root  *os.Root
	mount *hostMount
	lent  bool // the root is the mounts', and they close it
}

var _ directory = (*hostDir)(nil)

func (d *hostDir) fileType() fileType      { return typeDirectory }
func (d *hostDir) stat() (filestat, Errno) { return d.statAt(".", true) }

func (d *hostDir) close() {
	if !d.lent {
		_ = d.root.Close() // a directory has nothing that could be lost
	}
}

func (d *hostDir) openAt(p string, o opening) (object, Errno) {
	if d.mount.readOnly && (o.write || o.flags&(openCreate|openTruncate) != 0) {
		return nil, d.readOnlyErrno(p, o)
	}
	if !o.follow && !strings.HasSuffix(p, "/") {
		// os.Root follows links inside the jail whatever the flags say. A link made in between is harmless: it cannot lead
		// out either.
		if st, err := d.root.Lstat(p); err == nil && st.Mode()&fs.ModeSymlink != 0 {
			return nil, ErrnoLoop
		}
	}
	if o.flags&openDirectory != 0 {
		if o.write || o.flags&openTruncate != 0 {
			return nil, ErrnoIsDir
		}
		return d.openDir(p)
	}
	f, err := d.root.OpenFile(p, o.hostFlags(), 0o666)
	if err != nil {
		return nil, errnoOf(err)
	}
	st, err := f.Stat()
	switch {
	case err == nil && st.IsDir():
		_ = f.Close()
		return d.openDir(p)
	case err == nil && !st.Mode().IsRegular():
		err = syscall.EPERM // reading a FIFO can block for ever, and a device reaches a driver
	}
	if err != nil {
		_ = f.Close()
		return nil, errnoOf(err)
	}
	return &hostFile{f: f, readOnly: d.mount.readOnly}, 0
}

// readOnlyErrno is what a read-only mount says to who wants to write: that nothing is there, or is there already, comes
// first.
func (d *hostDir) readOnlyErrno(p string, o opening) Errno {
	_, err := d.root.Stat(p)
	switch {
	case err == nil && o.flags&openCreate != 0 && o.flags&openExclusive != 0:
		return ErrnoExist
	case err != nil && o.flags&openCreate == 0:
		return errnoOf(err)
	}
	return ErrnoRofs
}

// openDir appends a dot, so that os.Root walks through p as a directory: it would open a last element whatever it is, and
// wait for ever for a FIFO's other end.
func (d *hostDir) openDir(p string) (object, Errno) {
	root, err := d.root.OpenRoot(p + "/.")
	if err != nil {
		return nil, errnoOf(err)
	}
	return &hostDir{root: root, mount: d.mount}, 0
}

// hostFlags always ask for non-blocking, so that opening a FIFO returns and can be refused.
func (o opening) hostFlags() int {
	f := os.O_RDONLY
	switch {
	case o.read && o.write:
		f = os.O_RDWR
	case o.write:
		f = os.O_WRONLY
	}
	if o.flags&openCreate != 0 {
		f |= os.O_CREATE
	}
	if o.flags&openExclusive != 0 {
		f |= os.O_EXCL
	}
	if o.flags&openTruncate != 0 {
		f |= os.O_TRUNC
	}
	if o.fd&flagAppend != 0 {
		f |= os.O_APPEND
	}
	if o.fd&flagDsync != 0 {
		f |= syscall.O_DSYNC
	}
	if o.fd&(flagSync|flagRsync) != 0 {
		f |= os.O_SYNC
	}
	return f | syscall.O_NONBLOCK
}

func (d *hostDir) statAt(p string, follow bool) (filestat, Errno) {
	look := d.root.Lstat
	if follow || strings.HasSuffix(p, "/") {
		look = d.root.Stat
	}
	st, err := look(p)
	if err != nil {
		return filestat{}, errnoOf(err)
	}
	return hostStat(st), 0
}

// change runs a change of the directory, unless it is read-only.
func (d *hostDir) change(do func() error) Errno {
	if d.mount.readOnly {
		return ErrnoRofs
	}
	return errnoOf(do())
}

func (d *hostDir) setTimes(t times) Errno { return d.setTimesAt(".", true, t) }

func (d *hostDir) setTimesAt(p string, follow bool, t times) Errno {
	if !follow {
		if st, err := d.root.Lstat(p); err == nil && st.Mode()&fs.ModeSymlink != 0 {
			return d.change(func() error { return d.setLinkTimes(p, t) })
		}
	}
	return d.change(func() error { return d.root.Chtimes(p, t.atim.time(), t.mtim.time()) })
}

// setLinkTimes is for a link itself, which os.Root has nothing for.
func (d *hostDir) setLinkTimes(p string, t times) error {
	dir, name, err := d.parent(p)
	if err != nil {
		return err
	}
	defer dir.Close()
	ts := []unix.Timespec{t.atim.timespec(), t.mtim.timespec()}
	return withFds(dir, dir, func(fd, _ int) error { return unix.UtimesNanoAt(fd, name, ts, unix.AT_SYMLINK_NOFOLLOW) })
}

// time gives the zero time for "leave it", which is what os.Root.Chtimes takes it for.
func (t newTime) time() time.Time {
	if !t.set {
		return time.Time{}
	}
	return time.Unix(0, t.nanos)
}

func (d *hostDir) mkdir(p string) Errno {
	return d.change(func() error { return d.root.Mkdir(strings.TrimRight(p, "/"), 0o777) })
}

// rmdir and unlink look first, because os.Root.Remove takes both files and empty directories.
func (d *hostDir) rmdir(p string) Errno { return d.remove(p, true, ErrnoNotDir) }

func (d *hostDir) unlink(p string) Errno {
	if strings.HasSuffix(p, "/") {
		if st, errno := d.statAt(p, true); errno != 0 || st.kind != typeDirectory {
			return ErrnoNotDir
		}
	}
	return d.remove(p, false, ErrnoIsDir)
}

func (d *hostDir) remove(p string, dir bool, wrong Errno) Errno {
	p = strings.TrimRight(p, "/")
	return d.changeErrno(func() Errno {
		st, err := d.root.Lstat(p)
		if err != nil {
			return errnoOf(err)
		}
		if st.IsDir() != dir {
			return wrong
		}
		return errnoOf(d.root.Remove(p))
	})
}

func (d *hostDir) changeErrno(do func() Errno) Errno {
	if d.mount.readOnly {
		return ErrnoRofs
	}
	return do()
}

// symlink refuses targets that lead out of the jail. The guest could not follow them, but another reader of the
// directory (the host, a container with the same volume) could be led astray.
func (d *hostDir) symlink(target, p string) Errno {
	if path.IsAbs(target) || !fs.ValidPath(path.Join(path.Dir(strings.TrimRight(p, "/")), target)) {
		return ErrnoPerm
	}
	if strings.HasSuffix(p, "/") {
		return ErrnoNoEnt
	}
	return d.change(func() error { return d.root.Symlink(target, p) })
}

func (d *hostDir) readlink(p string) (string, Errno) {
	target, err := d.root.Readlink(p)
	return target, errnoOf(err)
}

func isLinkError(err error) bool {
	var linkErr *os.LinkError
	return errors.As(err, &linkErr)
}
