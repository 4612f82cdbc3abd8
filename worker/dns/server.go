package dns

import (
	"cmp"
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/worker/service/catalog"
)

// Server is the node's DNS server.
type Server struct {
	cfg       Config
	table     *table
	state     *state
	catalog   *catalog.Catalog
	zone      *zone
	forwarder *forwarder
	metrics   *metrics
	doors     *doors

	working atomic.Int64 // queries that are being answered
	ctx     atomic.Pointer[context.Context]
	host    hostConfig
}

// New prepares a server; Run serves.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, table: newTable(), catalog: cmp.Or(cfg.Catalog, catalog.New(cfg.Client)), metrics: newMetrics()}
	s.doors = newDoors(s)
	s.state = newState(s.table, s.doors.poke)
	s.zone = &zone{domain: cfg.zoneName(), table: s.table, pods: cfg.PodCIDRs, server: s.addresses}
	s.forwarder = newForwarder(s.metrics, cfg.Logger)
	if cfg.Registerer != nil {
		for _, c := range s.collectors() {
			if err := cfg.Registerer.Register(c); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// context is what queries under way are bounded by.
func (s *Server) context() context.Context {
	if ctx := s.ctx.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}

// addresses are those that the cluster's DNS has.
func (s *Server) addresses() []netip.Addr {
	var out []netip.Addr
	for _, a := range s.doors.wanted() {
		out = append(out, a.Addr())
	}
	return out
}

// listening are the addresses that are listened on now.
func (s *Server) listening() []netip.AddrPort { return s.doors.open() }

// Servers are where the node's pods ask: once the table is known and listening was tried. It waits for that; an empty
// answer says that the node serves no cluster DNS.
func (s *Server) Servers(ctx context.Context) ([]netip.AddrPort, error) {
	select {
	case <-s.doors.settled:
	case <-ctx.Done():
		select {
		case <-s.doors.settled: // a caller whose time is over is told what is known
		default:
			return nil, ctx.Err()
		}
	}
	return s.doors.serving(), nil
}

// Domain is the cluster's domain.
func (s *Server) Domain() string { return s.cfg.ClusterDomain }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.ctx.Store(&ctx)
	s.forwarder.begin(ctx)
	fallback, err := s.table.load(s.cfg.StateFile)
	if err != nil {
		s.cfg.Logger.Error("dns table of last time is not usable", "error", err)
	}
	s.doors.fallback.Store(fallback)
	if s.table.isKnown() {
		s.doors.poke()
	}
	s.reload()
	var parts sync.WaitGroup
	parts.Go(func() { s.forwarder.run(ctx) })
	s.catalog.Join(s.state)
	if s.cfg.Catalog == nil {
		parts.Go(func() { s.catalog.Run(ctx) })
	}
	parts.Go(func() { s.keepSaved(ctx) })
	parts.Go(func() { s.keepReloaded(ctx) })
	s.doors.run(ctx)
	parts.Wait()
	return nil
}

// keepSaved writes the table to disk a while after it changed.
func (s *Server) keepSaved(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.state.dirty:
		}
		select { // gather what comes together
		case <-ctx.Done():
		case <-time.After(saveDelay):
		}
		if err := s.table.save(s.cfg.StateFile, s.doors.fallback.Load()); err != nil {
			s.cfg.Logger.Error("dns table was not saved", "error", err)
		}
	}
}
