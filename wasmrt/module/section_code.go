package module

import "fmt"

func (r *reader) functionSection(s *cursor) error {
	n, err := r.count(s, "function section", "functions", r.limits.MaxFunctions, 1)
	if err != nil {
		return err
	}
	r.info.Functions = n
	for i := range n {
		t, err := r.typeIndex(s)
		if err != nil {
			return fmt.Errorf("function %d: %w", i, err)
		}
		r.functions = append(r.functions, t)
	}
	return nil
}

func (r *reader) tableSection(s *cursor) error {
	n, err := r.count(s, "table section", "tables", r.limits.MaxTables, 3)
	if err != nil {
		return err
	}
	r.info.Tables = n
	for range n {
		if err := r.tableType(s); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) memorySection(s *cursor) error {
	n, err := s.u32()
	if err != nil {
		return err
	}
	for range min(n, 2) { // the second is refused by memoryType
		if err := r.memoryType(s); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) globalSection(s *cursor) error {
	n, err := r.count(s, "global section", "globals", r.limits.MaxGlobals, 3)
	if err != nil {
		return err
	}
	r.info.Globals = n
	for i := range n {
		if err = globalType(s); err == nil {
			err = s.constExpr()
		}
		if err != nil {
			return fmt.Errorf("global %d: %w", i, err)
		}
	}
	return nil
}

func (r *reader) elementSection(s *cursor) error {
	n, err := r.count(s, "element section", "segments", r.limits.MaxSegments, 2)
	if err != nil {
		return err
	}
	r.info.ElementSegments = n
	for i := range n {
		if err := r.element(s); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
	}
	return nil
}

// element reads one segment. The three low bits of its flags say: passive or declarative, table named (or declarative),
// expressions instead of function indices.
func (r *reader) element(s *cursor) error {
	flags, err := s.u32()
	if err != nil {
		return err
	}
	if flags > 7 {
		return fmt.Errorf("flags %#x are unknown", flags)
	}
	active, named, exprs := flags&1 == 0, flags&2 != 0, flags&4 != 0
	if active {
		if named {
			if _, err := s.u32(); err != nil {
				return err
			}
		}
		if err := s.constExpr(); err != nil {
			return err
		}
	}
	if !active || named {
		if exprs {
			err = refType(s)
		} else if _, err = s.u8(); err != nil {
			return err
		}
		if err != nil {
			return err
		}
	}
	n, err := s.u32()
	if err != nil {
		return err
	}
	if uint64(n) > uint64(s.left()) {
		return fmt.Errorf("%d elements cannot stand in %d bytes", n, s.left())
	}
	for range n {
		if exprs {
			err = s.constExpr()
		} else {
			err = r.functionIndex(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) functionIndex(s *cursor) error {
	i, err := s.u32()
	if err == nil && uint64(i) >= uint64(len(r.functions)) {
		return fmt.Errorf("function %d does not exist", i)
	}
	return err
}

func (r *reader) codeSection(s *cursor) error {
	n, err := r.count(s, "code section", "functions", r.limits.MaxFunctions, 3)
	if err != nil {
		return err
	}
	r.bodies = n
	for i := range n {
		size, err := s.u32()
		if err != nil {
			return fmt.Errorf("function %d: %w", i, err)
		}
		if size > r.limits.MaxFunctionSize {
			return overLimit(fmt.Sprintf("function %d", i), "bytes of code", uint64(size), uint64(r.limits.MaxFunctionSize))
		}
		body, err := s.bytes(size)
		if err == nil {
			err = r.locals(i, &cursor{b: body})
		}
		if e, ok := err.(*Error); ok {
			return e
		}
		if err != nil {
			return fmt.Errorf("function %d: %w", i, err)
		}
	}
	return nil
}

// locals holds the sum of a function's locals against the limit: three bytes can ask for four milliards of them.
func (r *reader) locals(function uint32, body *cursor) error {
	groups, err := body.u32()
	if err != nil {
		return err
	}
	var sum uint64
	for range groups {
		n, err := body.u32()
		if err != nil {
			return err
		}
		if sum += uint64(n); sum > uint64(r.limits.MaxLocals) {
			return overLimit(fmt.Sprintf("function %d", function), "locals", sum, uint64(r.limits.MaxLocals))
		}
		if _, err := valueType(body); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) dataSection(s *cursor) error {
	n, err := r.count(s, "data section", "segments", r.limits.MaxSegments, 2)
	if err != nil {
		return err
	}
	r.info.DataSegments = n
	for i := range n {
		if err := data(s); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
	}
	return nil
}

func data(s *cursor) error {
	mode, err := s.u32()
	if err != nil {
		return err
	}
	switch mode {
	case 0: // active in memory 0
		err = s.constExpr()
	case 1: // passive
	case 2: // active in a named memory
		if _, err = s.u32(); err == nil {
			err = s.constExpr()
		}
	default:
		err = fmt.Errorf("mode %d is unknown", mode)
	}
	if err != nil {
		return err
	}
	size, err := s.u32()
	if err == nil {
		_, err = s.bytes(size)
	}
	return err
}
