package egress

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// WithSource is the same policy with connections made from addresses, one a family at most: many pods share a process, and
// the network tells them apart by their addresses alone.
func (p *Policy) WithSource(addrs ...netip.Addr) *Policy {
	q := *p
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Is4() {
			q.source4 = addr
		} else {
			q.source6 = addr
		}
	}
	return &q
}

// dialer makes connections to an address.
func (p *Policy) dialer(network string, to netip.Addr) net.Dialer {
	from := p.source6
	if to.Is4() {
		from = p.source4
	}
	// An address of the loopback device leads to others of the same device only.
	if !from.IsValid() || from.IsLoopback() && !to.IsLoopback() {
		return net.Dialer{}
	}
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: from.AsSlice()}}
	if network[:3] == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
		d.Control = bindLate
	}
	return d
}

// bindLate leaves the choice of the port to connect, which knows the other end: else a pod could have no more connections
// at a time than there are ports, to all others together.
func bindLate(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, set)
}
