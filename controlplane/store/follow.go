package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	errWatchEnded   = errors.New("etcd ended the watch")
	errBackendEnded = errors.New("etcd stopped")
	errSuspect      = errors.New("etcd was replaced or set back")
)

// follow keeps the cache on etcd's heels until ctx ends or the embedded etcd stops. Whatever breaks the watch, it
// goes on from the revision that the cache holds; where etcd no longer has what came next, it takes the difference.
func (s *Store) follow(ctx context.Context) error {
	backoff := followBackoffMin
	for {
		before := s.cache.now()
		err := s.followWatch(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.cache.now() != before {
			backoff = followBackoffMin
		}
		if errors.Is(err, errBackendEnded) {
			return err
		}
		if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, errSuspect) {
			s.log.Info("taking the difference from etcd", "revision", s.cache.now(), "reason", err)
			if err = s.resync(ctx); err == nil {
				continue
			}
		}
		s.log.Warn("cannot follow etcd; trying again", "revision", s.cache.now(), "error", err)
		select {
		case <-time.After(backoff):
		case <-s.backend.stopped:
			return errBackendEnded
		case <-ctx.Done():
			return ctx.Err()
		}
		backoff = min(2*backoff, followBackoffMax)
	}
}

// followWatch applies one watch's answers until it breaks.
func (s *Store) followWatch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = s.backend.watchContext(ctx)
	watch := s.backend.client.Watch(ctx, registryPrefix, clientv3.WithPrefix(), clientv3.WithRev(s.cache.now()+1), clientv3.WithProgressNotify())
	asked, pause := s.progress, (<-chan time.Time)(nil)
	for {
		var err error
		select {
		case resp, ok := <-watch:
			if !ok {
				return errWatchEnded
			}
			err = s.take(resp)
		case <-asked:
			err = s.backend.client.RequestProgress(ctx)
			asked, pause = nil, time.After(progressInterval)
		case <-pause:
			asked, pause = s.progress, nil
		case <-s.suspect:
			return errSuspect
		case <-s.backend.stopped:
			return errBackendEnded
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// take applies one answer of the watch.
func (s *Store) take(resp clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		return fmt.Errorf("watch etcd: %w", err)
	}
	if resp.IsProgressNotify() {
		if resp.Header.Revision > s.cache.now() {
			s.cache.update(resp.Header.Revision, func() {})
		}
		return nil
	}
	if len(resp.Events) > 0 {
		s.apply(resp.Events)
	}
	return nil
}

// apply moves the cache over events that etcd told, all of the revisions they belong to. How far that is the last
// event tells: the answer's own revision may be ahead of events that are still to come.
func (s *Store) apply(events []*clientv3.Event) {
	states := make([]state, 0, len(events))
	for _, ev := range events {
		st, ok := s.locate(ev.Kv)
		if !ok {
			continue
		}
		if ev.Type != clientv3.EventTypeDelete {
			s.decode(&st, ev.Kv.Value)
		}
		states = append(states, st)
	}
	revision := events[len(events)-1].Kv.ModRevision
	s.cache.update(revision, func() { s.applyStates(states) })
	s.farewells.passed(revision)
}

func (s *Store) applyStates(states []state) {
	for _, st := range states {
		switch {
		case st.err != nil:
			st.table.breakKey(st.key, st.revision, st.err)
		case st.entry != nil:
			st.table.put(st.entry)
		default:
			st.table.remove(st.key, st.revision, s.farewell(st))
		}
	}
}

// farewell is the last state that a remover of this process left for watchers.
func (s *Store) farewell(st state) *Entry {
	prev := st.table.get(st.key)
	if prev == nil {
		return nil
	}
	last := s.farewells.find(farewellKey{tablePath(st.table.resource), st.key, prev.Revision})
	if last == nil {
		return nil
	}
	return last.at(st.revision)
}
