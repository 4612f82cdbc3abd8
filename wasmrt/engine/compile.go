package engine

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// rewriteOptions is what is done to every module before it is compiled.
var rewriteOptions = module.RewriteOptions{Meter: true, CallDepth: true, Snapshot: true}

// rewrite instruments and normalises a module and gets its machine code.
func (e *Engine) rewrite(ctx context.Context, wasm []byte, info *module.Info) (*code, *module.Rewritten, error) {
	r, err := module.Rewrite(wasm, info, rewriteOptions)
	if err != nil {
		return nil, nil, err
	}
	c, err := e.compile(ctx, r.Wasm, info.Digest)
	if err != nil {
		return nil, nil, err
	}
	r.Wasm = nil
	r.Data = ownData(r.Data)
	return c, r, nil
}

// ownData copies segments, so that they do not keep the module's bytes alive.
func ownData(segments []module.DataSegment) []module.DataSegment {
	own := make([]module.DataSegment, len(segments))
	for i, s := range segments {
		own[i] = module.DataSegment{Offset: s.Offset, Bytes: bytes.Clone(s.Bytes)}
	}
	return own
}

// errDataBounds is worded as the engine words the trap of an active segment that it applies itself.
var errDataBounds = errors.New("wasm error: out of bounds memory access")

// unshift makes a trap speak of the module as its author knows it: without the function that was added after the
// imports, and with the numbers of nameless functions as they were before.
func (p *program) unshift(trap *TrapError) {
	const added = module.MeterModule + "." + module.YieldFunction
	trap.Stack = slices.DeleteFunc(trap.Stack, func(f string) bool { return f == added })
	for i, f := range trap.Stack {
		trap.Stack[i] = p.unshiftName(f)
	}
	switch {
	case trap.Function == added && len(trap.Stack) > 0:
		trap.Function = trap.Stack[0]
	case trap.Function == added:
		trap.Function = ""
	default:
		trap.Function = p.unshiftName(trap.Function)
	}
}

func (p *program) unshiftName(function string) string {
	number, ok := strings.CutPrefix(function, nameless)
	if !ok || p.rewritten.Counter == "" {
		return function
	}
	n, err := strconv.Atoi(number)
	if err != nil || n <= len(p.info.Imports) {
		return function
	}
	return nameless + strconv.Itoa(n-1)
}
