package eviction

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Reclaiming has thresholds, hard ones and soft ones, hold until so much more is free than they ask for, in kubelet's form:
// "nodefs.available=500Mi,imagefs.available=2Gi", or percentages: a node that frees just enough would soon have to again.
func Reclaiming(thresholds []Threshold, text string) ([]Threshold, error) {
	out := slices.Clone(thresholds)
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	seen := map[Signal]bool{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		signal := Signal(strings.TrimSpace(name))
		if !ok || !slices.Contains(signals, signal) {
			return nil, fmt.Errorf("minimum reclaim %q: want one of %v, then = and a quantity or a percentage", part, signals)
		}
		if seen[signal] {
			return nil, fmt.Errorf("minimum reclaim %q: %s has one already", part, signal)
		}
		seen[signal] = true
		more, err := parseReclaim(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("minimum reclaim %q: %w", part, err)
		}
		for i := range out {
			if out[i].Signal == signal {
				out[i].Reclaim = more
			}
		}
	}
	return out, nil
}

// Part is so much of something, or so many percent of all.
type Part struct {
	Amount  int64
	Percent float64
}

// Of is the part of so much in all.
func (s Part) Of(capacity int64) int64 {
	if s.Percent > 0 {
		return int64(float64(capacity) * s.Percent / 100)
	}
	return s.Amount
}

func parseReclaim(value string) (Part, error) {
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n < 100) {
			return Part{}, errors.New("want a percentage below 100")
		}
		return Part{Percent: n}, nil
	}
	q, err := resource.ParseQuantity(value)
	if err != nil || q.Sign() < 0 || q.Value() < 0 {
		return Part{}, errors.New("want a quantity such as 500Mi")
	}
	return Part{Amount: q.Value()}, nil
}

// enough is what has to be free for a threshold to be met no longer: more than before it was.
func (m *Monitor) enough(t Threshold, capacity int64) int64 {
	least := t.Least(capacity)
	if _, met := m.since[t.watch()]; met && least < capacity {
		least += min(t.Reclaim.Of(capacity), capacity-least)
	}
	return least
}
