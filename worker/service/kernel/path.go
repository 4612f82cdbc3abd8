package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
)

const (
	// A change that the kernel did not take is tried again after retryBase, doubling to retryMax.
	retryBase = 50 * time.Millisecond
	retryMax  = 10 * time.Second
	// addressesEvery is how often the node's addresses are looked at.
	addressesEvery = 10 * time.Second
)

// Proxy is what programs the kernel: an *ebpfproxy.Proxy.
type Proxy interface {
	Open(ctx context.Context) error
	Sync(ctx context.Context, services []ebpfproxy.Service) error
	Update(ctx context.Context, set []ebpfproxy.Service, gone []ebpfproxy.Frontend) error
	SetNodeAddresses(addrs []netip.Addr) error
	Close() error
}

// Config says how to serve.
type Config struct {
	Proxy Proxy
	// Addresses are the node's own, where node ports are. They are asked for again and again.
	Addresses func() ([]netip.Addr, error)
	// Recorder gets an event about a Service or a pod that does not get an address because another has it; may be nil.
	Recorder record.EventRecorder
	Logger   *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Proxy == nil || c.Addresses == nil || c.Logger == nil {
		return errors.New("the kernel's data path needs a proxy, addresses and a logger")
	}
	return nil
}

// Path is a service.DataPath.
type Path struct {
	cfg      Config
	metrics  *metrics
	counters *counters // nil where the proxy counts nothing
	wake     chan struct{}

	mu       sync.Mutex
	services map[types.NamespacedName]service.Service
	dirty    map[types.NamespacedName]struct{}
	settled  bool // the table has been whole
	whole    bool // the whole table is to be compared
	leaving  map[netip.Addr]struct{}
	updated  time.Time // when the kernel last had everything
	waiting  time.Time // since when it has not; zero when it has

	// What the kernel was given; only Run's goroutine uses it.
	installed map[types.NamespacedName][]ebpfproxy.Frontend
	claims    *claims
	addresses []netip.Addr
}

var _ service.DataPath = (*Path)(nil)

// New prepares a path; Open and Run serve.
func New(cfg Config) (*Path, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Path{
		cfg: cfg, metrics: newMetrics(), wake: make(chan struct{}, 1), whole: true,
		services: map[types.NamespacedName]service.Service{}, dirty: map[types.NamespacedName]struct{}{},
		leaving: map[netip.Addr]struct{}{}, installed: map[types.NamespacedName][]ebpfproxy.Frontend{}, claims: newClaims(),
	}
	if counting, ok := cfg.Proxy.(interface {
		Stats() []ebpfproxy.ServiceStats
	}); ok {
		p.counters = newCounters(counting.Stats, maxSeries)
	}
	return p, nil
}

// Open implements service.DataPath.
func (p *Path) Open(ctx context.Context) error { return p.cfg.Proxy.Open(ctx) }

// Apply implements service.DataPath.
func (p *Path) Apply(svc service.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.services[svc.Key()] = svc
	p.mark(svc.Key())
}

// Drop implements service.DataPath.
func (p *Path) Drop(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.services, key)
	p.mark(key)
}

// Settled implements service.DataPath.
func (p *Path) Settled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled = true
	p.poke()
}

// Leave implements service.DataPath.
func (p *Path) Leave(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving[addr] = struct{}{}
	p.markThoseWith(addr)
}

// Arrive implements service.DataPath.
func (p *Path) Arrive(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, left := p.leaving[addr]; left {
		delete(p.leaving, addr)
		p.markThoseWith(addr)
	}
}

// markThoseWith marks the Services that have an endpoint at the address. Pods come and go less often than they would
// be worth an index.
func (p *Path) markThoseWith(addr netip.Addr) {
	at := func(b service.Backend) bool { return b.Addr.Addr() == addr }
	for key, svc := range p.services {
		for i := range svc.Ports {
			if slices.ContainsFunc(svc.Ports[i].Backends, at) || slices.ContainsFunc(svc.Ports[i].Local, at) {
				p.mark(key)
				break
			}
		}
	}
}

func (p *Path) mark(key types.NamespacedName) {
	p.dirty[key] = struct{}{}
	if p.waiting.IsZero() {
		p.waiting = time.Now()
	}
	p.poke()
}

func (p *Path) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Progress tells when the kernel last had the whole table and, if it has not, since when.
func (p *Path) Progress() (updated, waiting time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.updated, p.waiting
}

// Run implements service.DataPath.
func (p *Path) Run(ctx context.Context) error {
	addresses := time.NewTicker(addressesEvery)
	defer addresses.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	pause := retryBase
	look := true // at the node's addresses
	for {
		select {
		case <-ctx.Done():
			return p.close()
		case <-addresses.C:
			look = true
		case <-p.wake:
		case <-retry.C:
		}
		var err error
		if look {
			err = p.programAddresses()
			look = err != nil
		}
		err = errors.Join(err, p.program(ctx))
		if err == nil {
			pause = retryBase
			continue
		}
		if ctx.Err() != nil {
			continue
		}
		p.cfg.Logger.Error("services were not programmed", "error", err, "again", pause)
		retry.Reset(pause)
		pause = min(2*pause, retryMax)
	}
}

func (p *Path) close() error {
	if err := p.cfg.Proxy.Close(); err != nil {
		return fmt.Errorf("close eBPF data path: %w", err)
	}
	return nil
}
