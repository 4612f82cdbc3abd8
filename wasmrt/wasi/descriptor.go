package wasi

// object is what a descriptor stands for. What it can do beyond is said by the interfaces below.
type object interface {
	fileType() fileType
	stat() (filestat, Errno)
	// close frees it. What belongs to the mounts stays open.
	close()
}

// stream is read and written where it is: standard streams and connections.
type stream interface {
	object
	// read and write move what they can at once, and wait for the first byte unless wait is false: then they say EAGAIN.
	read(c call, p []byte, wait bool) (int, Errno)
	write(c call, p []byte, wait bool) (int, Errno)
}

// regular is a file with positions. The descriptor holds the present one.
type regular interface {
	object
	readAt(p []byte, off int64) (int, Errno)
	writeAt(p []byte, off int64) (int, Errno)
	// appendTo writes at the end, wherever that is by now, and returns where the end is then.
	appendTo(p []byte) (n int, end int64, errno Errno)
	truncate(size int64) Errno
	allocate(off, size int64) Errno
	advise(off, size int64, advice int) Errno
	// setAppend tells the file how writes will come.
	setAppend(on bool) Errno
}

// timed has times that can be set through a descriptor.
type timed interface{ setTimes(times) Errno }

// synced can be written through to where it lasts.
type synced interface{ sync(dataOnly bool) Errno }

// descriptor is an entry of the table.
type descriptor struct {
	object object
	access
	offset int64
	list   lister // of a directory that is being listed

	guestPath string // of a preopened directory
	preopen   bool
	held      bool // the mark has it: it stays open when the guest closes it
}

// access is what a descriptor may be used for, and how.
type access struct {
	base, inheriting rights
	flags            fdFlags
}

func (d *descriptor) nonblocking() bool { return d.flags&flagNonblock != 0 }

// release frees what only this descriptor has.
func (d *descriptor) release() {
	d.stopListing()
	d.object.close()
}

func (d *descriptor) stopListing() {
	if d.list != nil {
		d.list.close()
		d.list = nil
	}
}

// filestat is what a file is, as guests see it.
type filestat struct {
	dev, ino         uint64
	kind             fileType
	nlink, size      uint64
	atim, mtim, ctim int64 // nanoseconds
}

const filestatSize = 64

func (c call) putFilestat(ptr uint32, st filestat) Errno {
	b, errno := c.bytes(ptr, filestatSize)
	if errno != 0 {
		return errno
	}
	le.PutUint64(b[0:], st.dev)
	le.PutUint64(b[8:], st.ino)
	le.PutUint64(b[16:], uint64(st.kind))
	le.PutUint64(b[24:], st.nlink)
	le.PutUint64(b[32:], st.size)
	le.PutUint64(b[40:], uint64(st.atim))
	le.PutUint64(b[48:], uint64(st.mtim))
	le.PutUint64(b[56:], uint64(st.ctim))
	return 0
}
