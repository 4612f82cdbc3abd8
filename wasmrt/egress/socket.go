package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Sockets makes sockets that do not block, of a family (AF_INET, AF_INET6) and a kind (SOCK_STREAM, SOCK_DGRAM).
type Sockets func(ctx context.Context, family, kind int) (*os.File, error)

// WithSockets is the same policy with connections made from given sockets, as they are in a network that this process is
// not in. The DNS servers are asked from there, too.
func (p *Policy) WithSockets(s Sockets) *Policy {
	q := *p
	q.sockets, q.source4, q.source6 = s, netip.Addr{}, netip.Addr{}
	q.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		return q.connect(ctx, network, to)
	}}
	return &q
}

// connect makes a connection to an address.
func (p *Policy) connect(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	if p.sockets == nil {
		dialer := p.dialer(network, to.Addr())
		return dialer.DialContext(ctx, network, to.String())
	}
	family, sa := unix.AF_INET, unix.Sockaddr(nil)
	if ip := to.Addr().Unmap(); ip.Is4() {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: ip.As16()}
	}
	kind := unix.SOCK_STREAM
	if strings.HasPrefix(network, "udp") {
		kind = unix.SOCK_DGRAM
	}
	file, err := p.sockets(ctx, family, kind)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", network, to, err)
	}
	defer file.Close() // the connection gets one of its own
	if err := connectTo(ctx, file, sa); err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", network, to, err)
	}
	return net.FileConn(file)
}

// connectTo connects a socket that does not block, and waits until it is.
func connectTo(ctx context.Context, file *os.File, to unix.Sockaddr) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	connectErr := error(nil)
	if err := raw.Control(func(fd uintptr) { connectErr = unix.Connect(int(fd), to) }); err != nil {
		return err
	}
	if connectErr == nil || !errors.Is(connectErr, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", connectErr)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.Close() }) // it ends the wait
	err = raw.Write(func(fd uintptr) bool {
		var peerErr error
		connectErr, peerErr = outcome(int(fd))
		return peerErr == nil || connectErr != nil // else nothing has happened yet
	})
	if !stop() {
		return ctx.Err()
	}
	return errors.Join(err, os.NewSyscallError("connect", connectErr))
}

// outcome answers why connecting failed, and whether there is a peer.
func outcome(fd int) (connectErr, peerErr error) {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err, nil
	}
	if errno != 0 {
		return unix.Errno(errno), nil
	}
	_, peerErr = unix.Getpeername(fd)
	return nil, peerErr
}
