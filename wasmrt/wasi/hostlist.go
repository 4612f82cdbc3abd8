package wasi

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// listBuffer is how much of a directory the kernel is asked for at once.
const listBuffer = 16 << 10

// listStride is how many entries share one remembered position of the kernel's.
const listStride = 32

// hostLister lists a directory of the host. Its cookies count entries: the kernel's own positions have 64 bits, and C
// programs keep them in 32. Some of those are remembered, so that any entry seen before is found again.
type hostLister struct {
	f   *os.File
	buf []byte
	ino uint64 // of the directory, and told of its parent too, which is no business of the guest's

	places []place // before the entries 0, 32, 64 …
	// before and next are around the last entry. They are exact even when the entries before it have been removed since,
	// as a program does that empties a directory.
	before, next place
}

// place is a position between two entries.
type place struct {
	index  uint64
	offset uint64 // the kernel's
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
	return &hostLister{f: f, ino: st.ino, buf: make([]byte, listBuffer), places: []place{{}}}, 0
}

func (l *hostLister) close() { _ = l.f.Close() }

func (l *hostLister) list(cookie uint64, emit func(dirent) bool) Errno {
	from := l.next
	switch {
	case cookie == 0:
		l.places, from = l.places[:1], place{}
	case cookie == l.next.index:
	case cookie == l.before.index:
		from = l.before
	case cookie/listStride < uint64(len(l.places)):
		from = l.places[cookie/listStride]
	default:
		return 0 // no entry had such a cookie
	}
	file := hostFile{f: l.f}
	return errnoOf(file.control(func(fd int) error {
		if _, err := unix.Seek(fd, int64(from.offset), io.SeekStart); err != nil {
			return err
		}
		for {
			n, err := unix.Getdents(fd, l.buf)
			if err != nil || n == 0 {
				return err
			}
			if !l.entries(l.buf[:n], &from, cookie, emit) {
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

// entries hands out those from the cookie on.
func (l *hostLister) entries(buf []byte, at *place, cookie uint64, emit func(dirent) bool) bool {
	for len(buf) >= atName {
		size := int(le.Uint16(buf[atLen:]))
		if size < atName || size > len(buf) {
			return false
		}
		name, _, _ := bytes.Cut(buf[atName:size], []byte{0})
		e := dirent{next: at.index + 1, ino: le.Uint64(buf), name: string(name), kind: kindOfEntry(buf[atKind])}
		if e.name == ".." {
			e.ino = l.ino
		}
		l.pass(at, le.Uint64(buf[atOff:]))
		if e.next > cookie && !emit(e) {
			return false
		}
		buf = buf[size:]
	}
	return true
}

// pass goes on to the next entry, and remembers where it is.
func (l *hostLister) pass(at *place, offset uint64) {
	l.before = *at
	at.index++
	at.offset = offset
	l.next = *at
	if at.index%listStride == 0 && at.index/listStride == uint64(len(l.places)) {
		l.places = append(l.places, *at)
	}
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
