package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero"
)

// rewriteOptions is what is done to every module before it is compiled.
var rewriteOptions = module.RewriteOptions{Meter: true, CallDepth: true, Snapshot: true}

// code is a compiled module with what must be closed after it.
type code struct {
	runtime  wazero.Runtime
	cache    wazero.CompilationCache
	compiled wazero.CompiledModule
	mapped   mapping // what the rewritten module's data are views of
	cached   bool
}

func (c *code) close(ctx context.Context) error {
	errs := []error{c.mapped.close()}
	if c.runtime != nil {
		errs = append(errs, c.runtime.Close(ctx))
	}
	return errors.Join(append(errs, c.cache.Close(ctx))...)
}

// compile takes a module's machine code from the cache, or instruments, normalises and compiles the module and puts it
// there. An entry that was damaged or made for another machine is made anew; where nothing can be written (a full disk),
// the module runs all the same. A module that does not validate gives an *module.Error.
func (e *Engine) compile(ctx context.Context, wasm []byte, info *module.Info) (*code, *module.Rewritten, error) {
	if e.cfg.CacheDir != "" {
		c, r, err := e.cached(ctx, info.Digest)
		if err == nil || errors.Is(err, errCacheOpen) || e.cfg.ReadOnlyCache {
			return c, r, err
		}
	}
	r, err := module.Rewrite(wasm, info, rewriteOptions)
	if err != nil {
		return nil, nil, err
	}
	var c *code
	if e.cfg.CacheDir != "" {
		c, err = e.writeEntry(ctx, r, e.entryDir(info.Digest))
		if err == nil {
			// What was written is used as everybody else will use it, which also is the smaller: an outline is kept of the
			// module instead of its code.
			if kept, written, err := loadEntry(ctx, e.entryDir(info.Digest)); err == nil {
				kept.cached = false
				return kept, written, c.close(ctx)
			}
		}
		var invalid *module.Error
		if c == nil && errors.As(err, &invalid) {
			return nil, nil, err
		}
		if err != nil {
			e.log.Warn("machine code is not kept", "digest", info.Digest, "err", err)
		}
	}
	if c == nil {
		if c, err = compileWith(ctx, wazero.NewCompilationCache(), r.Wasm); err != nil {
			return nil, nil, err
		}
	}
	if r.Data, err = unpackData(packData(r.Data)); err != nil { // a copy that does not keep the module's bytes
		return nil, nil, errors.Join(err, c.close(ctx))
	}
	r.Wasm = nil
	return c, r, nil
}

// cached takes a module from the cache, and tells why that cannot be when there is something.
func (e *Engine) cached(ctx context.Context, digest string) (*code, *module.Rewritten, error) {
	if err := e.checkCache(); err != nil {
		return nil, nil, err
	}
	c, r, err := loadEntry(ctx, e.entryDir(digest))
	switch {
	case err == nil:
		return c, r, nil
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, errStale):
		e.log.Info("machine code is not used", "digest", digest, "err", err)
	default:
		e.refusals.Add(1)
		e.log.Warn("machine code is refused", "digest", digest, "err", err)
	}
	if e.cfg.ReadOnlyCache {
		err = fmt.Errorf("%w: %w", ErrNotCached, err)
	}
	return nil, nil, err
}

// CacheRefusals is how many cache entries were refused because they were damaged or others could have written to them.
func (e *Engine) CacheRefusals() uint64 { return e.refusals.Load() }

// compileWith makes machine code, or takes it from the cache given. The cache is closed with the code, or at once when
// there is none. A module that does not validate gives an *module.Error.
func compileWith(ctx context.Context, cache wazero.CompilationCache, wasm []byte) (*code, error) {
	c := &code{cache: cache}
	c.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithDebugInfoEnabled(false). // function names suffice, and DWARF doubles what a module takes
		WithCompilationCache(cache))
	var err error
	if c.compiled, err = c.runtime.CompileModule(withWorkers(ctx), wasm); err != nil {
		err = &module.Error{
			Code:  module.CodeInvalid,
			Cause: fmt.Sprintf("the module does not compile: %v", err),
			Fix:   "build it with a current toolchain for WebAssembly 2.0 without proposals beyond it",
		}
		return nil, errors.Join(err, c.close(ctx))
	}
	return c, nil
}

// errDataBounds is worded as the engine words the trap of an active segment that it applies itself.
var errDataBounds = errors.New("wasm error: out of bounds memory access")

// unshift makes a trap speak of the module as its author knows it: without the functions that were added, and with the
// numbers of nameless functions as they were before.
func (p *program) unshift(trap *TrapError) {
	own := trap.Stack[:0]
	for _, f := range trap.Stack {
		if name, ok := p.unshiftName(f); ok {
			own = append(own, name)
		}
	}
	trap.Stack = own
	name, ok := p.unshiftName(trap.Function)
	if !ok && len(own) > 0 {
		name = own[0]
	}
	trap.Function = name
}

// unshiftName returns a function's name, unless it was added.
func (p *program) unshiftName(function string) (string, bool) {
	if strings.HasPrefix(function, module.MeterModule+".") {
		return "", false
	}
	number, ok := strings.CutPrefix(function, nameless)
	if !ok || p.rewritten.Counter == "" {
		return function, true
	}
	n, err := strconv.Atoi(number)
	if err != nil || n <= len(p.info.Imports) {
		return function, true
	}
	if n > len(p.info.Imports)+int(p.info.Functions) {
		return "", false
	}
	return nameless + strconv.Itoa(n-1), true
}
