package ebpfproxy

import (
	"math/bits"
	"time"
)

// span is a range of slots: size is a power of two, base a multiple of it.
type span struct {
	base, size uint32
}

// spans divides the slots among services as a buddy allocator: ranges that are given back join again.
type spans struct {
	free map[uint32]map[uint32]struct{} // size → bases
	back []resting[span]
	top  uint32 // the size of the largest range
}

// newSpans begins with the slots from 0 to limit.
func newSpans(limit uint32) *spans {
	s := &spans{free: map[uint32]map[uint32]struct{}{}}
	base := uint32(0)
	for rest := limit; rest > 0; {
		size := uint32(1) << (bits.Len32(rest) - 1)
		s.put(span{base, size})
		s.top = max(s.top, size)
		base += size
		rest -= size
	}
	return s
}

func (s *spans) put(sp span) {
	if s.free[sp.size] == nil {
		s.free[sp.size] = map[uint32]struct{}{}
	}
	s.free[sp.size][sp.base] = struct{}{}
}

// take answers a range that holds n slots, or false when there is none.
func (s *spans) take(n uint32, now time.Time) (span, bool) {
	s.settle(now)
	want := ceilPower(n)
	for size := want; size <= s.top && size != 0; size <<= 1 {
		for base := range s.free[size] {
			delete(s.free[size], base)
			s.split(span{base, size}, want)
			return span{base, want}, true
		}
	}
	return span{}, false
}

// split gives back what of sp is beyond its first size slots.
func (s *spans) split(sp span, size uint32) {
	for sp.size > size {
		sp.size >>= 1
		s.put(span{sp.base + sp.size, sp.size})
	}
}

// give returns a range; it is joined to the free ones after its rest.
func (s *spans) give(sp span, now time.Time) {
	if sp.size != 0 {
		s.back = append(s.back, resting[span]{sp, now})
	}
}

func (s *spans) settle(now time.Time) {
	for len(s.back) > 0 && now.Sub(s.back[0].since) >= rest {
		s.join(s.back[0].what)
		s.back = s.back[1:]
	}
}

func (s *spans) join(sp span) {
	for sp.size < s.top {
		buddy := sp.base ^ sp.size
		if _, ok := s.free[sp.size][buddy]; !ok {
			break
		}
		delete(s.free[sp.size], buddy)
		sp = span{min(sp.base, buddy), sp.size << 1}
	}
	s.put(sp)
}

// adopt takes the very range that an earlier process had taken: base and n slots from there.
func (s *spans) adopt(base, n uint32) (span, bool) {
	want := ceilPower(n)
	if base%want != 0 {
		return span{}, false
	}
	for size := want; size <= s.top && size != 0; size <<= 1 {
		holder := base &^ (size - 1)
		if _, ok := s.free[size][holder]; !ok {
			continue
		}
		delete(s.free[size], holder)
		for sp := (span{holder, size}); sp.size > want; {
			sp.size >>= 1
			low, high := sp, span{sp.base + sp.size, sp.size}
			if base >= high.base {
				s.put(low)
				sp = high
			} else {
				s.put(high)
			}
		}
		return span{base, want}, true
	}
	return span{}, false
}

func ceilPower(n uint32) uint32 {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len32(n-1)
}
