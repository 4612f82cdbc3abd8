package engine

import (
	"context"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero"
)

// linkSystem makes a host module of package wasi's functions.
func linkSystem(ctx context.Context, r wazero.Runtime, name string, functions map[string]wasi.Function) error {
	b := r.NewHostModuleBuilder(name)
	for fn, call := range functions {
		t, _ := module.ServedType(name, fn)
		wrapped := served(call)
		if strings.HasPrefix(fn, "path_") || fn == "fd_readdir" {
			wrapped = touching(call)
		}
		b.NewFunctionBuilder().WithGoModuleFunction(wrapped, valueTypes(t.Params), valueTypes(t.Results)).WithName(fn).Export(fn)
	}
	_, err := b.Instantiate(ctx)
	return err
}
