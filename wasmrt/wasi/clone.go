package wasi

import (
	"errors"
	"slices"
)

// ErrNotCloneable says that the mark has descriptors that only one System can have.
var ErrNotCloneable = errors.New("the guest has files open that cannot be opened a second time")

// Clone makes a System that is as this one was at its mark. It shares the mounts, which were opened once, and has no
// streams and no egress yet. Many may be made at once, while the System itself is not used.
func (s *System) Clone() (*System, error) {
	if s.mounts.gone {
		return nil, errors.New("clone: the mounts of the original are closed")
	}
	return s.clone(s.mounts.retain())
}

// LetGo closes what is mounted, and remembers where: the guest must not run any more, and only CloneFor clones from now on.
func (s *System) LetGo() error {
	left := &mounts{preopens: s.mounts.preopens, gone: len(s.mounts.preopens) > 0}
	left.users.Store(1)
	held := s.mounts
	s.mounts = left
	return held.release()
}

// CloneFor is Clone with other mounts behind the same guest paths.
func (s *System) CloneFor(list []Mount) (*System, error) {
	if err := ValidateAll(list); err != nil {
		return nil, err
	}
	m, err := openMounts(list)
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(m.preopens, s.mounts.preopens, func(a, b preopened) bool { return a.guestPath == b.guestPath }) {
		return nil, errors.Join(errors.New("clone: the mounts are at other paths than those of the original"), m.release())
	}
	return s.clone(m)
}

// clone takes m over, whatever comes of it.
func (s *System) clone(m *mounts) (*System, error) {
	n := &System{args: s.args, env: s.env, maxFiles: s.maxFiles, mounts: m, opened: s.markOpened}
	for _, m := range s.mark {
		if m.d != nil && !cloneable(m.d) {
			return nil, errors.Join(ErrNotCloneable, n.Close())
		}
	}
	n.in.waiter = &n.wait
	if s.scratch != nil {
		n.scratch = s.scratch.clone()
	}
	n.slots = make([]*descriptor, 0, len(s.mark)+4)
	n.mark = make([]saved, 0, len(s.mark))
	for _, m := range s.mark {
		d, err := n.adopt(s, m)
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		n.slots = append(n.slots, d)
	}
	n.Mark()
	return n, nil
}

// cloneable tells whether another System can have the same descriptor.
func cloneable(d *descriptor) bool {
	switch d.object.(type) {
	case *stdin, *stdout, *listener:
		return true
	}
	return d.preopen
}

// adopt makes n's own of a descriptor that s had at its mark.
func (s *System) adopt(from *System, m saved) (*descriptor, error) {
	if m.d == nil {
		return nil, nil
	}
	d := m.state
	switch o := d.object.(type) {
	case *stdin:
		d.object = &stdin{in: &s.in}
	case *stdout:
		i := 0
		if o.out == &from.out[1] {
			i = 1
		}
		d.object = &stdout{out: &s.out[i]}
	case *listener:
		own, err := o.clone(&s.wait)
		if err != nil {
			return nil, err
		}
		d.object = own
	case *memDir:
		d.object = s.scratch.root
	case directory:
		d.object = s.mounts.at(d.guestPath)
	}
	return &d, nil
}
