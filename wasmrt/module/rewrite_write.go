package module

import "fmt"

// write encodes the new module. Bodies come first in time, because they may need types that are not in the module.
func (w *rewriter) write(size int) error {
	code, err := w.newCode(size)
	if err != nil {
		return err
	}
	yieldType := uint32(0)
	if w.counts() {
		yieldType = w.typeIndexOf(FuncType{})
	}
	data, dataCount := w.newData()
	out := make([]byte, 0, len(code)+len(data)+size/4)
	out = append(out, "\x00asm\x01\x00\x00\x00"...)
	for _, s := range []struct {
		id   byte
		body []byte
	}{
		{sectionType, w.newTypes()},
		{sectionImport, w.newImports(yieldType)},
		{sectionFunction, w.newFunctions()},
		{sectionTable, w.newTables()},
		{sectionMemory, w.kept.byID[sectionMemory]},
		{sectionGlobal, w.newGlobals()},
		{sectionExport, w.newExports()},
		{sectionStart, w.newStart()},
		{sectionElement, w.newElements()},
		{sectionDataCount, dataCount},
		{sectionCode, code},
		{sectionData, data},
		{sectionCustom, w.newNames()},
	} {
		if len(s.body) > 0 {
			out = appendSection(out, s.id, s.body)
		}
	}
	w.out.Wasm = out
	return nil
}

// counted reads the number of entries that a section begins with; an empty one has none.
func counted(section []byte) (n uint32, rest []byte) {
	c := cursor{b: section}
	n, err := c.u32()
	if err != nil {
		return 0, nil
	}
	return n, section[c.pos:]
}

func (w *rewriter) newTypes() []byte {
	old := w.kept.byID[sectionType]
	if len(w.added) == 0 {
		return old
	}
	n, rest := counted(old)
	out := append(appendU32(nil, n+uint32(len(w.added))), rest...)
	for _, t := range w.added {
		out = appendFuncType(out, t)
	}
	return out
}

func (w *rewriter) newImports(yieldType uint32) []byte {
	old := w.kept.byID[sectionImport]
	if !w.counts() {
		return old
	}
	n, rest := counted(old)
	out := append(appendU32(nil, n+1), rest...)
	out = appendName(appendName(out, MeterModule), YieldFunction)
	return appendU32(append(out, byte(KindFunction)), yieldType)
}

// maxGrownTable is how many elements a table can grow to. Tables lie in the host's own memory, where the limit on a
// guest's does not hold: eight bytes an element.
const maxGrownTable = DefaultMaxTableElements

// newTables gives tables that the guest grows a maximum. table.grow may fail at any time, so guests are prepared.
func (w *rewriter) newTables() []byte {
	old := w.kept.byID[sectionTable]
	if !w.o.Meter || !w.survey.growsTable || len(old) == 0 {
		return old
	}
	n, rest := counted(old)
	out := appendU32(nil, n)
	c := &cursor{b: rest}
	for range n {
		typ, err := c.u8()
		if err != nil {
			return old // it was read before, without an error
		}
		least, most, hasMax, err := limitsOf(c)
		if err != nil {
			return old
		}
		if !hasMax || most > maxGrownTable {
			most = max(least, maxGrownTable)
		}
		out = append(out, typ, 1)
		out = appendU32(appendU32(out, least), most)
	}
	return out
}

func (w *rewriter) newGlobals() []byte {
	if len(w.globals) == 0 && !w.counts() {
		return nil
	}
	n := uint32(len(w.globals))
	if w.counts() {
		n++
	}
	out := appendU32(nil, n)
	for _, g := range w.globals {
		mutable := byte(0)
		if g.mutable {
			mutable = 1
		}
		out = w.initialiser(append(out, byte(g.typ), mutable), g.init)
	}
	if w.counts() {
		// Without fuel: the first that runs asks the host for it.
		out = append(out, byte(I64), 1, opI64Const)
		out = append(appendS64(out, int64(NewCounter(0, DefaultCallDepth))), opEnd)
	}
	return out
}

