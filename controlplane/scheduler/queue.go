package scheduler

import (
	"cmp"
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// firstBackoff and lastBackoff bound how long a pod waits after a failed attempt before the next; the wait
	// doubles with each.
	firstBackoff = time.Second
	lastBackoff  = 10 * time.Second
	// flushAfter is how long a pod is parked at most: should an event that would have helped it be missed, it is
	// tried again all the same.
	flushAfter = time.Minute
)

// Queue holds the pods that wait for a node. It is a state machine without a lock and without a clock: its user has
// both.
type Queue struct {
	items   map[types.UID]*queued
	active  podHeap // by priority, then by how long they wait
	backoff podHeap // by when they may be tried again
	parked  podHeap // by since when they wait for an event
	seq     uint64
}

// queued is one pod in the queue.
type queued struct {
	pod *Pod
	// since and seq are when the pod came; they stay through all attempts, so that it keeps its turn.
	since    time.Time
	seq      uint64
	attempts int
	// until is when the pod may be tried again, parkedAt since when it waits for an event.
	until, parkedAt time.Time
	place           place
	index           int // in its heap
	// stale tells that the pod changed during its attempt.
	stale bool
}

// place is where a pod is.
type place int

const (
	inActive place = iota
	inBackoff
	inParked
	inFlight
)

// NewQueue makes an empty queue.
func NewQueue() *Queue {
	return &Queue{
		items:   make(map[types.UID]*queued),
		active:  podHeap{less: byTurn},
		backoff: podHeap{less: byTime},
		parked:  podHeap{less: byParking},
	}
}

func byTurn(a, b *queued) bool {
	return cmp.Or(cmp.Compare(b.pod.Priority, a.pod.Priority), a.since.Compare(b.since), cmp.Compare(a.seq, b.seq)) < 0
}

func byTime(a, b *queued) bool {
	return cmp.Or(a.until.Compare(b.until), cmp.Compare(a.seq, b.seq)) < 0
}

func byParking(a, b *queued) bool {
	return cmp.Or(a.parkedAt.Compare(b.parkedAt), cmp.Compare(a.seq, b.seq)) < 0
}

// Len is the number of pods that wait, those included that are being tried.
func (q *Queue) Len() int { return len(q.items) }

// Put adds a pod, or takes in its new state. retry tells that the change may help it: a parked pod is then tried
// again.
func (q *Queue) Put(p *Pod, retry bool, now time.Time) {
	item := q.items[p.UID()]
	if item == nil {
		q.seq++
		item = &queued{pod: p, since: now, seq: q.seq, place: inFlight}
		q.items[p.UID()] = item
		q.activate(item)
		return
	}
	item.pod = p
	switch item.place {
	case inActive:
		heap.Fix(&q.active, item.index) // its priority may have changed
	case inFlight:
		item.stale = item.stale || retry
	case inParked:
		if retry {
			q.unpark(item, now)
		}
	}
}

// Delete drops a pod, wherever it is.
func (q *Queue) Delete(uid types.UID) {
	item := q.items[uid]
	if item == nil {
		return
	}
	delete(q.items, uid)
	switch item.place {
	case inActive:
		heap.Remove(&q.active, item.index)
	case inBackoff:
		heap.Remove(&q.backoff, item.index)
	case inParked:
		heap.Remove(&q.parked, item.index)
	}
}

// Pop returns the pod whose turn it is; nil when none is due. The pod is then in flight until Park, Retry or Delete.
func (q *Queue) Pop(now time.Time) *Pod {
	q.due(now)
	if len(q.active.items) == 0 {
		return nil
	}
	item := heap.Pop(&q.active).(*queued)
	item.place, item.stale = inFlight, false
	item.attempts++
	item.until = now.Add(backoffFor(item.attempts))
	return item.pod
}

// Holds tells whether a pod is in the queue.
func (q *Queue) Holds(uid types.UID) bool { return q.items[uid] != nil }

// Attempts is how often a pod was popped.
func (q *Queue) Attempts(uid types.UID) int {
	if item := q.items[uid]; item != nil {
		return item.attempts
	}
	return 0
}

// Park puts a pod in flight aside until an event or a flush. One that changed meanwhile is tried again instead.
func (q *Queue) Park(uid types.UID, now time.Time) {
	item := q.items[uid]
	if item == nil || item.place != inFlight {
		return
	}
	if item.stale {
		q.delay(item, now)
		return
	}
	item.place, item.parkedAt = inParked, now
	heap.Push(&q.parked, item)
}

// Retry has a pod in flight tried again after its backoff.
func (q *Queue) Retry(uid types.UID, now time.Time) {
	if item := q.items[uid]; item != nil && item.place == inFlight {
		q.delay(item, now)
	}
}

// Wake has the parked pods tried again that helps is true for, and tells how many.
func (q *Queue) Wake(helps func(*Pod) bool, now time.Time) int {
	var woken []*queued
	for _, item := range q.parked.items {
		if helps(item.pod) {
			woken = append(woken, item)
		}
	}
	for _, item := range woken {
		q.unpark(item, now)
	}
	return len(woken)
}

// Mark notes for the pods in flight that helps is true for that something changed during their attempt.
func (q *Queue) Mark(helps func(*Pod) bool) {
	for _, item := range q.items {
		if item.place == inFlight && helps(item.pod) {
			item.stale = true
		}
	}
}

// Next is when a pod will be due if nothing happens; ok is false when none will.
func (q *Queue) Next() (at time.Time, ok bool) {
	if len(q.active.items) > 0 {
		return time.Time{}, true
	}
	if len(q.backoff.items) > 0 {
		at, ok = q.backoff.items[0].until, true
	}
	if len(q.parked.items) > 0 {
		if flush := q.parked.items[0].parkedAt.Add(flushAfter); !ok || flush.Before(at) {
			at, ok = flush, true
		}
	}
	return at, ok
}

// due moves the pods whose time has come to the active ones.
func (q *Queue) due(now time.Time) {
	for len(q.backoff.items) > 0 && !q.backoff.items[0].until.After(now) {
		item := heap.Pop(&q.backoff).(*queued)
		q.activate(item)
	}
	for len(q.parked.items) > 0 && !q.parked.items[0].parkedAt.Add(flushAfter).After(now) {
		q.unpark(q.parked.items[0], now)
	}
}

func (q *Queue) unpark(item *queued, now time.Time) {
	heap.Remove(&q.parked, item.index)
	q.delay(item, now)
}

// delay has a pod wait for the rest of its backoff.
func (q *Queue) delay(item *queued, now time.Time) {
	if !item.until.After(now) {
		q.activate(item)
		return
	}
	item.place = inBackoff
	heap.Push(&q.backoff, item)
}

func (q *Queue) activate(item *queued) {
	item.place = inActive
	heap.Push(&q.active, item)
}

func backoffFor(attempts int) time.Duration {
	wait := firstBackoff
	for i := 1; i < attempts && wait < lastBackoff; i++ {
		wait *= 2
	}
	return min(wait, lastBackoff)
}

// podHeap is a heap of queued pods that knows where each is.
type podHeap struct {
	items []*queued
	less  func(a, b *queued) bool
}

func (h *podHeap) Len() int           { return len(h.items) }
func (h *podHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }

func (h *podHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}

// Push implements heap.Interface.
func (h *podHeap) Push(x any) {
	item := x.(*queued)
	item.index = len(h.items)
	h.items = append(h.items, item)
}

// Pop implements heap.Interface.
func (h *podHeap) Pop() any {
	last := len(h.items) - 1
	item := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return item
}
