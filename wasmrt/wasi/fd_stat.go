package wasi

import "time"

const fdstatSize = 24

func fdFdstatGet(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	b, errno := c.bytes(c.u32(1), fdstatSize)
	if errno != 0 {
		return errno
	}
	le.PutUint64(b, uint64(d.object.fileType())|uint64(d.flags)<<16)
	le.PutUint64(b[8:], uint64(d.base))
	le.PutUint64(b[16:], uint64(d.inheriting))
	return 0
}

func fdFdstatSetFlags(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), rightFdstatSetFlags)
	if errno != 0 {
		return errno
	}
	if c.u32(1)&^uint32(flagsAll) != 0 {
		return ErrnoInval
	}
	flags := fdFlags(c.u32(1))
	if (d.flags^flags)&(flagDsync|flagRsync|flagSync) != 0 {
		return ErrnoNotSup // they are chosen when a file is opened
	}
	if o, ok := d.object.(regular); ok && (d.flags^flags)&flagAppend != 0 {
		if errno := o.setAppend(flags&flagAppend != 0); errno != 0 {
			return errno
		}
	}
	d.flags = flags
	return 0
}

// fdFdstatSetRights takes rights away; none come back.
func fdFdstatSetRights(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	base, inheriting := rights(c.stack[1]), rights(c.stack[2])
	if base&^d.base != 0 || inheriting&^d.inheriting != 0 {
		return ErrnoNotCapable
	}
	d.base, d.inheriting = base, inheriting
	return 0
}

func fdFilestatGet(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), rightFdFilestatGet)
	if errno != 0 {
		return errno
	}
	c.h.Spend(costCall)
	st, errno := d.object.stat()
	if errno != 0 {
		return errno
	}
	return c.putFilestat(c.u32(1), st)
}

func fdFilestatSetSize(c call) Errno {
	o, errno := c.regular(rightFdFilestatSetSize)
	if errno != 0 {
		return errno
	}
	if int64(c.stack[1]) < 0 {
		return ErrnoInval
	}
	return o.truncate(int64(c.stack[1]))
}

// regular looks up the first parameter, which has to be a file.
func (c call) regular(need rights) (regular, Errno) {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return nil, errno
	}
	o, ok := d.object.(regular)
	switch {
	case ok && d.base&need != need:
		return nil, ErrnoNotCapable
	case ok:
		c.h.Spend(costCall)
		return o, 0
	case d.object.fileType() == typeDirectory:
		return nil, ErrnoIsDir
	}
	return nil, ErrnoInval
}

// times are what a file's times shall become.
type times struct{ atim, mtim newTime }

type newTime struct {
	set   bool
	nanos int64
}

const (
	setAtim    = 1
	setAtimNow = 2
	setMtim    = 4
	setMtimNow = 8
)

// times reads two times and the flags that follow them from the parameters.
func (c call) times(i int) (times, Errno) {
	flags := c.u32(i + 2)
	if flags > 15 || flags&(setAtim|setAtimNow) == setAtim|setAtimNow || flags&(setMtim|setMtimNow) == setMtim|setMtimNow {
		return times{}, ErrnoInval
	}
	now := time.Now().UnixNano()
	one := func(given uint64, set, setNow uint32) newTime {
		switch {
		case flags&set != 0:
			return newTime{true, int64(given)}
		case flags&setNow != 0:
			return newTime{true, now}
		}
		return newTime{}
	}
	t := times{one(c.stack[i], setAtim, setAtimNow), one(c.stack[i+1], setMtim, setMtimNow)}
	if t.atim.nanos < 0 || t.mtim.nanos < 0 {
		return times{}, ErrnoInval
	}
	return t, 0
}

func fdFilestatSetTimes(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), rightFdFilestatSetTimes)
	if errno != 0 {
		return errno
	}
	t, errno := c.times(1)
	if errno != 0 {
		return errno
	}
	c.h.Spend(costCall)
	if o, ok := d.object.(timed); ok {
		return o.setTimes(t)
	}
	return ErrnoNotSup
}
