package wasi

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// The functions of petrel_net_v1. doc.go says what they are.

const (
	networkTCP = 1
	networkUDP = 2

	// maxAddress bounds a name with its port: names of DNS have 253 bytes at most.
	maxAddress = 512
)

func closeFd(fd int) { _ = unix.Close(fd) }

// text is the guest's text that the i-th parameter points to: a name or an address.
func (c call) text(i int) (string, Errno) {
	if c.u32(i+1) > maxAddress {
		return "", ErrnoNameTooLong
	}
	b, errno := c.buffer(i)
	return string(b), errno
}

func netDial(c call) Errno {
	network, kind := "tcp", typeStream
	switch c.u32(0) {
	case networkTCP:
	case networkUDP:
		network, kind = "udp", typeDatagram
	default:
		return ErrnoInval
	}
	address, errno := c.text(1)
	if errno != 0 {
		return errno
	}
	if _, port, err := net.SplitHostPort(address); err != nil {
		return ErrnoInval
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return ErrnoInval
	}
	p := c.s.egress
	d := &dialing{kind: kind, fd: -1}
	return c.begin(3, func(start func(func(context.Context)) (*attempt, Errno)) (*descriptor, Errno) {
		d.attempt, errno = start(func(ctx context.Context) { d.dial(ctx, p, network, address) })
		return &descriptor{object: d, access: access{base: rightsConn}}, errno
	})
}

func netResolve(c call) Errno {
	name, errno := c.text(0)
	if errno != 0 {
		return errno
	}
	p := c.s.egress
	a := &answers{}
	return c.begin(2, func(start func(func(context.Context)) (*attempt, Errno)) (*descriptor, Errno) {
		a.attempt, errno = start(func(ctx context.Context) { a.resolve(ctx, p, name) })
		return &descriptor{object: a, access: access{base: rightsStream &^ rightFdWrite}}, errno
	})
}

// begin starts an attempt and hands out its descriptor, whose number goes where the result-th parameter points.
func (c call) begin(result int, make func(func(func(context.Context)) (*attempt, Errno)) (*descriptor, Errno)) Errno {
	if errno := c.writable(c.u32(result), 4); errno != 0 {
		return errno
	}
	if errno := c.s.room(); errno != 0 {
		return errno
	}
	c.h.Spend(costPath)
	d, errno := make(func(do func(context.Context)) (*attempt, Errno) { return c.s.lookups.start(&c.s.wait, do) })
	if errno != 0 {
		return errno
	}
	fd, errno := c.s.insert(d)
	if errno != 0 {
		return errno
	}
	return c.put32(c.u32(result), fd)
}

// netDialStatus tells what became of a dial, without waiting.
func netDialStatus(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	if !isSocket(d.object) {
		return ErrnoNotSock
	}
	if o, ok := d.object.(*dialing); ok {
		if !o.ready() {
			return ErrnoInProgress
		}
		return c.settle(d)
	}
	return 0
}

// netAddress tells a socket's own address, or its peer's.
func netAddress(c call) Errno {
	d, errno := c.s.lookup(c.fd(0), 0)
	if errno != 0 {
		return errno
	}
	ask := unix.Getsockname
	switch c.u32(1) {
	case 0:
	case 1:
		ask = unix.Getpeername
	default:
		return ErrnoInval
	}
	buf, errno := c.buffer(2)
	if errno != 0 {
		return errno
	}
	if errno := c.writable(c.u32(4), 4); errno != 0 {
		return errno
	}
	c.h.Spend(costCall)
	fd := -1
	switch o := d.object.(type) {
	case *conn:
		fd = o.fd
	case *listener:
		fd = o.fd
	case *dialing:
		return ErrnoNotConn
	default:
		return ErrnoNotSock
	}
	sa, err := ask(fd)
	if err != nil {
		return errnoOf(err)
	}
	text := addressText(sa)
	if len(text) > len(buf) {
		return ErrnoOverflow
	}
	return c.put32(c.u32(4), uint32(copy(buf, text)))
}

func addressText(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)).String()
	case *unix.SockaddrUnix:
		return sa.Name
	}
	return ""
}
