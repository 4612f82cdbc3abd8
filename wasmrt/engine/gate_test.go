package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestGateBounds(t *testing.T) {
	g := newGate(2)
	lines := []*line{{}, {}, {}}
	var running, most atomic.Int32
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			for k := range 300 {
				ctx := t.Context()
				cancel := func() {}
				if k%7 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(k)*time.Microsecond)
				}
				if g.enter(ctx, lines[i%3]) == nil {
					if n := running.Add(1); n > most.Load() {
						most.Store(n)
					}
					left := false
					if k%5 == 0 {
						running.Add(-1)
						left = g.yield(ctx, lines[i%3]) != nil
						running.Add(1)
					}
					running.Add(-1)
					if !left {
						g.leave()
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 {
		t.Errorf("%d ran at a time", most.Load())
	}
	if g.running.Load() != 0 || g.waiting.Load() != 0 || len(g.turns) != 0 {
		t.Errorf("left behind: %d running, %d waiting, %d turns", g.running.Load(), g.waiting.Load(), len(g.turns))
	}
}

// A pool with a crowd does not keep another's single guest waiting for the crowd.
func TestGateTakesTurns(t *testing.T) {
	g := newGate(1)
	if err := g.enter(t.Context(), &line{}); err != nil {
		t.Fatal(err)
	}
	crowd, single := &line{}, &line{}
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	arrive := func(name string, l *line, before int32) {
		wg.Go(func() {
			if err := g.enter(t.Context(), l); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			g.leave()
		})
		for g.waiting.Load() <= before {
			time.Sleep(time.Millisecond)
		}
	}
	for i := range int32(5) {
		arrive("crowd", crowd, i)
	}
	arrive("single", single, 5)
	time.Sleep(2 * patience)
	g.leave()
	wg.Wait()
	if len(order) != 6 || order[1] != "single" {
		t.Errorf("order %v, want the single one second", order)
	}
}

func TestGateGivesUp(t *testing.T) {
	g := newGate(1)
	if err := g.enter(t.Context(), &line{}); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, cause)
	defer cancel()
	if err := g.enter(ctx, &line{}); !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
	g.leave()
	if !g.try() {
		t.Error("the place is lost")
	}
}

func BenchmarkGate(b *testing.B) {
	g, l := newGate(1), &line{}
	for b.Loop() {
		if err := g.enter(b.Context(), l); err != nil {
			b.Fatal(err)
		}
		g.leave()
	}
}
