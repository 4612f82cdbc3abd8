package table

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Direction says on which side of the bar a value must be.
type Direction int

// The directions.
const (
	AtLeast Direction = iota
	AtMost
)

func (d Direction) String() string {
	if d == AtMost {
		return "≤"
	}
	return "≥"
}

// Row is one measured line.
type Row struct {
	Name      string
	What      string // what the value is a ratio of, and why the bar is where it is
	Direction Direction
	Bar       float64
	Value     float64
	Notes     []string // raw figures
	Err       error    // the row could not be measured
}

// Good tells whether the row holds its bar. What could not be measured does not, and neither does a value that is no
// number.
func (r Row) Good() bool {
	if r.Err != nil || math.IsNaN(r.Value) {
		return false
	}
	if r.Direction == AtMost {
		return r.Value <= r.Bar
	}
	return r.Value >= r.Bar
}

// Verdict is the last word of a row's line.
func (r Row) Verdict() string {
	switch {
	case r.Err != nil:
		return "ERROR"
	case r.Good():
		return "ok"
	default:
		return "SHORT"
	}
}

// nameWidth fits the longest name of a row.
const nameWidth = 34

// Print writes the row's line, and its raw figures below it as comments.
func (r Row) Print(w io.Writer) error {
	value := Number(r.Value)
	if r.Err != nil {
		value = "-"
	}
	_, err := fmt.Fprintf(w, "%-*s %10s %s%-9s %s\n", nameWidth, r.Name, value, r.Direction, Number(r.Bar), r.Verdict())
	for _, note := range r.notes() {
		if err == nil {
			_, err = fmt.Fprintf(w, "    # %s\n", note)
		}
	}
	return err
}

func (r Row) notes() []string {
	if r.Err == nil {
		return r.Notes
	}
	return append(append([]string(nil), r.Notes...), strings.Split(r.Err.Error(), "\n")...)
}

// Number prints a value with the digits that mean something: three, or all of those before the point.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	case a >= 0.1:
		return fmt.Sprintf("%.3f", v)
	case a == 0:
		return "0"
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

// Markdown writes the page: what was measured on what machine, the table, and the raw figures.
func Markdown(w io.Writer, machine string, rows []Row) error {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n")
	b.WriteString("Written by `go run ./bench -write`; do not edit. Every value is a ratio to a peer or to a physical cost that the same run\n")
	b.WriteString("measured in turns with it, so that the machine's mood falls out; absolute figures are below the table.\n\n")
	fmt.Fprintf(&b, "Machine: %s\n\n", machine)
	b.WriteString("| row | value | bar | |\n|---|---|---|---|\n")
	for _, r := range rows {
		value := Number(r.Value)
		if r.Err != nil {
			value = "–"
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s %s | %s |\n", r.Name, anchor(r.Name), value, r.Direction, Number(r.Bar), r.Verdict())
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", r.Name, r.What)
		if notes := r.notes(); len(notes) > 0 {
			b.WriteString("\n")
			for _, note := range notes {
				fmt.Fprintf(&b, "- %s\n", note)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// anchor is the fragment that GitHub gives a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r == ' ':
			return '-'
		default:
			return -1
		}
	}, heading)
}
