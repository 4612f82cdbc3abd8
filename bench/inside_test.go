package main

import (
	"math"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/toolchain"
)

func TestFound(t *testing.T) {
	f := found{Ours: []float64{2e-6, 8e-6, 3e-6}, Peer: []float64{1e-6, 2e-6, 3e-6}, Facts: map[string]float64{"resets": 95, "requests": 100}}
	m, err := f.medians("ours", "peer")
	if err != nil || m.value != 2 || m.notes[0] != "ours: median 3.00 µs" {
		t.Errorf("%+v, %v", m, err)
	}
	if err := f.mostly("resets"); err != nil {
		t.Error(err)
	}
	f.Facts["resets"] = 50
	for _, fact := range []string{"resets", "clones"} {
		if f.mostly(fact) == nil {
			t.Errorf("%s: no error", fact)
		}
	}
	for name, bad := range map[string]found{"nothing": {}, "one side": {Ours: []float64{1}}, "zero": {Ours: []float64{1}, Peer: []float64{0}}} {
		if m, err := bad.medians("ours", "peer"); err == nil {
			t.Errorf("%s: %+v and no error", name, m)
		}
	}
	if g := geometricMean([]float64{1, 4}); math.Abs(g-2) > 1e-9 {
		t.Errorf("geometric mean %v", g)
	}
}

// TestInside runs the measuring program: a measurement tells its rounds, and what cannot be measured is an error.
func TestInside(t *testing.T) {
	tree, err := toolchain.Find()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{tree: tree, dir: t.TempDir()}
	tiny, err := tree.Guest(t.Context(), "tiny", true)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.inside(t.Context(), "clone", "-module", tiny)
	if err != nil || len(f.Ours) == 0 || len(f.Ours) != len(f.Peer) {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := l.inside(t.Context(), "nothing"); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("a measurement that is not there: %v", err)
	}
}
