package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

// liveBudget is where holding instances ends: what takes more than four times its bar need not take the machine too.
const liveBudget = 4.4 * (1 << 30)

// liveCheck is how many instances are made between two looks at the memory.
const liveCheck = 500

// measureLive holds so many instances, each of which has served a request, and tells this process's memory before and
// after.
func measureLive(ctx context.Context, o options) (r result, err error) {
	g, err := load(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	pool, err := g.pool(engine.IsolationReset)
	if err != nil {
		return r, err
	}
	var instances []*engine.Instance
	defer func() {
		err = errors.Join(err, pool.Close())
		for _, in := range instances {
			err = errors.Join(err, pool.Put(in))
		}
	}()
	hold := func(n int) error {
		for len(instances) < n {
			in, err := pool.Get(ctx)
			if err != nil {
				return fmt.Errorf("instance %d: %w", len(instances)+1, err)
			}
			instances = append(instances, in)
			if err := in.Call(ctx, exportHandle); err != nil {
				return fmt.Errorf("instance %d: %w", len(instances), err)
			}
			if err := isolated(ctx, in); err != nil {
				return err
			}
			if len(instances)%liveCheck == 0 {
				if used, err := proportionalMemory(); err != nil || used > liveBudget {
					return errors.Join(err, fmt.Errorf("%d instances take %.1f GiB", len(instances), used/(1<<30)))
				}
			}
		}
		return nil
	}
	if err := hold(1); err != nil {
		return r, err
	}
	before, err := proportionalMemory()
	if err != nil {
		return r, err
	}
	if err := hold(o.count); err != nil {
		return r, err
	}
	after, err := proportionalMemory()
	if err != nil {
		return r, err
	}
	r.fact("bytes before", before)
	r.fact("bytes after", after)
	r.fact("instances", float64(len(instances)))
	r.fact("clones", float64(pool.Stats().Clones))
	return r, nil
}

// proportionalMemory reads this process's memory, in bytes, after the collector has given back what it can.
func proportionalMemory() (float64, error) {
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "Pss:" {
			kib, err := strconv.ParseFloat(string(fields[1]), 64)
			return kib * 1024, err
		}
	}
	return 0, errors.New("smaps_rollup tells no Pss")
}
