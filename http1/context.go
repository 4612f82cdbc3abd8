package http1

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// watchAfter is how long a request must have been asked whether its client is still there for the connection to be watched.
// Watching takes a goroutine and two system calls, as much as all else that a request costs here.
const watchAfter = 10 * time.Millisecond

// lazyContext is a request's. It ends when the client goes away, which it finds out only when it is wanted to.
type lazyContext struct {
	c *conn

	mu      sync.Mutex
	asked   time.Time // when it was first asked for its error
	over    bool      // the request is: the connection is not ours any more
	inner   context.Context
	end     context.CancelFunc
	watched chan struct{} // closed when the watcher has gone; nil: there is none
}

// Deadline implements context.Context: there is none.
func (x *lazyContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (x *lazyContext) Value(key any) any {
	if key == http.LocalAddrContextKey {
		return x.c.nc.LocalAddr()
	}
	return nil
}

// Done implements context.Context. From now on the connection is watched.
func (x *lazyContext) Done() <-chan struct{} { return x.watch().Done() }

// AfterFunc is what package context asks for, to spare a goroutine that waits for Done.
func (x *lazyContext) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(x.watch(), f) }

// Err implements context.Context.
func (x *lazyContext) Err() error {
	x.mu.Lock()
	inner, over, asked := x.inner, x.over, x.asked
	if asked.IsZero() {
		x.asked = time.Now()
	}
	x.mu.Unlock()
	switch {
	case inner != nil:
		return inner.Err()
	case over:
		return context.Canceled
	case asked.IsZero() || time.Since(asked) < watchAfter:
		return nil
	}
	return x.watch().Err()
}

// watch answers a context that ends with the client, or has ended with the request.
func (x *lazyContext) watch() context.Context {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.inner != nil {
		return x.inner
	}
	x.inner, x.end = context.WithCancel(context.Background())
	if x.over {
		x.end()
		return x.inner
	}
	if x.c.full() { // what the client has sent beyond this request hides whether it is there
		return x.inner
	}
	x.watched = make(chan struct{})
	go func() {
		defer close(x.watched)
		x.c.readAhead(x.end)
	}()
	return x.inner
}

// gone ends the context: the connection is broken.
func (x *lazyContext) gone() {
	x.watch()
	x.end()
}

// finish ends the context and the watch: the connection may be read again when it returns.
func (x *lazyContext) finish() {
	x.mu.Lock()
	x.over = true
	end, watched := x.end, x.watched
	x.mu.Unlock()
	if end != nil {
		end()
	}
	if watched != nil {
		x.c.interruptRead()
		<-watched
	}
}

// readAhead waits for the client's next bytes, which are the next request's, or its end.
func (c *conn) readAhead(gone func()) {
	n, err := c.socket.Read(c.buf[c.held:])
	c.held += n
	if err != nil && !isTimeout(err) { // a timeout is who wanted the read to end
		c.lost.Store(true)
		gone()
	}
}

// full says whether there is no room to read ahead.
func (c *conn) full() bool { return c.held == len(c.buf) }

func isTimeout(err error) bool {
	ne, ok := err.(net.Error) //nolint:errorlint // the connection's own
	return ok && ne.Timeout()
}
