package runner

import (
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// counts are what was counted of an HTTP guest since it started, over all the times it was awake.
type counts struct {
	requests, failures atomic.Uint64
	inFlight, nanos    atomic.Int64
}

func (c *counts) begin() {
	c.requests.Add(1)
	c.inFlight.Add(1)
}

func (c *counts) end(took time.Duration, failed bool) {
	if failed {
		c.failures.Add(1)
	}
	c.nanos.Add(int64(took))
	c.inFlight.Add(-1)
}

// retire takes over what a handler counted that will serve no more.
func (c *counts) retire(*generation) {}

// fold takes over what handlers counted that will serve no more.
func (c *counts) fold(*awake) {}

// tell adds what is known, that of a server that is awake included.
func (c *counts) tell(out *control.ContainerStats, _ *awake) {
	out.Requests, out.Failures = c.requests.Load(), c.failures.Load()
	out.InFlight, out.GuestNanos = c.inFlight.Load(), c.nanos.Load()
}
