package runner

import (
	"sync"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// asides are what the commands take that run in a container beside its own: kubectl exec, hooks and probes. It is the
// container's, too.
type asides struct {
	mu      sync.Mutex
	running map[*engine.Progress]bool
	past    engine.Usage // of those that have ended; it has no memory
}

// begin has a command counted until the function that it answers is called.
func (a *asides) begin(p *engine.Progress) (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running == nil {
		a.running = map[*engine.Progress]bool{}
	}
	a.running[p] = true
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.running, p)
		u := p.Usage()
		a.past.Fuel, a.past.CPU = a.past.Fuel+u.Fuel, a.past.CPU+u.CPU
	}
}

// tell adds what they take.
func (a *asides) tell(out *control.ContainerStats) {
	a.mu.Lock()
	defer a.mu.Unlock()
	add := func(u engine.Usage) {
		out.Pool.Fuel += u.Fuel
		out.Pool.CPUNanos += int64(u.CPU)
		out.MemoryBytes += u.MemoryBytes
	}
	add(a.past)
	for p := range a.running {
		add(p.Usage())
	}
}
