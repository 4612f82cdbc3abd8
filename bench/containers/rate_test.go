package containers

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// together is how many pods are started at a time.
	together = 4
	// What one turn starts: as many as take a second or two.
	wasmTurn, containerTurn = 200, 12
)

// BenchmarkRate starts pods, four at a time, and counts those that have answered per second, in turns.
func BenchmarkRate(b *testing.B) {
	c, _ := containers(b)
	w, _ := wasm(b)
	for _, s := range []*side{c, w} { // the first pod pays for unpacking, and for a runner and its template
		if _, err := s.rate(b.Context(), "first", 1); err != nil {
			b.Fatal(err)
		}
	}
	var rates [2][]float64
	for n := 0; b.Loop(); n++ {
		for i, turn := range []struct {
			side *side
			pods int
		}{{w, wasmTurn}, {c, containerTurn}} {
			rate, err := turn.side.rate(b.Context(), fmt.Sprintf("turn%d", n), turn.pods)
			if err != nil {
				b.Fatal(err)
			}
			rates[i] = append(rates[i], rate)
		}
	}
	wasmRate, containerRate := median(rates[0]), median(rates[1])
	b.ReportMetric(wasmRate/containerRate, "ratio")
	b.ReportMetric(1e6/wasmRate, "wasm-pod-us")
	b.ReportMetric(1e6/containerRate, "container-pod-us")
}

// rate starts pods and answers how many began to answer per second; then it removes them.
func (s *side) rate(ctx context.Context, prefix string, n int) (float64, error) {
	pods, took, err := s.many(ctx, prefix, n)
	for _, p := range pods {
		if p.sandbox != "" && err == nil {
			err = s.end(ctx, p)
		}
	}
	return float64(n) / took.Seconds(), err
}

// many starts pods, some at a time.
func (s *side) many(ctx context.Context, prefix string, n int) ([]pod, time.Duration, error) {
	pods := make([]pod, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	began := time.Now()
	for i := range n {
		group.Go(func() (err error) {
			if pods[i], err = s.start(ctx, fmt.Sprintf("%s-%d", prefix, i)); err != nil {
				return fmt.Errorf("%s pod %s-%d: %w", s.name, prefix, i, err)
			}
			return nil
		})
	}
	err := group.Wait()
	return pods, time.Since(began), err
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
