package module

import (
	"fmt"
	"math"
)

// RewriteVersion stands for what Rewrite makes of a module. It is part of the key of everything kept of its output, so
// every change of the output changes it.
const RewriteVersion = "r4"

// What a rewritten module has beside its own. Check refuses modules that use these names themselves.
const (
	MeterModule   = "petrel_meter"
	YieldFunction = "yield"
	// ReservedPrefix begins the names of all exports that are added.
	ReservedPrefix = "\x00petrel."

	counterExport = ReservedPrefix + "counter"
	startExport   = ReservedPrefix + "start"
	globalExport  = ReservedPrefix + "g"
)

// RewriteOptions says what is done to a module.
type RewriteOptions struct {
	Meter     bool // count fuel
	CallDepth bool // count nested calls
	Snapshot  bool // make all state reachable from outside, so that an instance can be copied
}

// Rewritten is a module as it is compiled.
type Rewritten struct {
	Wasm []byte
	// Data is the active data in order. It was taken out, and whoever instantiates writes it: each segment must fit the
	// memory, or that segment and the rest are not written and the module traps. The bytes are views of the input.
	Data []DataSegment
	// Globals are the mutable globals but the counter.
	Globals []RewrittenGlobal
	// Start is the export to call after the data was written; empty: none.
	Start string
	// Counter is the export of the counter; empty when nothing is counted.
	Counter string
	// NoSnapshot says why an instance cannot be copied; empty: it can. Otherwise data and start are left in the module,
	// and no globals are exported.
	NoSnapshot string
}

// DataSegment is what one active segment puts where.
type DataSegment struct {
	Offset uint32
	Bytes  []byte
}

// RewrittenGlobal is a mutable global and the name it is exported under.
type RewrittenGlobal struct {
	Export string
	Type   ValueType
}

// Rewrite makes the module that is compiled in place of one that was checked. What the module computes stays the same.
// The error is an *Error: the code is malformed, or uses what is not served.
func Rewrite(wasm []byte, info *Info, o RewriteOptions) (*Rewritten, error) {
	w := &rewriter{o: o, out: &Rewritten{}}
	w.reader = reader{limits: unlimited, info: &Info{Size: info.Size}, kept: &w.kept}
	if err := checkHeader(wasm); err != nil {
		return nil, err
	}
	if err := w.sections(&cursor{b: wasm, pos: 8}); err != nil {
		return nil, err
	}
	for _, step := range []func() error{w.surveyGlobals, w.surveyElements, w.surveyCode, w.surveyData, w.decide, w.planAll} {
		if err := step(); err != nil {
			return nil, asInvalid(err)
		}
	}
	if err := w.write(len(wasm)); err != nil {
		return nil, asInvalid(err)
	}
	return w.out, nil
}

// unlimited is for a module that was held against the limits already.
var unlimited = Limits{
	MaxSize: math.MaxInt64, MaxTypes: math.MaxUint32, MaxFunctions: math.MaxUint32, MaxFunctionSize: math.MaxUint32,
	MaxLocals: math.MaxInt32, MaxParams: math.MaxUint32, MaxImports: math.MaxUint32, MaxExports: math.MaxUint32,
	MaxGlobals: math.MaxUint32, MaxTables: math.MaxUint32, MaxTableElements: math.MaxUint32,
	MaxSegments: math.MaxUint32, MaxNameLength: math.MaxUint32, MaxMemoryPages: DefaultMaxMemoryPages,
}

func asInvalid(err error) error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{
		Code:  CodeInvalid,
		Cause: fmt.Sprintf("the module does not validate: %v", err),
		Fix:   "build it with a current toolchain for WebAssembly 2.0 without proposals beyond it",
	}
}
