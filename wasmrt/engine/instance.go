package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Instance is a guest with a memory of its own. One goroutine at a time may use it.
type Instance struct {
	program *program
	memory  *linear // nil when the module has none
	files   *wasi.Tree
	module  api.Module

	// ctx is that of the call under way. Host functions run on the caller's goroutine, so it needs no lock.
	ctx    context.Context
	closed bool
}

// instantiate makes an instance and runs its start section, nothing more.
func (t *Template) instantiate(ctx context.Context, spec Spec) (*Instance, error) {
	if t.closed.Load() {
		return nil, fmt.Errorf("instantiate module: %w", ErrClosed)
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	p := t.program
	p.engine.retain(p)
	in := &Instance{program: p, ctx: ctx}
	if err := in.open(ctx, spec); err != nil {
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
	in.module, err = p.runtime.InstantiateModule(ctx, p.compiled, in.config(spec))
	return in.outcome(ctx, err)
}

// Call calls an export without parameters and results. When the context ends first, the guest is ended and cannot be
// called again; nor can it after any other error.
func (in *Instance) Call(ctx context.Context, export string) error {
	if in.closed {
		return fmt.Errorf("call guest: %w", ErrClosed)
	}
	fn := in.module.ExportedFunction(export)
	if fn == nil {
		return fmt.Errorf("call guest: it has no export %s", export)
	}
	in.ctx = ctx
	_, err := fn.Call(ctx)
	return in.outcome(ctx, err)
}

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
