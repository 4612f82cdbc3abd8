package main

import (
	"context"
	"errors"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

const (
	// rounds of a measurement in turns; each is so short that a scheduler's hiccup spoils one, not the median.
	rounds = 25
	// resetCalls and cloneCalls are requests a round.
	resetCalls = 2000
	cloneCalls = 200
	// roundsLimit ends the rounds of what is far slower than it should be.
	roundsLimit = 20 * time.Second
)

// measureReset compares a request that gets an instance from the pool, calls it, and puts it back to be reset, with the
// bare call of an instance that is kept.
func measureReset(ctx context.Context, o options) (r result, err error) {
	g, err := load(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	reset, err := g.pool(engine.IsolationReset)
	if err != nil {
		return r, err
	}
	defer reset.Close()
	shared, err := g.pool(engine.IsolationShared)
	if err != nil {
		return r, err
	}
	defer shared.Close()
	hot, err := shared.Get(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, shared.Put(hot)) }()
	if err := request(ctx, reset, true); err != nil {
		return r, err
	}
	began := time.Now()
	for len(r.Ours) < rounds && time.Since(began) < roundsLimit {
		ours, err := each(resetCalls, func() error { return request(ctx, reset, false) })
		if err != nil {
			return r, err
		}
		peer, err := each(resetCalls, func() error { return hot.Call(ctx, exportHandle) })
		if err != nil {
			return r, err
		}
		r.Ours, r.Peer = append(r.Ours, ours), append(r.Peer, peer)
	}
	if err := request(ctx, reset, true); err != nil {
		return r, err
	}
	stats := reset.Stats()
	r.fact("resets", float64(stats.Resets))
	r.fact("requests", float64(len(r.Ours)*resetCalls+2))
	r.fact("reset seconds", stats.ResetTime.Seconds()/float64(max(1, stats.Resets)))
	if stats.NoSnapshot != "" {
		r.note("no snapshot: %s", stats.NoSnapshot)
	}
	return r, nil
}

// request is one isolated request; checked, it asks the guest whether it is.
func request(ctx context.Context, p *engine.Pool, checked bool) error {
	in, err := p.Get(ctx)
	if err != nil {
		return err
	}
	err = in.Call(ctx, exportHandle)
	if err == nil && checked {
		err = isolated(ctx, in)
	}
	return errors.Join(err, p.Put(in))
}

// each answers the seconds that one of n calls takes.
func each(n int, call func() error) (float64, error) {
	began := time.Now()
	for range n {
		if err := call(); err != nil {
			return 0, err
		}
	}
	return time.Since(began).Seconds() / float64(n), nil
}
