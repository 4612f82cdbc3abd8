package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// cache is every resource's table at one revision. One lock guards all of it, so that what is read together belongs
// together; nothing slow happens under it.
type cache struct {
	mu       sync.RWMutex
	revision int64
	moved    chan struct{} // closed when revision moves or the cache ends
	tables   map[string]*table
	// The log of changes has a hole between these revisions: what happened there was learnt as a difference, not one
	// by one. Watchers that were in the log pass it safely; a watch cannot start inside.
	holeAfter, holeBefore int64
	ended                 error // why there will be no further revision
	limits                logLimits
}

func newCache(resources []*Resource, limits logLimits) *cache {
	c := &cache{moved: make(chan struct{}), tables: map[string]*table{}, limits: limits}
	for _, r := range resources {
		c.tables[tablePath(r)] = newTable(r, limits)
	}
	return c
}

// update runs fn as the follower, with the cache to itself, and moves it to revision.
func (c *cache) update(revision int64, fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.revision
	fn()
	c.revision = revision
	for _, t := range c.tables {
		if t.changed > before {
			t.signal()
		}
	}
	close(c.moved)
	c.moved = make(chan struct{})
}

// end tells every waiter that nothing more will come.
func (c *cache) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return
	}
	c.ended = err
	for _, t := range c.tables {
		t.signal()
	}
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *cache) now() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// checkStart tells whether a watch of t may start after a revision. The caller holds the lock.
func (c *cache) checkStart(t *table, from int64) error {
	if from < t.log.floor || from > c.holeAfter && from < c.holeBefore {
		oldest := max(t.log.floor, c.holeBefore)
		return apierrors.NewResourceExpired(fmt.Sprintf("resource version %d is too old: changes are kept from %d on", from, oldest))
	}
	return nil
}

// wait blocks until the cache has reached revision, at most for limit. ask is called again and again while it has to.
func (c *cache) wait(ctx context.Context, revision int64, limit time.Duration, ask func()) error {
	var expired, again <-chan time.Time
	for {
		c.mu.RLock()
		now, moved, ended := c.revision, c.moved, c.ended
		c.mu.RUnlock()
		switch {
		case now >= revision:
			return nil
		case ended != nil:
			return ended
		}
		if expired == nil {
			timer, ticker := time.NewTimer(limit), time.NewTicker(askInterval)
			defer timer.Stop()
			defer ticker.Stop()
			expired, again = timer.C, ticker.C
			ask()
		}
		select {
		case <-moved:
		case <-again:
			ask()
		case <-expired:
			return errTooLarge(revision, now)
		case <-ctx.Done():
			return translate("wait for the cache", ctx.Err())
		}
	}
}
