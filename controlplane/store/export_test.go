package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Compact drops etcd's history before revision, as the loop does.
func (s *Store) Compact(ctx context.Context, revision int64) error { return s.compact(ctx, revision) }

// Etcd is the store's own client.
func (s *Store) Etcd() *clientv3.Client { return s.backend.client }

// MaxObjectBytes is the bound of a value.
const MaxObjectBytes = maxObjectBytes
