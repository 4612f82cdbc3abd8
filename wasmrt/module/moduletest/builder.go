package moduletest

import (
	"encoding/binary"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// Section ids that tests name.
const (
	Custom    = 0
	Type      = 1
	Import    = 2
	Function  = 3
	Table     = 4
	Memory    = 5
	Global    = 6
	Export    = 7
	Start     = 8
	Element   = 9
	Code      = 10
	Data      = 11
	DataCount = 12
	Tag       = 13
)

// Func is a function of a module.
type Func struct {
	Name   string // in the name section, and exported under it when Export is set
	Type   module.FuncType
	Locals []byte // encoded groups; nil means none
	Body   []byte // instructions without the final end
	Export bool
}

// Module is what Build encodes. The zero value is an empty module.
type Module struct {
	Name       string
	Imports    []module.Import // functions
	Funcs      []Func
	Pages      uint32 // of memory, exported as "memory"
	MaxPages   uint32 // 0: none
	HasMemory  bool
	Data       []byte // put at offset 0 of the memory
	TableSize  uint32 // 0: no table
	StartFunc  *uint32
	NoNames    bool
	LastCustom []byte // content of a custom section "test" at the end
}

// Build encodes a module.
func Build(m Module) []byte {
	var types, imports, funcs, code, exports [][]byte
	typeOf := func(t module.FuncType) uint32 {
		types = append(types, FuncType(t))
		return uint32(len(types) - 1)
	}
	for _, im := range m.Imports {
		imports = append(imports, cat(Name(im.Module), Name(im.Name), []byte{0}, U32(typeOf(im.Type))))
	}
	var names [][]byte
	for i, f := range m.Funcs {
		index := uint32(len(m.Imports) + i)
		funcs = append(funcs, U32(typeOf(f.Type)))
		locals := f.Locals
		if locals == nil {
			locals = []byte{0}
		}
		body := cat(locals, f.Body, []byte{0x0b})
		code = append(code, cat(U32(uint32(len(body))), body))
		if f.Export {
			exports = append(exports, cat(Name(f.Name), []byte{0}, U32(index)))
		}
		if f.Name != "" {
			names = append(names, cat(U32(index), Name(f.Name)))
		}
	}
	if m.HasMemory {
		exports = append(exports, cat(Name("memory"), []byte{2, 0}))
	}
	return cat(Header(), Vec(Type, types), Vec(Import, imports), Vec(Function, funcs), m.table(), m.memory(),
		Vec(Export, exports), m.start(), Vec(Code, code), m.data(), m.names(names), m.lastCustom())
}

func (m Module) table() []byte {
	if m.TableSize == 0 {
		return nil
	}
	return Section(Table, cat([]byte{1, byte(module.FuncRef), 0}, U32(m.TableSize)))
}

func (m Module) memory() []byte {
	switch {
	case !m.HasMemory:
		return nil
	case m.MaxPages == 0:
		return Section(Memory, cat([]byte{1, 0}, U32(m.Pages)))
	}
	return Section(Memory, cat([]byte{1, 1}, U32(m.Pages), U32(m.MaxPages)))
}

func (m Module) start() []byte {
	if m.StartFunc == nil {
		return nil
	}
	return Section(Start, U32(*m.StartFunc))
}

func (m Module) data() []byte {
	if m.Data == nil {
		return nil
	}
	return Section(Data, cat([]byte{1, 0, 0x41, 0, 0x0b}, U32(uint32(len(m.Data))), m.Data))
}

func (m Module) names(funcs [][]byte) []byte {
	if m.NoNames {
		return nil
	}
	body := Name("name")
	if m.Name != "" {
		body = cat(body, sub(0, Name(m.Name)))
	}
	if len(funcs) > 0 {
		body = cat(body, sub(1, cat(append([][]byte{U32(uint32(len(funcs)))}, funcs...)...)))
	}
	return Section(Custom, body)
}

func (m Module) lastCustom() []byte {
	if m.LastCustom == nil {
		return nil
	}
	return Section(Custom, cat(Name("test"), m.LastCustom))
}

func sub(id byte, body []byte) []byte { return cat([]byte{id}, U32(uint32(len(body))), body) }

// Header is the first eight bytes.
func Header() []byte { return []byte("\x00asm\x01\x00\x00\x00") }

// Section encodes a section.
func Section(id byte, body []byte) []byte { return cat([]byte{id}, U32(uint32(len(body))), body) }

// Vec encodes a section that is a vector; none at all when it is empty.
func Vec(id byte, entries [][]byte) []byte {
	if len(entries) == 0 {
		return nil
	}
	return Section(id, cat(append([][]byte{U32(uint32(len(entries)))}, entries...)...))
}

// FuncType encodes a function type.
func FuncType(t module.FuncType) []byte {
	b := []byte{0x60}
	for _, ts := range [][]module.ValueType{t.Params, t.Results} {
		b = append(b, U32(uint32(len(ts)))...)
		for _, v := range ts {
			b = append(b, byte(v))
		}
	}
	return b
}

// Name encodes a string with its length.
func Name(s string) []byte { return cat(U32(uint32(len(s))), []byte(s)) }

// U32 encodes an unsigned LEB128.
func U32(v uint32) []byte { return binary.AppendUvarint(nil, uint64(v)) }

// I32 encodes a signed LEB128, as i32.const takes it.
func I32(v int32) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