func (w *rewriter) newExports() []byte {
	n, rest := counted(w.kept.byID[sectionExport])
	var added []byte
	add := func(name string, kind ExternKind, index uint32) {
		added = appendU32(append(appendName(added, name), byte(kind)), index)
		n++
	}
	if w.counts() {
		add(counterExport, KindGlobal, w.counter)
	}
	if w.normalises() {
		for i, g := range w.globals {
			if g.mutable {
				name := fmt.Sprintf("%s%d", globalExport, i)
				add(name, KindGlobal, w.imported.globals+uint32(i))
				w.out.Globals = append(w.out.Globals, RewrittenGlobal{Export: name, Type: g.typ})
			}
		}
		if function, err := (&cursor{b: w.kept.byID[sectionStart]}).u32(); err == nil {
			add(startExport, KindFunction, w.shift(function))
			w.out.Start = startExport
		}
	}
	if n == 0 {
		return nil
	}
	return append(append(appendU32(nil, n), w.shiftExports(rest)...), added...)
}

// shiftExports copies the module's own exports, function indices shifted. The reader has been through them.
func (w *rewriter) shiftExports(entries []byte) []byte {
	out := make([]byte, 0, len(entries)+len(entries)/16)
	c := cursor{b: entries}
	for c.left() > 0 {
		start := c.pos
		size, _ := c.u32()
		_, _ = c.bytes(size)
		kind, _ := c.u8()
		out = append(out, entries[start:c.pos]...)
		index, err := c.u32()
		if err != nil {
			return out
		}
		if ExternKind(kind) == KindFunction {
			index = w.shift(index)
		}
		out = appendU32(out, index)
	}
	return out
}

func (w *rewriter) newStart() []byte {
	function, err := (&cursor{b: w.kept.byID[sectionStart]}).u32()
	if err != nil || w.normalises() {
		return nil
	}
	return appendU32(nil, w.shift(function))
}

func (w *rewriter) newElements() []byte {
	old := w.kept.byID[sectionElement]
	if !w.counts() || len(old) == 0 {
		return old
	}
	n, _ := counted(old)
	out := appendU32(make([]byte, 0, len(old)+len(old)/16), n)
	err := w.elements(
		func(head []byte) { out = append(out, head...) },
		func(function uint32) { out = appendU32(out, w.shift(function)) },
		func(expr []byte) { out = w.initialiser(out, expr) })
	if err != nil {
		return old // it was walked before, without an error
	}
	return out
}

func (w *rewriter) newCode(size int) ([]byte, error) {
	old := w.kept.byID[sectionCode]
	if !w.counts() || len(old) == 0 {
		return old, nil
	}
	out := make([]byte, 0, len(old)+size/4)
	var body []byte
	for i := range w.survey.bodies {
		var err error
		if body, err = w.body(body[:0], uint32(i)); err != nil {
			return nil, err
		}
		out = append(appendU32(out, uint32(len(body))), body...)
	}
	n := uint32(len(w.survey.bodies))
	if w.piecewise {
		for _, sub := range []uint32{miscMemoryFill, miscMemoryCopy} {
			body = w.bulkBody(sub)
			out = append(appendU32(out, uint32(len(body))), body...)
			n++
		}
	}
	return append(appendU32(make([]byte, 0, 5+len(out)), n), out...), nil
}

func (w *rewriter) newFunctions() []byte {
	old := w.kept.byID[sectionFunction]
	if !w.piecewise {
		return old
	}
	n, rest := counted(old)
	out := append(appendU32(nil, n+2), rest...)
	return appendU32(appendU32(out, w.bulkType()), w.bulkType())
}

// newData takes the active segments out. Where instructions name segments by number, each leaves an empty passive one in
// its place: an active segment counts as dropped once it is written, so both are the same to them.
func (w *rewriter) newData() (data, count []byte) {
	if !w.normalises() {
		return w.kept.byID[sectionData], w.kept.byID[sectionDataCount]
	}
	for _, s := range w.segments {
		if s.active {
			w.out.Data = append(w.out.Data, DataSegment{Offset: s.offset, Bytes: s.bytes})
		}
	}
	if !w.survey.usesData {
		return nil, nil
	}
	data = appendU32(nil, uint32(len(w.segments)))
	for _, s := range w.segments {
		if s.active {
			data = append(data, 1, 0)
		} else {
			data = append(data, s.raw...)
		}
	}
	return data, w.kept.byID[sectionDataCount]
}
