package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// DialContext connects to an address over tcp or udp.
func DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialContext(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return conn, nil
}

func dialContext(ctx context.Context, network, to string) (net.Conn, error) {
	kinds := map[string]uint32{"tcp": networkTCP, "udp": networkUDP}
	kind, ok := kinds[network]
	if !ok {
		return nil, net.UnknownNetworkError(network)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := dial(kind, to)
	if err != nil {
		return nil, err
	}
	conn, err := connOf(fd, to)
	if err != nil {
		return nil, err
	}
	if err := connected(ctx, conn, fd); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	switch c := conn.(type) {
	case *net.TCPConn:
		return tcpConn{c, tcpAddr(address(fd, localAddress)), tcpAddr(address(fd, remoteAddress))}, nil
	case *net.UDPConn:
		return udpConn{c, udpAddr(address(fd, localAddress)), udpAddr(address(fd, remoteAddress))}, nil
	}
	return conn, nil
}

// connOf makes package net's connection of a descriptor, which is its own from then on.
func connOf(fd uint32, name string) (net.Conn, error) {
	f, err := fileOf(fd, name)
	if err != nil {
		return nil, err
	}
	conn, err := net.FileConn(f)
	return conn, errors.Join(err, f.Close())
}

// fileOf makes a file of a descriptor that goroutines can wait for.
func fileOf(fd uint32, name string) (*os.File, error) {
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		return nil, errors.Join(err, syscall.Close(int(fd)))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// connected waits until the host has connected, or could not.
func connected(ctx context.Context, conn net.Conn, fd uint32) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(longAgo) })
	var status uint32
	err = raw.Write(func(uintptr) bool {
		status = hostDialStatus(fd)
		return syscall.Errno(status) != syscall.EINPROGRESS
	})
	if !stop() {
		return ctx.Err()
	}
	return errors.Join(err, errnoOf(status))
}

// tcpConn and udpConn know their addresses, which package net cannot ask for in a guest.

type tcpConn struct {
	*net.TCPConn
	local, remote net.Addr
}

func (c tcpConn) LocalAddr() net.Addr  { return c.local }
func (c tcpConn) RemoteAddr() net.Addr { return c.remote }

type udpConn struct {
	*net.UDPConn
	local, remote net.Addr
}

func (c udpConn) LocalAddr() net.Addr  { return c.local }
func (c udpConn) RemoteAddr() net.Addr { return c.remote }

// LookupHost resolves a name to its addresses.
func LookupHost(ctx context.Context, name string) ([]string, error) {
	fd, err := resolve(name)
	if err != nil {
		return nil, lookupError(name, err)
	}
	f, err := fileOf(fd, name)
	if err != nil {
		return nil, lookupError(name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(longAgo) })
	text, err := io.ReadAll(f)
	if !stop() {
		err = ctx.Err()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, lookupError(name, err)
	}
	return strings.Fields(string(text)), nil
}

func lookupError(name string, err error) error {
	if errors.Is(err, syscall.ENOENT) {
		return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return &net.OpError{Op: "lookup", Net: name, Err: err}
}

// Listeners are the sockets that the program was started with.
func Listeners() ([]net.Listener, error) {
	first, count := listeners()
	var out []net.Listener
	for fd := first; fd < first+count; fd++ {
		f, err := fileOf(uint32(fd), "listener")
		if err != nil {
			return nil, fmt.Errorf("take listener %d: %w", fd, err)
		}
		l, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("take listener %d: %w", fd, err)
		}
		out = append(out, listener{l, tcpAddr(address(uint32(fd), localAddress))})
	}
	return out, nil
}

// listener knows its address, and gives connections that know theirs.
type listener struct {
	net.Listener
	addr net.Addr
}

func (l listener) Addr() net.Addr { return l.addr }

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return conn, nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	t := tcpConn{TCPConn: c, local: l.addr, remote: &net.TCPAddr{}}
	err = raw.Control(func(fd uintptr) { t.remote = tcpAddr(address(uint32(fd), remoteAddress)) })
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return t, nil
}
