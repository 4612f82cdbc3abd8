package runner

import (
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// maxDetail bounds what is told of a failure: it goes into statuses and events.
const maxDetail = 512

// failed notes that the guest ended a request in an error. It is told at once, but not more often than every newsPause.
func (c *container) failed(code, detail, function string) {
	now := c.now()
	c.mu.Lock()
	n := c.status.Failures.Of(code)
	*n++
	c.status.LastFailure = control.LastFailure{Code: code, Detail: clip(detail), Function: clip(function), Time: now.UnixNano(), Count: *n}
	c.mu.Unlock()
	if !c.tellFailures(now) {
		c.runner.chores.tellLater(c)
	}
}

func clip(s string) string {
	if len(s) > maxDetail {
		return s[:maxDetail] + "…"
	}
	return s
}

// tellFailures publishes the status if it may be, and says whether nothing is left to tell.
func (c *container) tellFailures(now time.Time) bool {
	c.mu.Lock()
	if c.status.State == control.StateExited || c.status.LastFailure.Time <= c.told.UnixNano() { // the exit tells it, or it was told
		c.mu.Unlock()
		return true
	}
	if now.Sub(c.told) < newsPause {
		c.mu.Unlock()
		return false
	}
	c.told = now
	status := c.changed()
	c.mu.Unlock()
	c.publish(status)
	return true
}
