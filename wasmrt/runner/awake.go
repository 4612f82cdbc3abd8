package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/http1"
	"github.com/petrelrun/petrel/wasmrt/httpabi"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

const (
	// readHeaderTimeout bounds how long a connection may take to say what it wants.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout closes keep-alive connections that nobody uses: each holds some 20 KiB.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes bounds a request's head as most servers do.
	maxHeaderBytes = 64 << 10
	// restAfter is how long a server stays awake without a connection. Waking takes some 50 µs and a clone, staying awake
	// 15 KiB and an instance.
	restAfter = 5 * time.Second
	// restSoonAfter is it while more than manyAwake are awake: each holds the descriptors of its mounts.
	restSoonAfter = 200 * time.Millisecond
	manyAwake     = 500
	// drainPause is between two looks at a server that ends: a connection may have been accepted and not be known yet.
	drainPause = 2 * time.Millisecond
)

// awake is what serves an HTTP guest's requests: a server at its doors, and the handler that takes an instance for each.
type awake struct {
	counts  *counts
	first   func(took time.Duration)
	server  *http1.Server
	serving sync.WaitGroup
	conns   atomic.Int64
	since   atomic.Int64 // when it last had a connection or began; Unix nanoseconds

	mu      sync.RWMutex
	current *generation
	former  []*generation // replaced, with requests that had begun before
	ended   bool
}

// generation is a handler with the number of requests inside it.
type generation struct {
	*httpabi.Handler
	requests atomic.Int64
	once     sync.Once
}

// end closes the handler, which ends its requests, and keeps what it counted.
func (g *generation) end(c *counts) {
	g.once.Do(func() {
		_ = g.Close()
		c.retire(g.pool())
	})
}

// rise makes a server that serves at all doors. s.mu is held.
func (s *httpServer) rise() (*awake, error) {
	h, err := httpabi.NewHandler(s.config)
	if err != nil {
		return nil, err
	}
	a := &awake{counts: &s.counts, first: s.first, current: &generation{Handler: h}}
	a.since.Store(time.Now().UnixNano())
	a.server = http1.New(http1.Config{
		Handler: a, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		Count: a.connection, Logger: s.config.Logger,
	})
	return a, s.open(a)
}

// closeAwake undoes a rise that failed.
func (s *httpServer) closeAwake(a *awake) {
	if a == nil {
		return
	}
	_ = s.shut(a)
	a.end()
}

// open lets a server accept at all doors. s.mu is held.
func (s *httpServer) open(a *awake) error {
	for _, d := range s.doors {
		if d.IsOpen() {
			continue
		}
		l, err := d.Open()
		if err != nil {
			return err
		}
		a.serving.Go(func() {
			err := a.server.Serve(l)
			if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				go s.kill(fmt.Errorf("serve %s: %w: %w", l.Addr(), errListener, err)) // it waits for us
			}
		})
	}
	return nil
}

// shut stops accepting, at all doors but those that it answers true for: they could not be shut. Connections that come wait
// in the kernel. When it returns, every one that was accepted is counted. s.mu is held.
func (s *httpServer) shut(a *awake) (scarce bool) {
	for _, d := range s.doors {
		if d.Shut() != nil {
			scarce = true
		}
	}
	if !scarce {
		a.serving.Wait()
	}
	return scarce
}

// connection counts connections. The server calls it for a new one before it accepts the next.
func (a *awake) connection(delta int) {
	if delta < 0 {
		a.since.Store(time.Now().UnixNano())
	}
	a.conns.Add(int64(delta))
}

// idle says whether it can rest.
func (a *awake) idle(now time.Time, after time.Duration) bool {
	return a.conns.Load() == 0 && now.UnixNano()-a.since.Load() >= int64(after)
}

// drain returns when no request runs and no connection is left. A server's own Shutdown may miss a connection that was
// just accepted, so it is asked again until none is counted.
func (a *awake) drain() {
	for {
		_ = a.server.Shutdown(context.Background()) // what it answers are the listeners' errors
		a.serving.Wait()
		if a.conns.Load() == 0 {
			return
		}
		time.Sleep(drainPause)
	}
}

// end ends requests and connections, in this order. The doors are shut or closed. No request runs when it returns. It may
// be called again.
func (a *awake) end() {
	a.mu.Lock()
	a.ended = true
	all := append(slices.Clone(a.former), a.current)
	a.mu.Unlock()
	var wg sync.WaitGroup
	for _, g := range all {
		wg.Go(func() { g.end(a.counts) })
	}
	wg.Wait()
	_ = a.server.Close()
	a.serving.Wait()
}

// pools are what the handlers count that are not closed.
func (a *awake) pools() []control.Pool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.ended {
		return nil
	}
	var all []control.Pool
	for _, g := range append(slices.Clone(a.former), a.current) {
		all = append(all, g.pool())
	}
	return all
}

// enter answers the current generation with one more request inside.
func (a *awake) enter() *generation {
	a.mu.RLock()
	defer a.mu.RUnlock()
	a.current.requests.Add(1)
	return a.current
}

// replace makes further requests go to a handler of another configuration.
func (a *awake) replace(config httpabi.Config) error {
	h, err := httpabi.NewHandler(config)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return errors.Join(errEnding, h.Close())
	}
	var gone []*generation
	a.former = slices.DeleteFunc(append(a.former, a.current), func(g *generation) bool {
		if g.requests.Load() > 0 {
			return false
		}
		gone = append(gone, g)
		return true
	})
	a.current = &generation{Handler: h}
	for _, g := range gone {
		g.end(a.counts)
	}
	return nil
}

// ServeHTTP hands the request to the current handler, and counts.
func (a *awake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	g := a.enter()
	first := a.counts.begin()
	failed := true // unless the handler comes back: it panics to cut a response
	defer func() {
		took := time.Since(begin)
		a.counts.end(took, failed)
		g.requests.Add(-1)
		if first && !failed {
			a.first(took)
		}
	}()
	failed = !g.Answer(w, r)
}
