package module

// rewriter holds one module while it is rewritten: first everything is read, then it is decided, then written.
type rewriter struct {
	reader
	o    RewriteOptions
	out  *Rewritten
	kept keptSections

	globals  []global // those defined in the module
	segments []segment
	obstacle string // why the data cannot be taken out, if it cannot
	survey   survey

	plans   []plan
	planned []bool

	added       []FuncType        // types that are not in the module
	typeIndices map[string]uint32 // of all types, by their text

	counter uint32 // index of the counter

	piecewise bool // some instruction is done in pieces, so the functions for it are there

	frames  []frame  // kept for reuse
	targets []uint32 // likewise
	loops   []int    // likewise
}

type global struct {
	typ     ValueType
	mutable bool
	init    []byte // with its end
}

// segment is a data segment. One that is passive has no place.
type segment struct {
	active bool
	offset uint32
	raw    []byte // as it stands in the section
	bytes  []byte
}

// counts tells whether the module gets a counter.
func (w *rewriter) counts() bool { return w.o.Meter || w.o.CallDepth }

// yield is the index of the imported function that is added, after the module's own imports.
func (w *rewriter) yield() uint32 { return w.imported.functions }

// shift turns the index of a function of the module into what it is in the new one.
func (w *rewriter) shift(function uint32) uint32 {
	if w.counts() && function >= w.imported.functions {
		return function + 1
	}
	return function
}

// decide finds out whether instances can be copied.
func (w *rewriter) decide() error {
	w.counter = w.imported.globals + uint32(len(w.globals))
	if w.o.Snapshot {
		w.out.NoSnapshot = w.snapshotObstacle()
	}
	if w.counts() {
		w.out.Counter = counterExport
	}
	return nil
}

// normalises tells whether data, start and globals are made reachable from outside.
func (w *rewriter) normalises() bool { return w.o.Snapshot && w.out.NoSnapshot == "" }

func (w *rewriter) snapshotObstacle() string {
	switch im := w.imported; {
	case im.memories > 0:
		return "imported_memory"
	case im.tables > 0:
		return "imported_table"
	case im.globals > 0:
		return "imported_global"
	case !w.info.HasMemory:
		return "no_memory"
	case w.survey.dropsData:
		return "passive_data"
	case w.survey.writesTable:
		return "table_write"
	}
	for _, g := range w.globals {
		switch {
		case g.mutable && g.typ == V128:
			return "vector_global" // the engine's API cannot read it
		case g.mutable && (g.typ == FuncRef || g.typ == ExternRef):
			return "reference_global" // a reference means nothing in another instance
		}
	}
	return w.obstacle
}

func (w *rewriter) planAll() error {
	w.plans = make([]plan, len(w.survey.bodies))
	w.planned = make([]bool, len(w.survey.bodies))
	if !w.counts() {
		return nil
	}
	order, recursive := w.survey.calls.order(w.survey.bodies, w.types)
	for _, i := range order {
		if err := w.plan(i, recursive[i]); err != nil {
			return err
		}
		w.planned[i] = true
	}
	return nil
}

// typeIndexOf returns the index of a type, which is added when the module has none like it.
func (w *rewriter) typeIndexOf(t FuncType) uint32 {
	if w.typeIndices == nil {
		w.typeIndices = make(map[string]uint32, len(w.types))
		for i := len(w.types) - 1; i >= 0; i-- { // the first of equal ones stays
			w.typeIndices[w.types[i].String()] = uint32(i)
		}
	}
	i, ok := w.typeIndices[t.String()]
	if !ok {
		i = uint32(len(w.types) + len(w.added))
		w.typeIndices[t.String()] = i
		w.added = append(w.added, t)
	}
	return i
}

// blockType encodes the type of a block without parameters.
func (w *rewriter) blockType(results []ValueType) []byte {
	switch len(results) {
	case 0:
		return []byte{blockEmpty}
	case 1:
		return []byte{byte(results[0])}
	}
	return appendS64(nil, int64(w.typeIndexOf(FuncType{Results: results})))
}

// initialiser copies a constant expression, function indices shifted.
func (w *rewriter) initialiser(out, expr []byte) []byte {
	if len(expr) > 0 && expr[0] == opRefFunc {
		c := cursor{b: expr, pos: 1}
		if function, err := c.u32(); err == nil {
			out = appendU32(append(out, opRefFunc), w.shift(function))
			return append(out, expr[c.pos:]...)
		}
	}
	return append(out, expr...)
}
