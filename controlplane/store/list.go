package store

import (
	"context"
	"fmt"

	"github.com/google/btree"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// List answers a page.
func (s *Store) List(ctx context.Context, r *Resource, opts ListOptions) (*List, error) {
	t, err := s.table(r)
	if err != nil {
		return nil, err
	}
	if opts.Limit < 0 || opts.Revision < 0 {
		return nil, apierrors.NewBadRequest("limit and resource version must not be negative")
	}
	sel := opts.Query.selection(r)
	if opts.Continue != "" {
		return s.listOn(ctx, t, &sel, opts)
	}
	switch {
	case opts.Exact && opts.Revision == 0:
		return nil, apierrors.NewBadRequest("an exact list needs a resource version")
	case opts.Fresh:
		err = s.fresh(ctx)
	case opts.Revision > 0:
		err = s.cache.wait(ctx, opts.Revision, waitRevision, s.askProgress)
	}
	if err != nil {
		return nil, err
	}
	if opts.Exact {
		return s.listAt(ctx, t, &sel, opts.Revision, "", opts.Limit)
	}
	tree, revision, err := s.present(t)
	if err != nil {
		return nil, err
	}
	return listPage(tree, &sel, revision, "", opts.Limit), nil
}

// listOn answers the page after an earlier one.
func (s *Store) listOn(ctx context.Context, t *table, sel *selection, opts ListOptions) (*List, error) {
	if opts.Revision != 0 || opts.Exact {
		return nil, apierrors.NewBadRequest("a continue token has a resource version of its own")
	}
	tok, err := decodeToken(t.resource, sel.namespace, opts.Continue)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the continue token is not valid: %v", err))
	}
	if tok.Revision != anyRevision {
		if err := s.cache.wait(ctx, tok.Revision, waitRevision, s.askProgress); err != nil {
			return nil, err
		}
		return s.listAt(ctx, t, sel, tok.Revision, tok.After, opts.Limit)
	}
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	tree, revision, err := s.present(t)
	if err != nil {
		return nil, err
	}
	return listPage(tree, sel, revision, tok.After, opts.Limit), nil
}

// present is a table as it is now.
func (s *Store) present(t *table) (*btree.BTreeG[*Entry], int64, error) {
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	if s.cache.ended != nil {
		return nil, 0, s.cache.ended
	}
	return t.snapshot(), s.cache.revision, nil
}

// listAt answers a page of the state at just one revision, which the cache has reached: from the cache when nothing in
// the table has changed since, otherwise from etcd.
func (s *Store) listAt(ctx context.Context, t *table, sel *selection, revision int64, after string, limit int64) (*List, error) {
	s.cache.mu.RLock()
	ended := s.cache.ended
	same := revision >= t.changed && revision >= s.cache.holeBefore && revision <= s.cache.revision
	tree := t.snapshot()
	s.cache.mu.RUnlock()
	if ended != nil {
		return nil, ended
	}
	if same {
		return listPage(tree, sel, revision, after, limit), nil
	}
	return s.listHistory(ctx, t, tree, sel, revision, after, limit)
}

// listPage cuts a page out of a snapshot.
func listPage(tree *btree.BTreeG[*Entry], sel *selection, revision int64, after string, limit int64) *List {
	entries, more, remaining := page(tree, sel, after, limit)
	l := &List{Entries: entries, Revision: revision}
	if more {
		l.Continue = token{Revision: revision, After: entries[len(entries)-1].key}.encode()
		if !sel.selects() {
			l.Remaining = &remaining
		}
	}
	return l
}
