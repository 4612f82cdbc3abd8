package module_test

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func repeated(id byte, n uint32, entry []byte) []byte {
	return moduletest.Section(id, append(moduletest.U32(n), bytes.Repeat(entry, int(n))...))
}

// Modules that were made to hurt who reads them are refused by a named limit or as malformed, quickly and in little
// memory.
func TestHostileModulesAreRefused(t *testing.T) {
	types := moduletest.Section(moduletest.Type, []byte{1, 0x60, 0, 0})
	oneImport := []byte{1, 'm', 1, 'n', 0, 0}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	code := func(body []byte) []byte {
		return withSections(types, moduletest.Section(moduletest.Function, []byte{1, 0}),
			moduletest.Section(moduletest.Code, append([]byte{1}, append(moduletest.U32(uint32(len(body))), body...)...)))
	}
	tests := []struct {
		name string
		wasm []byte
		code module.Code
		says string
	}{
		{"a flood of imports", withSections(types, repeated(moduletest.Import, 10_001, oneImport)), module.CodeLimit, "10001 imports"},
		{"a flood of imports that are not there", withSections(types, moduletest.Section(moduletest.Import, append([]byte{0x90, 0x4e}, oneImport...))), module.CodeMalformed, "cannot stand"},
		{"a flood of types", withSections(repeated(moduletest.Type, 100_001, []byte{0x60, 0, 0})), module.CodeLimit, "types"},
		{"a flood of exports", withSections(types, moduletest.Section(moduletest.Export, append(moduletest.U32(100_001), make([]byte, 300_003)...))), module.CodeLimit, "exports"},
		{"one name for two exports", withSections(moduletest.Section(moduletest.Memory, []byte{1, 0, 1}), moduletest.Section(moduletest.Export, []byte{2, 1, 'a', 2, 0, 1, 'a', 2, 0})), module.CodeMalformed, "twice"},
		{"a type with a thousand and one parameters", withSections(moduletest.Section(moduletest.Type, append(append([]byte{1, 0x60}, append(moduletest.U32(1001), bytes.Repeat([]byte{0x7f}, 1001)...)...), 0))), module.CodeLimit, "parameters"},
		{"four milliards of locals", code([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b}), module.CodeLimit, "locals"},
		{"locals that add up", code(append(append([]byte{0x80, 0x08}, bytes.Repeat([]byte{0xff, 0x01, 0x7f}, 1024)...), 0x0b)), module.CodeLimit, "locals"},
		{"a table of a milliard", withSections(moduletest.Section(moduletest.Table, append([]byte{1, 0x70, 0}, moduletest.U32(1<<30)...))), module.CodeLimit, "elements"},
		{"tables that add up", withSections(repeated(moduletest.Table, 100, append([]byte{0x70, 0}, moduletest.U32(900_000)...))), module.CodeLimit, "elements"},
		{"a hundred and one tables", withSections(repeated(moduletest.Table, 101, []byte{0x70, 0, 0})), module.CodeLimit, "tables"},
		{"more memory than there is", withSections(moduletest.Section(moduletest.Memory, append([]byte{1, 0}, moduletest.U32(65_537)...))), module.CodeLimit, "pages"},
		{"two memories", withSections(repeated(moduletest.Memory, 2, []byte{0, 1})), module.CodeUnsupportedFeature, "more than one memory"},
		{"a segment longer than the file", withSections(moduletest.Section(moduletest.Memory, []byte{1, 0, 1}), moduletest.Section(moduletest.Data, append([]byte{1, 0, 0x41, 0, 0x0b}, huge...))), module.CodeMalformed, "too early"},
		{"a section longer than the file", append(moduletest.Header(), append([]byte{1}, huge...)...), module.CodeMalformed, "only"},
		{"a section twice", withSections(types, types), module.CodeMalformed, "twice or out of order"},
		{"sections out of order", withSections(moduletest.Section(moduletest.Memory, []byte{1, 0, 1}), types), module.CodeMalformed, "twice or out of order"},
		{"a section that says less than it has", withSections(moduletest.Section(moduletest.Type, []byte{0, 0x60, 0, 0})), module.CodeMalformed, "follow its end"},
		{"a number without end", withSections(moduletest.Section(moduletest.Type, bytes.Repeat([]byte{0x80}, 1000))), module.CodeMalformed, "longer than its type"},
		{"an endless initialiser", withSections(moduletest.Section(moduletest.Global, append([]byte{1, 0x7f, 0}, bytes.Repeat([]byte{0x41, 0}, 100_000)...))), module.CodeMalformed, "too early"},
		{"a name that is no text", withSections(types, moduletest.Section(moduletest.Import, []byte{1, 1, 0xff, 1, 'n', 0, 0})), module.CodeMalformed, "UTF-8"},
		{"a name of a megabyte", withSections(types, moduletest.Section(moduletest.Import, append(append([]byte{1}, moduletest.U32(1<<20)...), make([]byte, 1<<20)...))), module.CodeMalformed, "limit"},
		{"an unknown section", withSections(moduletest.Section(42, nil)), module.CodeMalformed, "unknown"},
		{"a function without a body", withSections(types, moduletest.Section(moduletest.Function, []byte{1, 0})), module.CodeMalformed, "have a body"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := module.Read(tt.wasm, module.Limits{})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			var refused *module.Error
			if !errors.As(err, &refused) || refused.Code != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Read: %v, want %s that says %q", err, tt.code, tt.says)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 64<<20 || took > 30*time.Second {
				t.Errorf("it took %d bytes and %s", allocated, took)
			}
		})
	}
}

