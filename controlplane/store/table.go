package store

import (
	"strings"
	"sync"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/watch"
)

const treeDegree = 32 // wide nodes: few allocations, and a copy-on-write clone copies little per write

// table is the cache of one resource: its objects in key order, and its log. The cache's lock guards it; only the
// follower writes.
type table struct {
	resource *Resource
	tree     *btree.BTreeG[*Entry]
	log      eventLog
	changed  int64                  // the revision of the latest change
	broken   map[string]brokenValue // values that do not decode, by key
	wake     chan struct{}          // closed when the log grows
	cloneMu  sync.Mutex             // guards snap among readers that hold the cache's lock for reading
	snap     *btree.BTreeG[*Entry]  // a clone of tree, while it is current
}

type brokenValue struct {
	revision int64
	err      error
}

func newTable(r *Resource, limits logLimits) *table {
	return &table{
		resource: r,
		tree:     newTree(),
		log:      eventLog{limits: limits},
		broken:   map[string]brokenValue{},
		wake:     make(chan struct{}),
	}
}

func newTree() *btree.BTreeG[*Entry] {
	return btree.NewG(treeDegree, func(a, b *Entry) bool { return a.key < b.key })
}

func (t *table) prefix() string { return registryPrefix + tablePath(t.resource) + "/" }

func (t *table) get(key string) *Entry {
	e, _ := t.tree.Get(&Entry{key: key})
	return e
}

// snapshot is the table's state for readers who go on without the lock. Clones share nodes until the next write.
func (t *table) snapshot() *btree.BTreeG[*Entry] {
	t.cloneMu.Lock()
	defer t.cloneMu.Unlock()
	if t.snap == nil {
		t.snap = t.tree.Clone()
	}
	return t.snap
}

// put takes in a new state of a key and logs the change.
func (t *table) put(e *Entry) {
	delete(t.broken, e.key)
	prev, had := t.tree.ReplaceOrInsert(e)
	c := &change{kind: watch.Added, revision: e.Revision, cur: e}
	if had {
		c.kind, c.prev = watch.Modified, prev
		prev.supersede()
	}
	t.logged(c)
}

// remove takes a key out. last, where it is known, is what watchers are shown instead of the cached state.
func (t *table) remove(key string, revision int64, last *Entry) {
	delete(t.broken, key)
	prev, had := t.tree.Delete(&Entry{key: key})
	if !had {
		return
	}
	prev.supersede()
	if last == nil {
		last = prev.at(revision)
	}
	t.logged(&change{kind: watch.Deleted, revision: revision, prev: prev, cur: last})
}

// breakKey takes out a key whose new value does not decode. To watchers the object is gone: they must agree with
// lists, which cannot show it.
func (t *table) breakKey(key string, revision int64, err error) {
	t.remove(key, revision, nil)
	t.broken[key] = brokenValue{revision, err}
}

func (t *table) logged(c *change) {
	t.snap = nil
	t.changed = c.revision
	t.log.append(c)
}

// reset empties the table; what follows is put in without a log.
func (t *table) reset(revision int64) {
	t.tree, t.snap = newTree(), nil
	clear(t.broken)
	t.changed = revision
	t.log.expire(revision)
	t.signal()
}

func (t *table) signal() {
	close(t.wake)
	t.wake = make(chan struct{})
}

// page walks a snapshot from a key on and collects what is selected, up to limit (0: all). more tells that another
// match follows the last; remaining counts all keys after it and is only meant where nothing narrows.
func page(tree *btree.BTreeG[*Entry], s *selection, after string, limit int64) (entries []*Entry, more bool, remaining int64) {
	if s.only != "" {
		if e, ok := tree.Get(&Entry{key: s.only}); ok && s.only > after && s.matches(e) {
			entries = append(entries, e)
		}
		return entries, false, 0
	}
	prefix := s.prefix()
	start := prefix
	if after != "" {
		start = after + "\x00"
	}
	counting := false
	if limit == 0 && !s.selects() && prefix == "" {
		entries = make([]*Entry, 0, tree.Len())
	}
	tree.AscendGreaterOrEqual(&Entry{key: start}, func(e *Entry) bool {
		if !strings.HasPrefix(e.key, prefix) {
			return false
		}
		if counting {
			remaining++
			return true
		}
		if !s.matches(e) {
			return true
		}
		if limit > 0 && int64(len(entries)) == limit {
			more, counting, remaining = true, true, 1
			return !s.selects()
		}
		entries = append(entries, e)
		return true
	})
	return entries, more, remaining
}
