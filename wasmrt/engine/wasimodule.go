package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// maxDescriptor bounds the numbers of descriptors that a guest may choose. wazero's table of them is as long as the
// highest, so the number two milliards would take sixteen gigabytes of the host.
const maxDescriptor = 2 * wasi.MaxOpenFiles

const (
	wasiEBADF  = 8  // WASI's number of it
	wasiEINVAL = 28 // and of this
)

// linkWASI makes WASI's host module: wazero's functions, with guards in front of those that a guest could hurt the host
// with.
func linkWASI(ctx context.Context, r wazero.Runtime) error {
	original, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		return fmt.Errorf("compile WASI: %w", err)
	}
	b := r.NewHostModuleBuilder(module.WASIModule)
	for name, def := range original.ExportedFunctions() {
		call, ok := def.GoFunction().(api.GoModuleFunction)
		if !ok {
			return errors.Join(fmt.Errorf("link WASI: %s is no host function", name), original.Close(ctx))
		}
		if guard, ok := wasiGuards[name]; ok {
			call = guarded(guard, call)
		}
		b.NewFunctionBuilder().WithGoModuleFunction(call, def.ParamTypes(), def.ResultTypes()).WithName(name).Export(name)
	}
	if _, err = b.Instantiate(ctx); err != nil {
		return errors.Join(err, original.Close(ctx))
	}
	return original.Close(ctx)
}

// wasiGuards look at a call's parameters and return the errno to refuse it with, or zero.
var wasiGuards = map[string]func(stack []uint64) uint64{
	"fd_renumber": func(stack []uint64) uint64 {
		if api.DecodeU32(stack[1]) > maxDescriptor {
			return wasiEBADF
		}
		return 0
	},
	// The product with a subscription's size would overflow.
	"poll_oneoff": func(stack []uint64) uint64 {
		if api.DecodeU32(stack[2]) > maxDescriptor {
			return wasiEINVAL
		}
		return 0
	},
}

func guarded(guard func([]uint64) uint64, call api.GoModuleFunction) api.GoModuleFunction {
	return api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
		if errno := guard(stack); errno != 0 {
			stack[0] = errno
			return
		}
		call.Call(ctx, m, stack)
	})
}
