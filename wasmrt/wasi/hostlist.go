package wasi

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// listBuffer is how much of a directory the kernel is asked for at once.
const listBuffer = 16 << 10

// hostLister lists a directory of the host. Its cookies are the kernel's own positions, so nothing has to be remembered
// however long the directory is.
type hostLister struct {
	f   *os.File
	at  uint64 // where the kernel is
	buf []byte
	ino uint64 // of the directory, and told of its parent too, which is no business of the guest's
}

func (d *hostDir) lister() (lister, Errno) {
	st, errno := d.stat()
	if errno != 0 {
		return nil, errno
	}
	f, err := d.root.Open(".")
	if err != nil {
		return nil, errnoOf(err)
	}
	return &hostLister{f: f, ino: st.ino}, 0
}

func (l *hostLister) close() { _ = l.f.Close() }

func (l *hostLister) list(cookie uint64, emit func(dirent) bool) Errno {
	file := hostFile{f: l.f}
	return errnoOf(file.control(func(fd int) error {
		if cookie == 0 || cookie != l.at {
			if _, err := unix.Seek(fd, int64(cookie), io.SeekStart); err != nil {
				return err
			}
			l.at = cookie
		}
		if l.buf == nil {
			l.buf = make([]byte, listBuffer)
		}
		for {
			n, err := unix.Getdents(fd, l.buf)
			if err != nil || n == 0 {
				return err
			}
			if !l.entries(l.buf[:n], emit) {
				// The kernel has gone on to the end of the buffer; the next call comes back with a cookie of before.
				l.at = ^uint64(0)
				return nil
			}
		}
	}))
}

// The kernel's record of an entry (linux_dirent64): inode, position of the next, length of the record, kind, name.
const (
	atOff  = 8
	atLen  = 16
	atKind = 18
	atName = 19
)

func (l *hostLister) entries(buf []byte, emit func(dirent) bool) bool {
	for len(buf) >= atName {
		size := int(le.Uint16(buf[atLen:]))
		if size < atName || size > len(buf) {
			return true
		}
		name, _, _ := bytes.Cut(buf[atName:size], []byte{0})
		e := dirent{ino: le.Uint64(buf), next: le.Uint64(buf[atOff:]), name: string(name), kind: kindOfEntry(buf[atKind])}
		if e.name == ".." {
			e.ino = l.ino
		}
		if !emit(e) {
			return false
		}
		l.at = e.next
		buf = buf[size:]
	}
	return true
}

func kindOfEntry(kind byte) fileType {
	switch kind {
	case unix.DT_REG:
		return typeRegular
	case unix.DT_DIR:
		return typeDirectory
	case unix.DT_LNK:
		return typeSymlink
	case unix.DT_CHR:
		return typeCharDevice
	case unix.DT_BLK:
		return typeBlockDevice
	case unix.DT_SOCK:
		return typeStream
	}
	return typeUnknown
}
