package ebpfproxy

import "time"

// rest is how long an id or a range of slots is kept out of use after it was given back: programs that read the older
// table may still be on their way. They take microseconds; a processor may be taken from one for longer.
const rest = time.Second

// resting is something that was given back.
type resting[T any] struct {
	what  T
	since time.Time
}

// ids gives out the numbers 1 to limit.
type ids struct {
	limit uint32
	next  uint32 // the highest that was ever given out
	back  []resting[uint32]
}

// take answers an id, or false when none is free and rested.
func (s *ids) take(now time.Time) (uint32, bool) {
	if len(s.back) > 0 && now.Sub(s.back[0].since) >= rest {
		id := s.back[0].what
		s.back = s.back[1:]
		return id, true
	}
	if s.next >= s.limit {
		return 0, false
	}
	s.next++
	return s.next, true
}

func (s *ids) give(id uint32, now time.Time) {
	s.back = append(s.back, resting[uint32]{id, now})
}

// used counts those that are out.
func (s *ids) used() uint32 { return s.next - uint32(len(s.back)) }

// adopt marks what an earlier process had given out. Ids between them are free but are given out last, as if rested.
func (s *ids) adopt(used []uint32) {
	taken := make(map[uint32]bool, len(used))
	for _, id := range used {
		taken[id] = true
		s.next = max(s.next, id)
	}
	for id := uint32(1); id < s.next; id++ {
		if !taken[id] {
			s.back = append(s.back, resting[uint32]{what: id})
		}
	}
}
