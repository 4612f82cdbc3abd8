package e2e

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// neighbour asks an app again and again, and keeps what was not as it should be.
type neighbour struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	answers  int
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
			n.answers++
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
	n.cancel()
	n.wg.Wait()
	if len(n.failures) > 0 {
		w.Errorf("%d of %d requests to a neighbour failed, first: %s", len(n.failures), n.answers, n.failures[0])
	}
	if n.answers < 20 || n.slowest > 5*time.Second {
		w.Errorf("a neighbour answered %d times, the slowest after %s", n.answers, n.slowest)
	}
	w.Logf("a neighbour answered %d times, the slowest after %s", n.answers, n.slowest.Round(time.Millisecond))
}
