package wasmtest

import "encoding/binary"

// The types of the core binary format that are needed here.
const (
	i32 = 0x7f
	i64 = 0x7e
)

// signature is a function type.
type signature struct{ params, results []byte }

// imported is a function the module takes from its host.
type imported struct {
	module, name string
	signature
}

// segment is data the memory starts with.
type segment struct {
	at   int32
	data []byte
}

// definition is a module: imports come first in the function index space, then the functions, which have neither
// parameters nor results. All functions are exported, by their names.
type definition struct {
	imports   []imported
	functions []function
	pages     uint64 // the memory starts with
	data      []segment
}

type function struct {
	name string
	code []byte // without locals
}

func number(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func text(s string) []byte { return append(number(uint64(len(s))), s...) }

// signed encodes LEB128 with a sign.
func signed(v int64) []byte {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func vector(items [][]byte) []byte { return append(number(uint64(len(items))), join(items...)...) }

func section(id byte, content []byte) []byte {
	return join([]byte{id}, number(uint64(len(content))), content)
}

func (s signature) encode() []byte {
	return join([]byte{0x60}, number(uint64(len(s.params))), s.params, number(uint64(len(s.results))), s.results)
}

// encode writes the module.
func (d definition) encode() []byte {
	var types, imports, functions, exports, bodies, data [][]byte
	types = append(types, signature{}.encode()) // 0: that of our own functions
	for i, im := range d.imports {
		types = append(types, im.encode())
		imports = append(imports, join(text(im.module), text(im.name), []byte{0}, number(uint64(i+1))))
	}
	exports = append(exports, join(text("memory"), []byte{2, 0}))
	for i, f := range d.functions {
		functions = append(functions, number(0))
		exports = append(exports, join(text(f.name), []byte{0}, number(uint64(len(d.imports)+i))))
		body := join([]byte{0}, f.code, []byte{0x0b})
		bodies = append(bodies, join(number(uint64(len(body))), body))
	}
	for _, s := range d.data {
		data = append(data, join([]byte{0, 0x41}, signed(int64(s.at)), []byte{0x0b}, number(uint64(len(s.data))), s.data))
	}
	return join(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vector(types)),
		section(2, vector(imports)),
		section(3, vector(functions)),
		section(5, join([]byte{1, 0}, number(d.pages))),
		section(7, vector(exports)),
		section(10, vector(bodies)),
		section(11, vector(data)),
	)
}

// Instructions.

func i32Const(v int32) []byte { return append([]byte{0x41}, signed(int64(v))...) }

func callFunc(index int) []byte { return append([]byte{0x10}, number(uint64(index))...) }

// i32Load loads from a constant address.
func i32Load(at int32) []byte { return join(i32Const(at), []byte{0x28, 2, 0}) }

// i32Store stores the value of an expression to a constant address.
func i32Store(at int32, value []byte) []byte { return join(i32Const(at), value, []byte{0x36, 2, 0}) }

var (
	drop        = []byte{0x1a}
	unreachable = []byte{0x00}
	// forever is a loop that does nothing but begin again.
	forever = []byte{0x03, 0x40, 0x0c, 0x00, 0x0b}
)
