package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Instance is a guest with a memory of its own. One goroutine at a time may use it.
type Instance struct {
	program *program
	pool    *Pool   // that it belongs to; nil for others
	memory  *linear // nil when the module has none
	files   *wasi.Tree
	module  api.Module
	exports []exported // those called so far
	stdout  *stdout
	stderr  *stdout

	// ctx is that of the call under way. Host functions run on the caller's goroutine, so it needs no lock.
	ctx     context.Context
	usage   Usage
	failure string // why it cannot be called again; empty when it can
	closed  bool
}

// exported is a handle of a guest's function. Making one costs more than most calls.
type exported struct {
	name string
	fn   api.Function
}

// instantiate makes an instance and runs its start section, nothing more.
func (p *program) instantiate(ctx context.Context, spec Spec) (*Instance, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	p.engine.retain(p)
	in := &Instance{program: p, ctx: ctx}
	if err := in.open(&callContext{Context: ctx, in: in}, spec); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (in *Instance) open(ctx context.Context, spec Spec) error {
	p := in.program
	// A link outlives the instance, so the context of the first one must not end it.
	if err := p.link(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	var err error
	if in.files, err = wasi.Open(spec.Mounts); err != nil {
		return err
	}
	in.files.Alive = in.alive
	if p.info.HasMemory {
		if in.memory, err = newLinear(p.info, spec.MemoryLimit); err != nil {
			return err
		}
		ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(
			func(uint64, uint64) experimental.LinearMemory { return in.memory }))
	}
	if in.module, err = p.runtime.InstantiateModule(ctx, p.compiled, in.config(spec)); err == nil {
		err = p.populate(ctx, in.module)
	}
	return in.outcome(in.ctx, err)
}

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
	if in.closed {
		return fmt.Errorf("call guest: %w", ErrClosed)
	}
	fn := in.export(export)
	if fn == nil {
		return fmt.Errorf("call guest: it has no export %s", export)
	}
	in.ctx = ctx
	begun := time.Now()
	err := in.outcome(ctx, fn.CallWithStack(&callContext{Context: ctx, in: in}, stack))
	in.usage = Usage{CPU: time.Since(begun), MemoryBytes: in.MemorySize()}
	if err != nil {
		in.failure = failureOf(err)
	}
	if in.pool != nil {
		in.pool.stats.calls.Add(1)
		in.pool.stats.guest.Add(int64(in.usage.CPU))
		in.pool.stats.cpu.Add(int64(in.usage.CPU))
	}
	return err
}

func (in *Instance) export(name string) api.Function {
	for i := range in.exports {
		if in.exports[i].name == name {
			return in.exports[i].fn
		}
	}
	fn := in.module.ExportedFunction(name)
	if fn != nil {
		in.exports = append(in.exports, exported{name: name, fn: fn})
	}
	return fn
}

// SetOutput replaces the standard streams, before a call. Nil ones lose what is written.
func (in *Instance) SetOutput(stdoutTo, stderrTo io.Writer) {
	in.stdout.w, in.stderr.w = stdoutTo, stderrTo
}

// block runs wait outside the guest's time.
func (in *Instance) block(wait func()) { wait() }

// MemorySize is the memory the guest has grown to, in bytes.
func (in *Instance) MemorySize() uint64 {
	if in.closed || in.memory == nil {
		return 0
	}
	return uint64(in.module.Memory().Size())
}

// Close frees the instance. It may be called twice, but not while a call is under way.
func (in *Instance) Close() error {
	if in.closed {
		return nil
	}
	in.closed = true
	var errs []error
	if in.module != nil {
		errs = append(errs, in.module.Close(context.Background()))
	}
	if in.files != nil {
		errs = append(errs, in.files.Close())
	}
	if in.memory != nil {
		errs = append(errs, in.memory.release())
	}
	in.program.engine.release(in.program)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close instance: %w", err)
	}
	return nil
}
