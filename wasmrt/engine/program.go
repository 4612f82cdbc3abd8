package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// program is a compiled module, shared by all its templates and instances. It has a wazero runtime of its own: that
// costs half a millisecond and some 60 KiB once, and closing it gives back everything, machine code too.
type program struct {
	engine *Engine
	info   *module.Info
	refs   int // guarded by engine.mu

	ready       chan struct{} // closed when what follows is set
	err         error
	compileTime time.Duration
	*code
	rewritten *module.Rewritten // without the bytes to compile
	kept

	linkMu sync.Mutex
	linked map[string]bool

	closeOnce sync.Once
}

func newProgram(e *Engine, info *module.Info) *program {
	return &program{engine: e, info: info, ready: make(chan struct{}), linked: map[string]bool{}}
}

func (p *program) compiling() bool {
	select {
	case <-p.ready:
		return false
	default:
		return true
	}
}

// compile fills the program in. When everybody who waited for it has gone, it is closed again.
func (p *program) compile(ctx context.Context, wasm []byte) {
	e := p.engine
	e.compiles <- struct{}{}
	start := time.Now()
	c, rewritten, err := e.compile(ctx, wasm, p.info)
	<-e.compiles
	p.compileTime = time.Since(start)
	if err != nil {
		p.err = err
	} else {
		p.code, p.rewritten = c, rewritten
		e.log.Debug("compiled module", "digest", p.info.Digest, "cached", c.cached, "duration", p.compileTime)
	}
	// Under the lock, so that a release either sees the program ready or leaves closing to us.
	e.mu.Lock()
	close(p.ready)
	abandoned := p.refs == 0
	if p.err != nil && e.programs[p.info.Digest] == p {
		delete(e.programs, p.info.Digest) // the next load tries again
	}
	e.mu.Unlock()
	if abandoned {
		p.close()
	}
}

func (p *program) close() {
	p.closeOnce.Do(func() {
		if p.code == nil {
			return
		}
		if err := errors.Join(p.closeKept(), p.code.close(context.Background())); err != nil {
			p.engine.log.Warn("close module", "digest", p.info.Digest, "err", err)
		}
	})
}
