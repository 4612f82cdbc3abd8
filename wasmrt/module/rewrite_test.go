package module_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

var allOptions = module.RewriteOptions{Meter: true, CallDepth: true, Snapshot: true}

func rewrite(t *testing.T, wasm []byte, o module.RewriteOptions) (*module.Rewritten, *module.Info) {
	t.Helper()
	info, err := module.Read(wasm, module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := module.Rewrite(wasm, info, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := module.Read(r.Wasm, module.Limits{})
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	return r, again
}

func TestCounter(t *testing.T) {
	for _, fuel := range []uint32{0, 1, 1 << 20, math.MaxInt32} {
		for _, depth := range []uint32{0, 1, 20_000, math.MaxInt32} {
			c := module.NewCounter(fuel, depth)
			if module.CounterFuel(c) != int64(fuel) || module.CounterDepth(c) != int32(depth) {
				t.Errorf("fuel %d, depth %d: %d, %d", fuel, depth, module.CounterFuel(c), module.CounterDepth(c))
			}
			// What the guest does: a call, and spending more than there is.
			c -= 1 << 32
			c -= uint64(fuel) + 300
			if module.CounterFuel(c) != -300 || module.CounterDepth(c) != int32(depth)-1 {
				t.Errorf("fuel %d, depth %d, after a call that cost too much: %d, %d", fuel, depth, module.CounterFuel(c), module.CounterDepth(c))
			}
		}
	}
	if c := module.NewCounter(math.MaxUint32, math.MaxUint32); module.CounterFuel(c) != math.MaxInt32 || module.CounterDepth(c) != math.MaxInt32 {
		t.Errorf("too much of both: %x", c)
	}
}

// withGlobals is a module of raw sections with a memory, two globals (the second mutable) and a function.
func withGlobals(more ...[]byte) []byte {
	sections := [][]byte{
		moduletest.Section(moduletest.Type, []byte{1, 0x60, 0, 0}),
		moduletest.Section(moduletest.Function, []byte{1, 0}),
		moduletest.Section(moduletest.Memory, []byte{1, 0, 1}),
		moduletest.Section(moduletest.Global, []byte{2, 0x7f, 0, 0x41, 1, 0x0b, 0x7c, 1, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b}),
	}
	return withSections(append(sections, more...)...)
}

var oneBody = moduletest.Section(moduletest.Code, []byte{1, 2, 0, 0x0b})

func TestRewriteMakesStateReachable(t *testing.T) {
	wasm := withGlobals(
		moduletest.Section(moduletest.Start, []byte{0}), oneBody,
		moduletest.Section(moduletest.Data, []byte{2, 0, 0x41, 8, 0x0b, 2, 'a', 'b', 2, 0, 0x41, 0x7f, 0x0b, 1, 'c'}))
	r, info := rewrite(t, wasm, allOptions)
	if r.NoSnapshot != "" || r.Counter == "" || r.Start == "" {
		t.Fatalf("%+v", r)
	}
	if len(r.Data) != 2 || r.Data[0].Offset != 8 || string(r.Data[0].Bytes) != "ab" || r.Data[1].Offset != math.MaxUint32 || string(r.Data[1].Bytes) != "c" {
		t.Errorf("data %+v", r.Data)
	}
	if len(r.Globals) != 1 || r.Globals[0].Type != module.F64 {
		t.Errorf("globals %+v", r.Globals)
	}
	for name, kind := range map[string]module.ExternKind{r.Counter: module.KindGlobal, r.Start: module.KindFunction, r.Globals[0].Export: module.KindGlobal} {
		if _, ok := info.Export(name, kind); !ok || !strings.HasPrefix(name, module.ReservedPrefix) {
			t.Errorf("%q is not exported", name)
		}
	}
	if info.DataSegments != 0 || info.HasStartSection {
		t.Errorf("%d segments and a start section (%v) are left", info.DataSegments, info.HasStartSection)
	}
	if !info.ImportsFrom(module.MeterModule) {
		t.Error("the meter is not imported")
	}
	if _, err := module.Check(r.Wasm, module.Limits{}); err == nil {
		t.Error("a module that imports the meter passes the check")
	}

	plain, info := rewrite(t, wasm, module.RewriteOptions{})
	if plain.Counter != "" || plain.Start != "" || plain.Data != nil || plain.Globals != nil || len(info.Exports) != 0 ||
		len(info.Imports) != 0 || info.DataSegments != 2 || !info.HasStartSection {
		t.Errorf("without options: %+v, %+v", plain, info)
	}
}

func TestRewriteSaysWhyThereIsNoSnapshot(t *testing.T) {
	body := func(code ...byte) []byte {
		return moduletest.Section(moduletest.Code, append([]byte{1, byte(len(code) + 2), 0}, append(code, 0x0b)...))
	}
	table := moduletest.Section(moduletest.Table, []byte{1, 0x70, 0, 1})
	base := func(sections ...[]byte) []byte {
		return withSections(append([][]byte{moduletest.Section(moduletest.Type, []byte{1, 0x60, 0, 0}), moduletest.Section(moduletest.Function, []byte{1, 0})}, sections...)...)
	}
	memory := moduletest.Section(moduletest.Memory, []byte{1, 0, 1})
	passive := moduletest.Section(moduletest.Data, []byte{1, 1, 1, 'x'})
	count := moduletest.Section(moduletest.DataCount, []byte{1})
	tests := []struct {
		name string
		wasm []byte
		want string
	}{
		{"nothing in the way", base(memory, body()), ""},
		{"no memory", base(body()), "no_memory"},
		{"passive data that is only read", base(memory, count, body(0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 8, 0, 0), passive), ""},
		{"data.drop", base(memory, count, body(0xfc, 9, 0), passive), "passive_data"},
		{"a table that is only read", base(table, memory, body(0x41, 0, 0x25, 0, 0x1a)), ""},
		{"table.set", base(table, memory, body(0x41, 0, 0xd0, 0x70, 0x26, 0)), "table_write"},
		{"table.grow", base(table, memory, body(0xd0, 0x70, 0x41, 0, 0xfc, 15, 0, 0x1a)), "table_write"},
		{"elem.drop", base(table, memory, moduletest.Section(moduletest.Element, []byte{1, 1, 0, 1, 0}), body(0xfc, 13, 0)), "table_write"},
		{"a mutable vector", base(memory, moduletest.Section(moduletest.Global, append(append([]byte{1, 0x7b, 1, 0xfd, 12}, make([]byte, 16)...), 0x0b)), body()), "vector_global"},
		{"a mutable reference", base(memory, moduletest.Section(moduletest.Global, []byte{1, 0x70, 1, 0xd0, 0x70, 0x0b}), body()), "reference_global"},
		{"imported memory", withSections(moduletest.Section(moduletest.Import, []byte{1, 1, 'm', 1, 'n', 2, 0, 1})), "imported_memory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := rewrite(t, tt.wasm, allOptions)
			if r.NoSnapshot != tt.want {
				t.Errorf("%q, want %q", r.NoSnapshot, tt.want)
			}
			if r.NoSnapshot != "" && (r.Data != nil || r.Start != "" || r.Globals != nil) {
				t.Errorf("and yet it was taken apart: %+v", r)
			}
		})
	}
}

// Function indices move everywhere: exports, names, and the start function.
func TestRewriteShiftsFunctions(t *testing.T) {
	m := moduletest.Command(moduletest.Call(5))
	m.Name = "calc"
	m.Funcs = append(m.Funcs, moduletest.Func{Name: "helper", Export: true, Type: module.FuncType{Params: []module.ValueType{module.I64}}})
	r, info := rewrite(t, moduletest.Build(m), allOptions)
	if e, ok := info.Export("helper", module.KindFunction); !ok || len(e.Type.Params) != 1 {
		t.Errorf("helper is exported as %+v", e)
	}
	if e, ok := info.Export("_start", module.KindFunction); !ok || len(e.Type.Params) != 0 {
		t.Errorf("_start is exported as %+v", e)
	}
	if info.Name != "calc" || info.NamedFunctions != 2 {
		t.Errorf("names: %q, %d functions", info.Name, info.NamedFunctions)
	}
	name := append([]byte{6}, moduletest.Name("helper")...) // it was function 5
	if !bytes.Contains(r.Wasm, name) {
		t.Error("the name of the shifted function is not kept")
	}
	if last := info.Imports[len(info.Imports)-1]; last.Module != module.MeterModule || last.Name != module.YieldFunction {
		t.Errorf("the last import is %+v", last)
	}
}

// An index just beyond what the module has must not come to mean what was added.
func TestRewriteRefusesWhatWouldMeanItsOwn(t *testing.T) {
	body := func(code ...byte) []byte {
		return withGlobals(moduletest.Section(moduletest.Code, append([]byte{1, byte(len(code) + 2), 0}, append(code, 0x0b)...)))
	}
	tests := []struct {
		name string
		wasm []byte
	}{
		{"global", body(0x23, 2, 0x1a)},
		{"local", body(0x20, 0, 0x1a)},
		{"function", body(0x10, 1)},
		{"reference", body(0xd2, 1, 0x1a)},
		{"type", body(0x41, 0, 0x11, 1, 0)},
		{"label", body(0x0c, 1)},
		{"else", body(0x05)},
		{"unknown instruction", body(0x27)},
		{"unknown vector instruction", body(0xfd, 0xff, 0x7f)},
		{"unknown bulk instruction", body(0xfc, 0x12)},
		{"no end", withGlobals(moduletest.Section(moduletest.Code, []byte{1, 2, 0, 0x01}))},
		{"code after the end", withGlobals(moduletest.Section(moduletest.Code, []byte{1, 3, 0, 0x0b, 0x01}))},
		{"endless table of branches", body(0x41, 0, 0x0e, 0xff, 0xff, 0xff, 0xff, 0x0f)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, err := module.Read(tt.wasm, module.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var refused *module.Error
			if _, err := module.Rewrite(tt.wasm, info, allOptions); !errors.As(err, &refused) || refused.Code != module.CodeInvalid {
				t.Errorf("Rewrite: %v, want a refusal as invalid", err)
			}
		})
	}
}

// Functions that cost little and do not recurse pay nothing themselves; a module of such is not made longer.
func TestRewriteLeavesSmallFunctionsAlone(t *testing.T) {
	m := moduletest.Command(moduletest.Then(moduletest.Const(1), []byte{0x1a}, moduletest.Call(5)))
	m.Funcs = append(m.Funcs, moduletest.Func{Body: moduletest.Then(moduletest.Const(2), []byte{0x1a})})
	wasm := moduletest.Build(m)
	r, _ := rewrite(t, wasm, allOptions)
	if !bytes.Contains(r.Wasm, []byte{0x41, 1, 0x1a, 0x10, 6, 0x0b}) {
		t.Error("the calling function was changed in more than an index")
	}
	long := moduletest.Command(slices.Repeat(moduletest.Grow(0), 100))
	r, _ = rewrite(t, moduletest.Build(long), allOptions)
	if yields := bytes.Count(r.Wasm, []byte{0x10, 4, 0x0b}); yields < 50 {
		t.Errorf("a long function without loops pays %d times", yields)
	}
}

func TestOutline(t *testing.T) {
	m := moduletest.Reactor(slices.Repeat(moduletest.Respond(200), 100))
	m.Funcs = append(m.Funcs, moduletest.Func{Name: "other", Body: moduletest.Loop})
	wasm := moduletest.Build(m)
	outline, err := module.Outline(wasm)
	if err != nil {
		t.Fatal(err)
	}
	want, err := module.Check(wasm, module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := module.Check(outline, module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Functions != want.Functions || got.NamedFunctions != want.NamedFunctions || len(got.Exports) != len(want.Exports) || got.Size > want.Size/2 {
		t.Errorf("outline %+v of %+v", got, want)
	}
	for n := range wasm {
		_, _ = module.Outline(wasm[:n]) // does not panic
	}
}
