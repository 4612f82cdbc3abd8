package ebpfproxy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSpans takes and gives at random: ranges never overlap, rest before they are given again, and end in one piece.
func TestSpans(t *testing.T) {
	const limit = 1 << 10
	s := newSpans(limit)
	now := time.Unix(0, 0)
	random := rand.New(rand.NewPCG(1, 2))
	owner := make([]int, limit)
	restUntil := make([]time.Time, limit)
	held := map[int]span{}
	for i := 1; i < 5000; i++ {
		now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		if random.IntN(2) == 0 {
			n := uint32(1 + random.IntN(64))
			sp, ok := s.take(n, now)
			if !ok {
				continue
			}
			if sp.size < n || sp.base%sp.size != 0 {
				t.Fatalf("asked for %d, got %+v", n, sp)
			}
			held[i] = sp
			for j := sp.base; j < sp.base+sp.size; j++ {
				if owner[j] != 0 || now.Before(restUntil[j]) {
					t.Fatalf("slot %d is given again while %d has it, or too early", j, owner[j])
				}
				owner[j] = i
			}
			continue
		}
		for id, sp := range held {
			s.give(sp, now)
			for j := sp.base; j < sp.base+sp.size; j++ {
				owner[j], restUntil[j] = 0, now.Add(rest)
			}
			delete(held, id)
			break
		}
	}
	for _, sp := range held {
		s.give(sp, now)
	}
	if sp, ok := s.take(limit, now.Add(rest)); !ok || sp != (span{0, limit}) {
		t.Errorf("all that was given back makes %+v", sp)
	}
}

func TestSpansOfAnyNumberOfSlots(t *testing.T) {
	for _, limit := range []uint32{1, 2, 3, 100, 1000, 1<<16 + 1} {
		s := newSpans(limit)
		n := uint32(0)
		for {
			if _, ok := s.take(1, time.Time{}); !ok {
				break
			}
			n++
		}
		if n != limit {
			t.Errorf("%d of %d slots are given out", n, limit)
		}
	}
}

func TestSpansAdopt(t *testing.T) {
	s := newSpans(64)
	if sp, ok := s.adopt(24, 5); !ok || sp != (span{24, 8}) {
		t.Fatalf("adopt: %+v, %t", sp, ok)
	}
	for _, tt := range []struct{ base, n uint32 }{{24, 8}, {24, 1}, {28, 2}, {16, 16}, {3, 2}, {0, 128}} {
		if sp, ok := s.adopt(tt.base, tt.n); ok {
			t.Errorf("adopt %d+%d, which is taken or no range: %+v", tt.base, tt.n, sp)
		}
	}
	total := uint32(0)
	for {
		sp, ok := s.take(1, time.Time{})
		if !ok {
			break
		}
		if sp.base >= 24 && sp.base < 32 {
			t.Errorf("slot %d is taken twice", sp.base)
		}
		total++
	}
	if total != 56 {
		t.Errorf("%d slots are left of 56", total)
	}
}
