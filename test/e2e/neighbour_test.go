package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// neighbour asks an app again and again, and keeps what was not as it should be.
type neighbour struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	answers  atomic.Int64
	failures []string
	slowest  time.Duration
}

func startNeighbour(w *world, url string) *neighbour {
	ctx, cancel := context.WithCancel(w.Context())
	n := &neighbour{cancel: cancel}
	n.wg.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			a, err := fetch(ctx, url)
			if ctx.Err() != nil {
				return
			}
			if err != nil || a.Status != 200 {
				n.failures = append(n.failures, fmt.Sprintf("%d %s %v", a.Status, a.Body, err))
			}
			n.answers.Add(1)
			n.slowest = max(n.slowest, time.Since(began))
			time.Sleep(10 * time.Millisecond)
		}
	})
	w.Cleanup(cancel)
	return n
}

// verify ends the asking. A neighbour may have waited for its turn; it may not have failed.
func (n *neighbour) verify(w *world) {
	w.Helper()
	w.eventually("a neighbour to have answered often", func() error {
		if answers := n.answers.Load(); answers < 20 {
			return fmt.Errorf("%d answers", answers)
		}
		return nil
	})
	n.cancel()
	n.wg.Wait()
	if len(n.failures) > 0 {
		w.Errorf("%d of %d requests to a neighbour failed, first: %s", len(n.failures), n.answers.Load(), n.failures[0])
	}
	if n.slowest > 20*time.Second {
		w.Errorf("a neighbour's slowest answer came after %s", n.slowest)
	}
	w.Logf("a neighbour answered %d times, the slowest after %s", n.answers.Load(), n.slowest.Round(time.Millisecond))
}
