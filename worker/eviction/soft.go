package eviction

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Soften makes soft thresholds of what ParseThresholds has read: each acts only when it was crossed for as long as its
// signal's grace period, in kubelet's form: "memory.available=1m30s,nodefs.available=2m". Each has to have one.
func Soften(thresholds []Threshold, graces string) ([]Threshold, error) {
	periods, err := parseGraces(graces)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(thresholds)
	for i := range out {
		period, ok := periods[out[i].Signal]
		if !ok {
			return nil, fmt.Errorf("soft eviction threshold %s: it has no grace period", out[i])
		}
		out[i].Soft, out[i].Grace = true, period
		delete(periods, out[i].Signal)
	}
	for signal := range periods {
		return nil, fmt.Errorf("grace period of %s: it has no soft eviction threshold", signal)
	}
	return out, nil
}

func parseGraces(text string) (map[Signal]time.Duration, error) {
	out := map[Signal]time.Duration{}
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		signal := Signal(strings.TrimSpace(name))
		if !ok || !slices.Contains(signals, signal) {
			return nil, fmt.Errorf("grace period %q: want one of %v, then = and a duration", part, signals)
		}
		if _, twice := out[signal]; twice {
			return nil, fmt.Errorf("grace period %q: %s has one already", part, signal)
		}
		period, err := time.ParseDuration(strings.TrimSpace(value))
		if err != nil || period < 0 {
			return nil, fmt.Errorf("grace period %q: want a duration such as 1m30s", part)
		}
		out[signal] = period
	}
	return out, nil
}

// watch is a threshold as it is told from others: a signal has a hard one and a soft one at most.
type watch struct {
	signal Signal
	soft   bool
}

func (t Threshold) watch() watch { return watch{t.Signal, t.Soft} }

// due are those of the crossed thresholds for which something has to be done now: soft ones have a period of grace, which
// begins anew when what is short no longer is.
func (m *Monitor) due(crossed []Threshold, now time.Time) []Threshold {
	since := make(map[watch]time.Time, len(crossed))
	var out []Threshold
	for _, t := range crossed {
		at, known := m.since[t.watch()]
		if !known {
			at = now
		}
		since[t.watch()] = at
		if !t.Soft || now.Sub(at) >= t.Grace {
			out = append(out, t)
		}
	}
	m.since = since
	return out
}
