package engine

import (
	"errors"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// What was added to a module does not show in its traps.
func TestTrapsNameTheModulesOwnFunctions(t *testing.T) {
	fill := moduletest.Then(moduletest.Const(0), moduletest.Const(1), moduletest.Const(-1), []byte{0xfc, 11, 0})
	recursive := moduletest.Call(5)
	for _, tt := range []struct {
		name   string
		body   []byte
		reason string
	}{
		{"a bulk operation in pieces", fill, "out of bounds memory access"},
		{"too many nested calls", recursive, "call depth exceeded"},
	} {
		for _, nameless := range []bool{false, true} {
			m := moduletest.Command(moduletest.Call(5))
			m.Funcs = append(m.Funcs, moduletest.Func{Name: "work", Body: tt.body})
			m.NoNames = nameless
			want := "work"
			if nameless {
				want = "function 5"
			}
			_, _, _, err := run(t, t.Context(), moduletest.Build(m), Spec{})
			var trap *TrapError
			if !errors.As(err, &trap) {
				t.Fatalf("%s: %v, want a trap", tt.name, err)
			}
			if trap.Function != want || trap.Reason != tt.reason || trap.Stack[0] != want {
				t.Errorf("%s: %q in %q (%v), want %q in %q", tt.name, trap.Reason, trap.Function, trap.Stack[:min(3, len(trap.Stack))], tt.reason, want)
			}
		}
	}
}
