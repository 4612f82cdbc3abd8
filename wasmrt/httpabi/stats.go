package httpabi

import (
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

// Failure is a request that its guest did not serve as it should have.
type Failure struct {
	Code     string // of the problem
	Detail   string
	Function string // the guest's, where that is known
}

// Stats is what a handler has done since it was made. Its counters only grow.
type Stats struct {
	Requests uint64            // that came, whatever became of them
	Problems map[string]uint64 // answers that were problems, and responses that were cut, by code
	Time     time.Duration     // the sum of what requests took, but for waiting in the queue
	// FirstRequest is how long the first request took, from its place to the end of its response. It includes what only
	// the first one waits for.
	FirstRequest time.Duration
	Running      int // requests that have a place
	Waiting      int // requests in the queue
	Pool         engine.PoolStats
}

// tally counts problems by code.
type tally struct {
	mu sync.Mutex
	by map[string]uint64
}

func (t *tally) add(code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[string]uint64{}
	}
	t.by[code]++
}

func (t *tally) all() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[string]uint64, len(t.by))
	for code, n := range t.by {
		all[code] = n
	}
	return all
}

// Stats tells what was done.
func (h *Handler) Stats() Stats {
	return Stats{
		Requests: h.requests.Load(), Problems: h.problems.all(), Time: time.Duration(h.nanos.Load()),
		FirstRequest: time.Duration(h.first.Load()), Running: len(h.queue.places), Waiting: int(h.queue.waiting.Load()),
		Pool: h.source.Stats(),
	}
}

func (h *Handler) count(code string) { h.problems.add(code) }

// blame tells of a guest's failure.
func (h *Handler) blame(p *Problem) {
	if h.cfg.OnFailure != nil {
		h.cfg.OnFailure(Failure{Code: p.Code, Detail: p.Detail, Function: p.function})
	}
}
