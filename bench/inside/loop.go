package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

const (
	collections    = 20
	collectionRest = 20 * time.Millisecond
)

// measureLoop runs collections of this process's garbage beside a guest that loops: Go's collector has to stop every
// goroutine, and cannot stop WebAssembly by itself.
func measureLoop(ctx context.Context, o options) (r result, err error) {
	g, err := load(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	pool, err := g.pool(engine.IsolationReset)
	if err != nil {
		return r, err
	}
	defer pool.Close()
	in, err := pool.Get(ctx)
	if err != nil {
		return r, err
	}
	loop, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(in.Call(loop, exportLoop), pool.Put(in)) }()
	for range collections {
		time.Sleep(collectionRest)
		began := time.Now()
		runtime.GC()
		r.Ours = append(r.Ours, time.Since(began).Seconds())
	}
	select {
	case err := <-ended:
		end()
		return r, fmt.Errorf("the loop ended by itself: %w", err)
	default:
	}
	end()
	var killed *engine.KilledError
	if err := <-ended; !errors.As(err, &killed) {
		return r, fmt.Errorf("the loop was not killed: %w", err)
	}
	return r, nil
}
