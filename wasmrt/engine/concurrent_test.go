package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// Many requests to many pools of one snapshot, while idle instances are given back, requests end early and pools are
// closed and made anew: each request has an instance of its own, and nothing is left.
func TestConcurrentPools(t *testing.T) {
	e := newEngine(t)
	tmpl := load(t, e, writer(0))
	stop := make(chan struct{})
	var keeping, wg sync.WaitGroup
	keeping.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				e.keeper.tick()
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for range 4 {
				p, err := tmpl.NewPool(PoolConfig{})
				if err != nil {
					t.Error(err)
					return
				}
				var requests sync.WaitGroup
				for range 4 {
					requests.Go(func() { hammer(t, p) })
				}
				requests.Wait()
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				if s := p.Stats(); s.BusyInstances != 0 || s.IdleInstances != 0 {
					t.Errorf("%+v", s)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	keeping.Wait()
	for _, m := range tmpl.program.snapshots.byKey {
		if m.s.users != 0 {
			t.Errorf("a snapshot has %d users", m.s.users)
		}
	}
	if e.gate.running.Load() != 0 || e.gate.waiting.Load() != 0 {
		t.Errorf("%d run, %d wait", e.gate.running.Load(), e.gate.waiting.Load())
	}
}

func hammer(t *testing.T, p *Pool) {
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		if rand.IntN(20) == 0 {
			cancel()
		}
		in, err := p.Get(ctx)
		var killed *KilledError
		if errors.As(err, &killed) {
			cancel()
			continue
		}
		if err != nil {
			t.Error(err)
			cancel()
			return
		}
		stack := []uint64{rand.Uint64()}
		if err := in.CallValues(ctx, "write", stack); err == nil {
			err = in.Call(ctx, module.HandleExport)
			if err != nil && !errors.As(err, &killed) {
				t.Error(err)
			}
		}
		if err := p.Put(in); err != nil {
			t.Error(err)
		}
		cancel()
	}
}
