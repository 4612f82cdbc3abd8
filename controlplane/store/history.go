package store

import (
	"context"
	"errors"

	"github.com/google/btree"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listHistory answers a page of an older state out of etcd. What has not changed since is taken from the present, so
// that it is neither decoded nor encoded again.
func (s *Store) listHistory(ctx context.Context, t *table, present *btree.BTreeG[*Entry], sel *selection, revision int64, after string, limit int64) (*List, error) {
	l := &List{Revision: revision}
	from, end := t.prefix()+sel.prefix(), clientv3.GetPrefixRangeEnd(t.prefix()+sel.prefix())
	if sel.only != "" {
		from, end = t.prefix()+sel.only, t.prefix()+sel.only+"\x00"
	}
	if after != "" {
		from = t.prefix() + after + "\x00"
	}
	for {
		chunk := int64(etcdPageKeys)
		if limit > 0 && !sel.selects() {
			chunk = min(chunk, limit-int64(len(l.Entries)))
		}
		resp, err := s.get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(chunk))
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil, errExpired(revision, lostToken(after))
		}
		if errors.Is(err, rpctypes.ErrFutureRev) { // etcd was set back just now
			return nil, errTooLarge(revision, s.cache.now())
		}
		if err != nil {
			return nil, s.failed("list "+t.resource.GVR.GroupResource().String(), err)
		}
		for i, kv := range resp.Kvs {
			e := s.historic(t, present, kv)
			if e == nil || !sel.matches(e) {
				continue
			}
			l.Entries = append(l.Entries, e)
			if limit > 0 && int64(len(l.Entries)) == limit {
				remaining := resp.Count - int64(i+1)
				return cutShort(l, sel, remaining), nil
			}
		}
		if !resp.More {
			return l, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// cutShort ends a full page. With a selector nobody knows whether one of those that follow matches; a last page may
// then be empty, as the API allows.
func cutShort(l *List, sel *selection, remaining int64) *List {
	if remaining == 0 {
		return l
	}
	l.Continue = token{Revision: l.Revision, After: l.Entries[len(l.Entries)-1].key}.encode()
	if !sel.selects() {
		l.Remaining = &remaining
	}
	return l
}

// lostToken lets a client whose pages are of a state that is gone go on, after the last key it has, with the present
// state; it is told that this is what it gets. There is none for a list that had not begun.
func lostToken(after string) string {
	if after == "" {
		return ""
	}
	return token{Revision: anyRevision, After: after}.encode()
}

// historic is the entry of a key as etcd had it; nil when it cannot be read.
func (s *Store) historic(t *table, present *btree.BTreeG[*Entry], kv *mvccpb.KeyValue) *Entry {
	st, ok := s.locate(kv)
	if !ok {
		return nil
	}
	if e, held := present.Get(&Entry{key: st.key}); held && e.Revision == st.revision {
		return e
	}
	s.decode(&st, kv.Value)
	return st.entry
}
