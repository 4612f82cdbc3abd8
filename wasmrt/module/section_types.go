package module

import (
	"errors"
	"fmt"
)

// count reads how many entries a section has and holds it against a limit and against the bytes left, of which each
// entry needs at least least.
func (r *reader) count(s *cursor, field, what string, limit uint32, least int) (uint32, error) {
	n, err := s.u32()
	if err != nil {
		return 0, err
	}
	if n > limit {
		return 0, overLimit(field, what, uint64(n), uint64(limit))
	}
	if uint64(n)*uint64(least) > uint64(s.left()) {
		return 0, fmt.Errorf("%d %s cannot stand in %d bytes", n, what, s.left())
	}
	return n, nil
}

func (r *reader) typeSection(s *cursor) error {
	n, err := r.count(s, "type section", "types", r.limits.MaxTypes, 3)
	if err != nil {
		return err
	}
	r.info.Types = n
	r.types = make([]FuncType, 0, n)
	for i := range n {
		form, err := s.u8()
		if err != nil {
			return fmt.Errorf("type %d: %w", i, err)
		}
		if form != 0x60 {
			return &Error{
				Code:  CodeUnsupportedFeature,
				Field: "type section",
				Cause: fmt.Sprintf("type %d is not a function type (form %#x): garbage collected types are not served", i, form),
				Fix:   "build for a target without WebAssembly GC",
			}
		}
		var t FuncType
		if t.Params, err = r.valueTypes(s); err == nil {
			t.Results, err = r.valueTypes(s)
		}
		if err != nil {
			return fmt.Errorf("type %d: %w", i, err)
		}
		r.types = append(r.types, t)
	}
	return nil
}

func (r *reader) valueTypes(s *cursor) ([]ValueType, error) {
	n, err := r.count(s, "type section", "parameters or results", r.limits.MaxParams, 1)
	if err != nil || n == 0 {
		return nil, err
	}
	ts := make([]ValueType, n)
	for i := range ts {
		if ts[i], err = valueType(s); err != nil {
			return nil, err
		}
	}
	return ts, nil
}

func valueType(s *cursor) (ValueType, error) {
	b, err := s.u8()
	if err != nil {
		return 0, err
	}
	if t := ValueType(b); t.valid() {
		return t, nil
	}
	return 0, fmt.Errorf("value type %#x is unknown", b)
}

func refType(s *cursor) error {
	t, err := valueType(s)
	if err == nil && t != FuncRef && t != ExternRef {
		return fmt.Errorf("%s is no reference type", t)
	}
	return err
}

func (r *reader) typeIndex(s *cursor) (uint32, error) {
	i, err := s.u32()
	if err == nil && uint64(i) >= uint64(len(r.types)) {
		return 0, fmt.Errorf("type %d does not exist", i)
	}
	return i, err
}

// limitsOf reads the bounds of a table or memory.
func limitsOf(s *cursor) (least, most uint32, hasMax bool, err error) {
	flags, err := s.u8()
	if err != nil {
		return 0, 0, false, err
	}
	if flags > 1 {
		what := "shared between threads"
		if flags&4 != 0 {
			what = "of 64-bit addresses"
		}
		return 0, 0, false, &Error{
			Code:  CodeUnsupportedFeature,
			Field: "memory",
			Cause: fmt.Sprintf("a memory or table is %s (flags %#x), which is not served", what, flags),
			Fix:   "build for wasm32 without threads",
		}
	}
	if least, err = s.u32(); err != nil || flags == 0 {
		return least, 0, false, err
	}
	if most, err = s.u32(); err == nil && most < least {
		err = errors.New("a maximum is less than its minimum")
	}
	return least, most, true, err
}

func (r *reader) tableType(s *cursor) error {
	if err := refType(s); err != nil {
		return err
	}
	least, _, _, err := limitsOf(s)
	if err != nil {
		return err
	}
	if r.elements += uint64(least); r.elements > uint64(r.limits.MaxTableElements) {
		return overLimit("table", "elements", r.elements, uint64(r.limits.MaxTableElements))
	}
	return nil
}

func (r *reader) memoryType(s *cursor) error {
	least, most, hasMax, err := limitsOf(s)
	if err != nil {
		return err
	}
	if least > r.limits.MaxMemoryPages {
		return overLimit("memory", "pages of 64 KiB to start with", uint64(least), uint64(r.limits.MaxMemoryPages))
	}
	if hasMax && most > DefaultMaxMemoryPages {
		return fmt.Errorf("a memory of %d pages is more than 32 bits can address", most)
	}
	if r.info.HasMemory {
		return &Error{
			Code: CodeUnsupportedFeature, Field: "memory",
			Cause: "the module has more than one memory, which is not served",
			Fix:   "build it with a single memory",
		}
	}
	r.info.HasMemory = true
	r.info.MemoryMinPages, r.info.MemoryMaxPages, r.info.MemoryHasMax = least, most, hasMax
	return nil
}

func globalType(s *cursor) error {
	if _, err := valueType(s); err != nil {
		return err
	}
	mut, err := s.u8()
	if err == nil && mut > 1 {
		return fmt.Errorf("mutability %#x of a global is unknown", mut)
	}
	return err
}
