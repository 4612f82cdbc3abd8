package wasi

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	sys "github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"
)

// jail is a directory of the host out of which no path leads.
type jail struct {
	root     *os.Root
	readOnly bool
}

// clean makes the guest's way of naming the directory itself os.Root's.
func clean(p string) string {
	if p == "" || p == "/" {
		return "."
	}
	return p
}

func (j *jail) open(p string, flag sys.Oflag, perm fs.FileMode) (f *os.File, isDir bool, errno sys.Errno) {
	if j.readOnly && flag&(sys.O_RDWR|sys.O_WRONLY|sys.O_CREAT|sys.O_TRUNC|sys.O_APPEND) != 0 {
		return nil, false, sys.EROFS
	}
	if errno := j.checkNoFollow(p, flag); errno != 0 {
		return nil, false, errno
	}
	f, err := j.root.OpenFile(clean(p), osFlags(flag), perm.Perm())
	if err != nil {
		return nil, false, errnoOf(err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		err = syscall.EPERM
	}
	if err != nil {
		_ = f.Close()
		return nil, false, errnoOf(err)
	}
	return f, st.IsDir(), 0
}

// checkNoFollow refuses a symbolic link as the last element where the guest asked for that: os.Root follows links
// inside the jail whatever the flags say. A link made in between is harmless, it cannot lead out either.
func (j *jail) checkNoFollow(p string, flag sys.Oflag) sys.Errno {
	if flag&sys.O_NOFOLLOW == 0 || strings.HasSuffix(p, "/") {
		return 0
	}
	if st, err := j.root.Lstat(clean(p)); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return sys.ELOOP
	}
	return 0
}

// osFlags always asks for non-blocking, so that opening a FIFO returns and can be refused.
func osFlags(flag sys.Oflag) int {
	f := os.O_RDONLY
	switch {
	case flag&sys.O_RDWR != 0:
		f = os.O_RDWR
	case flag&sys.O_WRONLY != 0:
		f = os.O_WRONLY
	}
	for _, m := range []struct {
		guest sys.Oflag
		host  int
	}{
		{sys.O_APPEND, os.O_APPEND}, {sys.O_CREAT, os.O_CREATE}, {sys.O_EXCL, os.O_EXCL}, {sys.O_TRUNC, os.O_TRUNC},
		{sys.O_SYNC, os.O_SYNC}, {sys.O_RSYNC, os.O_SYNC}, {sys.O_DSYNC, syscall.O_DSYNC},
		{sys.O_DIRECTORY, syscall.O_DIRECTORY},
	} {
		if flag&m.guest != 0 {
			f |= m.host
		}
	}
	return f | syscall.O_NONBLOCK
}

func (j *jail) stat(p string, follow bool) (wsys.Stat_t, sys.Errno) {
	look := j.root.Lstat
	if follow || strings.HasSuffix(p, "/") {
		look = j.root.Stat
	}
	st, err := look(clean(p))
	if err != nil {
		return wsys.Stat_t{}, errnoOf(err)
	}
	return wsys.NewStat_t(st), 0
}

// change runs a change of the directory, unless it is read-only.
func (j *jail) change(do func() error) sys.Errno {
	if j.readOnly {
		return sys.EROFS
	}
	return errnoOf(do())
}

// rmdir and unlink look first, because os.Root.Remove takes both files and empty directories.
func (j *jail) rmdir(p string) sys.Errno {
	return j.remove(p, true, sys.ENOTDIR)
}

func (j *jail) unlink(p string) sys.Errno {
	return j.remove(p, false, sys.EISDIR)
}

func (j *jail) remove(p string, dir bool, wrong sys.Errno) sys.Errno {
	if j.readOnly {
		return sys.EROFS
	}
	p = strings.TrimSuffix(p, "/")
	st, err := j.root.Lstat(clean(p))
	if err != nil {
		return errnoOf(err)
	}
	if st.IsDir() != dir {
		return wrong
	}
	return errnoOf(j.root.Remove(clean(p)))
}

// symlink refuses targets that lead out of the jail. The guest could not follow them, but another reader of the
// directory (the host, a container with the same volume) could be led astray.
func (j *jail) symlink(target, link string) sys.Errno {
	if path.IsAbs(target) || !fs.ValidPath(path.Join(path.Dir(strings.TrimSuffix(link, "/")), target)) {
		return sys.EPERM
	}
	return j.change(func() error { return j.root.Symlink(target, clean(link)) })
}

func (j *jail) readlink(p string) (string, sys.Errno) {
	target, err := j.root.Readlink(clean(p))
	return target, errnoOf(err)
}

func (j *jail) utimens(p string, atim, mtim int64) sys.Errno {
	return j.change(func() error { return j.root.Chtimes(clean(p), timeOf(atim), timeOf(mtim)) })
}

// timeOf gives the zero time for "leave it", which is what os.Root.Chtimes takes it for.
func timeOf(nanos int64) time.Time {
	if nanos == sys.UTIME_OMIT {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}
