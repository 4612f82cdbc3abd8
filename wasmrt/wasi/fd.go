package wasi

import (
	"context"
	"math"
)

func fdClose(c call) Errno {
	if _, errno := c.s.lookup(c.fd(0), 0); errno != 0 {
		return errno
	}
	c.h.Spend(costCall)
	c.s.drop(c.fd(0))
	return 0
}

// fdRenumber moves a descriptor to the number of another, which is closed.
func fdRenumber(c call) Errno {
	from, to := c.fd(0), c.fd(1)
	d, errno := c.s.lookup(from, 0)
	if errno != 0 {
		return errno
	}
	if _, errno := c.s.lookup(to, 0); errno != 0 {
		return errno
	}
	c.h.Spend(costCall)
	if from != to {
		c.s.drop(to)
		c.s.slots[to], c.s.slots[from] = d, nil
	}
	return 0
}

const (
	whenceSet = 0
	whenceCur = 1
	whenceEnd = 2
)

func fdSeek(c call) Errno {
	delta, whence := int64(c.stack[1]), c.u32(2)
	// Asking where it is, is telling.
	need := rightFdSeek
	if delta == 0 && whence == whenceCur {
		need = rightFdTell
	}
	d, o, errno := c.positioned(need)
	if errno != 0 {
		return errno
	}
	base := int64(0)
	switch whence {
	case whenceSet:
	case whenceCur:
		base = d.offset
	case whenceEnd:
		st, errno := o.stat()
		if errno != 0 {
			return errno
		}
		base = int64(st.size)
	default:
		return ErrnoInval
	}
	if delta > 0 && base > math.MaxInt64-delta || base+delta < 0 {
		return ErrnoInval
	}
	if errno := c.put64(c.u32(3), uint64(base+delta)); errno != 0 {
		return errno
	}
	d.offset = base + delta
	return 0
}

func fdTell(c call) Errno {
	d, _, errno := c.positioned(rightFdTell)
	if errno != 0 {
		return errno
	}
	return c.put64(c.u32(1), uint64(d.offset))
}

// positioned looks up a file that has a position. Streams say ESPIPE, whatever their rights are: that is how programs
// find out that it is one.
func (c call) positioned(need rights) (*descriptor, regular, Errno) {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return nil, nil, errno
	}
	o, ok := d.object.(regular)
	switch {
	case !ok && d.object.fileType() == typeDirectory:
		return nil, nil, ErrnoBadf
	case !ok:
		return nil, nil, ErrnoSpipe
	case d.base&need != need:
		return nil, nil, ErrnoNotCapable
	}
	return d, o, 0
}

func fdSync(c call) Errno     { return c.sync(rightFdSync, false) }
func fdDatasync(c call) Errno { return c.sync(rightFdDatasync, true) }

func (c call) sync(need rights, dataOnly bool) Errno {
	d, errno := c.s.lookup(c.fd(0), need)
	if errno != 0 {
		return errno
	}
	o, ok := d.object.(synced)
	if !ok {
		return ErrnoInval
	}
	c.h.Spend(costCall)
	c.h.Block(func(context.Context) { errno = o.sync(dataOnly) }) // a disk takes its time
	return errno
}

// adviceCount is how many kinds of advice there are.
const adviceCount = 6

func fdAdvise(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), rightFdAdvise)
	if errno != 0 {
		return errno
	}
	off, size := int64(c.stack[1]), int64(c.stack[2])
	if off < 0 || size < 0 || c.u32(3) >= adviceCount {
		return ErrnoInval
	}
	o, ok := d.object.(regular)
	if !ok {
		return ErrnoBadf
	}
	c.h.Spend(costCall)
	return o.advise(off, size, int(c.u32(3)))
}

func fdAllocate(c call) Errno {
	o, errno := c.regular(rightFdAllocate)
	if errno != 0 {
		return errno
	}
	off, size := int64(c.stack[1]), int64(c.stack[2])
	if off < 0 || size <= 0 {
		return ErrnoInval
	}
	if off > math.MaxInt64-size {
		return ErrnoFbig
	}
	return o.allocate(off, size)
}

// fdPrestatGet tells libraries which descriptors are mounts. A listener is none of theirs, but the search must go on
// beyond it: it gets a tag that no library takes for a directory's.
func fdPrestatGet(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	const tagOther = 1
	switch _, listens := d.object.(*listener); {
	case d.preopen:
		return c.put64(c.u32(1), uint64(len(d.guestPath))<<32)
	case listens:
		return c.put64(c.u32(1), tagOther)
	}
	return ErrnoBadf
}

func fdPrestatDirName(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	if !d.preopen {
		return ErrnoBadf
	}
	if c.u32(2) < uint32(len(d.guestPath)) {
		return ErrnoNameTooLong
	}
	b, errno := c.bytes(c.u32(1), uint32(len(d.guestPath)))
	if errno != 0 {
		return errno
	}
	copy(b, d.guestPath)
	return 0
}
