package supervisor

import (
	"runtime/debug"
	"sync"
	"time"
	"unique"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

const (
	// tidyEvery is how many changes leave garbage worth collecting.
	tidyEvery = 64
	// tidyAfter is how long nothing must have changed: collecting is not to be in anybody's way.
	tidyAfter = 2 * time.Second
)

// tidy gives memory back to the kernel after many pods have come or gone. Requests and answers of the CRI are garbage
// then, as much as what is kept, in a process that may not allocate for hours: no collection would come by itself.
type tidy struct {
	mu      sync.Mutex
	changes int
	timer   *time.Timer
	stopped bool
}

func newTidy() *tidy { return &tidy{} }

// changed notes a change.
func (t *tidy) changed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes++
	switch {
	case t.stopped || t.changes < tidyEvery:
	case t.timer == nil:
		t.timer = time.AfterFunc(tidyAfter, t.collect)
	default:
		t.timer.Reset(tidyAfter)
	}
}

func (t *tidy) collect() {
	t.mu.Lock()
	t.changes = 0
	t.mu.Unlock()
	debug.FreeOSMemory()
}

func (t *tidy) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// share makes the strings of a runner's status that replicas have in common one and the same.
func share(s *control.Status) {
	for _, p := range []*string{&s.Kind, &s.ABI, &s.ABIReason, &s.Isolation, &s.Snapshot, &s.Reason} {
		*p = unique.Make(*p).Value()
	}
}
