package engine

import (
	"context"

	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// host is what package wasi knows of the instance that calls it.
type host Instance

var _ wasi.Host = (*host)(nil)

func (h *host) Context() context.Context { return h.ctx }

func (h *host) Block(wait func(ctx context.Context)) {
	(*Instance)(h).block(func() { wait(h.ctx) })
}

func (h *host) Spend(units uint64) { (*Instance)(h).spend(units) }

func (h *host) Exit(code uint32) { panic(sys.NewExitError(code)) }

// metered wraps a host function: it costs fuel, and a guest whose time ran out in it does not go on.
func metered(call api.GoModuleFunc) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		in := instanceOf(ctx)
		in.spend(hostCallFuel)
		call(ctx, m, stack)
		in.returned()
	}
}

// served makes a host function of one of package wasi's.
func served(call wasi.Function) api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		in := instanceOf(ctx)
		in.spend(hostCallFuel)
		call((*host)(in), in.system, in.bytes(), stack)
		in.returned()
	}
}

// touching is served for a function that can bring the content of mounted files into the guest.
func touching(call wasi.Function) api.GoModuleFunc {
	inner := served(call)
	return func(ctx context.Context, m api.Module, stack []uint64) {
		instanceOf(ctx).touched = true
		inner(ctx, m, stack)
	}
}

// returned ends a guest whose context has ended while a host function waited.
func (in *Instance) returned() {
	if !in.waited {
		return
	}
	in.waited = false
	in.alive()
	if !in.placed {
		in.interrupt()
	}
}

// bytes is the guest's memory.
func (in *Instance) bytes() []byte {
	if in.memory == nil {
		return nil
	}
	return in.memory.base[:in.memory.size]
}

// alive ends the guest when it is killed.
func (in *Instance) alive() {
	if in.ctx.Err() != nil {
		in.interrupt()
	}
}

// interrupt ends the guest from within a host function, as proc_exit does. Without it the guest would go on, or even
// return as if nothing had happened.
func (in *Instance) interrupt() {
	in.ended = true
	panic(sys.NewExitError(sys.ExitCodeContextCanceled))
}

// block runs wait with the instance's place given back.
func (in *Instance) block(wait func()) {
	if !in.placed {
		wait()
		return
	}
	in.waited = true
	in.tell() // it may wait for long
	in.meter.threadAt = 0
	in.faults.drop() // wait may change threads
	gate := in.program.engine.gate
	in.placed = false
	gate.leave()
	wait()
	if gate.enter(in.ctx, in.line) == nil {
		in.placed = true
	}
	if in.told != nil { // else a guest that waits more often than a slice is over would never be measured
		in.meter.measure()
	}
}
