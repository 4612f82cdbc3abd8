package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// maxIdle bounds the instances that a pool keeps for later.
const maxIdle = 256

// Causes for which an instance is thrown away, beside those of failureOf and restore.
const (
	causeFresh  = "fresh"  // the pool's isolation wants it
	causePlain  = "plain"  // there is no snapshot to reset it to
	causeIdle   = "idle"   // it was not needed for a while
	causeClosed = "closed" // the pool was
	causeFull   = "full"   // maxIdle
)

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
	stats       poolCounters
	line        line // under the gate's lock

	mu       sync.Mutex
	snapshot *snapshot    // while it is used; nil before and after
	system   *wasi.System // what clones have their descriptors from, where there are mounts
	idle     []*Instance  // the last used last
	least    int          // that were idle at any time since the last trim
	busy     int
	watched  bool
	closed   bool
	refused  string            // why there is no snapshot, as it was found last
	found    int               // generators
	discards map[string]uint64 // nil until the first
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
	in := p.takeIdle()
	p.mu.Unlock()
	var err error
	if in == nil {
		in, err = p.make(ctx)
	}
	if err == nil {
		err = p.prepare(ctx, in)
	}
	if err != nil {
		p.mu.Lock()
		p.busy--
		p.mu.Unlock()
		return nil, err
	}
	return in, nil
}

// takeIdle takes the instance that was used last, under mu; nil when none is idle.
func (p *Pool) takeIdle() *Instance {
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	in := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	p.least = min(p.least, n-1)
	return in
}

// prepare makes an instance ready for a request: its random generators differ from all others'.
func (p *Pool) prepare(ctx context.Context, in *Instance) error {
	if in.snapshot == nil || p.cfg.Isolation == IsolationShared && in.served {
		return nil
	}
	in.reseed()
	if _, ok := p.program.info.Export(ReseedExport, module.KindFunction); !ok {
		return nil
	}
	if err := in.Call(ctx, ReseedExport); err != nil {
		return errors.Join(fmt.Errorf("reseed instance: %w", err), in.Close())
	}
	return nil
}

// make makes an instance: a clone, where that can be.
func (p *Pool) make(ctx context.Context) (*Instance, error) {
	if p.cfg.Isolation == IsolationFresh {
		return p.start(ctx)
	}
	s, system, err := p.share(ctx)
	if err != nil {
		return nil, err
	}
	if s.reason != "" {
		return p.start(ctx)
	}
	return p.clone(ctx, s, system, true)
}

func (p *Pool) clone(ctx context.Context, s *snapshot, system *wasi.System, ofParts bool) (*Instance, error) {
	begun := elapsed()
	in, err := s.clone(ctx, p.cfg.Spec, system, ofParts)
	if err != nil {
		return nil, err
	}
	in.pool, in.line = p, &p.line
	p.stats.clones.Add(1)
	p.stats.clone.Add(int64(elapsed() - begun))
	return in, nil
}

// start makes an instance from nothing.
func (p *Pool) start(ctx context.Context) (*Instance, error) {
	begun := time.Now()
	in, err := p.boot(ctx)
	if err != nil {
		return nil, err
	}
	in.pool = p
	p.stats.fresh.Add(1)
	p.stats.fallback.Add(int64(time.Since(begun)))
	return in, nil
}

// boot initialises and warms up an instance. The limit of processor time is for requests: what a guest needs to start is
// bounded by the context.
func (p *Pool) boot(ctx context.Context) (*Instance, error) {
	spec := p.cfg.Spec
	spec.CPUTime = 0
	in, err := p.program.instantiate(ctx, spec)
	if err != nil {
		return nil, err
	}
	in.line = &p.line
	if err = in.initialise(ctx); err == nil && p.cfg.WarmUp != nil {
		err = p.cfg.WarmUp(ctx, in)
	}
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	in.meter.limit = p.cfg.Spec.CPUTime
	return in, nil
}

// Put takes an instance back after its request. It must not be used any more.
func (p *Pool) Put(in *Instance) error {
	cause, err := p.clean(in)
	in.served = true
	p.mu.Lock()
	p.busy--
	if cause == "" {
		cause = p.park(in)
	}
	if cause == "" {
		p.mu.Unlock()
		return nil
	}
	p.discarded(cause)
	watch := !p.watched && !p.closed && p.snapshot != nil
	p.watched = p.watched || watch
	p.mu.Unlock()
	if watch {
		p.program.engine.keeper.watchPool(p)
	}
	return errors.Join(err, in.Close())
}

// clean makes an instance fit for the next request. It returns why that cannot be.
func (p *Pool) clean(in *Instance) (cause string, err error) {
	switch {
	case in.failure != "":
		return in.failure, nil
	case p.cfg.Isolation == IsolationFresh:
		return causeFresh, nil
	case p.cfg.Isolation == IsolationShared:
		in.SetOutput(nil, nil)
		p.stats.reuses.Add(1)
		return "", nil
	case in.snapshot == nil:
		return causePlain, nil
	}
	begun := elapsed()
	if cause, err = in.restore(); cause == "" {
		in.SetOutput(nil, nil)
		p.stats.resets.Add(1)
		p.stats.reset.Add(int64(elapsed() - begun))
	}
	return cause, err
}

// park keeps an instance for later, under mu. It returns why that is not done.
func (p *Pool) park(in *Instance) (cause string) {
	switch {
	case p.closed:
		return causeClosed
	case len(p.idle) >= maxIdle:
		return causeFull
	}
	p.idle = append(p.idle, in)
	if !p.watched {
		p.watched = true
		p.least = 0
		p.program.engine.keeper.watchPool(p)
	}
	return ""
}

func (p *Pool) discarded(cause string) {
	if p.discards == nil {
		p.discards = map[string]uint64{}
	}
	p.discards[cause]++
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
	errs = append(errs, p.letGo())
	p.program.engine.release(p.program)
	return errors.Join(errs...)
}
