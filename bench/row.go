package main

import (
	"context"
	"fmt"
	"time"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
)

// row is one thing that is measured.
type row struct {
	name      string
	what      string // what the value is a ratio of, and why the bar is where it is
	direction table.Direction
	bar       float64
	measure   func(context.Context, *lab) (measurement, error)
}

// measurement is what a row's function found.
type measurement struct {
	value float64
	notes []string // raw figures
}

func (m *measurement) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

// barred notes a raw figure with the bar that it has on the machine of docs/benchmarks.md, and whether it holds it. Only
// the ratio decides a row: a slower machine is no fault.
func (m *measurement) barred(what string, value, bar float64, unit string) {
	verdict := "held"
	if value > bar {
		verdict = "missed"
	}
	m.note("%s: %s %s (bar here ≤ %s %s: %s)", what, table.Number(value), unit, table.Number(bar), unit, verdict)
}

// rowLimit bounds one row: what is stuck must not hold the rows after it.
const rowLimit = 5 * time.Minute

func (r row) run(ctx context.Context, l *lab) table.Row {
	ctx, cancel := context.WithTimeout(ctx, rowLimit)
	defer cancel()
	m, err := r.measure(ctx, l)
	return table.Row{Name: r.name, What: r.what, Direction: r.direction, Bar: r.bar, Value: m.value, Notes: m.notes, Err: err}
}

// rows are all rows, in the order they are measured.
func rows() []row {
	var all []row
	for _, group := range [][]row{clusterRows(), wasmrtRows(), insideRows(), neighbourRows(), peerRows(), proxyRows(), kernelRows(), apiRows(), podRows(), idlePodRows(), restRows(), containerRows()} {
		all = append(all, group...)
	}
	return all
}

// paired makes a measurement of paired rounds: the value is the median ratio, the notes are both sides.
func paired(p stats.Paired, err error, a, b, unit string) (measurement, error) {
	var m measurement
	if err != nil {
		return m, err
	}
	m.value = p.Ratio()
	m.note("%s: median %s %s (rounds %s)", a, table.Number(stats.Median(p.A)), unit, numbers(p.A))
	m.note("%s: median %s %s (rounds %s)", b, table.Number(stats.Median(p.B)), unit, numbers(p.B))
	return m, nil
}

func numbers(values []float64) string {
	out := ""
	for i, v := range values {
		if i > 0 {
			out += ", "
		}
		out += table.Number(v)
	}
	return out
}
