package module

import "fmt"

// The default limits. Those on counts stand far above what real programs have (a large Go program has about 150,000
// functions and 100,000 data segments) and far below what would hurt: a function costs the compiler some hundred bytes.
const (
	DefaultMaxSize          = 64 << 20
	DefaultMaxTypes         = 100_000
	DefaultMaxFunctions     = 500_000
	DefaultMaxFunctionSize  = 8 << 20
	DefaultMaxLocals        = 50_000
	DefaultMaxParams        = 1_000
	DefaultMaxImports       = 10_000
	DefaultMaxExports       = 100_000
	DefaultMaxGlobals       = 100_000
	DefaultMaxTables        = 100
	DefaultMaxTableElements = 1_000_000
	DefaultMaxSegments      = 500_000
	DefaultMaxNameLength    = 100_000
	// DefaultMaxMemoryPages is all that a 32-bit memory can have (4 GiB); what an instance may use is a limit of the pod.
	DefaultMaxMemoryPages = 65_536
)

// PageSize is the unit of a Wasm memory in bytes.
const PageSize = 65_536

// Limits bounds what a module may have. A zero field means the default.
type Limits struct {
	MaxSize          int64  // bytes of the whole file
	MaxTypes         uint32 // function types
	MaxFunctions     uint32 // functions defined, imports not counted
	MaxFunctionSize  uint32 // bytes of one function's body
	MaxLocals        uint32 // local variables of one function
	MaxParams        uint32 // parameters, and results, of one type
	MaxImports       uint32
	MaxExports       uint32
	MaxGlobals       uint32
	MaxTables        uint32
	MaxTableElements uint32 // elements that all tables together start with
	MaxSegments      uint32 // data segments, and element segments
	MaxNameLength    uint32 // bytes of one name
	MaxMemoryPages   uint32 // pages the memory starts with
}

func (l Limits) withDefaults() Limits {
	if l.MaxSize == 0 {
		l.MaxSize = DefaultMaxSize
	}
	for _, f := range []struct {
		field *uint32
		def   uint32
	}{
		{&l.MaxTypes, DefaultMaxTypes},
		{&l.MaxFunctions, DefaultMaxFunctions},
		{&l.MaxFunctionSize, DefaultMaxFunctionSize},
		{&l.MaxLocals, DefaultMaxLocals},
		{&l.MaxParams, DefaultMaxParams},
		{&l.MaxImports, DefaultMaxImports},
		{&l.MaxExports, DefaultMaxExports},
		{&l.MaxGlobals, DefaultMaxGlobals},
		{&l.MaxTables, DefaultMaxTables},
		{&l.MaxTableElements, DefaultMaxTableElements},
		{&l.MaxSegments, DefaultMaxSegments},
		{&l.MaxNameLength, DefaultMaxNameLength},
		{&l.MaxMemoryPages, DefaultMaxMemoryPages},
	} {
		if *f.field == 0 {
			*f.field = f.def
		}
	}
	return l
}

// Validate refuses limits that cannot be meant.
func (l Limits) Validate() error {
	if l.MaxSize < 0 {
		return fmt.Errorf("check limits: max size %d is negative", l.MaxSize)
	}
	if l.MaxMemoryPages > DefaultMaxMemoryPages {
		return fmt.Errorf("check limits: a memory has at most %d pages", DefaultMaxMemoryPages)
	}
	return nil
}

func overLimit(field, what string, got uint64, limit uint64) *Error {
	return &Error{
		Code:  CodeLimit,
		Field: field,
		Cause: fmt.Sprintf("%s: %d %s, the limit is %d", field, got, what, limit),
		Fix:   "split the program or raise the limit on the server",
	}
}
