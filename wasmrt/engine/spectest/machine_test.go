package spectest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

const (
	fuel  = 1000 // small, so that guests yield often
	depth = 500
)

// errTooDeep is the depth count's trap.
var errTooDeep = errors.New("too many nested calls")

// machine runs a script's modules, rewritten or as they are.
type machine struct {
	rewrite bool
	runtime wazero.Runtime
	last    *instance
	named   map[string]*instance
	all     []*instance
	yields  int

	obstacles map[string]int // why modules cannot be copied
	counted   int            // modules with a counter
}

type instance struct {
	api.Module
	counter string
}

func newMachine(ctx context.Context, features api.CoreFeatures, spectest []byte, rewrite bool) (*machine, error) {
	m := &machine{rewrite: rewrite, named: map[string]*instance{}, obstacles: map[string]int{}}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	if spectest != nil {
		if _, err := m.runtime.InstantiateWithConfig(ctx, spectest, wazero.NewModuleConfig().WithName("spectest")); err != nil {
			return nil, err
		}
	}
	_, err := m.runtime.NewHostModuleBuilder(module.MeterModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(m.yield), nil, nil).Export(module.YieldFunction).Instantiate(ctx)
	return m, err
}

func (m *machine) yield(_ context.Context, caller api.Module, _ []uint64) {
	m.yields++
	for _, in := range m.all {
		if in.counter == "" {
			continue
		}
		counter := in.ExportedGlobal(in.counter).(api.MutableGlobal)
		left := module.CounterDepth(counter.Get())
		if left < 0 {
			panic(errTooDeep)
		}
		counter.Set(module.NewCounter(fuel, uint32(left)))
	}
	if m.starting(caller) {
		counter := caller.ExportedGlobal(startingCounter).(api.MutableGlobal)
		left := module.CounterDepth(counter.Get())
		if left < 0 {
			panic(errTooDeep)
		}
		counter.Set(module.NewCounter(fuel, uint32(left)))
	}
}

// startingCounter is every counter's name, for instances that are not known yet because their start section runs.
const startingCounter = module.ReservedPrefix + "counter"

func (m *machine) starting(caller api.Module) bool {
	for _, in := range m.all {
		if in.Module == caller {
			return false
		}
	}
	return caller.ExportedGlobal(startingCounter) != nil
}

// prepare reads, and rewrites, a module.
func (m *machine) prepare(wasm []byte) (out []byte, r *module.Rewritten, err error) {
	if !m.rewrite {
		return wasm, &module.Rewritten{}, nil
	}
	info, err := module.Read(wasm, module.Limits{})
	if err != nil {
		return nil, nil, err
	}
	r, err = module.Rewrite(wasm, info, module.RewriteOptions{Meter: true, CallDepth: true, Snapshot: true})
	if err != nil {
		return nil, nil, err
	}
	if _, err := module.Read(r.Wasm, module.Limits{}); err != nil {
		return nil, nil, fmt.Errorf("what was written cannot be read: %w", err)
	}
	m.counted++
	m.obstacles[r.NoSnapshot]++
	return r.Wasm, r, nil
}

// refuses tells whether a module is not accepted.
func (m *machine) refuses(ctx context.Context, wasm []byte) bool {
	wasm, _, err := m.prepare(wasm)
	if err != nil {
		return true
	}
	compiled, err := m.runtime.CompileModule(ctx, wasm)
	if err != nil {
		return true
	}
	_ = compiled.Close(ctx)
	return false
}

// instantiate makes an instance. Name is what the script calls it, as what other modules import it by.
func (m *machine) instantiate(ctx context.Context, wasm []byte, name, as string) error {
	m.last = nil
	wasm, r, err := m.prepare(wasm)
	if err != nil {
		return err
	}
	compiled, err := m.runtime.CompileModule(ctx, wasm)
	if err != nil {
		return err
	}
	mod, err := m.runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName(as).WithStartFunctions())
	if err != nil {
		return err
	}
	in := &instance{Module: mod, counter: r.Counter}
	m.all = append(m.all, in)
	for _, d := range r.Data {
		if !mod.Memory().Write(d.Offset, d.Bytes) {
			return errors.New("wasm error: out of bounds memory access")
		}
	}
	if r.Start != "" {
		m.refill()
		if _, err := mod.ExportedFunction(r.Start).Call(ctx); err != nil {
			return err
		}
	}
	m.last = in
	if name != "" {
		m.named[name] = in
	}
	return nil
}

// refill gives every counter a full depth again: a trap leaves the count as it was.
func (m *machine) refill() {
	for _, in := range m.all {
		if in.counter != "" {
			in.ExportedGlobal(in.counter).(api.MutableGlobal).Set(module.NewCounter(fuel, depth))
		}
	}
}

// leaks names an instance whose depth is not what it was before a call that returned.
func (m *machine) leaks() error {
	for _, in := range m.all {
		if in.counter == "" {
			continue
		}
		if left := module.CounterDepth(in.ExportedGlobal(in.counter).Get()); left != depth {
			return fmt.Errorf("after the call the depth left is %d, before it was %d", left, depth)
		}
	}
	return nil
}

func (m *machine) act(ctx context.Context, a action) (results []uint64, err error) {
	in := m.last
	if a.Module != "" {
		in = m.named[a.Module]
	}
	if in == nil {
		return nil, errors.New("no such module")
	}
	if a.Type == "get" {
		g := in.ExportedGlobal(a.Field)
		if g == nil {
			return nil, errors.New("no such global")
		}
		return []uint64{g.Get()}, nil
	}
	fn := in.ExportedFunction(a.Field)
	if fn == nil {
		return nil, errors.New("no such function")
	}
	var args []uint64
	for _, v := range a.Args {
		words, err := v.encode()
		if err != nil {
			return nil, err
		}
		args = append(args, words...)
	}
	m.refill()
	results, err = fn.Call(ctx, args...)
	if err == nil {
		err = m.leaks()
	}
	return results, err
}

var stackTrace = regexp.MustCompile(`(?s)\n?wasm stack trace:.*`)

// trapOf is a trap's kind.
func trapOf(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, errTooDeep) {
		return "exhausted"
	}
	text, _, _ := strings.Cut(stackTrace.ReplaceAllString(err.Error(), ""), "\n")
	if strings.Contains(text, "stack overflow") {
		return "exhausted"
	}
	return text
}
