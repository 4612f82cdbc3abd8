package guest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// cancelPoll is how often the host is asked whether the client is still there, while somebody waits for the context's
// end. Nobody can wake a guest from outside.
const cancelPoll = 20 * time.Millisecond

var errGone = fmt.Errorf("the client has gone: %w", context.Canceled)

// requestContext is a request's context. It costs nothing until somebody asks for it.
type requestContext struct {
	host host

	mu   sync.Mutex
	done chan struct{} // made when it is asked for
	err  error
}

func (c *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *requestContext) Value(any) any { return nil }

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.host.requestCancelled() {
		c.finish()
	}
	return c.err
}

// Done starts the goroutine that asks the host; it ends with the context.
func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		return c.done
	}
	c.done = make(chan struct{})
	if c.err != nil {
		close(c.done)
		return c.done
	}
	go c.watch()
	return c.done
}

func (c *requestContext) watch() {
	tick := time.NewTicker(cancelPoll)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			if errors.Is(c.Err(), context.Canceled) {
				return
			}
		}
	}
}

// end is for when the handler has returned.
func (c *requestContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finish()
}

func (c *requestContext) finish() {
	if c.err != nil {
		return
	}
	c.err = context.Canceled
	if c.done != nil {
		close(c.done)
	}
}
