package module

import "strings"

// ValueType is a type of WebAssembly, by its number in the binary format.
type ValueType byte

const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return "unknown"
}

func (t ValueType) valid() bool { return t.String() != "unknown" }

// FuncType is a function's type.
type FuncType struct {
	Params, Results []ValueType
}

func (t FuncType) String() string {
	return "(" + join(t.Params) + ") -> (" + join(t.Results) + ")"
}

// Equal tells whether both have the same parameters and results.
func (t FuncType) Equal(o FuncType) bool {
	return key(t.Params) == key(o.Params) && key(t.Results) == key(o.Results)
}

func key(ts []ValueType) string {
	b := make([]byte, len(ts))
	for i, t := range ts {
		b[i] = byte(t)
	}
	return string(b)
}

func join(ts []ValueType) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = t.String()
	}
	return strings.Join(names, " ")
}

// ExternKind is what an import or export is.
type ExternKind byte

const (
	KindFunction ExternKind = iota
	KindTable
	KindMemory
	KindGlobal
	KindTag
)

func (k ExternKind) String() string {
	switch k {
	case KindFunction:
		return "function"
	case KindTable:
		return "table"
	case KindMemory:
		return "memory"
	case KindGlobal:
		return "global"
	case KindTag:
		return "tag"
	}
	return "unknown"
}

// Import is one entry of the import section.
type Import struct {
	Module, Name string
	Kind         ExternKind
	Type         FuncType // of a function
}

// Export is one entry of the export section.
type Export struct {
	Name string
	Kind ExternKind
	Type FuncType // of a function
}
