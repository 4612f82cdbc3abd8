package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var errStopped = errors.New("the watcher is stopped")

// watcher is a place in a resource's log, and a selection.
type watcher struct {
	cache     *cache
	table     *table
	selection selection
	place     int64
	seen      int64 // everything up to this revision has been answered
	events    []Event
	stop      chan struct{}
	stopOnce  sync.Once
}

// Watch gives the changes after revision from. A revision that has not come yet is waited for, a while.
func (s *Store) Watch(ctx context.Context, r *Resource, q Query, from int64) (Watcher, error) {
	t, err := s.table(r)
	if err != nil {
		return nil, err
	}
	if from < 0 {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("resource version %d is negative", from))
	}
	if err := s.cache.wait(ctx, from, waitRevision, s.askProgress); err != nil {
		return nil, err
	}
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	if s.cache.ended != nil {
		return nil, s.cache.ended
	}
	if err := s.cache.checkStart(t, from); err != nil {
		return nil, err
	}
	return &watcher{
		cache: s.cache, table: t, selection: q.selection(r), place: t.log.after(from), seen: from, stop: make(chan struct{}),
	}, nil
}

func (w *watcher) Next(ctx context.Context) ([]Event, error) {
	var scratch [maxNextEvents]*change
	for {
		if err := w.over(ctx); err != nil {
			return nil, err
		}
		n, wake, err := w.read(scratch[:])
		if err != nil {
			return nil, err
		}
		w.events = w.events[:0]
		for _, c := range scratch[:n] {
			if e, ok := c.event(&w.selection); ok {
				w.events = append(w.events, e)
			}
		}
		if len(w.events) > 0 {
			return w.events, nil
		}
		if n > 0 {
			continue
		}
		select {
		case <-wake:
		case <-w.stop:
			return nil, errStopped
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (w *watcher) over(ctx context.Context) error {
	select {
	case <-w.stop:
		return errStopped
	default:
		return ctx.Err()
	}
}

// read takes the next changes out of the log and moves on behind them.
func (w *watcher) read(dst []*change) (n int, wake <-chan struct{}, err error) {
	w.cache.mu.RLock()
	defer w.cache.mu.RUnlock()
	n, held := w.table.log.read(w.place, dst)
	if !held {
		return 0, nil, apierrors.NewResourceExpired(fmt.Sprintf(
			"the watch fell behind: changes after resource version %d are no longer kept", w.seen))
	}
	if n == 0 && w.cache.ended != nil {
		return 0, nil, w.cache.ended
	}
	w.place += int64(n)
	w.seen = max(w.seen, w.reached(dst[:n]))
	return n, w.table.wake, nil
}

// reached is the revision up to which nothing is left in the log for this watcher. The caller holds the lock.
func (w *watcher) reached(read []*change) int64 {
	if w.place == w.table.log.end() {
		return w.cache.revision
	}
	if len(read) == 0 {
		return 0
	}
	var next [1]*change
	w.table.log.read(w.place, next[:])
	last := read[len(read)-1].revision
	if next[0].revision == last { // the rest of a transaction by someone else on several keys
		return last - 1
	}
	return last
}

func (w *watcher) Revision() int64 {
	w.cache.mu.RLock()
	defer w.cache.mu.RUnlock()
	w.seen = max(w.seen, w.reached(nil))
	return w.seen
}

func (w *watcher) Stop() { w.stopOnce.Do(func() { close(w.stop) }) }
