package worker

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// trimTurns is how much the worker has to have done for its garbage to be worth giving back, trimRest how long
	// ago. A thousand pods that start leave some ten megabytes that nobody uses while they run.
	trimTurns = 1000
	trimRest  = 5 * time.Second
)

// trimmer gives memory back to the system after a burst of work. It is idle while the worker is.
type trimmer struct {
	trim func() // debug.FreeOSMemory, but in tests

	mu     sync.Mutex
	turns  int
	timer  *time.Timer
	closed bool
}

func newTrimmer() *trimmer { return &trimmer{trim: debug.FreeOSMemory} }

// note counts a piece of work.
func (t *trimmer) note() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turns++
	switch {
	case t.turns < trimTurns || t.closed:
	case t.timer == nil:
		t.timer = time.AfterFunc(trimRest, t.rest)
	default:
		t.timer.Reset(trimRest)
	}
}

func (t *trimmer) rest() {
	t.mu.Lock()
	due := t.turns >= trimTurns && !t.closed
	t.turns = 0
	t.mu.Unlock()
	if due {
		t.trim()
	}
}

func (t *trimmer) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
}
