package store

import (
	"context"
	"slices"

	"cmp"
)

// resync brings the cache to etcd's present state where the steps in between are lost, and tells watchers the
// difference in steps of its own.
func (s *Store) resync(ctx context.Context) error {
	snap, err := s.readAll(ctx, 0)
	if err != nil {
		return err
	}
	before := s.cache.now()
	if snap.identity != s.identity || snap.revision < before {
		s.log.Error("etcd is another one or was set back: every watch starts anew", "revision", snap.revision, "cache", before)
		s.replace(snap)
		return nil
	}
	if snap.revision == before {
		return nil
	}
	changed := s.difference(before, snap)
	s.cache.update(snap.revision, func() {
		s.applyStates(changed)
		s.cache.dig(before, snap.revision)
	})
	return nil
}

// difference is what leads from the cache's state to the snapshot's, in the order of revisions. The revisions at which
// keys were deleted are not known. They are told just before the last one: a client that resumes from there is inside
// the hole and is sent to list anew, where one that resumed from the last revision could have missed its neighbours.
func (s *Store) difference(before int64, snap *snapshot) []state {
	deletedAt := max(snap.revision-1, before+1)
	var changed []state
	held := map[*table]map[string]struct{}{}
	for _, t := range s.cache.tables {
		held[t] = map[string]struct{}{}
	}
	for _, kv := range snap.kvs {
		st, ok := s.locate(kv)
		if !ok {
			continue
		}
		held[st.table][st.key] = struct{}{}
		if kv.ModRevision <= before { // the cache has it, or knows that it cannot be read
			continue
		}
		if prev := st.table.get(st.key); prev != nil && kv.CreateRevision > prev.Revision {
			// It was deleted and made anew: two objects, which must not look like one.
			changed = append(changed, state{table: st.table, key: st.key, revision: kv.CreateRevision - 1})
		}
		s.decode(&st, kv.Value)
		changed = append(changed, st)
	}
	for t, keys := range held {
		t.tree.Ascend(func(e *Entry) bool {
			if _, ok := keys[e.key]; !ok {
				changed = append(changed, state{table: t, key: e.key, revision: deletedAt})
			}
			return true
		})
		for key := range t.broken {
			if _, ok := keys[key]; !ok {
				changed = append(changed, state{table: t, key: key, revision: deletedAt})
			}
		}
	}
	slices.SortStableFunc(changed, func(a, b state) int { return cmp.Compare(a.revision, b.revision) })
	return changed
}

// dig marks the hole that a difference left. A hole that was there before is closed by letting no watch start before
// its end. The caller holds the lock.
func (c *cache) dig(after, before int64) {
	for _, t := range c.tables {
		t.log.floor = max(t.log.floor, c.holeBefore)
	}
	c.holeAfter, c.holeBefore = after, before
}
