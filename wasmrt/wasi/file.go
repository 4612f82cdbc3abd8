package wasi

import (
	"errors"
	"io"
	"io/fs"
	"os"

	sys "github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// file is an open file or directory of a jail. Only the instance that opened it uses it, but for Close, which the Tree
// may call too.
type file struct {
	tree     *Tree
	f        *os.File
	dir      bool
	readOnly bool
	append   bool
	extra    []sys.Dirent // listed before the directory's own entries; the same names in it are left out
	extraPos int
}

var _ sys.File = (*file)(nil)

func (f *file) Stat() (wsys.Stat_t, sys.Errno) {
	st, err := f.f.Stat()
	if err != nil {
		return wsys.Stat_t{}, errnoOf(err)
	}
	return wsys.NewStat_t(st), 0
}

func (f *file) Dev() (uint64, sys.Errno) {
	st, errno := f.Stat()
	return st.Dev, errno
}

func (f *file) Ino() (wsys.Inode, sys.Errno) {
	st, errno := f.Stat()
	return st.Ino, errno
}

func (f *file) IsDir() (bool, sys.Errno) { return f.dir, 0 }

func (f *file) IsAppend() bool { return f.append }

// SetAppend changes the flag of the open file, so that appends stay atomic on the host.
func (f *file) SetAppend(enable bool) sys.Errno {
	conn, err := f.f.SyscallConn()
	if err != nil {
		return errnoOf(err)
	}
	var flagErr error
	err = conn.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			flagErr = err
			return
		}
		flags &^= unix.O_APPEND
		if enable {
			flags |= unix.O_APPEND
		}
		_, flagErr = unix.FcntlInt(fd, unix.F_SETFL, flags)
	})
	if err = errors.Join(err, flagErr); err == nil {
		f.append = enable
	}
	return errnoOf(err)
}

// maxPiece bounds what is read or written without asking whether the guest still lives.
const maxPiece = 1 << 20

func (f *file) Read(p []byte) (int, sys.Errno) {
	return f.pieces(p, f.f.Read)
}

func (f *file) Pread(p []byte, off int64) (int, sys.Errno) {
	if off < 0 {
		return 0, sys.EINVAL
	}
	return f.pieces(p, func(p []byte) (int, error) {
		n, err := f.f.ReadAt(p, off)
		off += int64(n)
		return n, err
	})
}

// Write writes all or fails: the engine goes on with the guest's next buffer whatever the count is.
func (f *file) Write(p []byte) (int, sys.Errno) {
	return f.pieces(p, f.f.Write)
}

func (f *file) Pwrite(p []byte, off int64) (int, sys.Errno) {
	if off < 0 {
		return 0, sys.EINVAL
	}
	if f.append { // package os refuses it; POSIX on Linux appends whatever the offset is
		return f.Write(p)
	}
	return f.pieces(p, func(p []byte) (int, error) {
		n, err := f.f.WriteAt(p, off)
		off += int64(n)
		return n, err
	})
}

// pieces moves p piece by piece until one comes short.
func (f *file) pieces(p []byte, move func([]byte) (int, error)) (int, sys.Errno) {
	if f.dir {
		return 0, sys.EISDIR
	}
	done := 0
	for done < len(p) {
		if f.tree.Alive != nil {
			f.tree.Alive()
		}
		piece := p[done:min(len(p), done+maxPiece)]
		n, err := move(piece)
		done += n
		if err != nil || n < len(piece) {
			return done, ioErrno(err)
		}
	}
	return done, 0
}

// ioErrno makes the end of the file no error: the guest sees it by the count.
func ioErrno(err error) sys.Errno {
	if errors.Is(err, io.EOF) {
		return 0
	}
	return errnoOf(err)
}

// offset is int64 under another name: the engine's interface has a Seek that returns an Errno, and go vet takes every
// Seek(int64, int) for io.Seeker's.
type offset = int64

func (f *file) Seek(to offset, whence int) (int64, sys.Errno) {
	if whence < io.SeekStart || whence > io.SeekEnd {
		return 0, sys.EINVAL
	}
	n, err := f.f.Seek(to, whence)
	if err == nil && n == 0 {
		f.extraPos = 0
	}
	return n, errnoOf(err)
}

func (f *file) Truncate(size int64) sys.Errno {
	switch {
	case size < 0:
		return sys.EINVAL
	case f.readOnly:
		return sys.EROFS
	}
	return errnoOf(f.f.Truncate(size))
}

func (f *file) Sync() sys.Errno { return errnoOf(f.f.Sync()) }

func (f *file) Datasync() sys.Errno { return f.Sync() }

// Utimens works on the open file, not on its name, which may belong to another file by now.
func (f *file) Utimens(atim, mtim int64) sys.Errno {
	if f.readOnly {
		return sys.EROFS
	}
	conn, err := f.f.SyscallConn()
	if err != nil {
		return errnoOf(err)
	}
	var timeErr error
	err = conn.Control(func(fd uintptr) {
		ts := []unix.Timespec{timespecOf(atim), timespecOf(mtim)}
		timeErr = unix.UtimesNanoAt(int(fd), "", ts, unix.AT_EMPTY_PATH)
	})
	return errnoOf(errors.Join(err, timeErr))
}

func timespecOf(nanos int64) unix.Timespec {
	if nanos == sys.UTIME_OMIT {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(nanos)
}

func (f *file) Close() sys.Errno {
	f.tree.remove(f)
	if err := f.f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return errnoOf(err)
	}
	return 0
}

// Readdir lists the mounted single files first and then what the directory has.
func (f *file) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	entries := f.extra[f.extraPos:]
	if n > 0 && len(entries) >= n {
		f.extraPos += n
		return entries[:n:n], 0
	}
	f.extraPos = len(f.extra)
	entries = entries[:len(entries):len(entries)]
	for n <= 0 || len(entries) < n {
		want := -1
		if n > 0 {
			want = n - len(entries)
		}
		found, err := f.f.ReadDir(want)
		for _, e := range found {
			if !f.shadowed(e.Name()) {
				entries = append(entries, direntOf(e))
			}
		}
		if errors.Is(err, io.EOF) || (err == nil && want < 0) {
			break
		}
		if err != nil {
			return entries, errnoOf(err)
		}
	}
	return entries, 0
}

func (f *file) shadowed(name string) bool {
	for _, e := range f.extra {
		if e.Name == name {
			return true
		}
	}
	return false
}

// direntOf looks up the inode: a C library takes an entry without one for a deleted file.
func direntOf(e fs.DirEntry) sys.Dirent {
	d := sys.Dirent{Name: e.Name(), Type: e.Type()}
	if info, err := e.Info(); err == nil {
		d.Ino = wsys.NewStat_t(info).Ino
	}
	return d
}
