package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probes are connections of our own, by where they come from. The queue of a socket is worked off in order: when a probe
// has been accepted, so has everybody before it.
type probes struct {
	n  atomic.Int32 // so that nobody looks while there are none
	mu sync.Mutex
	of map[netip.AddrPort]chan struct{}
}

func (p *probes) add(from netip.AddrPort) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[netip.AddrPort]chan struct{}{}
	}
	arrived := make(chan struct{})
	p.of[from] = arrived
	p.n.Add(1)
	return arrived
}

func (p *probes) drop(from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[from] != nil {
		delete(p.of, from)
		p.n.Add(-1)
	}
}

// admit takes a connection that is a probe.
func (p *probes) admit(nc *net.TCPConn) bool {
	if p.n.Load() == 0 {
		return false
	}
	from := nc.RemoteAddr().(*net.TCPAddr).AddrPort()
	p.mu.Lock()
	defer p.mu.Unlock()
	arrived := p.of[from]
	if arrived == nil {
		return false
	}
	delete(p.of, from)
	p.n.Add(-1)
	close(arrived)
	hangUp(nc)
	return true
}

// hangUp resets a connection, which leaves nothing behind.
func hangUp(nc *net.TCPConn) {
	_ = nc.SetLinger(0)
	_ = nc.Close()
}

// Settle returns when all connections that waited to be accepted have been handed on, at the latest with ctx.
func (f *Front) Settle(ctx context.Context) error {
	f.mu.RLock()
	sockets := make([]*socket, 0, len(f.sockets))
	for _, s := range f.sockets {
		sockets = append(sockets, s)
	}
	closed := f.closed
	f.mu.RUnlock()
	if closed {
		return nil // nobody waits
	}
	for _, s := range sockets {
		if err := f.probes.send(ctx, s); err != nil {
			return fmt.Errorf("work off queue: %w", err)
		}
	}
	return nil
}

// send queues a probe and waits until it has been accepted.
func (p *probes) send(ctx context.Context, s *socket) error {
	var from netip.AddrPort
	var arrived chan struct{}
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		err := error(nil)
		if ctlErr := raw.Control(func(fd uintptr) { from, err = bindAny(int(fd)) }); ctlErr != nil {
			return ctlErr
		}
		if err == nil {
			arrived = p.add(from)
		}
		return err
	}}
	dialer.SetMultipathTCP(false)
	nc, err := dialer.DialContext(ctx, s.Addr().Network(), s.Addr().String())
	defer p.drop(from)
	if err != nil {
		select {
		case <-arrived: // and was hung up on before we could look
			return nil
		default:
		}
		if s.isClosed() { // nobody waits
			return nil
		}
		return err
	}
	defer hangUp(nc.(*net.TCPConn))
	for {
		select {
		case <-arrived:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(probeLook):
			if s.isClosed() {
				return nil
			}
		}
	}
}

// probeLook is how often a probe looks whether somebody accepts at all.
const probeLook = 50 * time.Millisecond

// bindAny gives a socket an address before it connects.
func bindAny(fd int) (netip.AddrPort, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockopt", err)
	}
	sa := unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if domain == unix.AF_INET6 {
		sa = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	if sa, err = unix.Getsockname(fd); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, errors.New("a socket without an internet address")
}
