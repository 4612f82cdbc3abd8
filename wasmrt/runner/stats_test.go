package runner

import (
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
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
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
