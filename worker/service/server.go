package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/worker/service/catalog"
	"github.com/petrelrun/petrel/worker/service/health"
)

// Config says what to serve.
type Config struct {
	Client kubernetes.Interface
	// Catalog is where Services come from, when somebody else runs one; nil for one of the server's own.
	Catalog  *catalog.Catalog
	NodeName string
	// StateFile is where the table is kept, to serve after a restart before the API is there; empty for nowhere.
	StateFile string
	// GatewayListen is where app URLs are served; empty for nowhere.
	GatewayListen string
	// Kernel is the data path in the kernel, for the modes Auto and EBPF; nil where there is none.
	Kernel DataPath
	Mode   Mode
	// NodeAddrs are where node ports are.
	NodeAddrs []netip.Addr
	// Grace is how long connections through user space to an endpoint or of a Service that has gone may go on;
	// 30 seconds.
	Grace time.Duration
	// HealthAddrs are where health check node ports are; none for all addresses of the machine.
	HealthAddrs []netip.Addr
	// HealthzListen is where the proxy's own health is told; empty for nowhere.
	HealthzListen string
	// Inside are the addresses of clients on this node beside NodeAddrs: its pods.
	Inside []netip.Prefix
	// Recorder, when set, is told of addresses that cannot be listened on.
	Recorder record.EventRecorder
	Logger   *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	switch {
	case c.Client == nil || c.Logger == nil:
		return errors.New("services need a client and a logger")
	case slices.ContainsFunc(c.NodeAddrs, func(ip netip.Addr) bool { return !ip.IsValid() }):
		return errors.New("the node's addresses have one that is none")
	}
	if c.Mode == EBPF && c.Kernel == nil {
		return errors.New("services need a data path in the kernel for the mode " + string(EBPF))
	}
	if _, _, err := net.SplitHostPort(c.GatewayListen); err != nil && c.GatewayListen != "" {
		return fmt.Errorf("gateway address: %w", err)
	}
	return nil
}

// Server serves the node's Services and app URLs.
type Server struct {
	cfg     Config
	state   *state
	catalog *catalog.Catalog
	leavers *leavers
	serving atomic.Pointer[Serving]
	// eligible says that the node is known and not about to be deleted.
	eligible atomic.Bool
	health   *health.Health

	mu      sync.Mutex
	gateway net.Addr
	up      chan struct{}
}

// New prepares a server; Run serves.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Grace = cmp.Or(cfg.Grace, drainTimeout)
	s := &Server{cfg: cfg, state: newState(cfg.NodeName, cfg.Logger), catalog: cmp.Or(cfg.Catalog, catalog.New(cfg.Client)), leavers: newLeavers(), up: make(chan struct{})}
	var err error
	s.health, err = s.newHealth()
	return s, err
}

// GatewayAddr is where the gateway listens; it waits until it does.
func (s *Server) GatewayAddr(ctx context.Context) (net.Addr, error) {
	select {
	case <-s.up:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.gateway, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Leave says that the pod at the address is about to be stopped, and Arrive that a pod is made there: the API's endpoints
// learn of the first too late for what is on its way.
func (s *Server) Leave(addr netip.Addr) {
	s.leavers.set(addr, true)
	if s.cfg.Kernel != nil {
		s.cfg.Kernel.Leave(addr)
	}
}

// Arrive undoes Leave.
func (s *Server) Arrive(addr netip.Addr) {
	s.leavers.set(addr, false)
	if s.cfg.Kernel != nil {
		s.cfg.Kernel.Arrive(addr)
	}
}

// Lookup is the table's entry of a Service.
func (s *Server) Lookup(namespace, name string) (Service, bool) {
	return s.state.lookup(types.NamespacedName{Namespace: namespace, Name: name})
}

// In are the Services of a namespace, in the order of their names.
func (s *Server) In(namespace string) []Service { return s.state.in(namespace) }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	path, err := s.choosePath(ctx)
	if err != nil {
		if listener != nil {
			err = errors.Join(err, listener.Close())
		}
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if listener != nil {
		routes := newRoutes(s.leavers)
		s.state.sinks = append(s.state.sinks, routes)
		group.Go(func() error { return newGateway(routes, s.cfg.Logger).serve(ctx, listener) })
	}
	if path != nil {
		s.state.sinks = append(s.state.sinks, pathSink{path})
		group.Go(func() error { return path.Run(ctx) })
	} else {
		proxy := newProxy(ctx, &s.cfg, s.leavers)
		defer proxy.close()
		s.state.sinks = append(s.state.sinks, proxy)
	}
	checks := s.newChecks(ctx)
	defer checks.Wait()
	s.state.sinks = append(s.state.sinks, checks)
	s.follow(ctx, group)
	return group.Wait()
}

// follow fills the table: from the disk, and then from the API.
func (s *Server) follow(ctx context.Context, group *errgroup.Group) {
	if s.cfg.HealthzListen != "" {
		group.Go(func() error { s.tellHealth(ctx); return nil })
	}
	if s.cfg.StateFile != "" {
		if err := s.state.load(s.cfg.StateFile); err != nil {
			s.cfg.Logger.Error("service table of last time is not usable", "error", err)
		}
		group.Go(func() error { s.keepSaved(ctx); return nil })
	}
	s.state.begin()
	s.catalog.Join(s.state)
	if s.cfg.Catalog == nil {
		group.Go(func() error { s.catalog.Run(ctx); return nil })
	}
	group.Go(func() error { s.followNode(ctx); return nil })
}

// listen is nil where no gateway is wanted.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if s.cfg.GatewayListen == "" {
		return nil, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.cfg.GatewayListen)
	if err != nil {
		return nil, fmt.Errorf("listen for gateway: %w", explain(err))
	}
	s.mu.Lock()
	s.gateway = listener.Addr()
	s.mu.Unlock()
	close(s.up)
	return listener, nil
}
