package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"

	"github.com/petrelrun/petrel/bench/stats"
)

// found is what bench/inside tells of a measurement.
type found struct {
	Ours, Peer []float64
	Facts      map[string]float64
	Notes      []string
}

// inside runs one measurement of bench/inside in a process of its own.
func (l *lab) inside(ctx context.Context, measure string, args ...string) (f found, err error) {
	path, err := l.tree.Program(ctx, "./bench/inside")
	if err != nil {
		return f, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, append([]string{"-measure", measure}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return f, fmt.Errorf("run inside: %w\n%s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &f); err != nil {
		return f, fmt.Errorf("read what inside found: %w", err)
	}
	return f, nil
}

// ratios are ours ÷ peer, round by round.
func (f found) ratios() ([]float64, error) {
	if len(f.Ours) == 0 || len(f.Ours) != len(f.Peer) {
		return nil, fmt.Errorf("compare rounds: %d of ours, %d of the peer", len(f.Ours), len(f.Peer))
	}
	out := make([]float64, len(f.Ours))
	for i := range out {
		if f.Peer[i] <= 0 {
			return nil, fmt.Errorf("compare rounds: the peer took %v", f.Peer[i])
		}
		out[i] = f.Ours[i] / f.Peer[i]
	}
	return out, nil
}

// fact answers a number that must have been told.
func (f found) fact(name string) (float64, error) {
	v, there := f.Facts[name]
	if !there {
		return 0, fmt.Errorf("read what inside found: no %s", name)
	}
	return v, nil
}

// medians makes a measurement of rounds: the value is the median ratio, and the notes have both sides in µs.
func (f found) medians(ours, peer string) (m measurement, err error) {
	ratios, err := f.ratios()
	if err != nil {
		return m, err
	}
	m.value = stats.Median(ratios)
	m.notes = append(m.notes, f.Notes...)
	m.note("%s: median %.2f µs", ours, 1e6*stats.Median(f.Ours))
	m.note("%s: median %.2f µs", peer, 1e6*stats.Median(f.Peer))
	return m, nil
}

// geometricMean is what ratios of different things are averaged by.
func geometricMean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
