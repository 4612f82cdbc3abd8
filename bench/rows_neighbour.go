package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

// neighbourConnections is few: what is asked is how long a request waits for its turn, not how long it queues.
const neighbourConnections = 2

func neighbourRows() []row {
	return []row{{
		name: "wasmrt/loop-neighbours", direction: table.AtMost, bar: 2, measure: neighbourRow,
		what: "The 99th percentile of a pod's response times while a guest of another pod in the same runner loops, divided by that without it, by\n" +
			"wrk. A runner takes turns at slices of fuel that are shorter than what load and server on few processors wait for each other.",
	}}
}

func neighbourRow(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		guest, err := l.servedGuest(ctx, c, plainGuest)
		if err != nil {
			return err
		}
		if err := l.runGuest(ctx, c, "looping", probeGuest, 1); err != nil {
			return err
		}
		looping, err := podAddresses(ctx, c, "looping")
		if err != nil {
			return err
		}
		runners, err := c.Runners()
		if err != nil || len(runners) != 1 {
			return fmt.Errorf("find runners: %v, %w: pods of one namespace share one", runners, err)
		}
		ask := func() (float64, error) {
			r, err := l.wrk(ctx, guest.target, neighbourConnections, loadTime)
			return r.p99, err
		}
		if _, err := ask(); err != nil {
			return err
		}
		beside := func() (float64, error) {
			end := startLoop(ctx, "http://"+looping[0]+"/loop")
			p99, err := ask()
			return p99, errors.Join(err, end())
		}
		p, err := stats.Pair(loadRounds, beside, ask)
		if m, err = paired(p, err, "beside a loop", "alone", "s"); err == nil {
			m.note("p99 beside a loop %.2f ms, alone %.2f ms, at %d connections", 1000*stats.Median(p.A), 1000*stats.Median(p.B), neighbourConnections)
		}
		return err
	})
	return m, err
}

// startLoop asks for what never answers; the function that it answers cuts the connection, which ends the guest. A loop
// that ended before is an error: then nobody was beside it.
func startLoop(ctx context.Context, url string) (end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var early error
	wg.Go(func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			early = err
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			if ctx.Err() == nil {
				early = fmt.Errorf("ask for a loop: %w", err)
			}
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		early = fmt.Errorf("the loop ended by itself: %s: %s", res.Status, body)
	})
	time.Sleep(100 * time.Millisecond) // it is running when the load begins
	return func() error {
		cancel()
		wg.Wait()
		return early
	}
}
