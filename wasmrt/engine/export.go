package engine

import (
	"context"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// RunExport runs one export of a fresh instance to its end, and the instance is gone then. The export takes nothing, and
// answers nothing or its exit code. Code and error are as Run's; _start is a command's whole run.
func (t *Template) RunExport(ctx context.Context, spec Spec, name string) (exitCode uint32, err error) {
	if name == module.StartExport {
		return t.Run(ctx, spec)
	}
	if !Runnable(t.Info(), name) {
		return ExitNotStarted, fmt.Errorf("run export %s: want one without parameters, and with no result or an i32", name)
	}
	var result [1]uint64
	in, err := t.instantiate(ctx, spec)
	if err == nil {
		defer in.Close()
		if err = in.initialise(ctx); err == nil {
			err = in.CallValues(ctx, name, result[:])
		}
	}
	code, err := exitOf(err)
	if code >= ExitNotStarted && err != nil && ctx.Err() == nil && spec.Stderr != nil {
		fmt.Fprintf(spec.Stderr, "petrel: %v\n", err)
	}
	if code == 0 && err == nil {
		code = uint32(result[0])
	}
	return code, err
}

// Runnable tells whether RunExport can run a module's export of that name.
func Runnable(info *module.Info, name string) bool {
	e, ok := info.Export(name, module.KindFunction)
	return ok && len(e.Type.Params) == 0 && (len(e.Type.Results) == 0 || len(e.Type.Results) == 1 && e.Type.Results[0] == module.I32)
}
