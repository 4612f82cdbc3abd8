package front

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// backlog is how many connections may wait to be accepted, as far as the host lets it (net.core.somaxconn).
	backlog = 1 << 15
	// acceptPause is what accepting rests after an error that may pass, such as no descriptors.
	acceptPause = 20 * time.Millisecond
)

var (
	// ErrTaken is what an address is that has a server.
	ErrTaken = errors.New("another one listens there")
	// ErrClosed is what a front answers that was closed.
	ErrClosed = errors.New("the front is closed")
)

// Server is who serves an address. It must be comparable.
type Server interface {
	// Admit takes a connection over, or answers false when there is nobody to take it: then it is reset.
	Admit(net.Conn) bool
}

// Front accepts for all addresses. It is safe for concurrent use.
type Front struct {
	log     *slog.Logger
	serving sync.WaitGroup

	mu      sync.RWMutex
	at      map[netip.AddrPort]Server
	sockets map[string]*socket // by network
	closed  bool

	probes probes
}

// New makes a front without sockets: they come when they are first needed.
func New(log *slog.Logger) *Front {
	return &Front{log: log, at: map[netip.AddrPort]Server{}, sockets: map[string]*socket{}}
}

// Network is that of the socket for an address: tcp4 or tcp6.
func Network(at netip.AddrPort) string {
	if at.Addr().Unmap().Is4() {
		return "tcp4"
	}
	return "tcp6"
}

func normal(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
}

// Serve has the server get the connections for the addresses, all or none.
func (f *Front) Serve(s Server, addresses ...netip.AddrPort) error {
	for _, at := range addresses {
		if _, err := f.open(Network(at)); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range addresses {
		if f.at[normal(at)] != nil {
			return fmt.Errorf("serve %s: %w", at, ErrTaken)
		}
	}
	for _, at := range addresses {
		f.at[normal(at)] = s
	}
	return nil
}

// Leave takes the addresses from the server. Those that it has not are left alone.
func (f *Front) Leave(s Server, addresses ...netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range addresses {
		if f.at[normal(at)] == s {
			delete(f.at, normal(at))
		}
	}
}

func (f *Front) serverOf(at netip.AddrPort) Server {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.at[normal(at)]
}

// open answers the socket of a network, and makes it when there is none.
func (f *Front) open(network string) (*socket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if s := f.sockets[network]; s != nil {
		return s, nil
	}
	l, err := listen(network)
	if err != nil {
		return nil, fmt.Errorf("open front: %w", err)
	}
	s := &socket{TCPListener: l}
	f.sockets[network] = s
	f.serving.Go(func() { f.accept(s) })
	return s, nil
}

// Listener answers a descriptor of the socket of a network, for whoever steers connections to it.
func (f *Front) Listener(network string) (*os.File, error) {
	s, err := f.open(network)
	if err != nil {
		return nil, err
	}
	fd := -1
	err = s.control(func(own int) (err error) {
		fd, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("fcntl", err)
	})
	if err != nil {
		return nil, fmt.Errorf("hand on front: %w", err)
	}
	return os.NewFile(uintptr(fd), network), nil
}

// Close closes the sockets and returns when nobody accepts any more. Connections that wait are reset.
func (f *Front) Close() error {
	f.mu.Lock()
	f.closed = true
	var errs []error
	for _, s := range f.sockets {
		errs = append(errs, s.Close())
	}
	f.mu.Unlock()
	f.serving.Wait()
	return errors.Join(errs...)
}
