package controller

import (
	"errors"
	"sync"
)

const (
	// writeParallelism bounds the writes that one step has under way at once. The store groups concurrent
	// transactions into one disk write; beyond some thirty it gains no more.
	writeParallelism = 32
	// firstBatch is the size of a step's first batch of creations.
	firstBatch = 1
	// maxBurst bounds the pods that one step creates or deletes, so that other owners have their turn.
	maxBurst = 500
)

// slowStart calls do for 0 … count-1 in batches that double in size, and stops after a batch with an error. When
// every creation would fail (a quota, a bad template) it costs one failed call, not hundreds. It returns how many
// calls succeeded.
func slowStart(count int, do func(i int) error) (done int, err error) {
	for from, size := 0, firstBatch; from < count; size *= 2 {
		to := min(from+size, count)
		ok, err := together(from, to, do)
		done += ok
		if err != nil {
			return done, err
		}
		from = to
	}
	return done, nil
}

// together calls do for from … to-1, writeParallelism at a time, and waits for all. It returns how many succeeded
// and the errors of the others.
func together(from, to int, do func(i int) error) (done int, err error) {
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		errs  []error
		next  = from
	)
	for range min(writeParallelism, to-from) {
		group.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= to {
					return
				}
				err := do(i)
				mu.Lock()
				if err == nil {
					done++
				} else if len(errs) < writeParallelism {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return done, errors.Join(errs...)
}
