package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/petrelrun/petrel/bench/table"
)

// goBenchmark is a benchmark of a package of ours that compares two sides by itself. It lives beside the code, because it
// needs what only that package's tests have.
type goBenchmark struct {
	pkg, name string // the name with its sub-benchmarks, in Go's spelling
	times     int    // how often it does what it does; each time both sides do it once
	metric    string // that has the row's value
	inverse   bool   // the metric is the value's reciprocal
	here      bar    // of one of the metrics, on the machine of docs/benchmarks.md
}

// bar is a bound on a metric in microseconds.
type bar struct {
	metric string
	most   float64
}

// measure runs it in a process of its own. The other metrics are the notes.
func (g goBenchmark) measure(ctx context.Context, l *lab) (m measurement, err error) {
	metrics, err := g.run(ctx, l)
	if err != nil {
		return m, err
	}
	value, there := metrics[g.metric]
	if !there || value <= 0 {
		return m, fmt.Errorf("run %s of %s: it told no %s", g.name, g.pkg, g.metric)
	}
	m.value = value
	if g.inverse {
		m.value = 1 / value
	}
	if g.here.metric != "" {
		m.barred(g.name, metrics[g.here.metric], g.here.most, "µs")
	}
	for name, v := range metrics {
		if unit, ok := strings.CutSuffix(name, "-ns"); ok {
			m.note("%s: median %.2f µs", unit, v/1000)
		} else if unit, ok := strings.CutSuffix(name, "-us"); ok {
			m.note("%s: median %s µs", unit, table.Number(v))
		} else if unit, ok := strings.CutSuffix(name, "-KiB"); ok {
			m.note("%s: %s KiB", unit, table.Number(v))
		}
	}
	return m, nil
}

// run answers the benchmark's metrics by their units.
func (g goBenchmark) run(ctx context.Context, l *lab) (map[string]float64, error) {
	var parts []string
	for part := range strings.SplitSeq(g.name, "/") {
		parts = append(parts, "^"+part+"$")
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", strings.Join(parts, "/"), "-benchtime", fmt.Sprintf("%dx", g.times), g.pkg)
	cmd.Dir = l.tree.Root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s of %s: %w\n%s", g.name, g.pkg, err, bytes.TrimSpace(out.Bytes()))
	}
	return parseGoBenchmark(out.Bytes(), g.name)
}

// parseGoBenchmark reads the one result line that the benchmark printed.
func parseGoBenchmark(out []byte, name string) (map[string]float64, error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		// The name ends with -GOMAXPROCS.
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") || !strings.HasPrefix(fields[0], name) {
			continue
		}
		metrics := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read benchmark %s: %w", name, err)
			}
			metrics[fields[i+1]] = v
		}
		return metrics, nil
	}
	if bytes.Contains(out, []byte("SKIP")) {
		return nil, fmt.Errorf("unavailable: %s was skipped\n%s", name, bytes.TrimSpace(out))
	}
	return nil, errors.Join(lines.Err(), fmt.Errorf("read benchmark %s: it printed no result\n%s", name, bytes.TrimSpace(out)))
}
