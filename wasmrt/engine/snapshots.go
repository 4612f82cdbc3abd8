package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// snapshots are those of one program, by what is baked into them.
type snapshots struct {
	mu    sync.Mutex
	byKey map[string]*making
}

// making is a snapshot that is there, or that somebody makes and others wait for.
type making struct {
	ready chan struct{}
	s     *snapshot
	err   error
}

// key is what of a Spec goes into a snapshot. Where mounted directories are on the host goes in only when the guest has
// looked into them.
func (s Spec) key(withHostPaths bool) string {
	var b []byte
	number := func(n uint64) { b = binary.AppendUvarint(b, n) }
	text := func(t string) {
		number(uint64(len(t)))
		b = append(b, t...)
	}
	texts := func(ts []string) {
		number(uint64(len(ts)))
		for _, t := range ts {
			text(t)
		}
	}
	texts(s.Args)
	texts(s.Env)
	number(uint64(len(s.Mounts)))
	for _, m := range s.Mounts {
		text(m.GuestPath)
		text(strconv.FormatBool(m.ReadOnly))
		if withHostPaths {
			text(m.HostPath)
		}
	}
	number(s.MemoryLimit)
	number(uint64(s.MaxFiles))
	number(uint64(s.CallDepth))
	number(uint64(len(s.Listeners)))
	for _, l := range s.Listeners {
		text(fmt.Sprintf("%p", l))
	}
	if withHostPaths {
		text("host")
	}
	if len(b) <= sha256.Size {
		return string(b)
	}
	h := sha256.Sum256(b)
	return string(h[:])
}

// get returns the snapshot for a Spec with one more user, and makes it when there is none. One that cannot be had is
// remembered too, with its reason; an error is not.
func (c *snapshots) get(ctx context.Context, spec Spec, create func() (*snapshot, error)) (*snapshot, error) {
	s, err := c.getKey(ctx, spec.key(false), create)
	if err != nil || !s.bound {
		return s, err
	}
	// Its guest has seen files, so it is good for those files only.
	if s.boundTo == spec.key(true) {
		return s, nil
	}
	s.use(-1)
	return c.getKey(ctx, spec.key(true), create)
}

func (c *snapshots) getKey(ctx context.Context, key string, create func() (*snapshot, error)) (*snapshot, error) {
	for {
		c.mu.Lock()
		m := c.byKey[key]
		if m == nil {
			m = &making{ready: make(chan struct{})}
			if c.byKey == nil {
				c.byKey = map[string]*making{}
			}
			c.byKey[key] = m
			c.mu.Unlock()
			return c.fill(key, m, create)
		}
		if m.s != nil {
			m.s.use(1) // under the lock, so that it does not expire
			c.mu.Unlock()
			return m.s, nil
		}
		c.mu.Unlock()
		select {
		case <-m.ready:
			var killed *KilledError
			if m.err != nil && !errors.As(m.err, &killed) {
				return nil, m.err
			}
			// It is there, or the one who made it ran out of time, which says nothing about us.
		case <-ctx.Done():
			return nil, &KilledError{Cause: causeOf(ctx)}
		}
	}
}

func (c *snapshots) fill(key string, m *making, create func() (*snapshot, error)) (*snapshot, error) {
	begun := time.Now()
	s, err := create()
	c.mu.Lock()
	if err != nil {
		m.err = err
		delete(c.byKey, key)
	} else {
		s.key, s.took = key, time.Since(begun)
		s.use(1)
		m.s = s
	}
	close(m.ready)
	c.mu.Unlock()
	return s, err
}

// expire drops a snapshot that nobody has used for long. It returns whether it shall be looked at again.
func (c *snapshots) expire(s *snapshot, now time.Time) (again bool) {
	c.mu.Lock()
	s.mu.Lock()
	used, rested := s.users > 0, now.Sub(s.since) >= snapshotRest
	s.mu.Unlock()
	m := c.byKey[s.key]
	if used || m == nil || m.s != s {
		c.mu.Unlock()
		return false // the last user will say so
	}
	if !rested {
		c.mu.Unlock()
		return true
	}
	delete(c.byKey, s.key)
	c.mu.Unlock()
	s.drop()
	return false
}

// close drops all. Nobody uses them any more.
func (c *snapshots) close() {
	c.mu.Lock()
	all := c.byKey
	c.byKey = nil
	c.mu.Unlock()
	for _, m := range all {
		if m.s != nil {
			m.s.drop()
		}
	}
}

func (s *snapshot) drop() {
	if err := s.close(); err != nil {
		s.program.engine.log.Warn("close snapshot", "digest", s.program.info.Digest, "err", err)
	}
}
