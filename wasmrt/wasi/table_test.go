package wasi

import (
	"maps"
	"slices"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// Every function that a guest may import is here, and nothing else, and puts its result where its type says.
func TestFunctionsAreThoseServed(t *testing.T) {
	for name, functions := range map[string]map[string]Function{module.WASIModule: Functions(), "petrel_net_v1": NetFunctions()} {
		have := slices.Sorted(maps.Keys(functions))
		if want := module.ServedFunctions(name); !slices.Equal(have, want) {
			t.Errorf("%s: have %v, served %v", name, have, want)
		}
		for fn, f := range functions {
			sig, _ := module.ServedType(name, fn)
			if fn == "proc_exit" {
				continue
			}
			if len(sig.Results) != 1 {
				t.Errorf("%s.%s has %d results", name, fn, len(sig.Results))
				continue
			}
			w := newWorld(t, Config{})
			// A stack just as long as the type says; numbers that fit nothing.
			stack := slices.Repeat([]uint64{1<<32 - 1}, max(len(sig.Params), 1))
			func() {
				defer func() {
					if v := recover(); v != nil {
						if _, ok := v.(exited); !ok {
							t.Errorf("%s.%s: %v", name, fn, v)
						}
					}
				}()
				f(w.h, w.System, w.mem, stack)
			}()
			if fn != "sched_yield" && stack[0] == 0 || stack[0] > uint64(ErrnoNotCapable) {
				t.Errorf("%s.%s answers %d to nonsense", name, fn, stack[0])
			}
		}
	}
}
