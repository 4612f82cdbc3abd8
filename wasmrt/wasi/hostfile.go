package wasi

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// hostFile is a regular file of the host.
type hostFile struct {
	f        *os.File
	readOnly bool
}

var _ regular = (*hostFile)(nil)

func (f *hostFile) fileType() fileType { return typeRegular }
func (f *hostFile) close()             { _ = f.f.Close() } // whoever needs to know calls fd_sync

func (f *hostFile) stat() (filestat, Errno) {
	st, err := f.f.Stat()
	if err != nil {
		return filestat{}, errnoOf(err)
	}
	return hostStat(st), 0
}

func (f *hostFile) readAt(p []byte, off int64) (int, Errno) {
	n, err := f.f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, errnoOf(err)
}

// writeAt leaves nothing to package os, which refuses it for files that were opened to be appended to.
func (f *hostFile) writeAt(p []byte, off int64) (int, Errno) {
	n := 0
	err := f.control(func(fd int) error {
		for n < len(p) {
			m, err := unix.Pwrite(fd, p[n:], off+int64(n))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return err
			}
			n += m
		}
		return nil
	})
	return n, errnoOf(err)
}

func (f *hostFile) appendTo(p []byte) (n int, end int64, errno Errno) {
	n, err := f.f.Write(p)
	end, seekErr := f.f.Seek(0, io.SeekCurrent)
	return n, end, errnoOf(errors.Join(err, seekErr))
}

func (f *hostFile) truncate(size int64) Errno {
	if f.readOnly {
		return ErrnoRofs
	}
	return errnoOf(f.f.Truncate(size))
}

func (f *hostFile) allocate(off, size int64) Errno {
	if f.readOnly {
		return ErrnoRofs
	}
	return errnoOf(f.control(func(fd int) error { return unix.Fallocate(fd, 0, off, size) }))
}

func (f *hostFile) advise(off, size int64, advice int) Errno {
	kinds := [adviceCount]int{unix.FADV_NORMAL, unix.FADV_SEQUENTIAL, unix.FADV_RANDOM, unix.FADV_WILLNEED, unix.FADV_DONTNEED, unix.FADV_NOREUSE}
	return errnoOf(f.control(func(fd int) error { return unix.Fadvise(fd, off, size, kinds[advice]) }))
}

func (f *hostFile) sync(dataOnly bool) Errno {
	if dataOnly {
		return errnoOf(f.control(unix.Fdatasync))
	}
	return errnoOf(f.f.Sync())
}

// setAppend changes the flag of the host's descriptor, so that appends stay atomic there.
func (f *hostFile) setAppend(on bool) Errno {
	return errnoOf(f.control(func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		flags &^= unix.O_APPEND
		if on {
			flags |= unix.O_APPEND
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		return err
	}))
}

// setTimes works on the open file, not on its name, which may belong to another file by now.
func (f *hostFile) setTimes(t times) Errno {
	if f.readOnly {
		return ErrnoRofs
	}
	ts := []unix.Timespec{t.atim.timespec(), t.mtim.timespec()}
	return errnoOf(f.control(func(fd int) error { return unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH) }))
}

func (t newTime) timespec() unix.Timespec {
	if !t.set {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.nanos)
}

func (f *hostFile) control(do func(fd int) error) error {
	conn, err := f.f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = conn.Control(func(fd uintptr) { result = do(int(fd)) })
	return errors.Join(err, result)
}

// hostStat turns what package os knows into the guest's form.
func hostStat(info fs.FileInfo) filestat {
	st := filestat{kind: kindOf(info.Mode()), nlink: 1, size: uint64(info.Size()), mtim: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		st.dev, st.ino, st.nlink = sys.Dev, sys.Ino, uint64(sys.Nlink)
		st.atim, st.ctim = sys.Atim.Nano(), sys.Ctim.Nano()
	}
	return st
}

func kindOf(mode fs.FileMode) fileType {
	switch {
	case mode.IsRegular():
		return typeRegular
	case mode.IsDir():
		return typeDirectory
	case mode&fs.ModeSymlink != 0:
		return typeSymlink
	case mode&fs.ModeCharDevice != 0:
		return typeCharDevice
	case mode&fs.ModeDevice != 0:
		return typeBlockDevice
	case mode&fs.ModeSocket != 0:
		return typeStream
	}
	return typeUnknown
}
