package wasi

const direntSize = 24

// fdReaddir fills the guest's buffer with entries. The last may be cut: that is how the guest learns that there are more.
func fdReaddir(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	o, ok := d.object.(directory)
	switch {
	case !ok:
		return ErrnoNotDir
	case d.base&rightFdReaddir == 0:
		return ErrnoNotCapable
	}
	buf, errno := c.buffer(1)
	if errno != 0 {
		return errno
	}
	if errno := c.writable(c.u32(4), 4); errno != 0 {
		return errno
	}
	if d.list == nil {
		if d.list, errno = o.lister(); errno != 0 {
			return errno
		}
	}
	c.h.Spend(costPath)
	at := 0
	entries := uint64(0)
	errno = d.list.list(c.stack[3], func(e dirent) bool {
		at += putDirent(buf[at:], e)
		entries++
		return at < len(buf) && !c.ended()
	})
	c.h.Spend(entries * costEntry)
	if errno != 0 && at == 0 {
		return errno
	}
	return c.put32(c.u32(4), uint32(at))
}

// putDirent writes as much of an entry as there is room for.
func putDirent(buf []byte, e dirent) int {
	var head [direntSize]byte
	le.PutUint64(head[0:], e.next)
	le.PutUint64(head[8:], e.ino)
	le.PutUint32(head[16:], uint32(len(e.name)))
	head[20] = byte(e.kind)
	n := copy(buf, head[:])
	return n + copy(buf[n:], e.name)
}
