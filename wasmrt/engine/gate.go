package engine

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a guest waits for a processor before the next one that leaves hands its place over. Until then a
// freed place is anybody's: waking who waits takes longer than most calls, and the place would be idle meanwhile.
const patience = 500 * time.Microsecond

// gateTries is how often an arriving guest lets others run and tries again before it lies down to wait.
const gateTries = 3

// gate bounds how many guests run at a time. Who waits stands in the line of its pool, and the lines take turns.
type gate struct {
	places  int32
	running atomic.Int32
	waiting atomic.Int32

	mu    sync.Mutex
	turns []*line // those with somebody in them, the next first
}

// line is where guests of one pool wait, in the order they came.
type line struct {
	waiters []*waiter
}

type waiter struct {
	wake    chan struct{}
	since   time.Time
	granted bool // under gate.mu, until woken
}

func newGate(places int) *gate { return &gate{places: int32(places)} }

// enter takes a place. It fails when the context ends first.
func (g *gate) enter(ctx context.Context, l *line) error {
	for range gateTries {
		if g.try() {
			return nil
		}
		runtime.Gosched()
	}
	return g.wait(ctx, l, &waiter{wake: make(chan struct{}, 1), since: time.Now()})
}

func (g *gate) try() bool {
	for {
		n := g.running.Load()
		if n >= g.places {
			return false
		}
		if g.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// wait stands in line until a place is given or found.
func (g *gate) wait(ctx context.Context, l *line, w *waiter) error {
	for again := false; ; again = true {
		g.mu.Lock()
		g.waiting.Add(1) // before trying: who leaves either sees this, or we see the place
		if g.try() {
			g.waiting.Add(-1)
			g.mu.Unlock()
			return nil
		}
		g.push(l, w, again)
		g.mu.Unlock()
		select {
		case <-w.wake:
			if w.granted {
				return nil
			}
		case <-ctx.Done():
			g.giveUp(l, w)
			return causeOf(ctx)
		}
	}
}

// push puts a waiter into its line; one that was woken in vain comes first again.
func (g *gate) push(l *line, w *waiter, first bool) {
	if len(l.waiters) == 0 {
		if first {
			g.turns = append([]*line{l}, g.turns...)
		} else {
			g.turns = append(g.turns, l)
		}
	}
	if first {
		l.waiters = append([]*waiter{w}, l.waiters...)
	} else {
		l.waiters = append(l.waiters, w)
	}
}

// pop takes the next waiter, under mu; nil when there is none. Its line goes to the end of the turns.
func (g *gate) pop() *waiter {
	if len(g.turns) == 0 {
		return nil
	}
	l := g.turns[0]
	w := l.waiters[0]
	l.waiters[0] = nil
	l.waiters = l.waiters[1:]
	g.turns[0] = nil
	g.turns = g.turns[1:]
	if len(l.waiters) > 0 {
		g.turns = append(g.turns, l)
	} else {
		l.waiters = nil
	}
	g.waiting.Add(-1)
	return w
}

// giveUp takes a waiter out of its line, or passes on what it was woken for.
func (g *gate) giveUp(l *line, w *waiter) {
	g.mu.Lock()
	for i, other := range l.waiters {
		if other == w {
			l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
			g.waiting.Add(-1)
			if len(l.waiters) == 0 {
				g.remove(l)
			}
			g.mu.Unlock()
			return
		}
	}
	granted := w.granted
	g.mu.Unlock()
	if granted {
		g.leave()
	} else {
		g.wakeOne()
	}
}

func (g *gate) remove(l *line) {
	for i, other := range g.turns {
		if other == l {
			g.turns = append(g.turns[:i], g.turns[i+1:]...)
			return
		}
	}
}

// leave gives the place back.
func (g *gate) leave() {
	if g.waiting.Load() == 0 {
		g.running.Add(-1)
		if g.waiting.Load() > 0 {
			g.wakeOne()
		}
		return
	}
	g.mu.Lock()
	w := g.pop()
	if w == nil || time.Since(w.since) < patience {
		g.running.Add(-1)
	} else {
		w.granted = true
	}
	g.mu.Unlock()
	if w != nil {
		w.wake <- struct{}{}
	}
}

// wakeOne lets the next waiter try for a place.
func (g *gate) wakeOne() {
	g.mu.Lock()
	w := g.pop()
	g.mu.Unlock()
	if w != nil {
		w.wake <- struct{}{}
	}
}

// yield hands the place to whoever waits and takes the next turn. It does nothing when nobody waits.
func (g *gate) yield(ctx context.Context, l *line) error {
	if g.waiting.Load() == 0 {
		return nil
	}
	g.mu.Lock()
	next := g.pop()
	if next == nil {
		g.mu.Unlock()
		return nil
	}
	next.granted = true
	w := &waiter{wake: make(chan struct{}, 1), since: time.Now()}
	g.waiting.Add(1)
	g.push(l, w, false)
	g.mu.Unlock()
	next.wake <- struct{}{}
	select {
	case <-w.wake:
		if w.granted {
			return nil
		}
		return g.wait(ctx, l, w)
	case <-ctx.Done():
		g.giveUp(l, w)
		return causeOf(ctx)
	}
}
