package module

import (
	"slices"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"fd_wriet", "fd_write", 2}, {"same", "same", 0}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	got := nearest("clock_get_time", ServedFunctions(WASIModule))
	if got != nil && !slices.Contains(got, "clock_time_get") {
		t.Errorf("nearest = %v", got)
	}
	if got := nearest("fd_reads", ServedFunctions(WASIModule)); len(got) == 0 || got[0] != "fd_read" {
		t.Errorf("nearest to fd_reads = %v, want fd_read first", got)
	}
	if got := nearest("completely_other", ServedFunctions(WASIModule)); got != nil {
		t.Errorf("nearest = %v, want none", got)
	}
}

func TestServedSignatures(t *testing.T) {
	for _, m := range ServedModules() {
		for _, f := range ServedFunctions(m) {
			sig := served[m][f]
			typ, ok := ServedType(m, f)
			if !ok || len(typ.Params)+len(typ.Results) != len(sig)-1 {
				t.Errorf("%s.%s: %q is read as %s", m, f, sig, typ)
			}
		}
	}
}
