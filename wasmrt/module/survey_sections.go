package module

import (
	"errors"
	"fmt"
)

func (w *rewriter) surveyGlobals() error {
	c := &cursor{b: w.kept.byID[sectionGlobal]}
	if len(c.b) == 0 {
		return nil
	}
	n, err := c.u32()
	if err != nil {
		return err
	}
	w.globals = make([]global, n)
	for i := range w.globals {
		g := &w.globals[i]
		if g.typ, err = valueType(c); err != nil {
			return err
		}
		mutable, err := c.u8()
		if err != nil {
			return err
		}
		g.mutable = mutable == 1
		if g.init, err = w.surveyInit(c); err != nil {
			return fmt.Errorf("global %d: %w", i, err)
		}
	}
	return nil
}

// surveyInit reads a constant expression and notes the function it takes the address of.
func (w *rewriter) surveyInit(c *cursor) ([]byte, error) {
	start := c.pos
	if err := c.constExpr(); err != nil {
		return nil, err
	}
	expr := c.b[start:c.pos]
	e := cursor{b: expr, pos: 1}
	switch expr[0] {
	case opRefFunc:
		function, err := e.u32()
		if err != nil {
			return nil, err
		}
		if function >= uint32(len(w.functions)) {
			return nil, fmt.Errorf("function %d does not exist", function)
		}
		w.taken(function)
	case opGlobalGet:
		index, err := e.u32()
		if err != nil {
			return nil, err
		}
		if index >= w.imported.globals+uint32(len(w.globals)) {
			return nil, fmt.Errorf("global %d does not exist", index)
		}
	}
	return expr, nil
}

// surveyElements notes the functions that tables are filled with.
func (w *rewriter) surveyElements() error {
	return w.elements(func([]byte) {}, w.taken, func([]byte) {})
}

// elements walks the element section: head gets what stands before a segment's elements, function each index, and expr
// each expression.
func (w *rewriter) elements(head func([]byte), function func(uint32), expr func([]byte)) error {
	c := &cursor{b: w.kept.byID[sectionElement]}
	if len(c.b) == 0 {
		return nil
	}
	n, err := c.u32()
	if err != nil {
		return err
	}
	for range n {
		if err := w.elementSegment(c, head, function, expr); err != nil {
			return err
		}
	}
	return nil
}

func (w *rewriter) elementSegment(c *cursor, head func([]byte), function func(uint32), expr func([]byte)) error {
	start := c.pos
	flags, err := c.u32()
	if err != nil {
		return err
	}
	active, named, exprs := flags&1 == 0, flags&2 != 0, flags&4 != 0
	if active && named {
		if _, err := c.u32(); err != nil {
			return err
		}
	}
	if active {
		if _, err := w.surveyInit(c); err != nil {
			return err
		}
	}
	if !active || named {
		if _, err := c.u8(); err != nil {
			return err
		}
	}
	n, err := c.u32()
	if err != nil {
		return err
	}
	head(c.b[start:c.pos])
	for range n {
		if exprs {
			e, err := w.surveyInit(c)
			if err != nil {
				return err
			}
			expr(e)
			continue
		}
		i, err := c.u32()
		if err != nil {
			return err
		}
		function(i)
	}
	return nil
}

func (w *rewriter) surveyData() error {
	c := &cursor{b: w.kept.byID[sectionData]}
	if len(c.b) == 0 {
		return nil
	}
	n, err := c.u32()
	if err != nil {
		return err
	}
	w.segments = make([]segment, n)
	for i := range w.segments {
		if err := w.surveySegment(c, &w.segments[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *rewriter) surveySegment(c *cursor, s *segment) error {
	start := c.pos
	mode, err := c.u32()
	if err != nil {
		return err
	}
	if mode == 2 {
		memory, err := c.u32()
		if err != nil {
			return err
		}
		if memory != 0 {
			w.obstacle = "data_memory"
		}
	}
	if mode != 1 {
		s.active = true
		expr, err := w.surveyInit(c)
		if err != nil {
			return err
		}
		if s.offset, err = constI32(expr); err != nil {
			w.obstacle = "data_offset"
		}
	}
	size, err := c.u32()
	if err != nil {
		return err
	}
	if s.bytes, err = c.bytes(size); err != nil {
		return err
	}
	s.raw = c.b[start:c.pos]
	return nil
}

// constI32 evaluates an expression that is one constant.
func constI32(expr []byte) (uint32, error) {
	c := cursor{b: expr, pos: 1}
	if expr[0] != opI32Const {
		return 0, fmt.Errorf("instruction %#x is no constant", expr[0])
	}
	v, err := c.s32()
	if err != nil {
		return 0, err
	}
	if c.left() != 1 || c.b[c.pos] != opEnd {
		return 0, errors.New("more than a constant")
	}
	return uint32(v), nil
}
