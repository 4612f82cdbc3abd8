package ebpfproxy

import (
	"testing"
	"time"
)

func TestIDsRest(t *testing.T) {
	s := ids{limit: 2}
	now := time.Unix(0, 0)
	one, _ := s.take(now)
	two, _ := s.take(now)
	if one != 1 || two != 2 {
		t.Fatalf("took %d and %d", one, two)
	}
	s.give(one, now)
	if id, ok := s.take(now.Add(rest - 1)); ok {
		t.Errorf("%d is given again before its rest", id)
	}
	if id, ok := s.take(now.Add(rest)); !ok || id != one {
		t.Errorf("after its rest: %d, %t", id, ok)
	}
}

func TestIDsAdopt(t *testing.T) {
	s := ids{limit: 6}
	s.adopt([]uint32{5, 2})
	seen := map[uint32]bool{5: true, 2: true}
	for {
		id, ok := s.take(time.Unix(1e6, 0))
		if !ok {
			break
		}
		if seen[id] || id == 0 || id > 6 {
			t.Errorf("%d is given twice, or was never to be", id)
		}
		seen[id] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d of 6 ids are given out", len(seen))
	}
}
