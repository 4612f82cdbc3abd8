package steer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/steering"
)

// Config is what a Service needs.
type Config struct {
	// Socket is where the runtime connects; empty: nothing is steered, and nobody is told.
	Socket string
	// Pinned says that programs and tables outlive this process.
	Pinned bool
	// NetNS is the path of the network namespace that pods' addresses are in; empty: this process's own.
	NetNS string
	// Decided is closed once Opened was called, if ever it will be.
	Decided <-chan struct{}
	Logger  *slog.Logger
}

// Validate names what is missing.
func (c *Config) Validate() error {
	if c.Socket != "" && c.Decided == nil || c.Logger == nil {
		return errors.New("steer: Decided and Logger are required")
	}
	return nil
}

// Reasons why nothing is steered, as the runtime is told them.
var (
	errNoPrograms = errors.New("the eBPF data path does not serve on this node")
	errNotPinned  = errors.New("there is no bpffs to keep the program on while the worker is away")
)

// Service steers for one runtime.
type Service struct {
	cfg    Config
	server *steering.Server // nil where there is no socket

	mu    sync.Mutex
	table *ebpfproxy.Steer // nil while nothing is steered
	off   error            // why that is
}

// New makes a service; it does nothing before Opened and Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, off: errNoPrograms}
	if cfg.Socket == "" {
		return s, nil
	}
	var err error
	s.server, err = steering.NewServer(steering.ServerConfig{Socket: cfg.Socket, Steerer: s.steerer, Logger: cfg.Logger})
	return s, err
}

// Opened attaches the program beside others of the proxy, which is open. What it answers closes it, before the proxy; what
// is pinned goes on. A kernel that cannot do it is no error.
func (s *Service) Opened(ctx context.Context, proxy *ebpfproxy.Proxy) (func() error, error) {
	nothing := func() error { return nil }
	switch {
	case s.server == nil:
		return nothing, nil
	case !s.cfg.Pinned:
		s.set(nil, errNotPinned)
		return nothing, nil
	}
	table, err := ebpfproxy.NewSteer(ebpfproxy.SteerConfig{Proxy: proxy, NetNS: s.cfg.NetNS})
	if err != nil {
		return nil, err
	}
	if err := table.Open(ctx); errors.Is(err, ebpfproxy.ErrUnsupported) {
		s.cfg.Logger.Warn("pods have a listening socket each", "missing", err)
		s.set(nil, err)
		return nothing, nil
	} else if err != nil {
		return nil, err
	}
	s.set(table, nil)
	return func() error {
		s.set(nil, errNoPrograms)
		return table.Close()
	}, nil
}

func (s *Service) set(table *ebpfproxy.Steer, off error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table, s.off = table, off
}

func (s *Service) current() (*ebpfproxy.Steer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table, s.off
}

// Run serves the runtime until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	return s.server.Run(ctx)
}

// steerer waits until it is known whether there is one.
func (s *Service) steerer(ctx context.Context) (steering.Steerer, error) {
	select {
	case <-s.cfg.Decided:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	table, off := s.current()
	if table == nil {
		return nil, off
	}
	return (*tcp)(table), nil
}

// tcp steers connections.
type tcp ebpfproxy.Steer

// Listen implements steering.Steerer.
func (t *tcp) Listen(at netip.AddrPort, fd int) error {
	return (*ebpfproxy.Steer)(t).ListenFD(at, ebpfproxy.TCP, fd)
}

// Remove implements steering.Steerer.
func (t *tcp) Remove(at netip.AddrPort) error {
	if err := (*ebpfproxy.Steer)(t).Remove(at, ebpfproxy.TCP); err != nil {
		return fmt.Errorf("steer: %w", err)
	}
	return nil
}

// Addresses implements steering.Steerer.
func (t *tcp) Addresses() []netip.AddrPort { return (*ebpfproxy.Steer)(t).Addresses(ebpfproxy.TCP) }
