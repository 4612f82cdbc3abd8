package controller

import (
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// latest holds objects as a controller wrote them last, until the cache shows that version or a later one.
type latest[T api.Object] struct {
	mu      sync.Mutex
	written map[types.UID]T
}

func newLatest[T api.Object]() *latest[T] { return &latest[T]{written: make(map[types.UID]T)} }

// wrote remembers what the API returned for an update. has reads the cache, to leave out what it shows already.
func (l *latest[T]) wrote(obj T, has func() (T, bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, ok := l.written[obj.GetUID()]; ok && !newer(obj, before) {
		return
	}
	// The cache's event may have come before the write returned; observe would then never come again. What was
	// updated was in the cache: when it is not there now, it is gone.
	if cached, ok := has(); !ok || cached.GetUID() != obj.GetUID() || !newer(obj, cached) {
		return
	}
	l.written[obj.GetUID()] = obj
}

// newest returns what is known best of an object that a cache shows.
func (l *latest[T]) newest(cached T) T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own, ok := l.written[cached.GetUID()]; ok && newer(own, cached) {
		return own
	}
	return cached
}

// observe takes note of an event of the cache.
func (l *latest[T]) observe(c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, ok := l.written[c.object().GetUID()]
	if !ok {
		return
	}
	if c.new == nil || !newer(own, c.new) {
		delete(l.written, own.GetUID())
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
