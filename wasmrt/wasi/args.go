package wasi

// list is what args_get or environ_get answers: texts that each end with a zero byte.
type list struct {
	texts []string
	size  uint32 // of all, with their zero bytes
}

func newList(texts []string) list {
	l := list{texts: texts}
	for _, t := range texts {
		l.size += uint32(len(t)) + 1
	}
	return l
}

func (l list) sizes(c call) Errno {
	if errno := c.writable(c.u32(1), 4); errno != 0 {
		return errno
	}
	if errno := c.put32(c.u32(0), uint32(len(l.texts))); errno != 0 {
		return errno
	}
	return c.put32(c.u32(1), l.size)
}

// get writes the texts to the buffer and their addresses to the table.
func (l list) get(c call) Errno {
	table, errno := c.bytes(c.u32(0), 4*uint32(len(l.texts)))
	if errno != 0 {
		return errno
	}
	at := c.u32(1)
	buf, errno := c.bytes(at, l.size)
	if errno != 0 {
		return errno
	}
	c.h.Spend(uint64(l.size)/costBytes + uint64(len(l.texts))*costEntry)
	for i, t := range l.texts {
		le.PutUint32(table[4*i:], at)
		n := copy(buf, t)
		buf[n] = 0
		buf = buf[n+1:]
		at += uint32(n) + 1
	}
	return 0
}

func argsGet(c call) Errno         { return c.s.args.get(c) }
func argsSizesGet(c call) Errno    { return c.s.args.sizes(c) }
func environGet(c call) Errno      { return c.s.env.get(c) }
func environSizesGet(c call) Errno { return c.s.env.sizes(c) }
