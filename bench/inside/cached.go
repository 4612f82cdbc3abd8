package main

import (
	"context"
	"errors"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

// measureCached answers one request with a module that the cache has. The caller times it from the process's start to
// what it prints.
func measureCached(ctx context.Context, o options) (r result, err error) {
	g, err := load(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	pool, err := g.template.NewPool(engine.PoolConfig{Spec: engine.Spec{Args: []string{"guest"}}})
	if err != nil {
		return r, err
	}
	defer pool.Close()
	in, err := pool.Get(ctx)
	if err != nil {
		return r, err
	}
	if err := errors.Join(in.Call(ctx, exportHandle), pool.Put(in)); err != nil {
		return r, err
	}
	cached := 0.0
	if g.template.Cached() {
		cached = 1
	}
	r.fact("cached", cached)
	r.fact("load seconds", g.template.CompileTime().Seconds())
	return r, nil
}
