package table

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestGood(t *testing.T) {
	for _, c := range []struct {
		row  Row
		want string
	}{
		{Row{Direction: AtLeast, Bar: 2, Value: 2}, "ok"},
		{Row{Direction: AtLeast, Bar: 2, Value: 1.99}, "SHORT"},
		{Row{Direction: AtMost, Bar: 2, Value: 2}, "ok"},
		{Row{Direction: AtMost, Bar: 2, Value: 2.01}, "SHORT"},
		{Row{Direction: AtMost, Bar: 2, Value: math.NaN()}, "SHORT"},
		{Row{Direction: AtLeast, Bar: 2, Value: math.NaN()}, "SHORT"},
		{Row{Direction: AtMost, Bar: 2, Value: 1, Err: errors.New("x")}, "ERROR"},
	} {
		if got := c.row.Verdict(); got != c.want || c.row.Good() != (c.want == "ok") {
			t.Errorf("%+v: %s, want %s", c.row, got, c.want)
		}
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	rows := []Row{
		{Name: "api/create", Direction: AtLeast, Bar: 0.15, Value: 0.1834, Notes: []string{"2000/s"}},
		{Name: "pods/scale-1000", Direction: AtMost, Bar: 10, Err: errors.New("no\ncluster")},
	}
	for _, r := range rows {
		if err := r.Print(&b); err != nil {
			t.Fatal(err)
		}
	}
	want := "api/create                              0.183 ≥0.150     ok\n" +
		"    # 2000/s\n" +
		"pods/scale-1000                             - ≤10.0      ERROR\n" +
		"    # no\n" +
		"    # cluster\n"
	if b.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", b.String(), want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.00213: "0.0021", 0.25: "0.250", 1.5: "1.50", 12.34: "12.3", 1234.5: "1234", -2: "-2.00"} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	rows := []Row{{Name: "api/create", What: "A ratio.", Bar: 1, Value: 2, Notes: []string{"raw"}}}
	if err := Markdown(&b, "two cores", rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Benchmarks", "two cores", "| [api/create](#apicreate) | 2.00 | ≥ 1.00 | ok |", "## api/create\n\nA ratio.\n\n- raw\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
