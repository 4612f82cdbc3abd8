package module

// maxCustomNames bounds how many names of custom sections are kept; a file can hold millions of empty ones.
const maxCustomNames = 100

// maxProducers bounds how many entries of the producers section are kept.
const maxProducers = 100

// custom reads a custom section. One that cannot be read does not make a module invalid (so says the specification), so
// what is known of it is kept and the rest passed over.
func (r *reader) custom(s *cursor) error {
	name, err := s.name(r.limits.MaxNameLength)
	if err != nil {
		return err // its name is part of the format, its content is not
	}
	if len(r.info.CustomSections) < maxCustomNames {
		r.info.CustomSections = append(r.info.CustomSections, name)
	}
	switch name {
	case "name":
		if r.kept != nil {
			r.kept.names = s.b[s.pos:]
		}
		r.nameSection(s)
	case "producers":
		r.producers(s)
	}
	return nil
}

// nameSection takes the module's name and the number of functions named.
func (r *reader) nameSection(s *cursor) {
	for s.left() > 0 {
		id, _ := s.u8()
		size, err := s.u32()
		if err != nil {
			return
		}
		body, err := s.bytes(size)
		if err != nil {
			return
		}
		switch sub := (&cursor{b: body}); id {
		case 0:
			if name, err := sub.name(r.limits.MaxNameLength); err == nil {
				r.info.Name = name
			}
		case 1:
			r.info.NamedFunctions = r.functionNames(sub)
		}
	}
}

// functionNames counts the entries that can be read.
func (r *reader) functionNames(s *cursor) (named uint32) {
	n, err := s.u32()
	if err != nil {
		return 0
	}
	for range n {
		if _, err := s.u32(); err != nil {
			return named
		}
		if _, err := s.nameBytes(r.limits.MaxNameLength); err != nil {
			return named
		}
		named++
	}
	return named
}

func (r *reader) producers(s *cursor) {
	fields, err := s.u32()
	if err != nil {
		return
	}
	for range fields {
		field, err := s.name(r.limits.MaxNameLength)
		if err != nil {
			return
		}
		values, err := s.u32()
		if err != nil {
			return
		}
		for range values {
			name, err := s.name(r.limits.MaxNameLength)
			if err != nil {
				return
			}
			version, err := s.name(r.limits.MaxNameLength)
			if err != nil {
				return
			}
			if len(r.info.Producers) < maxProducers {
				r.info.Producers = append(r.info.Producers, Producer{Field: field, Name: name, Version: version})
			}
		}
	}
}
