package module

import "fmt"

func (r *reader) importSection(s *cursor) error {
	n, err := r.count(s, "import section", "imports", r.limits.MaxImports, 4)
	if err != nil {
		return err
	}
	r.info.Imports = make([]Import, 0, n)
	for i := range n {
		im, err := r.importEntry(s)
		if e, ok := err.(*Error); ok {
			return e
		}
		if err != nil {
			return fmt.Errorf("import %d: %w", i, err)
		}
		r.info.Imports = append(r.info.Imports, im)
	}
	return nil
}

func (r *reader) importEntry(s *cursor) (im Import, err error) {
	if im.Module, err = s.name(r.limits.MaxNameLength); err != nil {
		return im, err
	}
	if im.Name, err = s.name(r.limits.MaxNameLength); err != nil {
		return im, err
	}
	kind, err := s.u8()
	if err != nil {
		return im, err
	}
	im.Kind = ExternKind(kind)
	switch im.Kind {
	case KindFunction:
		var t uint32
		if t, err = r.typeIndex(s); err != nil {
			return im, err
		}
		im.Type = r.types[t]
		r.functions = append(r.functions, t)
		r.imported.functions++
	case KindTable:
		r.imported.tables++
		err = r.tableType(s)
	case KindMemory:
		r.imported.memories++
		err = r.memoryType(s)
	case KindGlobal:
		r.imported.globals++
		err = globalType(s)
	case KindTag:
		r.imported.tags++
		if _, err = s.u8(); err == nil {
			_, err = r.typeIndex(s)
		}
	default:
		err = fmt.Errorf("kind %#x is unknown", kind)
	}
	return im, err
}

func (r *reader) exportSection(s *cursor) error {
	n, err := r.count(s, "export section", "exports", r.limits.MaxExports, 3)
	if err != nil {
		return err
	}
	r.info.Exports = make([]Export, 0, n)
	seen := make(map[string]struct{}, n)
	for i := range n {
		ex, err := r.exportEntry(s)
		if err != nil {
			return fmt.Errorf("export %d: %w", i, err)
		}
		if _, twice := seen[ex.Name]; twice {
			return fmt.Errorf("%q is exported twice", ex.Name)
		}
		seen[ex.Name] = struct{}{}
		r.info.Exports = append(r.info.Exports, ex)
	}
	return nil
}

func (r *reader) exportEntry(s *cursor) (ex Export, err error) {
	if ex.Name, err = s.name(r.limits.MaxNameLength); err != nil {
		return ex, err
	}
	kind, err := s.u8()
	if err != nil {
		return ex, err
	}
	index, err := s.u32()
	if err != nil {
		return ex, err
	}
	ex.Kind = ExternKind(kind)
	var have uint32
	switch ex.Kind {
	case KindFunction:
		have = uint32(len(r.functions))
	case KindTable:
		have = r.imported.tables + r.info.Tables
	case KindMemory:
		if r.info.HasMemory {
			have = 1
		}
	case KindGlobal:
		have = r.imported.globals + r.info.Globals
	case KindTag:
		have = r.imported.tags
	default:
		return ex, fmt.Errorf("kind %#x is unknown", kind)
	}
	if index >= have {
		return ex, fmt.Errorf("%s %d does not exist", ex.Kind, index)
	}
	if ex.Kind == KindFunction {
		ex.Type = r.types[r.functions[index]]
	}
	return ex, nil
}

func (r *reader) startSection(s *cursor) error {
	i, err := s.u32()
	if err != nil {
		return err
	}
	if uint64(i) >= uint64(len(r.functions)) {
		return fmt.Errorf("function %d does not exist", i)
	}
	if t := r.types[r.functions[i]]; len(t.Params)+len(t.Results) != 0 {
		return fmt.Errorf("the start function has the type %s", t)
	}
	r.info.HasStartSection = true
	return nil
}
