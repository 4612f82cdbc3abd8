package ebpfproxy

import (
	"maps"
	"math/bits"
	"slices"
	"time"
)

// span is a range of slots: size is a power of two, base a multiple of it.
type span struct {
	base, size uint32
}

// spans divides the slots among services as a buddy allocator: ranges that are given back join again.
type spans struct {
	free map[uint32]*bases // by size
	back []resting[span]
	top  uint32 // the size of the largest range
}

// bases are where free ranges of one size begin.
type bases struct {
	set   map[uint32]struct{}
	stack []uint32 // all of set, and some that were taken out since
}

func (b *bases) put(base uint32) {
	b.set[base] = struct{}{}
	b.stack = append(b.stack, base)
	if len(b.stack) > 2*len(b.set)+64 {
		b.stack = slices.AppendSeq(b.stack[:0], maps.Keys(b.set))
	}
}

// remove takes out one that is known.
func (b *bases) remove(base uint32) bool {
	_, ok := b.set[base]
	delete(b.set, base)
	return ok
}

// pop takes out any.
func (b *bases) pop() (uint32, bool) {
	for len(b.stack) > 0 {
		base := b.stack[len(b.stack)-1]
		b.stack = b.stack[:len(b.stack)-1]
		if b.remove(base) {
			return base, true
		}
	}
	return 0, false
}

// newSpans begins with the slots from 0 to limit.
func newSpans(limit uint32) *spans {
	s := &spans{free: map[uint32]*bases{}}
	for size := uint32(1); size <= limit && size != 0; size <<= 1 {
		s.free[size] = &bases{set: map[uint32]struct{}{}}
	}
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

func (s *spans) put(sp span) { s.free[sp.size].put(sp.base) }

// take answers a range that holds n slots, or false when there is none.
func (s *spans) take(n uint32, now time.Time) (span, bool) {
	s.settle(now)
	want := ceilPower(n)
	for size := want; size <= s.top && size != 0; size <<= 1 {
		if base, ok := s.free[size].pop(); ok {
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
		if !s.free[sp.size].remove(buddy) {
			break
		}
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
		if !s.free[size].remove(holder) {
			continue
		}
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
