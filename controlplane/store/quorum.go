package store

import (
	"context"
	"sync"
)

// quorum lets many callers share one question to etcd: each gets the answer to a question that was asked after it
// came, which is all that a linearizable read needs.
type quorum struct {
	ask func(context.Context) (int64, error)

	mu      sync.Mutex
	next    *answer // of the question that will be asked next
	asking  bool
	running sync.WaitGroup
}

type answer struct {
	done     chan struct{}
	revision int64
	err      error
}

func (q *quorum) read(ctx context.Context) (int64, error) {
	q.mu.Lock()
	if q.next == nil {
		q.next = &answer{done: make(chan struct{})}
	}
	a := q.next
	if !q.asking {
		q.asking = true
		q.running.Go(q.work)
	}
	q.mu.Unlock()
	select {
	case <-a.done:
		return a.revision, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// work asks until nobody waits.
func (q *quorum) work() {
	for {
		q.mu.Lock()
		a := q.next
		q.next = nil
		if a == nil {
			q.asking = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		a.revision, a.err = q.ask(ctx)
		cancel()
		close(a.done)
	}
}
