package module

import "fmt"

// survey is what one walk over all code finds out before anything is written: who calls whom, and what stands in the
// way of a snapshot.
type survey struct {
	bodies []body
	calls  callGraph

	usesData    bool // an instruction names a data segment
	dropsData   bool
	writesTable bool
	growsTable  bool
}

// body is a function of the module, a view of the input.
type body struct {
	typ       uint32 // index of its type
	locals    []byte // groups, without their count
	groups    uint32
	variables uint32 // parameters and locals together
	code      []byte // with the final end
}

// surveyCode reads the code section. Indices are held against what the module has, because rewriting adds to each index
// space: an index beyond the module's own must not come to mean one of ours.
func (w *rewriter) surveyCode() error {
	s := &w.survey
	c := &cursor{b: w.kept.byID[sectionCode]}
	if len(c.b) == 0 {
		return nil
	}
	n, err := c.u32()
	if err != nil {
		return err
	}
	s.bodies = make([]body, n)
	for i := range n {
		if err := w.surveyBody(c, i); err != nil {
			return fmt.Errorf("function %d: %w", i+w.imported.functions, err)
		}
	}
	return nil
}

func (w *rewriter) surveyBody(c *cursor, i uint32) error {
	size, err := c.u32()
	if err != nil {
		return err
	}
	raw, err := c.bytes(size)
	if err != nil {
		return err
	}
	b := &w.survey.bodies[i]
	b.typ = w.functions[w.imported.functions+i]
	b.variables = uint32(len(w.types[b.typ].Params))
	in := &cursor{b: raw}
	if b.groups, err = in.u32(); err != nil {
		return err
	}
	start := in.pos
	for range b.groups {
		n, err := in.u32()
		if err != nil {
			return err
		}
		b.variables += n // the reader held their sum against a limit
		if _, err := in.u8(); err != nil {
			return err
		}
	}
	b.locals, b.code = raw[start:in.pos], raw[in.pos:]
	return w.surveyInstructions(i, b)
}

func (w *rewriter) surveyInstructions(i uint32, b *body) error {
	code := instructions{c: cursor{b: b.code}}
	depth := 1
	for depth > 0 {
		in, err := code.next()
		if err != nil {
			return err
		}
		switch in.op {
		case opBlock, opLoop, opIf:
			depth++
		case opEnd:
			depth--
		default:
			if err := w.surveyInstruction(i, b, in); err != nil {
				return err
			}
		}
	}
	if code.c.left() > 0 {
		return fmt.Errorf("%d bytes follow its end", code.c.left())
	}
	w.survey.calls.endFunction()
	return nil
}

func (w *rewriter) surveyInstruction(i uint32, b *body, in instruction) error {
	s := &w.survey
	switch in.op {
	case opCall:
		if in.index >= uint32(len(w.functions)) {
			return fmt.Errorf("function %d does not exist", in.index)
		}
		if in.index >= w.imported.functions {
			s.calls.call(in.index - w.imported.functions)
		}
	case opCallIndirect:
		if in.index >= uint32(len(w.types)) {
			return fmt.Errorf("type %d does not exist", in.index)
		}
		s.calls.callIndirect(in.index)
	case opRefFunc:
		if in.index >= uint32(len(w.functions)) {
			return fmt.Errorf("function %d does not exist", in.index)
		}
		w.taken(in.index)
	case opLocalGet, opLocalSet, opLocalTee:
		if in.index >= b.variables {
			return fmt.Errorf("local %d does not exist", in.index)
		}
	case opGlobalGet, opGlobalSet:
		if in.index >= w.imported.globals+uint32(len(w.globals)) {
			return fmt.Errorf("global %d does not exist", in.index)
		}
	case opTableSet:
		s.writesTable = true
	case opMisc:
		s.misc(in.sub)
	}
	return nil
}

func (s *survey) misc(sub uint32) {
	switch sub {
	case miscMemoryInit:
		s.usesData = true
	case miscDataDrop:
		s.usesData, s.dropsData = true, true
	case miscTableGrow:
		s.writesTable, s.growsTable = true, true
	case miscTableInit, miscElemDrop, miscTableCopy, miscTableFill:
		s.writesTable = true
	}
}

// taken notes that a function's address is known to the guest, so that call_indirect may reach it.
func (w *rewriter) taken(function uint32) {
	if function >= w.imported.functions {
		w.survey.calls.take(function - w.imported.functions)
	}
}
