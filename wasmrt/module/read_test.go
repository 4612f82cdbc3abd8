package module_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func withSections(sections ...[]byte) []byte {
	return append(moduletest.Header(), bytes.Join(sections, nil)...)
}

func TestReadMalformed(t *testing.T) {
	oneType := moduletest.Section(moduletest.Type, []byte{1, 0x60, 0, 0})
	oneFunc := moduletest.Section(moduletest.Function, []byte{1, 0})
	tests := []struct {
		name string
		wasm []byte
		code module.Code
		says string
	}{
		{"unknown section", withSections([]byte{42, 0}), module.CodeMalformed, "section id 42"},
		{"section longer than file", withSections([]byte{1, 100, 0}), module.CodeMalformed, "it says 100 bytes"},
		{"size too long a number", withSections([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 1}), module.CodeMalformed, "longer than its type"},
		{"size over 32 bits", withSections([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x1f}), module.CodeMalformed, "longer than its type"},
		{"twice", withSections(oneType, oneType), module.CodeMalformed, "twice or out of order"},
		{"out of order", withSections(moduletest.Section(moduletest.Memory, []byte{1, 0, 1}), oneType), module.CodeMalformed, "out of order"},
		{"rest in a section", withSections(moduletest.Section(moduletest.Type, []byte{1, 0x60, 0, 0, 9})), module.CodeMalformed, "1 bytes follow"},
		{"more types than bytes", withSections(moduletest.Section(moduletest.Type, []byte{50, 0x60})), module.CodeMalformed, "50 types"},
		{"unknown value type", withSections(moduletest.Section(moduletest.Type, []byte{1, 0x60, 1, 0x55, 0})), module.CodeMalformed, "value type 0x55"},
		{"struct type", withSections(moduletest.Section(moduletest.Type, []byte{1, 0x5f, 0, 0})), module.CodeUnsupportedFeature, "garbage collected"},
		{"function without type", withSections(oneFunc), module.CodeMalformed, "type 0 does not exist"},
		{"function without body", withSections(oneType, oneFunc), module.CodeMalformed, "1 functions are declared and 0"},
		{"start without function", withSections(moduletest.Section(moduletest.Start, []byte{0})), module.CodeMalformed, "function 0 does not exist"},
		{"export of nothing", withSections(moduletest.Section(moduletest.Export, []byte{1, 1, 'm', 2, 0})), module.CodeMalformed, "memory 0 does not exist"},
		{"name not UTF-8", withSections(moduletest.Section(moduletest.Custom, []byte{1, 0xff})), module.CodeMalformed, "not UTF-8"},
		{"two memories", withSections(moduletest.Section(moduletest.Memory, []byte{2, 0, 1, 0, 1})), module.CodeUnsupportedFeature, "more than one memory"},
		{"shared memory", withSections(moduletest.Section(moduletest.Memory, []byte{1, 3, 1, 1})), module.CodeUnsupportedFeature, "threads"},
		{"64-bit memory", withSections(moduletest.Section(moduletest.Memory, []byte{1, 4, 1})), module.CodeUnsupportedFeature, "64-bit"},
		{"exceptions", withSections(moduletest.Section(moduletest.Tag, []byte{0})), module.CodeUnsupportedFeature, "exceptions"},
		{"maximum under minimum", withSections(moduletest.Section(moduletest.Memory, []byte{1, 1, 5, 4})), module.CodeMalformed, "less than its minimum"},
		{"call in an initialiser", withSections(moduletest.Section(moduletest.Global, []byte{1, 0x7f, 0, 0x10, 0, 0x0b})), module.CodeMalformed, "instruction 0x10"},
		{"data count differs", withSections(moduletest.Section(moduletest.DataCount, []byte{2})), module.CodeMalformed, "2 segments are announced"},
		{"elements more than bytes", withSections(moduletest.Section(moduletest.Element, []byte{1, 0, 0x41, 0, 0x0b, 0xff, 0xff, 3})), module.CodeMalformed, "65535 elements"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := module.Read(tt.wasm, module.Limits{})
			var refused *module.Error
			if !errors.As(err, &refused) {
				t.Fatalf("Read: %v, want *module.Error", err)
			}
			if refused.Code != tt.code || !strings.Contains(refused.Error(), tt.says) {
				t.Errorf("Read: %s %q, want %s that says %q", refused.Code, refused, tt.code, tt.says)
			}
		})
	}
}

