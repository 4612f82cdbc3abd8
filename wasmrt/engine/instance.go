package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Instance is a guest with a memory of its own. One goroutine at a time may use it.
type Instance struct {
	program  *program
	pool     *Pool     // that it belongs to; nil for others
	snapshot *snapshot // that it is a clone of; nil for others
	line     *line     // where it waits for a processor
	memory   *linear   // nil when the module has none
	system   *wasi.System
	module   api.Module
	exports  []exported          // those called so far
	globals  []api.MutableGlobal // of a clone, in the snapshot's order
	stdin    io.Reader
	told     *Progress // nil when nobody wants to know

	// ctx is that of the call under way. Host functions run on the caller's goroutine, so it needs no lock.
	ctx    context.Context
	meter  meter
	placed bool // it has a place in the engine's gate
	waited bool // the host function under way has waited
	faults window
	quiet  bool // of a clone: no call since it was the snapshot's has had a page fault
	ended  bool // the host has ended the call, because the context has

	usage   Usage
	failure string // why it cannot be called again; empty when it can
	served  bool   // it has answered a request
	touched bool   // it may have seen the content of mounted files
	closed  bool

	mounted  bool // it was given directories or sockets
	unwanted bool // nothing of it shall be kept
}

// exported is a function of the guest's that was called.
type exported struct {
	name string
	fn   api.Function // nil until the second call
}

// instantiate makes an instance from nothing and runs its start section, nothing more.
func (p *program) instantiate(ctx context.Context, spec Spec) (*Instance, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	in := p.newInstance(ctx, spec)
	if err := in.open(spec); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (p *program) newInstance(ctx context.Context, spec Spec) *Instance {
	p.engine.retain(p)
	in := &Instance{program: p, ctx: ctx, line: new(line), told: spec.Progress}
	in.meter.limit, in.meter.depth = spec.CPUTime, spec.CallDepth
	if spec.CallDepth == 0 {
		in.meter.depth = DefaultCallDepth
	}
	return in
}

func (in *Instance) open(spec Spec) error {
	p := in.program
	// A link outlives the instance, so the context of the first one must not end it.
	if err := p.link(context.WithoutCancel(in.ctx)); err != nil {
		return err
	}
	if err := in.openSystem(spec); err != nil {
		return err
	}
	var err error
	if p.info.HasMemory {
		if _, _, err := limits(p.info, spec.MemoryLimit); err != nil {
			return err
		}
		data, err := p.dataImage()
		if err != nil {
			return err
		}
		if in.memory, err = newLinear(p.info, spec.MemoryLimit, data); err != nil {
			return err
		}
	}
	if err := in.begin(in.ctx); err != nil {
		return err
	}
	begun := elapsed()
	ctx := &callContext{Context: in.ctx, in: in}
	if in.module, err = in.make(ctx); err == nil {
		in.findCounter(in.module)
		in.meter.begin(&p.rate)
		err = p.start(ctx, in.module)
	}
	in.end(elapsed() - begun)
	return in.outcome(in.ctx, err)
}

// make makes wazero's part of the instance.
func (in *Instance) make(ctx context.Context) (api.Module, error) {
	if in.memory != nil {
		ctx = experimental.WithMemoryAllocator(ctx, in)
	}
	return in.program.runtime.InstantiateModule(ctx, in.program.compiled, moduleConfig)
}

// Allocate implements wazero's MemoryAllocator.
func (in *Instance) Allocate(uint64, uint64) experimental.LinearMemory { return in.memory }

// initialise calls what a reactor wants to be called before anything else.
func (in *Instance) initialise(ctx context.Context) error {
	if _, ok := in.program.info.Export(module.InitializeExport, module.KindFunction); !ok {
		return nil
	}
	return in.Call(ctx, module.InitializeExport)
}

// Call calls an export without parameters and results. When the context ends first, the guest is ended and cannot be
// called again; nor can it after any other error.
func (in *Instance) Call(ctx context.Context, export string) error {
	return in.CallValues(ctx, export, nil)
}

// CallValues is Call for any export: the stack has the parameters first and then the results, so it must have room for
// the more of them.
func (in *Instance) CallValues(ctx context.Context, export string, stack []uint64) error {
	if in.closed || in.failure != "" {
		return fmt.Errorf("call guest: %w", ErrClosed)
	}
	fn := in.export(export)
	if fn == nil {
		return fmt.Errorf("call guest: it has no export %s", export)
	}
	err := in.begin(ctx)
	if err == nil {
		begun := elapsed()
		in.count()
		err = fn.CallWithStack(&callContext{Context: ctx, in: in}, stack)
		in.quiet = in.faults.end() && in.quiet
		in.end(elapsed() - begun)
		err = in.outcome(ctx, err)
	}
	if err != nil {
		in.failure = failureOf(err)
	}
	return err
}

// count has page faults counted during a call, where a reset will want to know.
func (in *Instance) count() {
	if in.snapshot != nil && in.memory != nil && (in.pool == nil || in.pool.cfg.Isolation != IsolationShared) {
		in.faults.begin()
	}
}

// export returns a function's handle. It is kept when the function is called a second time: a handle has a stack of its
// own, which thousands of instances that have answered once need not hold.
func (in *Instance) export(name string) api.Function {
	for i := range in.exports {
		e := &in.exports[i]
		if e.name != name {
			continue
		}
		if e.fn == nil {
			e.fn = in.module.ExportedFunction(name)
		}
		return e.fn
	}
	fn := in.module.ExportedFunction(name)
	if fn != nil {
		in.exports = append(in.exports, exported{name: name})
	}
	return fn
}

// SetOutput replaces the standard streams, before a call. Nil ones lose what is written.
func (in *Instance) SetOutput(stdoutTo, stderrTo io.Writer) {
	in.system.SetStreams(in.stdin, stdoutTo, stderrTo)
}

// MemorySize is the memory the guest has grown to, in bytes.
func (in *Instance) MemorySize() uint64 {
	if in.closed || in.memory == nil {
		return 0
	}
	return in.memory.size
}

// Close frees the instance. It may be called twice, but not while a call is under way.
func (in *Instance) Close() error {
	if in.closed {
		return nil
	}
	in.closed = true
	err := in.free()
	if in.snapshot != nil {
		in.snapshot.use(-1)
	}
	in.program.engine.release(in.program)
	if err != nil {
		return fmt.Errorf("close instance: %w", err)
	}
	return nil
}

func (in *Instance) free() error {
	if in.snapshot != nil && in.snapshot.recycle(in) {
		return nil
	}
	var errs []error
	if in.module != nil {
		errs = append(errs, in.module.Close(context.Background()))
	}
	if in.system != nil {
		errs = append(errs, in.system.Close())
	}
	if in.memory != nil {
		errs = append(errs, in.memory.release())
	}
	return errors.Join(errs...)
}
