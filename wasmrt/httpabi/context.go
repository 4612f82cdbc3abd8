package httpabi

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The causes with which a request's context ends.
var (
	errStartTime  = fmt.Errorf("the program was not started within %s: %w", startTime, context.DeadlineExceeded)
	errWallTime   = fmt.Errorf("the request's wall time is over: %w", context.DeadlineExceeded)
	errClosing    = fmt.Errorf("the handler is closed: %w", context.Canceled)
	errClientGone = fmt.Errorf("the client has gone: %w", context.Canceled)
)

// lifetime is the context of a request: it ends when the request's wall time is over, when the handler is closed, and a
// while after the client has gone. Until somebody waits for that it has neither timer nor goroutine nor channel: who asks
// whether it has ended is answered from the clock. Its Err is its cause.
type lifetime struct {
	handler *Handler
	w       http.ResponseWriter
	request context.Context // the client's
	ends    atomic.Int64    // when its time is over; nanoseconds since the handler was made

	cause    atomic.Pointer[error] // why it has ended
	goneAt   atomic.Int64          // when the client was first seen to have gone; Unix nanoseconds
	began    atomic.Bool           // the final head was handed to net/http
	mu       sync.Mutex
	done     chan struct{} // made when it is asked for
	watching []func() bool // that stop what ends it
	timer    *time.Timer   // one of those; nil until the end comes by itself
	blocking bool          // the guest may stand in a read or a write of the connection
	over     bool          // the request is: the connection is not ours any more
}

func (l *lifetime) Deadline() (time.Time, bool) {
	return l.handler.born.Add(time.Duration(l.ends.Load())), true
}

// left is how long it may still take.
func (l *lifetime) left() time.Duration {
	return time.Duration(l.ends.Load()) - time.Since(l.handler.born)
}

// watched says whether its end comes by itself.
func (l *lifetime) watched() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.timer != nil
}

// limit sets how long it may take from now on.
func (l *lifetime) limit(d time.Duration) {
	l.ends.Store(int64(time.Since(l.handler.born) + d))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Reset(d)
	}
}

// Err implements context.Context.
func (l *lifetime) Err() error {
	if cause := l.cause.Load(); cause != nil {
		return *cause
	}
	switch {
	case l.handler.closed.Load():
		l.end(errClosing)
	case l.left() <= 0:
		l.end(errWallTime)
	case l.request.Err() != nil && l.longGone():
		l.end(errClientGone)
	default:
		return nil
	}
	return *l.cause.Load()
}

// longGone says whether the client's grace is over.
func (l *lifetime) longGone() bool {
	now := time.Now().UnixNano()
	l.goneAt.CompareAndSwap(0, now)
	return now-l.goneAt.Load() >= int64(l.handler.grace)
}

// Done implements context.Context. From the first call on the end comes by itself.
func (l *lifetime) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done != nil {
		return l.done
	}
	l.done = make(chan struct{})
	if l.cause.Load() != nil {
		close(l.done)
		return l.done
	}
	if !l.over {
		l.watch()
	}
	return l.done
}

// watch makes the context end without being asked. l.mu is held.
func (l *lifetime) watch() {
	l.timer = time.AfterFunc(l.left(), func() {
		if l.left() <= 0 { // else it was given another limit meanwhile
			l.end(errWallTime)
		}
	})
	l.watching = append(l.watching, l.timer.Stop,
		context.AfterFunc(l.handler.ctx, func() { l.end(errClosing) }),
		context.AfterFunc(l.request, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if !l.over {
				l.watching = append(l.watching, time.AfterFunc(l.handler.grace, func() { l.end(errClientGone) }).Stop)
			}
		}))
}

// end ends the context, once, and frees a guest that stands in the connection.
func (l *lifetime) end(cause error) {
	if !l.cause.CompareAndSwap(nil, &cause) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done != nil {
		close(l.done)
	}
	if l.blocking && !l.over {
		l.unblock()
	}
}

// mayBlock is called before the guest waits for the connection: from now on the end of its time ends that too.
func (l *lifetime) mayBlock() {
	if l.blocking { // only this goroutine sets it
		return
	}
	l.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocking = true
	if l.cause.Load() != nil {
		l.unblock()
	}
}

// unblock ends a read or a write of the connection under way, from another goroutine. Before the response has begun the
// guest cannot be in a write, and the connection's writing side must stay good for telling the client. l.mu is held.
func (l *lifetime) unblock() {
	past := time.Unix(1, 0)
	rc := http.NewResponseController(l.w)
	_ = rc.SetReadDeadline(past) // not every ResponseWriter can: then only a server's own timeouts help
	if l.began.Load() {
		_ = rc.SetWriteDeadline(past)
	}
}

// finished stops what would end the context: the connection may serve another request next.
func (l *lifetime) finished() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for _, stop := range l.watching {
		stop()
	}
	l.watching = nil
}