// What can be read but nests, branches or calls without measure is rewritten in time and memory in proportion to it.
func TestHostileCodeIsRewritten(t *testing.T) {
	const n = 100_000
	var chain []moduletest.Func
	for i := range uint32(20_000) {
		chain = append(chain, moduletest.Func{Body: moduletest.Call(i + 2)}) // each calls the next
	}
	chain = append(chain, moduletest.Func{})
	tests := []struct {
		name string
		wasm []byte
	}{
		{"deep blocks", moduletest.Build(moduletest.Command(append(bytes.Repeat([]byte{0x02, 0x40}, n), bytes.Repeat([]byte{0x0b}, n)...)))},
		{"deep loops", moduletest.Build(moduletest.Command(append(bytes.Repeat([]byte{0x03, 0x40}, n), bytes.Repeat([]byte{0x0c, 0, 0x0b}, n)...)))},
		{"a table of branches", moduletest.Build(moduletest.Command(slices.Concat([]byte{0x41, 0, 0x0e}, moduletest.U32(n), make([]byte, n+1))))},
		{"a long chain of calls", moduletest.Build(moduletest.Module{Funcs: append([]moduletest.Func{{Name: "_start", Export: true, Body: moduletest.Call(1)}, {Body: moduletest.Call(2)}}, chain...)})},
		{"straight code", moduletest.Build(moduletest.Command(bytes.Repeat([]byte{0x41, 0, 0x1a}, n*5)))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			r, _ := rewrite(t, tt.wasm, allOptions)
			if took := time.Since(start); took > time.Minute || len(r.Wasm) > 20*len(tt.wasm) {
				t.Errorf("%d bytes became %d in %s", len(tt.wasm), len(r.Wasm), took)
			}
		})
	}
}

func TestRewriteBoundsTables(t *testing.T) {
	grow := []byte{0xd0, 0x70, 0x41, 0, 0xfc, 15, 0, 0x1a}
	wasm := withSections(moduletest.Section(moduletest.Type, []byte{1, 0x60, 0, 0}), moduletest.Section(moduletest.Function, []byte{1, 0}),
		moduletest.Section(moduletest.Table, []byte{2, 0x70, 0, 3, 0x70, 1, 3, 9}),
		moduletest.Section(moduletest.Code, append([]byte{1, byte(len(grow) + 2), 0}, append(grow, 0x0b)...)))
	r, _ := rewrite(t, wasm, allOptions)
	want := moduletest.Section(moduletest.Table, slices.Concat([]byte{2, 0x70, 1, 3}, moduletest.U32(module.DefaultMaxTableElements), []byte{0x70, 1, 3, 9}))
	if !bytes.Contains(r.Wasm, want) {
		t.Error("a table that the guest grows has no maximum")
	}
}
