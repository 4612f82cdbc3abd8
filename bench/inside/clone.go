package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/wasmrt/engine"
)

// page is the physical cost that clones are divided by: one page of memory is given back and had again, by a write to it.
// It is a system call and a page fault, and no memory that a request wrote to can be had anew for less.
type page []byte

func newPage() (page, error) {
	b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map a page: %w", err)
	}
	return b, nil
}

func (p page) renew() error {
	if err := unix.Madvise(p, unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("give a page back: %w", err)
	}
	p[0] = 1
	return nil
}

// measureClone compares instances that are made, called once and thrown away with pages. A pool that is closed
// throws away what is put back, so that no reset is in it.
func measureClone(ctx context.Context, o options) (r result, err error) {
	g, err := load(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	keeper, err := g.pool(engine.IsolationReset)
	if err != nil {
		return r, err
	}
	defer keeper.Close() // keeps the snapshot, which every round's pool shares
	if err := request(ctx, keeper, true); err != nil {
		return r, err
	}
	p, err := newPage()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(p)) }()
	var clones uint64
	once := func() error {
		n, err := g.cloneOnce(ctx)
		clones += n
		return err
	}
	var pools []float64
	for range rounds {
		alone, err := each(cloneCalls, g.poolAlone)
		if err != nil {
			return r, err
		}
		pools = append(pools, alone)
		ours, err := each(cloneCalls, once)
		if err != nil {
			return r, err
		}
		peer, err := each(resetCalls, p.renew)
		if err != nil {
			return r, err
		}
		r.Ours, r.Peer = append(r.Ours, ours), append(r.Peer, peer)
	}
	r.fact("pool seconds", stats.Median(pools))
	r.fact("clones", float64(clones))
	r.fact("requests", rounds*cloneCalls)
	return r, nil
}

// poolAlone makes a pool and closes it: what a measurement adds that needs one for each clone.
func (g *guest) poolAlone() error {
	pool, err := g.pool(engine.IsolationReset)
	if err != nil {
		return err
	}
	return pool.Close()
}

// cloneOnce makes an instance, calls it and ends it, and answers how many clones that took: one. The pool of its own is
// a few hundred bytes.
func (g *guest) cloneOnce(ctx context.Context) (uint64, error) {
	pool, err := g.pool(engine.IsolationReset)
	if err != nil {
		return 0, err
	}
	in, err := pool.Get(ctx)
	if err != nil {
		return 0, errors.Join(err, pool.Close())
	}
	err = errors.Join(in.Call(ctx, exportHandle), pool.Close(), pool.Put(in))
	return pool.Stats().Clones, err
}
