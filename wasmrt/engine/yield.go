package engine

import (
	"context"
	"errors"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero/api"
)

const (
	// sliceFuel is what a guest runs between two looks at its context: about a millisecond.
	sliceFuel = 1 << 20
)

var errCallDepth = errors.New("call depth exceeded")

// linkMeter makes the module that instrumented guests call when their fuel or depth is used up.
func (p *program) linkMeter(ctx context.Context) error {
	if p.linked[module.MeterModule] || p.rewritten.Counter == "" {
		return nil
	}
	_, err := p.runtime.NewHostModuleBuilder(module.MeterModule).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(p.yield), nil, nil).Export(module.YieldFunction).
		Instantiate(ctx)
	p.linked[module.MeterModule] = err == nil
	return err
}

// yield ends a guest that is too deep or whose context has ended, and gives others their next slice.
func (p *program) yield(ctx context.Context, m api.Module, _ []uint64) {
	counter, ok := m.ExportedGlobal(p.rewritten.Counter).(api.MutableGlobal)
	if !ok {
		panic(errors.New("the guest has no counter"))
	}
	depth := module.CounterDepth(counter.Get())
	if depth < 0 {
		panic(errCallDepth)
	}
	if ctx.Err() != nil {
		interrupt()
	}
	counter.Set(module.NewCounter(sliceFuel, uint32(depth)))
}
