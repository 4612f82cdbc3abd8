package ebpfproxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// normalize answers s in the form that the table holds: one service a family, backends in order and without repeats,
// addresses unmapped. absent are frontends that s may have had in another form: a node port of both families has no
// entry in a family without backends.
func normalize(s Service) (all []Service, absent []Frontend, err error) {
	if err := check(s); err != nil {
		return nil, nil, err
	}
	s.Frontend.Addr = s.Frontend.Addr.Unmap()
	var four, six []Backend
	for _, b := range s.Backends {
		b.Addr = b.Addr.Unmap()
		if b.Addr.Is4() {
			four = append(four, b)
		} else {
			six = append(six, b)
		}
	}
	if s.Frontend.Addr.IsValid() {
		own, other := four, six
		if s.Frontend.Addr.Is6() {
			own, other = six, four
		}
		if len(other) > 0 {
			return nil, nil, fmt.Errorf("%w %s %s: backend %s is of another address family", ErrInvalid, s.Name, s.Frontend, other[0].Addr)
		}
		s.Backends = ordered(own)
		return []Service{s}, nil, nil
	}
	for _, f := range families(s.Frontend) {
		n := s
		n.Frontend = f
		n.Backends = four
		if f.Addr.Is6() {
			n.Backends = six
		}
		n.Backends = ordered(n.Backends)
		if len(n.Backends) == 0 && len(s.Backends) > 0 {
			absent = append(absent, f)
			continue
		}
		all = append(all, n)
	}
	return all, absent, nil
}

// families answers the table's frontends for f: two for a node port that names no family.
func families(f Frontend) []Frontend {
	if f.Addr.IsValid() {
		f.Addr = f.Addr.Unmap()
		return []Frontend{f}
	}
	four, six := f, f
	four.Addr = netip.IPv4Unspecified()
	six.Addr = netip.IPv6Unspecified()
	return []Frontend{four, six}
}

func check(s Service) error {
	f := s.Frontend
	switch {
	case f.Protocol != TCP && f.Protocol != UDP && f.Protocol != SCTP:
		return fmt.Errorf("%w %s %s: unknown protocol", ErrInvalid, s.Name, f)
	case f.Port == 0:
		return fmt.Errorf("%w %s %s: no port", ErrInvalid, s.Name, f)
	case f.Scope != Internal && f.Scope != External:
		return fmt.Errorf("%w %s %s: unknown scope", ErrInvalid, s.Name, f)
	case f.Addr.Zone() != "":
		return fmt.Errorf("%w %s %s: an address with a zone", ErrInvalid, s.Name, f)
	case s.Affinity < 0 || s.Affinity.Milliseconds() > maxAffinityMillis:
		return fmt.Errorf("%w %s %s: affinity of %s", ErrInvalid, s.Name, f, s.Affinity)
	case len(s.Backends) > maxBackends:
		return fmt.Errorf("%w %s %s: %d backends, not within %d", ErrInvalid, s.Name, f, len(s.Backends), maxBackends)
	}
	for _, b := range s.Backends {
		if !b.Addr.IsValid() || b.Addr.IsUnspecified() || b.Addr.Zone() != "" || b.Port == 0 || b.State > Unready {
			return fmt.Errorf("%w %s %s: backend %s port %d state %d", ErrInvalid, s.Name, f, b.Addr, b.Port, b.State)
		}
	}
	for _, r := range s.SourceRanges {
		if !r.IsValid() {
			return fmt.Errorf("%w %s %s: a source range that is none", ErrInvalid, s.Name, f)
		}
	}
	return nil
}

// maxAffinityMillis is what the table holds: 49 days.
const maxAffinityMillis = 1<<32 - 1

// ordered sorts a copy by address and keeps the most able of those with the same.
func ordered(backends []Backend) []Backend {
	backends = slices.Clone(backends)
	slices.SortFunc(backends, func(a, b Backend) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.State, b.State))
	})
	return slices.CompactFunc(backends, func(a, b Backend) bool { return a.Addr == b.Addr && a.Port == b.Port })
}

// same tells whether two services as their callers gave them are the same.
func same(a, b *Service) bool {
	return a.Frontend == b.Frontend && a.Name == b.Name && a.Affinity == b.Affinity && a.Maglev == b.Maglev &&
		a.Drop == b.Drop && a.KeepClientIP == b.KeepClientIP &&
		slices.Equal(a.Backends, b.Backends) && slices.Equal(a.SourceRanges, b.SourceRanges)
}

func (f Frontend) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(f.Addr, f.Port), f.Protocol)
}

func (b Backend) addrPort() netip.AddrPort { return netip.AddrPortFrom(b.Addr, b.Port) }
