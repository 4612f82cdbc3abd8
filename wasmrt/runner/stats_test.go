package runner

import (
	"context"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// What a command takes is told while it runs.
func TestCommandStats(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Loop())
	w.launch(p)
	var last control.ContainerStats
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		all := w.runner.stats(&control.StatsParams{IDs: []string{p.ID}}).Containers
		if len(all) != 1 {
			t.Fatalf("%d containers", len(all))
		}
		s := all[0]
		if last.Pool.CPUNanos > 0 && s.Pool.CPUNanos > last.Pool.CPUNanos && s.Pool.Fuel > last.Pool.Fuel && s.MemoryBytes > 0 {
			break
		}
		last = s
		if time.Now().After(deadline) {
			t.Fatalf("it is told to have taken %+v", s)
		}
	}
	w.must(control.MethodStop, control.StopParams{ID: p.ID})
	w.exit(p.ID)
}

// What runs beside a container's own work is the container's, too: while it runs, and when it has ended.
func TestStatsOfExecs(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Tools())
	w.launch(p)
	now := func() control.ContainerStats {
		all := w.runner.stats(&control.StatsParams{Used: true}).Containers
		if len(all) == 0 {
			return control.ContainerStats{}
		}
		return all[0]
	}
	if s := now(); s.Pool.CPUNanos != 0 || s.MemoryBytes != 0 {
		t.Errorf("before there was one: %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _, _, _ = w.exec(ctx, control.ExecParams{ID: p.ID, Args: []string{"forever"}}, "")
	}()
	deadline := time.Now().Add(30 * time.Second)
	for s := now(); s.Pool.CPUNanos == 0 || s.MemoryBytes == 0; s = now() {
		if time.Now().After(deadline) {
			t.Errorf("while one runs: %+v", s)
			break
		}
		time.Sleep(time.Millisecond)
	}
	running := now()
	cancel()
	<-ended
	s := now()
	for ; s.MemoryBytes != 0 && time.Now().Before(deadline); s = now() { // who cancels does not wait for the end
		time.Sleep(time.Millisecond)
	}
	if s.MemoryBytes != 0 || s.Pool.CPUNanos < running.Pool.CPUNanos {
		t.Errorf("when it has ended: %+v, after %+v", s, running)
	}
}
