package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// HostModule is a set of functions that guests may import. Their types are those of package module's table, so that what
// is checked is what is served.
//
// A function runs on the goroutine that called the guest. Its context is that given to Instance.Call (CallContext takes
// it out). What waits for the world does it in Block, and returns when the context ends; the guest ends then, whatever
// it returned.
type HostModule struct {
	Name      string
	Functions map[string]api.GoModuleFunc
}

// Provide lets guests import a host module. It may be called again with the same name: the first stays.
func (e *Engine) Provide(m HostModule) error {
	for name := range m.Functions {
		if _, ok := module.ServedType(m.Name, name); !ok {
			return fmt.Errorf("provide %s.%s: package module does not know it", m.Name, name)
		}
	}
	for _, name := range module.ServedFunctions(m.Name) {
		if m.Functions[name] == nil {
			return fmt.Errorf("provide %s: the function %s is missing", m.Name, name)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.hosts[m.Name]; !ok {
		e.hosts[m.Name] = m
	}
	return nil
}

func (e *Engine) hostModule(name string) (HostModule, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, ok := e.hosts[name]
	return m, ok
}

// link makes the host modules that the program imports, once, when it is first instantiated.
func (p *program) link(ctx context.Context) error {
	p.linkMu.Lock()
	defer p.linkMu.Unlock()
	if err := p.linkMeter(ctx); err != nil {
		return fmt.Errorf("link meter: %w", err)
	}
	for _, im := range p.info.Imports {
		if p.linked[im.Module] {
			continue
		}
		if err := p.linkModule(ctx, im.Module); err != nil {
			return fmt.Errorf("link %s: %w", im.Module, err)
		}
		p.linked[im.Module] = true
	}
	return nil
}

func (p *program) linkModule(ctx context.Context, name string) error {
	switch name {
	case module.WASIModule:
		return linkSystem(ctx, p.runtime, name, wasi.Functions())
	case module.NetModule:
		return linkSystem(ctx, p.runtime, name, wasi.NetFunctions())
	}
	host, ok := p.engine.hostModule(name)
	if !ok {
		return errors.New("nobody provides it to this engine")
	}
	b := p.runtime.NewHostModuleBuilder(name)
	for fn, call := range host.Functions {
		t, _ := module.ServedType(name, fn)
		export(b, fn, call, t)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func export(b wazero.HostModuleBuilder, name string, call api.GoModuleFunc, t module.FuncType) {
	b.NewFunctionBuilder().WithGoModuleFunction(metered(call), valueTypes(t.Params), valueTypes(t.Results)).WithName(name).Export(name)
}

func valueTypes(ts []module.ValueType) []api.ValueType {
	out := make([]api.ValueType, len(ts))
	for i, t := range ts {
		out[i] = api.ValueType(t)
	}
	return out
}
