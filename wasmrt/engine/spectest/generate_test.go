package spectest

import (
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// generator makes a valid module of whatever bytes it is given, with everything that rewriting treats specially: loops,
// branches in and out of them, recursions, indirect calls, bulk operations, a start function, active and passive data.
// Each loop and each function takes one from a budget and traps when there is none, so every program ends.
type generator struct {
	data   []byte
	body   []byte
	labels []int // how many i32 a branch to each block takes, innermost last
	size   int
}

const (
	functions   = 4 // of type (i32 i32) -> i32, two locals of i32 each
	pairs       = functions
	starts      = functions + 1
	locals      = 4
	globals     = 2 // and the budget after them
	budget      = globals
	maxBodySize = 2000
)

// The module's types.
const (
	typePlain = iota // (i32 i32) -> i32
	typePair         // (i32) -> (i32 i32)
	typeStart        // () -> ()
	typeParam        // (i32) -> i32
)

func (g *generator) pick(n int) int {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return int(b) % n
}

func (g *generator) emit(b ...byte) {
	g.body = append(g.body, b...)
	g.size += len(b)
}

func (g *generator) constant(v int32) { g.emit(moduletest.Const(v)...) }

// spendBudget traps when nothing is left of it.
func (g *generator) spendBudget() {
	g.emit(0x23, budget, 0x45, 0x04, 0x40, 0x00, 0x0b) // if (budget == 0) unreachable
	g.emit(0x23, budget, 0x41, 1, 0x6b, 0x24, budget)
}

func (g *generator) block(arity int, inner func()) {
	g.labels = append(g.labels, arity)
	inner()
	g.labels = g.labels[:len(g.labels)-1]
	g.emit(0x0b)
}

// value leaves an i32 on the stack.
func (g *generator) value(depth int) {
	if depth > 4 || g.size > maxBodySize {
		g.constant(int32(g.pick(256)) - 3)
		return
	}
	switch g.pick(14) {
	case 0, 1:
		g.emit(0x20, byte(g.pick(locals)))
	case 2:
		g.constant(int32(g.pick(256)) * 257)
	case 3:
		g.emit(0x23, byte(g.pick(globals)))
	case 4, 5:
		g.value(depth + 1)
		g.value(depth + 1)
		g.emit([]byte{0x6a, 0x6b, 0x6c, 0x6d, 0x70, 0x71, 0x72, 0x73, 0x46, 0x48, 0x4d}[g.pick(11)])
	case 6:
		g.value(depth + 1)
		g.emit(0x28, 0, byte(g.pick(128))) // load
	case 7:
		g.value(depth + 1)
		g.value(depth + 1)
		g.emit(0x10, byte(g.pick(functions)))
	case 8:
		g.value(depth + 1)
		g.value(depth + 1)
		g.value(depth + 1)
		g.emit(0x11, typePlain, 0)
	case 9:
		g.value(depth + 1)
		g.emit(0x04, 0x7f)
		g.block(1, func() { g.value(depth + 1); g.emit(0x05); g.statements(depth + 1); g.value(depth + 1) })
	case 10:
		g.emit(0x02, 0x7f)
		g.block(1, func() { g.statements(depth + 1); g.value(depth + 1) })
	case 11: // a loop that takes a value from the stack
		g.value(depth + 1)
		g.emit(0x03, typeParam)
		g.block(1, func() {
			g.emit(0x21, byte(g.pick(locals)))
			g.spendBudget()
			g.statements(depth + 1)
			g.value(depth + 1)
		})
	case 12:
		g.emit(0x03, 0x7f) // a loop with a result
		g.block(0, func() { g.spendBudget(); g.statements(depth + 1); g.value(depth + 1) })
	case 13:
		g.value(depth + 1)
		g.emit(0x10, pairs, 0x6a)
	}
}

func (g *generator) statements(depth int) {
	for range g.pick(4) {
		if g.size > maxBodySize {
			return
		}
		g.statement(depth)
	}
}

func (g *generator) statement(depth int) {
	switch g.pick(13) {
	case 0, 1:
		g.value(depth)
		g.emit(0x21, byte(g.pick(locals)))
	case 2:
		g.value(depth)
		g.emit(0x24, byte(g.pick(globals)))
	case 3:
		g.value(depth)
		g.value(depth)
		g.emit(0x36, 0, byte(g.pick(128))) // store
	case 4, 5:
		g.emit(0x03, 0x40)
		g.block(0, func() {
			g.spendBudget()
			g.statements(depth + 1)
			g.value(depth + 1)
			g.emit(0x0d, 0)
		})
	case 6:
		g.value(depth)
		g.emit(0x04, 0x40)
		g.block(0, func() { g.statements(depth + 1); g.emit(0x05); g.statements(depth + 1) })
	case 7:
		g.emit(0x02, 0x40)
		g.block(0, func() { g.statements(depth + 1); g.branch(depth + 1) })
	case 8:
		g.branchIf(depth)
	case 9:
		g.bulk(depth)
	case 10:
		for range g.pick(256) { // enough to be paid for on the way
			g.emit(0x20, 0, 0x41, 1, 0x6a, 0x21, 0)
		}
	case 11:
		g.constant(int32(g.pick(3)))
		g.emit(0x40, 0, 0x1a) // memory.grow
	case 12:
		g.value(depth)
		g.emit(0x04, 0x40)
		g.block(0, func() { g.value(depth + 1); g.emit(0x0f) }) // if (…) return …
	}
}

func (g *generator) target() (label int, arity int) {
	label = g.pick(len(g.labels))
	return label, g.labels[len(g.labels)-1-label]
}

// branch leaves the block for good; what follows is not reached.
func (g *generator) branch(depth int) {
	label, arity := g.target()
	if arity == 1 {
		g.value(depth)
	}
	if g.pick(2) == 0 {
		g.emit(0x0c, byte(label))
		return
	}
	other, otherArity := g.target()
	if otherArity != arity {
		other = label
	}
	g.value(depth)
	g.emit(0x0e, 1, byte(label), byte(other))
}

func (g *generator) branchIf(depth int) {
	label, arity := g.target()
	if arity == 1 {
		g.value(depth)
	}
	g.value(depth)
	g.emit(0x0d, byte(label))
	if arity == 1 {
		g.emit(0x1a)
	}
}

func (g *generator) bulk(depth int) {
	for range 3 {
		g.value(depth)
	}
	switch g.pick(3) {
	case 0:
		g.emit(0xfc, 11, 0)
	case 1:
		g.emit(0xfc, 10, 0, 0)
	case 2:
		// Of the passive segment: an active one counts as dropped, which wazero itself does not heed.
		g.emit(0xfc, 8, 1, 0)
	}
}

// function makes a body.
func (g *generator) function(results int) []byte {
	g.body, g.size, g.labels = nil, 0, []int{results}
	g.spendBudget()
	if results == 1 {
		for range 3 {
			g.statement(0)
		}
		g.value(0)
	} else {
		g.labels = nil // branches with several values are left to the suite
		g.emit(0x20, 0, 0x41, 3, 0x6a, 0x20, 0)
	}
	return g.body
}

func vector(entries ...[]byte) []byte {
	out := moduletest.U32(uint32(len(entries)))
	for _, e := range entries {
		out = append(out, e...)
	}
	return out
}

func sized(b []byte) []byte { return append(moduletest.U32(uint32(len(b))), b...) }

// module makes the whole.
func (g *generator) module() []byte {
	i32 := module.I32
	types := vector(
		moduletest.FuncType(module.FuncType{Params: []module.ValueType{i32, i32}, Results: []module.ValueType{i32}}),
		moduletest.FuncType(module.FuncType{Params: []module.ValueType{i32}, Results: []module.ValueType{i32, i32}}),
		moduletest.FuncType(module.FuncType{}),
		moduletest.FuncType(module.FuncType{Params: []module.ValueType{i32}, Results: []module.ValueType{i32}}),
	)
	var code, exports [][]byte
	for i := range functions {
		code = append(code, sized(append(append([]byte{1, 2, 0x7f}, g.function(1)...), 0x0b)))
		exports = append(exports, append(moduletest.Name(string(rune('a'+i))), 0, byte(i)))
	}
	code = append(code, sized(append(append([]byte{0}, g.function(2)...), 0x0b)))
	code = append(code, sized([]byte{0, 0x23, 0, 0x41, 5, 0x6a, 0x24, 0, 0x0b})) // start: the first global += 5
	exports = append(exports, append(moduletest.Name("memory"), 2, 0))
	for i := range globals + 1 {
		exports = append(exports, append(moduletest.Name("g"+string(rune('0'+i))), 3, byte(i)))
	}
	initial := append(append([]byte{0x7f, 1}, moduletest.Const(300)...), 0x0b)
	wasm := moduletest.Header()
	for _, s := range []struct {
		id   byte
		body []byte
	}{
		{moduletest.Type, types},
		{moduletest.Function, []byte{functions + 2, typePlain, typePlain, typePlain, typePlain, typePair, typeStart}},
		{moduletest.Table, []byte{1, 0x70, 0, 6}},
		{moduletest.Memory, []byte{1, 1, 1, 4}},
		{moduletest.Global, vector([]byte{0x7f, 1, 0x41, 1, 0x0b}, []byte{0x7f, 1, 0x41, 2, 0x0b}, initial)},
		{moduletest.Export, vector(exports...)},
		{moduletest.Start, []byte{starts}},
		{moduletest.Element, []byte{1, 0, 0x41, 1, 0x0b, 3, 0, 1, 2}},
		{moduletest.DataCount, []byte{2}},
		{moduletest.Code, vector(code...)},
		{moduletest.Data, append([]byte{2, 0, 0x41, 8, 0x0b, 3}, 1, 2, 3, 1, 2, 7, 8)},
	} {
		wasm = append(wasm, moduletest.Section(s.id, s.body)...)
	}
	return wasm
}
