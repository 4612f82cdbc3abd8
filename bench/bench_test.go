package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/bench/table"
)

// TestRows holds the table to its rules: names in known rooms, each once, each with a bar and a reason.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		room, rest, _ := strings.Cut(r.name, "/")
		if !strings.Contains(" wasmrt proxy pods api cluster ", " "+room+" ") || rest == "" {
			t.Errorf("row %q is of no room", r.name)
		}
		if seen[r.name] {
			t.Errorf("row %q is there twice", r.name)
		}
		seen[r.name] = true
		if r.bar <= 0 || r.measure == nil || !strings.Contains(r.what, "divided by") {
			t.Errorf("row %q has no bar, no measure, or does not say what it is divided by", r.name)
		}
	}
}

func TestChoose(t *testing.T) {
	all := []row{{name: "api/get"}, {name: "api/list"}, {name: "pods/scale"}}
	for pattern, want := range map[string]int{".": 3, "^api/": 2, "get|scale": 2} {
		if got, err := choose(all, pattern); err != nil || len(got) != want {
			t.Errorf("choose %q: %d rows, %v; want %d", pattern, len(got), err, want)
		}
	}
	for _, pattern := range []string{"nothing", "("} {
		if _, err := choose(all, pattern); err == nil {
			t.Errorf("choose %q: no error", pattern)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"-run", "nothing"}, {"-run", "^api/", "-write"}, {"-no-such-flag"}} {
		var out, errs strings.Builder
		if code := run(t.Context(), args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("bench %v: code %d, says %q", args, code, errs.String())
		}
	}
	var out strings.Builder
	if code := run(t.Context(), []string{"-list", "-run", "api/get"}, &out, &out); code != 0 || !strings.HasPrefix(out.String(), "api/get ≥") {
		t.Errorf("bench -list: code %d, says %q", code, out.String())
	}
}

func TestRowRun(t *testing.T) {
	bad := errors.New("bad")
	r := row{name: "api/x", direction: table.AtMost, bar: 2, measure: func(context.Context, *lab) (measurement, error) {
		m := measurement{value: 3}
		m.note("%d raw", 7)
		return m, bad
	}}
	got := r.run(t.Context(), nil)
	if got.Verdict() != "ERROR" || !errors.Is(got.Err, bad) || got.Notes[0] != "7 raw" {
		t.Errorf("%+v", got)
	}
}

func TestEach(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]int{}
	rate, err := each(t.Context(), 100, 7, func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		seen[i]++
		return nil
	})
	if err != nil || rate <= 0 || len(seen) != 100 {
		t.Errorf("rate %v, %v, %d calls", rate, err, len(seen))
	}
	for i, n := range seen {
		if n != 1 {
			t.Errorf("%d was called %d times", i, n)
		}
	}
	bad := errors.New("bad")
	if _, err := each(t.Context(), 10, 2, func(i int) error {
		if i == 3 {
			return bad
		}
		return nil
	}); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := each(ctx, 10, 2, func(int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestParseRollup(t *testing.T) {
	m, err := parseRollup([]byte("00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:               12345 kB\nPss:                6789 kB\nPss_Dirty:          1 kB\n"))
	if err != nil || m.RSS != 12345 || m.PSS != 6789 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := parseRollup([]byte("Rss: 1 kB\n")); err == nil {
		t.Error("no Pss and no error")
	}
	if m, err := memoryOf(1 << 30); err == nil {
		t.Errorf("a process that is not there: %+v", m)
	}
}

func TestParseStat(t *testing.T) {
	line := "7 (a (b) c) S 1 7 7 0 -1 4194304 10 0 0 0 150 50 0 0 20 0 9 0 5 6 7\n"
	if d, err := parseStat([]byte(line)); err != nil || d != 2*time.Second {
		t.Errorf("%v, %v", d, err)
	}
	for _, bad := range []string{"", "7 (a) S 1", "7 a S 1 7 7 0 -1 4194304 10 0 0 0 150 50 0", strings.Replace(line, "150", "x", 1)} {
		if d, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %v and no error", bad, d)
		}
	}
	if d, err := cpuTimeOf(1 << 30); err == nil {
		t.Errorf("a process that is not there: %v", d)
	}
}

func TestBarred(t *testing.T) {
	var m measurement
	m.barred("a", 5, 6, "µs")
	m.barred("b", 7, 6, "µs")
	if !strings.HasSuffix(m.notes[0], "held)") || !strings.HasSuffix(m.notes[1], "missed)") {
		t.Errorf("%q", m.notes)
	}
}

func TestMachine(t *testing.T) {
	for _, want := range []string{" × ", "Linux ", "go1."} {
		if !strings.Contains(machine(), want) {
			t.Errorf("machine says %q", machine())
		}
	}
}
