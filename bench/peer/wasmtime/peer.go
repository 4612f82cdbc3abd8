package main

import (
	"fmt"
	"net/http"
	"runtime"

	"github.com/bytecodealliance/wasmtime-go/v39"
)

// peer serves requests, each with a fresh instance.
type peer struct {
	engine *wasmtime.Engine
	module *wasmtime.Module
	linker *wasmtime.Linker
	// slots bounds how many guests run at a time: more than there are processors make nothing faster.
	slots chan struct{}
}

// load compiles the guest with wasmtime's own defaults, among them copy-on-write images of the initial memory.
func load(path string) (*peer, error) {
	engine := wasmtime.NewEngine()
	module, err := wasmtime.NewModuleFromFile(engine, path)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", path, err)
	}
	linker := wasmtime.NewLinker(engine)
	if err := linker.DefineWasi(); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	if err := defineHost(linker, module); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return &peer{engine: engine, module: module, linker: linker, slots: make(chan struct{}, runtime.NumCPU())}, nil
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	x := &exchange{w: w, r: r, head: appendHead(nil, r)}
	if err := p.serve(x); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

func (p *peer) serve(x *exchange) error {
	store := wasmtime.NewStoreWithData(p.engine, x)
	defer store.Close()
	store.SetWasi(wasmtime.NewWasiConfig())
	instance, err := p.linker.Instantiate(store, p.module)
	if err != nil {
		return err
	}
	for _, export := range []string{"_initialize", "petrel_http_v1_handle"} {
		f := instance.GetFunc(store, export)
		if f == nil {
			return fmt.Errorf("the guest does not export %s", export)
		}
		if _, err := f.Call(store); err != nil {
			return err
		}
	}
	return nil
}
