package store

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Get reads one object.
func (s *Store) Get(ctx context.Context, r *Resource, namespace, name string, fresh bool) (*Entry, error) {
	t, err := s.table(r)
	if err != nil {
		return nil, err
	}
	key, err := objectKey(r, namespace, name)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if fresh {
		if err := s.fresh(ctx); err != nil {
			return nil, err
		}
	}
	return s.cached(t, key)
}

// cached is what the cache holds under a key.
func (s *Store) cached(t *table, key string) (*Entry, error) {
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	if s.cache.ended != nil {
		return nil, s.cache.ended
	}
	if e := t.get(key); e != nil {
		return e, nil
	}
	if b, ok := t.broken[key]; ok {
		return nil, errBroken(t.resource, key, b.err)
	}
	_, name, err := splitObjectKey(t.resource, key)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return nil, apierrors.NewNotFound(t.resource.GVR.GroupResource(), name)
}
