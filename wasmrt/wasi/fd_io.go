package wasi

// buffers walks over the guest's list of buffers and hands out the pieces of them.
type buffers struct {
	c    call
	list []byte // of pairs: address and length
	cut  bool   // the list was longer than maxBuffers
}

func (c call) buffers(i int) (buffers, Errno) {
	n := c.u32(i + 1)
	b := buffers{c: c}
	if n > 1<<29-1 {
		return b, ErrnoFault
	}
	list, errno := c.bytes(c.u32(i), 8*n)
	if errno != 0 {
		return b, errno
	}
	if n > maxBuffers {
		list, b.cut = list[:8*maxBuffers], true
	}
	b.list = list
	c.h.Spend(uint64(len(list)/8)*costEntry + costCall)
	return b, 0
}

// next is the next buffer, or nil at the end.
func (b *buffers) next() ([]byte, Errno) {
	for len(b.list) > 0 {
		ptr, size := le.Uint32(b.list), le.Uint32(b.list[4:])
		b.list = b.list[8:]
		if size == 0 {
			continue
		}
		return b.c.bytes(ptr, size)
	}
	return nil, 0
}

// move gives each buffer to do, in pieces, until one comes short. What was moved before an error counts, and the error
// comes again with the next call.
func (b *buffers) move(do func(p []byte, first bool) (int, Errno)) (uint32, Errno) {
	total := 0
	for {
		p, errno := b.next()
		if errno != 0 && total == 0 {
			return 0, errno
		}
		if p == nil {
			return uint32(total), 0
		}
		for len(p) > 0 {
			if b.c.ended() {
				return 0, ErrnoIntr
			}
			if total > 1<<31-1 {
				return uint32(total), 0 // the count must not wrap around
			}
			piece := p[:min(len(p), pieceSize)]
			b.c.h.Spend(uint64(len(piece)) / costBytes)
			n, errno := do(piece, total == 0)
			total += n
			if errno != 0 && total == 0 {
				return 0, errno
			}
			if errno != 0 || n < len(piece) {
				return uint32(total), 0
			}
			p = p[n:]
		}
	}
}

func fdRead(c call) Errno  { return c.transfer(rightFdRead, false, 3) }
func fdWrite(c call) Errno { return c.transfer(rightFdWrite, true, 3) }

// transfer reads or writes at the descriptor's position.
func (c call) transfer(need rights, write bool, result int) Errno {
	d, errno := c.s.lookup(c.fd(0), need)
	if errno != 0 {
		return errno
	}
	if errno := c.writable(c.u32(result), 4); errno != 0 {
		return errno
	}
	b, errno := c.buffers(1)
	if errno != 0 {
		return errno
	}
	n, errno := c.moveAll(d, &b, write)
	if errno != 0 {
		return errno
	}
	return c.put32(c.u32(result), n)
}

func (c call) moveAll(d *descriptor, b *buffers, write bool) (uint32, Errno) {
	if errno := c.settle(d); errno != 0 {
		return 0, errno
	}
	switch o := d.object.(type) {
	case stream:
		if k, ok := o.(*conn); ok && k.kind == typeDatagram {
			if write {
				return k.sendWhole(c, b, !d.nonblocking())
			}
			n, _, errno := k.receiveWhole(c, b, 0, !d.nonblocking())
			return n, errno
		}
		return b.move(func(p []byte, first bool) (int, Errno) {
			wait := first && !d.nonblocking()
			if write {
				// Writing blocks to its end, as it does on a POSIX socket.
				return o.write(c, p, !d.nonblocking())
			}
			if in, ok := o.(*stdin); ok && !first && !in.in.more() {
				return 0, ErrnoAgain
			}
			return o.read(c, p, wait)
		})
	case regular:
		return b.move(func(p []byte, _ bool) (int, Errno) { return d.advance(o, p, write) })
	case directory:
		return 0, ErrnoIsDir
	}
	return 0, ErrnoNotSup
}

// advance moves p at the position, and the position behind it.
func (d *descriptor) advance(o regular, p []byte, write bool) (int, Errno) {
	var n int
	var errno Errno
	switch {
	case !write:
		n, errno = o.readAt(p, d.offset)
	case d.flags&flagAppend != 0:
		n, d.offset, errno = o.appendTo(p)
		return n, errno
	default:
		n, errno = o.writeAt(p, d.offset)
	}
	d.offset += int64(n)
	return n, errno
}

func fdPread(c call) Errno  { return c.transferAt(rightFdRead|rightFdSeek, false) }
func fdPwrite(c call) Errno { return c.transferAt(rightFdWrite|rightFdSeek, true) }

// transferAt reads or writes at a position of its own.
func (c call) transferAt(need rights, write bool) Errno {
	d, errno := c.s.lookup(c.fd(0), need&^rightFdSeek)
	if errno != 0 {
		return errno
	}
	o, ok := d.object.(regular)
	if !ok {
		if d.object.fileType() == typeDirectory {
			return ErrnoIsDir
		}
		return ErrnoSpipe
	}
	if d.base&need != need {
		return ErrnoNotCapable
	}
	off := int64(c.stack[3])
	if off < 0 {
		return ErrnoInval
	}
	if errno := c.writable(c.u32(4), 4); errno != 0 {
		return errno
	}
	b, errno := c.buffers(1)
	if errno != 0 {
		return errno
	}
	n, errno := b.move(func(p []byte, _ bool) (int, Errno) {
		if off < 0 {
			return 0, ErrnoFbig // it wrapped around
		}
		var n int
		var errno Errno
		switch {
		case !write:
			n, errno = o.readAt(p, off)
		case d.flags&flagAppend != 0:
			n, _, errno = o.appendTo(p) // wherever it asks to write, as Linux has it
		default:
			n, errno = o.writeAt(p, off)
		}
		off += int64(n)
		return n, errno
	})
	if errno != 0 {
		return errno
	}
	return c.put32(c.u32(4), n)
}
