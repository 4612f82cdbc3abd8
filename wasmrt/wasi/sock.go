package wasi

import (
	"golang.org/x/sys/unix"
)

func sockAccept(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	l, ok := d.object.(*listener)
	switch {
	case !ok && isSocket(d.object):
		return ErrnoInval
	case !ok:
		return ErrnoNotSock
	case d.base&rightSockAccept == 0:
		return ErrnoNotCapable
	case c.u32(1)&^uint32(flagNonblock) != 0:
		return ErrnoInval
	}
	if errno := c.writable(c.u32(2), 4); errno != 0 {
		return errno
	}
	if errno := c.s.room(); errno != 0 {
		return errno
	}
	c.h.Spend(costPath)
	k, errno := l.accept(c, !d.nonblocking())
	if errno != 0 {
		return errno
	}
	fd, errno := c.s.insert(&descriptor{object: k, access: access{base: rightsConn & d.inheriting, flags: fdFlags(c.u32(1))}})
	if errno != 0 {
		return errno
	}
	return c.put32(c.u32(2), fd)
}

func isSocket(o object) bool {
	kind := o.fileType()
	return kind == typeStream || kind == typeDatagram
}

// connected looks up a connection. One that is being made is waited for, unless it shall not block.
func (c call) connected(fd uint32, need rights) (*descriptor, *conn, Errno) {
	d, errno := c.s.lookup(fd, 0)
	if errno != 0 {
		return nil, nil, errno
	}
	if !isSocket(d.object) {
		return nil, nil, ErrnoNotSock
	}
	if d.base&need != need {
		return nil, nil, ErrnoNotCapable
	}
	if errno := c.settle(d); errno != 0 {
		return nil, nil, errno
	}
	k, ok := d.object.(*conn)
	if !ok {
		return nil, nil, ErrnoNotConn
	}
	return d, k, 0
}

const (
	recvPeek    = 1
	recvWaitAll = 2

	recvTruncated = 1
)

func sockRecv(c call) Errno {
	d, k, errno := c.connected(c.fd(0), rightFdRead)
	if errno != 0 {
		return errno
	}
	if c.u32(3)&^(recvPeek|recvWaitAll) != 0 {
		return ErrnoInval
	}
	if errno := max(c.writable(c.u32(4), 4), c.writable(c.u32(5), 2)); errno != 0 {
		return errno
	}
	b, errno := c.buffers(1)
	if errno != 0 {
		return errno
	}
	n, truncated, errno := k.recvInto(c, &b, c.u32(3), !d.nonblocking())
	if errno != 0 {
		return errno
	}
	flags, errno := c.bytes(c.u32(5), 2)
	if errno != 0 {
		return errno
	}
	le.PutUint16(flags, 0)
	if truncated {
		le.PutUint16(flags, recvTruncated)
	}
	return c.put32(c.u32(4), n)
}

func (k *conn) recvInto(c call, b *buffers, how uint32, wait bool) (n uint32, truncated bool, errno Errno) {
	flags := 0
	if how&recvPeek != 0 {
		flags = unix.MSG_PEEK
	}
	if k.kind == typeDatagram {
		return k.receiveWhole(c, b, flags, wait)
	}
	peeked := false
	n, errno = b.move(func(p []byte, first bool) (int, Errno) {
		if peeked {
			return 0, ErrnoAgain // a second look would see the same bytes
		}
		peeked = how&recvPeek != 0
		for got := 0; ; {
			n, errno := k.receive(c, p[got:], flags, wait && (first || how&recvWaitAll != 0))
			got += n
			if errno != 0 && got > 0 {
				errno = 0
			}
			if errno != 0 || n == 0 || got == len(p) || how&recvWaitAll == 0 || peeked {
				return got, errno
			}
		}
	})
	return n, false, errno
}

func sockSend(c call) Errno {
	if c.u32(3) != 0 {
		return ErrnoInval
	}
	if _, _, errno := c.connected(c.fd(0), rightFdWrite); errno != 0 {
		return errno
	}
	return c.transfer(rightFdWrite, true, 4)
}

const (
	shutRead  = 1
	shutWrite = 2
)

func sockShutdown(c call) Errno {
	_, k, errno := c.connected(c.fd(0), rightSockShutdown)
	if errno != 0 {
		return errno
	}
	c.h.Spend(costCall)
	how, ok := map[uint32]int{shutRead: unix.SHUT_RD, shutWrite: unix.SHUT_WR, shutRead | shutWrite: unix.SHUT_RDWR}[c.u32(1)]
	if !ok {
		return ErrnoInval
	}
	return errnoOf(unix.Shutdown(k.fd, how))
}
