package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

// The exports of the benchmarks' guests.
const (
	exportHandle = "petrel_http_v1_handle" // one request
	exportCount  = "count"                 // how many the instance has served
	exportLoop   = "loop"                  // never returns
)

// warmed is what count tells in a request that has an instance of its own: the warm-up's call, and its own.
const warmed = 2

// guest is a loaded module.
type guest struct {
	engine   *engine.Engine
	template *engine.Template
}

func load(ctx context.Context, o options) (*guest, error) {
	wasm, err := os.ReadFile(o.module)
	if err != nil {
		return nil, err
	}
	e, err := engine.New(ctx, engine.Config{CacheDir: o.cache})
	if err != nil {
		return nil, err
	}
	t, err := e.Load(ctx, wasm)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return &guest{engine: e, template: t}, nil
}

func (g *guest) close() error { return errors.Join(g.template.Close(), g.engine.Close()) }

// pool makes a pool whose snapshot has served one request.
func (g *guest) pool(isolation engine.Isolation) (*engine.Pool, error) {
	return g.template.NewPool(engine.PoolConfig{
		Spec:      engine.Spec{Args: []string{"guest"}},
		Isolation: isolation,
		WarmUp:    func(ctx context.Context, in *engine.Instance) error { return in.Call(ctx, exportHandle) },
	})
}

// count asks an instance how many requests it has served.
func count(ctx context.Context, in *engine.Instance) (int, error) {
	var stack [1]uint64
	if err := in.CallValues(ctx, exportCount, stack[:]); err != nil {
		return 0, err
	}
	return int(stack[0]), nil
}

// isolated asks that an instance has served one request beyond the warm-up's.
func isolated(ctx context.Context, in *engine.Instance) error {
	n, err := count(ctx, in)
	if err == nil && n != warmed {
		err = fmt.Errorf("an instance has served %d requests, want %d: requests are not isolated", n, warmed)
	}
	return err
}
