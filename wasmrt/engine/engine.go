package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero/experimental"
)

// maxCompilations bounds how many modules are compiled at a time: one compilation can keep several processors busy and
// take ten times the module's size of memory.
const maxCompilations = 2

// Config says how an Engine works.
type Config struct {
	// CacheDir keeps machine code between processes. It is trusted like the program itself: only its owner, who is this
	// user or root, may write to it. Empty: nothing is kept.
	CacheDir string
	// ReadOnlyCache is for those who run guests: what is not in the cache is not compiled, and Load says ErrNotCached.
	ReadOnlyCache bool
	// Limits bounds modules; zero fields mean package module's defaults.
	Limits module.Limits
	// MaxRunning bounds how many guests execute at a time; zero means one less than Go's processors, and at least one.
	// More would leave none to the host while guests do not return.
	MaxRunning int
	// Logger may be nil.
	Logger *slog.Logger
}

// Validate checks the configuration without touching the disk.
func (c Config) Validate() error {
	if c.CacheDir != "" && !filepath.IsAbs(c.CacheDir) {
		return fmt.Errorf("check engine config: cache directory %q is not absolute", c.CacheDir)
	}
	if c.MaxRunning < 0 || c.MaxRunning > math.MaxInt32 {
		return fmt.Errorf("check engine config: %d guests running at a time", c.MaxRunning)
	}
	if c.ReadOnlyCache && c.CacheDir == "" {
		return errors.New("check engine config: a read-only cache needs a directory")
	}
	return c.Limits.Validate()
}

// Engine compiles modules and keeps each loaded one once.
type Engine struct {
	cfg      Config
	log      *slog.Logger
	compiles chan struct{}
	loads    sync.WaitGroup
	gate     *gate
	keeper   keeper
	refusals atomic.Uint64

	mu       sync.Mutex
	programs map[string]*program // by digest; those still compiling too
	hosts    map[string]HostModule
	closed   bool
}

// New makes an engine. The context is not kept.
func New(_ context.Context, cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	places := cfg.MaxRunning
	if places == 0 {
		places = max(1, runtime.GOMAXPROCS(0)-1)
	}
	return &Engine{
		cfg:      cfg,
		gate:     newGate(places),
		log:      log,
		compiles: make(chan struct{}, maxCompilations),
		programs: map[string]*program{},
		hosts:    map[string]HostModule{},
	}, nil
}

// Load checks and compiles a module, or shares it when it is loaded already. The Template must be closed. A module that
// is refused gives an *module.Error. The bytes must not be changed while Load runs and are not kept.
func (e *Engine) Load(ctx context.Context, wasm []byte) (*Template, error) {
	start := time.Now()
	info, err := module.Check(wasm, e.cfg.Limits)
	if err != nil {
		return nil, err
	}
	p, first, err := e.join(info)
	if err != nil {
		return nil, err
	}
	if first {
		go func() {
			defer e.loads.Done()
			p.compile(context.WithoutCancel(ctx), wasm)
		}()
	}
	waited := !first && p.compiling()
	select {
	case <-p.ready:
	case <-ctx.Done():
		e.release(p)
		return nil, fmt.Errorf("load module: %w", context.Cause(ctx))
	}
	if p.err != nil {
		e.release(p)
		return nil, p.err
	}
	t := &Template{program: p, cached: true, compileTime: time.Since(start)}
	if first || waited {
		t.cached, t.compileTime = p.cached, p.compileTime
	}
	return t, nil
}

// join returns the program of a digest with one more reference, and whether the caller is to compile it.
func (e *Engine) join(info *module.Info) (p *program, first bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, false, ErrClosed
	}
	p = e.programs[info.Digest]
	if p == nil {
		p = newProgram(e, info)
		e.programs[info.Digest] = p
		e.loads.Add(1)
		first = true
	}
	p.refs++
	return p, first, nil
}

// retain adds a reference to a program that the caller already has one of.
func (e *Engine) retain(p *program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.refs++
}

// release gives a reference back. The last one closes the program, but not before it is compiled: then compile does.
func (e *Engine) release(p *program) {
	e.mu.Lock()
	p.refs--
	last := p.refs == 0
	if last && e.programs[p.info.Digest] == p {
		delete(e.programs, p.info.Digest)
	}
	e.mu.Unlock()
	if last && !p.compiling() {
		p.close()
	}
}

// Close waits for compilations under way and refuses new loads. Templates stay usable until they are closed.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.loads.Wait()
	e.keeper.close()
	return nil
}

// withWorkers lets one compilation use several processors, but never all of them.
func withWorkers(ctx context.Context) context.Context {
	return experimental.WithCompilationWorkers(ctx, max(1, runtime.GOMAXPROCS(0)-1))
}
