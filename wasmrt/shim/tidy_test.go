package shim

import "testing"

func TestTidy(t *testing.T) {
	freed := 0
	tidy := newTidy()
	tidy.free = func() { freed++ }
	for i, step := range []struct{ tasks, freed int }{{0, 0}, {5, 0}, {9, 0}, {9, 1}, {9, 1}, {3, 1}, {3, 2}, {9, 2}, {3, 2}, {3, 2}, {0, 2}, {0, 3}} {
		if tidy.look(step.tasks); freed != step.freed {
			t.Errorf("step %d: freed %d times, want %d", i, freed, step.freed)
		}
	}
}
