package wasi

import "slices"

// saved is a descriptor of the mark, as it was then.
type saved struct {
	d     *descriptor // nil: the slot was free
	state descriptor
}

// lookup finds a descriptor that may be used for what the rights say.
func (s *System) lookup(fd uint32, need rights) (*descriptor, Errno) {
	if uint64(fd) >= uint64(len(s.slots)) || s.slots[fd] == nil {
		return nil, ErrnoBadf
	}
	d := s.slots[fd]
	if d.base&need != need {
		return nil, ErrnoNotCapable
	}
	return d, 0
}

// room tells whether one more descriptor may be opened.
func (s *System) room() Errno {
	if s.opened >= s.maxFiles {
		return ErrnoMfile
	}
	return 0
}

// insert gives an open object the lowest free number. When there is none it is closed.
func (s *System) insert(d *descriptor) (uint32, Errno) {
	if errno := s.room(); errno != 0 {
		d.release()
		return 0, errno
	}
	s.opened++
	for fd, other := range s.slots {
		if other == nil {
			s.slots[fd] = d
			return uint32(fd), 0
		}
	}
	s.slots = append(s.slots, d)
	return uint32(len(s.slots) - 1), 0
}

// drop takes a descriptor out of its slot, and frees it unless the mark has it.
func (s *System) drop(fd uint32) {
	d := s.slots[fd]
	s.slots[fd] = nil
	if d.counted() {
		s.opened--
	}
	if !d.held {
		d.release()
	}
}

// counted tells whether a descriptor counts against the limit: what the guest was given does not.
func (d *descriptor) counted() bool {
	switch d.object.(type) {
	case *stdin, *stdout, *listener:
		return false
	}
	return !d.preopen
}

// Mark makes the present descriptors those that Reset returns to.
func (s *System) Mark() {
	for _, m := range s.mark {
		if m.d != nil && !slices.Contains(s.slots, m.d) {
			m.d.held = false
			m.d.release()
		}
	}
	s.mark = s.mark[:0]
	for _, d := range s.slots {
		if d == nil {
			s.mark = append(s.mark, saved{})
			continue
		}
		d.held = true
		d.stopListing()
		s.mark = append(s.mark, saved{d: d, state: *d})
	}
	s.markOpened = s.opened
	if s.scratch != nil {
		s.scratch.mark()
	}
}

// Pristine tells whether the guest has just the descriptors that the mark has, where they were: what a Clone can be made
// of. Flags may differ, a Clone has them as they are.
func (s *System) Pristine() bool {
	for fd, d := range s.slots {
		switch {
		case fd >= len(s.mark):
			if d != nil {
				return false
			}
		case d != s.mark[fd].d:
			return false
		case d != nil && (d.offset != s.mark[fd].state.offset || !cloneable(d)):
			return false
		}
	}
	return true
}

// Reset closes what was opened since the mark and restores what was there. When it returns false, something cannot be
// restored, and the instance shall be discarded.
func (s *System) Reset() (clean bool) {
	clean = true
	for _, d := range s.slots {
		if d != nil && !d.held {
			d.release()
		}
	}
	s.slots = s.slots[:0]
	for i := range s.mark {
		m := &s.mark[i]
		s.slots = append(s.slots, m.d)
		if m.d != nil && !m.restore() {
			clean = false
		}
	}
	s.opened = s.markOpened
	s.in.forget()
	if s.scratch != nil {
		s.scratch.reset()
	}
	return clean
}

// restore puts a descriptor back to how it was.
func (m *saved) restore() bool {
	d := m.d
	d.stopListing()
	ok := true
	switch o := d.object.(type) {
	case *conn, *dialing, *answers:
		ok = false // nobody can tell what its peer has seen
	case regular:
		if changed := d.flags ^ m.state.flags; changed&flagAppend != 0 {
			ok = o.setAppend(m.state.flags&flagAppend != 0) == 0
		}
	}
	*d = m.state
	return ok
}
