package shim

import "runtime/debug"

// tidy gives memory back after many tasks have come or gone: what making them took is garbage then, in a process that may
// not allocate for hours, and would not collect it by itself.
type tidy struct {
	last, kept int // tasks at the last look, and when memory was given back
	free       func()
}

func newTidy() *tidy { return &tidy{free: debug.FreeOSMemory} }

// look is called now and then with the number of tasks. When it has changed and rests, memory is given back.
func (t *tidy) look(tasks int) {
	if tasks == t.last && tasks != t.kept {
		t.kept = tasks
		t.free()
	}
	t.last = tasks
}
