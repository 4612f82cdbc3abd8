package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// measured is how many instances Measure makes.
const measured = 20

// PoolConfig says what instances a pool makes.
type PoolConfig struct {
	Spec      Spec
	Isolation Isolation
	// WarmUp runs the guest's own code after its initialisation, before the snapshot, so that what is slow the first
	// time has happened once and for all. It must depend on the module and the Spec alone, because pools share
	// snapshots. It may be nil.
	WarmUp func(ctx context.Context, in *Instance) error
}

// Pool hands out instances of one module, each to one request at a time. Its methods may be called concurrently. A pool
// that is not used costs its own few hundred bytes.
type Pool struct {
	program     *program
	cfg         PoolConfig
	compileTime time.Duration

	mu      sync.Mutex
	idle    []*Instance // the last used last
	busy    int
	closed  bool
	stats   poolCounters
	discard map[string]uint64
}

type poolCounters struct {
	clones, resets, fresh, reuses, calls atomic.Uint64
	fuel                                 atomic.Uint64
	cpu, clone, reset, guest, fallback   atomic.Int64 // nanoseconds
}

// NewPool makes a pool of a reactor's instances. It makes no instance yet. The pool must be closed; the template may be
// closed before it.
func (t *Template) NewPool(cfg PoolConfig) (*Pool, error) {
	if t.closed.Load() {
		return nil, fmt.Errorf("make pool: %w", ErrClosed)
	}
	if t.Info().Kind != module.KindReactor {
		return nil, fmt.Errorf("make pool: the module is a %s, not a reactor", t.Info().Kind)
	}
	if err := errors.Join(cfg.Isolation.Validate(), cfg.Spec.Validate()); err != nil {
		return nil, fmt.Errorf("make pool: %w", err)
	}
	t.program.engine.retain(t.program)
	return &Pool{program: t.program, cfg: cfg, compileTime: t.compileTime}, nil
}

// Get returns an initialised instance that serves nobody else. It must be given back with Put.
func (p *Pool) Get(ctx context.Context) (*Instance, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fmt.Errorf("get instance: %w", ErrClosed)
	}
	p.busy++
	if n := len(p.idle); n > 0 {
		in := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		p.stats.reuses.Add(1)
		return in, nil
	}
	p.mu.Unlock()
	in, err := p.start(ctx)
	if err != nil {
		p.mu.Lock()
		p.busy--
		p.mu.Unlock()
		return nil, err
	}
	return in, nil
}

// start makes an instance from nothing.
func (p *Pool) start(ctx context.Context) (*Instance, error) {
	begun := time.Now()
	in, err := p.program.instantiate(ctx, p.cfg.Spec)
	if err != nil {
		return nil, err
	}
	in.pool = p
	if err = in.initialise(ctx); err == nil && p.cfg.WarmUp != nil {
		err = p.cfg.WarmUp(ctx, in)
	}
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	p.stats.fresh.Add(1)
	p.stats.fallback.Add(int64(time.Since(begun)))
	return in, nil
}

// Put takes an instance back after its request. It must not be used any more.
func (p *Pool) Put(in *Instance) error {
	cause := in.failure
	if cause == "" && p.cfg.Isolation != IsolationShared {
		cause = "fresh"
	}
	in.SetOutput(nil, nil)
	p.mu.Lock()
	p.busy--
	if cause == "" && p.closed {
		cause = "closed"
	}
	if cause == "" {
		p.idle = append(p.idle, in)
		p.mu.Unlock()
		return nil
	}
	if p.discard == nil {
		p.discard = map[string]uint64{}
	}
	p.discard[cause]++
	p.mu.Unlock()
	return in.Close()
}

// Measure makes a handful of instances as requests get them and tells how long that took. The first one writes to the
// Spec's streams, so that what keeps a module from starting is in its log.
func (p *Pool) Measure(ctx context.Context) (ColdStart, error) {
	took := make([]time.Duration, measured)
	for i := range took {
		begun := time.Now()
		in, err := p.start(ctx)
		if err != nil {
			return ColdStart{}, fmt.Errorf("measure cold start: %w", err)
		}
		if err := in.Close(); err != nil {
			return ColdStart{}, fmt.Errorf("measure cold start: %w", err)
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return ColdStart{Compile: p.compileTime, CloneP50: took[measured/2], CloneP99: took[measured-1], Reason: "plain"}, nil
}

// Stats tells what the pool has done.
func (p *Pool) Stats() PoolStats {
	c := &p.stats
	s := PoolStats{
		Clones: c.clones.Load(), Resets: c.resets.Load(), Fresh: c.fresh.Load(), Reuses: c.reuses.Load(), Calls: c.calls.Load(),
		Fuel: c.fuel.Load(), CPUTime: time.Duration(c.cpu.Load()), CloneTime: time.Duration(c.clone.Load()),
		ResetTime: time.Duration(c.reset.Load()), GuestTime: time.Duration(c.guest.Load()), FallbackTime: time.Duration(c.fallback.Load()),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Discards = make(map[string]uint64, len(p.discard))
	for cause, n := range p.discard {
		s.Discards[cause] = n
	}
	s.IdleInstances, s.BusyInstances = len(p.idle), p.busy
	return s
}

// Close throws the idle instances away. Those in use are thrown away when they are put back. It may be called twice.
func (p *Pool) Close() error {
	p.mu.Lock()
	closed, idle := p.closed, p.idle
	p.closed, p.idle = true, nil
	p.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for _, in := range idle {
		errs = append(errs, in.Close())
	}
	p.program.engine.release(p.program)
	return errors.Join(errs...)
}
