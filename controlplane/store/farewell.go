package store

import "sync"

// farewells hold the last states of objects that are being removed, where those differ from what etcd holds: a
// deletion in etcd has no value, so the follower could only show watchers the state before.
// Another control plane on the same etcd shows that one, which is a last state as well.
type farewells struct {
	mu   sync.Mutex
	held map[farewellKey]farewell
}

// farewellKey names a state of a key; it can be removed once.
type farewellKey struct {
	table, key string
	revision   int64
}

type farewell struct {
	last  *Entry
	until int64 // the revision of the deletion, once it is known
}

// hold must come before the deletion, which the follower may see before the one who deletes has its answer. Of two
// who remove the same state the first is heard: only one of them can win, and it may not be known who did.
func (f *farewells) hold(k farewellKey, last *Entry) (mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.held[k]; taken {
		return false
	}
	if f.held == nil {
		f.held = map[farewellKey]farewell{}
	}
	f.held[k] = farewell{last: last}
	return true
}

func (f *farewells) find(k farewellKey) *Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held[k].last
}

// release lets go of a farewell once the follower has passed revision.
func (f *farewells) release(k farewellKey, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.held[k]; ok {
		v.until = revision
		f.held[k] = v
	}
}

// drop lets go of a farewell to what was not removed after all.
func (f *farewells) drop(k farewellKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, k)
}

// passed forgets what the follower has told.
func (f *farewells) passed(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, v := range f.held {
		if v.until != 0 && v.until <= revision {
			delete(f.held, k)
		}
	}
}
