package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// each calls fn for 0 … n-1 from so many goroutines and answers calls per second.
func each(ctx context.Context, n, goroutines int, fn func(i int) error) (float64, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	began := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[g] = fn(i); errs[g] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// pause waits, and no longer than the context lasts.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
