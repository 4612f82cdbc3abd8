package controller

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// latest holds objects as a controller wrote them last, until the cache shows that version or a later one.
type latest[T api.Object] struct {
	mu      sync.Mutex
	written map[types.UID]T
	// made is since when an object is held that the cache has not shown at all.
	made map[types.UID]time.Time
}

func newLatest[T api.Object]() *latest[T] {
	return &latest[T]{written: make(map[types.UID]T), made: make(map[types.UID]time.Time)}
}

// created remembers what the API returned for a creation. has reads the cache, to leave out what it shows already.
func (l *latest[T]) created(obj T, has func() (T, bool), now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cached, ok := has(); ok && cached.GetUID() == obj.GetUID() {
		return
	}
	l.written[obj.GetUID()] = obj
	l.made[obj.GetUID()] = now
}

// wrote remembers what the API returned for an update. has reads the cache, to leave out what it shows already.
func (l *latest[T]) wrote(obj T, has func() (T, bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	uid := obj.GetUID()
	if before, ok := l.written[uid]; ok && !newer(obj, before) {
		return
	}
	// The cache's event may have come before the write returned; observe would then never come again. What was
	// updated and is not in the cache now is gone, unless it has never been there.
	cached, ok := has()
	_, unseen := l.made[uid]
	if ok && (cached.GetUID() != uid || !newer(obj, cached)) || !ok && !unseen {
		return
	}
	l.written[uid] = obj
}

// known are own writes as they were at one moment. Whoever decides by what is not there any more has to take it before
// reading the cache: an event that comes between a read and a look at the own writes strikes the write, and what was
// read would pass for the newest though it is older.
type known[T api.Object] map[types.UID]T

// before takes note of the own writes to objects that belongs is true for, before the cache is read.
func (l *latest[T]) before(belongs func(T) bool) known[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := known[T]{}
	for uid, obj := range l.written {
		if belongs(obj) {
			k[uid] = obj
		}
	}
	return k
}

// newest returns what is known best of an object that the cache showed later.
func (k known[T]) newest(cached T) T {
	if own, ok := k[cached.GetUID()]; ok && newer(own, cached) {
		return own
	}
	return cached
}

// newest returns what is known best of an object that a cache shows. It may be a version late, which a guarded write
// finds out; see known for decisions that no write guards.
func (l *latest[T]) newest(cached T) T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own, ok := l.written[cached.GetUID()]; ok && newer(own, cached) {
		return own
	}
	return cached
}

// overlay returns the objects that a cache shows and those that were created and it does not show yet, each as it is
// known best. belongs tells which of the latter are asked for.
func (l *latest[T]) overlay(ctx context.Context, e *env, belongs func(T) bool, read func() []T) ([]T, error) {
	// The cache is read last: an object that it receives in between is then in both, never in neither.
	unseen, doubtful := l.unseen(belongs, e.Clock.Now().Add(-ledgerPatience))
	for _, obj := range doubtful {
		fresh, err := e.Client.Get(ctx, named(obj))
		switch {
		case apierrors.IsNotFound(err), err == nil && fresh.GetUID() != obj.GetUID():
			l.forget(obj.GetUID()) // it came and went before the cache showed it
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", obj.GetName(), err)
		default:
			unseen = append(unseen, obj)
		}
	}
	own := l.before(func(T) bool { return true }) // what was let go by an own write is asked for too
	objects := read()
	for i, obj := range objects {
		objects[i] = own.newest(obj)
	}
	for _, obj := range unseen {
		if !slices.ContainsFunc(objects, func(have T) bool { return have.GetUID() == obj.GetUID() }) {
			objects = append(objects, obj)
		}
	}
	return objects, nil
}

// unseen lists the created objects that the cache has not shown and that belong is true for; doubtful are those among
// them that were made before a time.
func (l *latest[T]) unseen(belongs func(T) bool, before time.Time) (fresh, doubtful []T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid, at := range l.made {
		switch obj := l.written[uid]; {
		case !belongs(obj):
		case at.Before(before):
			doubtful = append(doubtful, obj)
		default:
			fresh = append(fresh, obj)
		}
	}
	return fresh, doubtful
}

// forget drops an object that is gone.
func (l *latest[T]) forget(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.written, uid)
	delete(l.made, uid)
}

// observe takes note of an event of the cache.
func (l *latest[T]) observe(c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	uid := c.object().GetUID()
	delete(l.made, uid)
	own, ok := l.written[uid]
	if ok && (c.new == nil || !newer(own, c.new)) {
		delete(l.written, uid)
	}
}

// newer compares resource versions: they are the store's revisions, one rising number for all objects.
func newer(a, b api.Object) bool {
	return revisionOf(a) > revisionOf(b)
}

func revisionOf(obj api.Object) uint64 {
	n, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
