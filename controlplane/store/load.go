package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// snapshot is the whole registry at one revision.
type snapshot struct {
	identity string // of the etcd it was read from
	revision int64
	kvs      []*mvccpb.KeyValue
}

// readAll reads the registry, page by page, all at one revision: the one given, or with 0 the present one.
func (s *Store) readAll(ctx context.Context, revision int64) (*snapshot, error) {
	identity, err := s.backend.identify(ctx)
	if err != nil {
		return nil, err
	}
	snap := &snapshot{identity: identity, revision: revision}
	end := clientv3.GetPrefixRangeEnd(registryPrefix)
	for from := registryPrefix; ; {
		resp, err := s.get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(snap.revision), clientv3.WithLimit(etcdPageKeys))
		if err != nil {
			return nil, err
		}
		if snap.revision == 0 {
			snap.revision = resp.Header.Revision
		}
		snap.kvs = append(snap.kvs, resp.Kvs...)
		if !resp.More {
			return snap, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.backend.client.Get(ctx, key, opts...)
}

// load fills the empty cache with the state some way back in etcd's history, so that the follower then reads that
// part of the history into the logs and clients can resume across a restart. It answers the present revision.
func (s *Store) load(ctx context.Context) (now int64, err error) {
	if now, err = s.backend.readIndex(ctx); err != nil {
		return 0, err
	}
	snap, err := s.readAll(ctx, max(1, now-maxReplayRevisions))
	if errors.Is(err, rpctypes.ErrCompacted) {
		var oldest int64
		if oldest, err = s.compactedRevision(ctx); err == nil {
			snap, err = s.readAll(ctx, oldest)
		}
	}
	if errors.Is(err, rpctypes.ErrCompacted) { // it was compacted just now; the present is safe
		snap, err = s.readAll(ctx, 0)
	}
	if err != nil {
		return 0, err
	}
	s.replace(snap)
	return now, nil
}

// compactedRevision is the oldest revision whose state can still be read.
func (s *Store) compactedRevision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// etcd tells it to those only who watch from before.
	watch := s.backend.client.Watch(ctx, registryPrefix, clientv3.WithRev(1))
	select {
	case resp, ok := <-watch:
		if ok && resp.CompactRevision > 0 {
			return resp.CompactRevision, nil
		}
		return 0, fmt.Errorf("ask etcd for its oldest revision: %w", errors.Join(resp.Err(), ctx.Err()))
	case <-ctx.Done():
		return 0, fmt.Errorf("ask etcd for its oldest revision: %w", ctx.Err())
	}
}

// replace makes a snapshot the cache's state, without telling how it came about: all watchers are left behind.
func (s *Store) replace(snap *snapshot) {
	states := s.decodeAll(snap.kvs)
	s.cache.update(snap.revision, func() {
		for _, t := range s.cache.tables {
			t.reset(snap.revision)
		}
		s.cache.holeAfter, s.cache.holeBefore = 0, 0
		for _, st := range states {
			if st.err != nil {
				st.table.broken[st.key] = brokenValue{st.revision, st.err}
			} else {
				st.table.tree.ReplaceOrInsert(st.entry)
			}
		}
	})
	s.identity = snap.identity
	s.backend.accept(snap.identity)
}

// state is what etcd holds, or held, under a key of a table.
type state struct {
	table    *table
	key      string
	revision int64
	created  int64
	entry    *Entry // nil when it was deleted or err is set
	err      error
}

func (s *Store) decodeAll(kvs []*mvccpb.KeyValue) []state {
	states := make([]state, 0, len(kvs))
	for _, kv := range kvs {
		if st, ok := s.locate(kv); ok {
			s.decode(&st, kv.Value)
			states = append(states, st)
		}
	}
	return states
}

// locate finds the table a key of etcd belongs to; keys of other programs and of resources that are no longer served
// belong to none.
func (s *Store) locate(kv *mvccpb.KeyValue) (state, bool) {
	path, key, ok := splitTablePath(string(kv.Key))
	if !ok {
		return state{}, false
	}
	t := s.cache.tables[path]
	return state{table: t, key: key, revision: kv.ModRevision, created: kv.CreateRevision}, t != nil
}

// decode makes the entry. A value that cannot be read is reported here, once, and hides only itself.
func (s *Store) decode(st *state, value []byte) {
	if st.entry, st.err = newEntry(st.table.resource, st.key, value, st.revision); st.err != nil {
		s.log.Error("cannot read a stored object; it is left out", "resource", st.table.resource.GVR.GroupResource().String(),
			"key", st.key, "revision", st.revision, "error", st.err)
	}
}
