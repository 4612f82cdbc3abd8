package wasi

import (
	"context"
	"sync"
)

// maxLookups bounds the names that are looked up and the connections that are made at once for one guest, with those it
// has given up.
const maxLookups = 256

// lookups are goroutines that ask the network for one guest.
type lookups struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	running int
	all     sync.WaitGroup
}

// attempt is one of them.
type attempt struct {
	done   chan struct{}
	cancel context.CancelFunc
}

// pending is an object that is not there yet.
type pending interface{ ready() bool }

func (a *attempt) ready() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// start runs do and then wakes the guest.
func (l *lookups) start(w *waiter, do func(ctx context.Context)) (*attempt, Errno) {
	l.once.Do(func() { l.ctx, l.cancel = context.WithCancel(context.Background()) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running >= maxLookups {
		return nil, ErrnoMfile
	}
	l.running++
	ctx, cancel := context.WithCancel(l.ctx)
	a := &attempt{done: make(chan struct{}), cancel: cancel}
	l.all.Go(func() {
		do(ctx)
		l.mu.Lock()
		l.running--
		l.mu.Unlock()
		close(a.done)
		w.wake()
	})
	return a, 0
}

// await waits for the attempt to end.
func (a *attempt) await(c call) Errno {
	c.h.Block(func(ctx context.Context) {
		select {
		case <-a.done:
		case <-ctx.Done():
		}
	})
	if !a.ready() {
		return ErrnoIntr
	}
	return 0
}

// close ends all that is under way.
func (l *lookups) close() {
	if l.cancel != nil {
		l.cancel()
		l.all.Wait()
	}
}
