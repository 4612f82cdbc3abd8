package httpabi

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// queue lets a number of requests run and some more wait, in the order in which they came.
type queue struct {
	places  chan struct{}
	waiting atomic.Int64
	most    int64
	patient time.Duration
}

func newQueue(cfg Config) *queue {
	return &queue{places: make(chan struct{}, cfg.Concurrency), most: int64(cfg.Queue), patient: cfg.QueueTime}
}

// enter waits for a place, or says why there is none. A client that leaves the queue gets no answer, and so does nothing
// here: its problem is written to nobody.
func (q *queue) enter(request, handler context.Context) *Problem {
	select {
	case q.places <- struct{}{}:
		return nil
	default:
	}
	if q.waiting.Add(1) > q.most {
		q.waiting.Add(-1)
		return q.full("all places are taken and the queue is full")
	}
	defer q.waiting.Add(-1)
	timer := time.NewTimer(q.patient)
	defer timer.Stop()
	select {
	case q.places <- struct{}{}:
		return nil
	case <-timer.C:
		return q.full("no place became free within " + q.patient.String())
	case <-request.Done():
		return q.full("the client left the queue")
	case <-handler.Done():
		return closing()
	}
}

func (q *queue) leave() { <-q.places }

// shut waits until nobody is inside, and keeps everybody out for ever.
func (q *queue) shut() {
	for range cap(q.places) {
		q.places <- struct{}{}
	}
}

func (q *queue) full(detail string) *Problem {
	p := problem(http.StatusServiceUnavailable, CodeQueue, detail,
		"try again, start more replicas, or raise the concurrency or the queue (pod annotations petrel.run/concurrency, petrel.run/queue)")
	p.retryAfter = time.Second
	return p
}