// Every limit is reached by a module just over it, and not by the same module under a limit one higher.
func TestReadLimits(t *testing.T) {
	two := moduletest.Module{
		Funcs: []moduletest.Func{{Name: "ab", Export: true, Body: []byte{1, 1, 1}, Locals: []byte{1, 9, 0x7f}}, {Name: "cd", Export: true}},
		Imports: []module.Import{{Module: "m", Name: "x", Type: module.FuncType{Params: []module.ValueType{module.I32, module.I64}}},
			{Module: "m", Name: "y"}},
		HasMemory: true, Pages: 8, TableSize: 77,
	}
	wasm := moduletest.Build(two)
	twoGlobals := withSections(moduletest.Section(moduletest.Global, []byte{2, 0x7f, 0, 0x41, 0, 0x0b, 0x7f, 0, 0x41, 0, 0x0b}))
	twoTables := withSections(moduletest.Section(moduletest.Table, []byte{2, 0x70, 0, 0, 0x70, 0, 0}))
	twoData := withSections(moduletest.Section(moduletest.Memory, []byte{1, 0, 1}), moduletest.Section(moduletest.Data, []byte{2, 1, 0, 1, 0}))
	tests := []struct {
		name string
		wasm []byte
		set  func(l *module.Limits, v int64)
		has  int64
	}{
		{"size", wasm, func(l *module.Limits, v int64) { l.MaxSize = v }, int64(len(wasm))},
		{"types", wasm, func(l *module.Limits, v int64) { l.MaxTypes = uint32(v) }, 4},
		{"functions", wasm, func(l *module.Limits, v int64) { l.MaxFunctions = uint32(v) }, 2},
		{"function size", wasm, func(l *module.Limits, v int64) { l.MaxFunctionSize = uint32(v) }, 7},
		{"locals", wasm, func(l *module.Limits, v int64) { l.MaxLocals = uint32(v) }, 9},
		{"params", wasm, func(l *module.Limits, v int64) { l.MaxParams = uint32(v) }, 2},
		{"imports", wasm, func(l *module.Limits, v int64) { l.MaxImports = uint32(v) }, 2},
		{"exports", wasm, func(l *module.Limits, v int64) { l.MaxExports = uint32(v) }, 3},
		{"name", wasm, func(l *module.Limits, v int64) { l.MaxNameLength = uint32(v) }, 6},
		{"memory", wasm, func(l *module.Limits, v int64) { l.MaxMemoryPages = uint32(v) }, 8},
		{"table elements", wasm, func(l *module.Limits, v int64) { l.MaxTableElements = uint32(v) }, 77},
		{"globals", twoGlobals, func(l *module.Limits, v int64) { l.MaxGlobals = uint32(v) }, 2},
		{"tables", twoTables, func(l *module.Limits, v int64) { l.MaxTables = uint32(v) }, 2},
		{"segments", twoData, func(l *module.Limits, v int64) { l.MaxSegments = uint32(v) }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var enough, short module.Limits
			tt.set(&enough, tt.has)
			tt.set(&short, tt.has-1)
			if _, err := module.Read(tt.wasm, enough); err != nil {
				t.Errorf("with a limit of %d: %v", tt.has, err)
			}
			if _, err := module.Read(tt.wasm, short); err == nil {
				t.Errorf("with a limit of %d it is accepted", tt.has-1)
			}
		})
	}
}

func TestReadHugeCountsAllocateNothing(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	for id := byte(1); id <= 13; id++ {
		wasm := withSections(moduletest.Section(id, huge))
		allocs := testing.AllocsPerRun(1, func() {
			if _, err := module.Read(wasm, module.Limits{}); err == nil {
				t.Errorf("section %d with four milliards of entries is accepted", id)
			}
		})
		if allocs > 100 {
			t.Errorf("section %d: %v allocations", id, allocs)
		}
	}
}

// Every prefix of a module is refused or read, and none makes the reader panic.
func TestReadTruncated(t *testing.T) {
	m := moduletest.Reactor(moduletest.Respond(200))
	m.Name, m.TableSize, m.LastCustom = "x", 3, []byte("abc")
	wasm := moduletest.Build(m)
	for n := range wasm {
		if _, err := module.Read(wasm[:n], module.Limits{}); err != nil {
			var refused *module.Error
			if !errors.As(err, &refused) {
				t.Fatalf("cut at %d: %T", n, err)
			}
		}
	}
	for at := range wasm {
		for _, bit := range []byte{1, 0x80, 0xff} {
			mutated := bytes.Clone(wasm)
			mutated[at] ^= bit
			_, _ = module.Check(mutated, module.Limits{})
		}
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := (module.Limits{}).Validate(); err != nil {
		t.Error(err)
	}
	if (module.Limits{MaxSize: -1}).Validate() == nil || (module.Limits{MaxMemoryPages: 65537}).Validate() == nil {
		t.Error("limits that cannot be meant are accepted")
	}
}
