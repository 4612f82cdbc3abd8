package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// templates are the compiled modules of the runner, one for each digest, shared by its containers.
type templates struct {
	engine *engine.Engine
	log    *slog.Logger
	trim   chan struct{} // asks to give memory back
	litter atomic.Int64  // small things that left garbage since it was given back

	mu     sync.Mutex
	byID   map[string]*template
	closed bool
}

// template is a compiled module with the number of those who use it.
type template struct {
	*engine.Template
	owner  *templates
	digest string
	ready  chan struct{} // closed when loaded or failed
	err    error         // why it failed; read after ready

	refs   int         // guarded by owner.mu
	linger *time.Timer // runs while refs is 0; guarded by owner.mu

	measured measurements
}

func newTemplates(e *engine.Engine, log *slog.Logger) *templates {
	return &templates{engine: e, log: log, byID: map[string]*template{}, trim: make(chan struct{}, 1)}
}

// trimDelay lets several loads be followed by one trim, and the trim stay out of the way of what waits for the load.
const trimDelay = 2 * time.Second

// run gives memory back to the kernel after a load or an unload. A module's bytes and what decoding them took are garbage
// then, as much as 100 MB, in a process that may not allocate for hours: no collection would come by itself.
func (s *templates) run(ctx context.Context) {
	for {
		select {
		case <-s.trim:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(trimDelay):
			debug.FreeOSMemory()
		case <-ctx.Done():
			return
		}
	}
}

// trimEvery is how many pods that come, wake or go to sleep leave garbage worth collecting.
const trimEvery = 64

// littered counts what leaves some garbage; much of it asks for a trim.
func (s *templates) littered(n int) {
	if s.litter.Add(int64(n)) >= trimEvery {
		s.litter.Store(0)
		s.wantTrim()
	}
}

func (s *templates) wantTrim() {
	select {
	case s.trim <- struct{}{}:
	default:
	}
}

// acquire answers the template of the digest, loaded from the file at path when no container has it yet; how long this
// caller waited for machine code; and whether it was there without compiling. Callers who come while it is loading
// wait for the same load, so that a thousand replicas read and compile one module once.
func (s *templates) acquire(ctx context.Context, digest, path string) (t *template, took time.Duration, cached bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, 0, false, errEnding
	}
	t = s.byID[digest]
	first := t == nil
	if first {
		t = &template{owner: s, digest: digest, ready: make(chan struct{})}
		s.byID[digest] = t
	}
	t.refs++
	if t.linger != nil {
		t.linger.Stop()
		t.linger = nil
	}
	s.mu.Unlock()

	begin := time.Now()
	if first {
		t.load(ctx, path)
	}
	select {
	case <-t.ready:
	case <-ctx.Done():
		t.release()
		return nil, 0, false, ctx.Err()
	}
	if t.err != nil {
		t.release()
		return nil, 0, false, t.err
	}
	if first {
		return t, t.CompileTime(), t.Cached(), nil
	}
	return t, time.Since(begin), true, nil
}

// load reads and compiles. A failed template is taken off the table, so that the next container tries again.
func (t *template) load(ctx context.Context, path string) {
	defer close(t.ready)
	t.Template, t.err = t.open(context.WithoutCancel(ctx), path)
	if t.err == nil {
		t.owner.wantTrim()
		return
	}
	t.owner.mu.Lock()
	if t.owner.byID[t.digest] == t {
		delete(t.owner.byID, t.digest)
	}
	t.owner.mu.Unlock()
}

func (t *template) open(ctx context.Context, path string) (*engine.Template, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > module.DefaultMaxSize {
		return nil, control.Errorf(control.CodeInvalid, "module has %d bytes, at most %d are loaded", info.Size(), module.DefaultMaxSize)
	}
	wasm, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	loaded, err := t.owner.engine.Load(ctx, wasm)
	if err != nil {
		var refused *module.Error
		if errors.As(err, &refused) {
			return nil, control.Errorf(control.CodeInvalid, "load module: %v", err)
		}
		if errors.Is(err, engine.ErrNotCached) {
			return nil, control.Errorf(control.CodeNotCompiled, "load module: %v", err)
		}
		return nil, fmt.Errorf("load module: %w", err)
	}
	if got := loaded.Info().Digest; got != t.digest {
		return nil, errors.Join(control.Errorf(control.CodeInvalid, "module %s has the content of %s", t.digest, got), loaded.Close())
	}
	return loaded, nil
}

func (t *template) kind() module.Kind { return t.Info().Kind }

// release gives one use back. The last one starts the linger.
func (t *template) release() {
	s := t.owner
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.refs--; t.refs > 0 || s.closed || s.byID[t.digest] != t {
		return
	}
	t.linger = time.AfterFunc(templateLinger, t.expire)
}

func (t *template) expire() {
	s := t.owner
	s.mu.Lock()
	if t.refs > 0 || s.closed || s.byID[t.digest] != t {
		s.mu.Unlock()
		return
	}
	delete(s.byID, t.digest)
	s.mu.Unlock()
	if err := t.Close(); err != nil {
		s.log.Warn("close template failed", "digest", t.digest, "error", err)
	}
	s.wantTrim()
}

func (s *templates) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// close closes all templates, used or not: their users have ended.
func (s *templates) close() error {
	s.mu.Lock()
	s.closed = true
	list := make([]*template, 0, len(s.byID))
	for _, t := range s.byID {
		if t.linger != nil {
			t.linger.Stop()
		}
		list = append(list, t)
	}
	s.mu.Unlock()
	var errs []error
	for _, t := range list {
		<-t.ready
		if t.err == nil {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}
