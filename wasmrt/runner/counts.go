package runner

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// counts are what was counted of an HTTP guest since it started, over all the times it was awake.
type counts struct {
	requests, failures atomic.Uint64
	inFlight, nanos    atomic.Int64

	mu   sync.Mutex
	past *control.Pool // of handlers that serve no more; nil until there is one
}

// begin counts a request, and says whether it is the first.
func (c *counts) begin() (first bool) {
	c.inFlight.Add(1)
	return c.requests.Add(1) == 1
}

func (c *counts) end(took time.Duration, failed bool) {
	if failed {
		c.failures.Add(1)
	}
	c.nanos.Add(int64(took))
	c.inFlight.Add(-1)
}

// retire takes over what a handler counted that will serve no more.
func (c *counts) retire(p control.Pool) {
	p.Past()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.past == nil {
		c.past = &control.Pool{}
	}
	c.past.Add(&p)
}

// tell adds what is known, with what the handlers count that serve now.
func (c *counts) tell(out *control.ContainerStats, a *awake) {
	out.Requests, out.Failures = c.requests.Load(), c.failures.Load()
	out.InFlight, out.GuestNanos = c.inFlight.Load(), c.nanos.Load()
	c.mu.Lock()
	if c.past != nil {
		out.Pool.Add(c.past)
	}
	c.mu.Unlock()
	if a != nil {
		for _, p := range a.pools() {
			out.Pool.Add(&p)
		}
	}
	out.MemoryBytes = out.Pool.ResidentBytes
}

// poolOf says in the protocol's words what the engine counted.
func poolOf(s engine.PoolStats) control.Pool {
	return control.Pool{
		Clones: s.Clones, Resets: s.Resets, Fresh: s.Fresh, Reuses: s.Reuses, Calls: s.Calls, Discards: s.Discards, Fuel: s.Fuel,
		CPUNanos: int64(s.CPUTime), CloneNanos: int64(s.CloneTime), ResetNanos: int64(s.ResetTime), GuestNanos: int64(s.GuestTime),
		FallbackNanos: int64(s.FallbackTime), Idle: s.IdleInstances, Busy: s.BusyInstances, ResidentBytes: s.ResidentBytes,
	}
}

// pool is what the handler's instances went through.
func (g *generation) pool() control.Pool {
	return poolOf(g.Stats().Pool)
}
