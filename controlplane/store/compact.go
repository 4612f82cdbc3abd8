package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compactEvery lets etcd forget, each interval, what was already old when the interval began: at least the last
// interval's history is kept, at most the last two.
// Several control planes on one etcd may all do so; each only drops what all have had for an interval.
func compactEvery(ctx context.Context, interval time.Duration, now func() int64, compact func(context.Context, int64) error, log *slog.Logger) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	old := now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := compact(ctx, old); err != nil && ctx.Err() == nil {
			// The history stays a while longer; nothing else depends on it.
			log.Warn("cannot compact etcd", "revision", old, "error", err)
		}
		old = now()
	}
}

// compact drops the history before revision, and sees to the space that this frees.
func (s *Store) compact(ctx context.Context, revision int64) error {
	bound, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := s.backend.client.Compact(bound, revision)
	if errors.Is(err, rpctypes.ErrCompacted) { // someone was faster, or nothing was written since
		err = nil
	}
	return errors.Join(err, s.relieve(ctx))
}
