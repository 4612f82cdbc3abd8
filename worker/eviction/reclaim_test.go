package eviction

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestReclaiming(t *testing.T) {
	two, err := ParseThresholds("memory.available<1Gi,nodefs.available<10%")
	if err != nil {
		t.Fatal(err)
	}
	soft := Threshold{Signal: MemoryAvailable, Amount: 2 << 30, Soft: true}
	got, err := Reclaiming(append(two, soft), " memory.available = 500Mi,nodefs.available=5% , pid.available=0")
	if err != nil || got[0].Reclaim.Of(1<<40) != 500<<20 || got[1].Reclaim.Of(1000) != 50 || got[2].Reclaim != got[0].Reclaim || two[0].Reclaim != (Part{}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Reclaiming(two, ""); err != nil || !slices.Equal(got, two) {
		t.Errorf("of nothing: %+v, %v", got, err)
	}
	for _, text := range []string{"memory.available", "heat=1", "memory.available=-1", "memory.available=100%", "memory.available=-1%", "memory.available=much", "memory.available=1,", "memory.available=1,memory.available=2", "memory.available<1"} {
		if got, err := Reclaiming(two, text); err == nil {
			t.Errorf("%q makes %v", text, got)
		}
	}
}

func FuzzReclaiming(f *testing.F) {
	f.Add("memory.available=500Mi,nodefs.available=5%", int64(1<<30))
	f.Fuzz(func(t *testing.T, text string, capacity int64) {
		got, err := Reclaiming(Default(), text)
		if err != nil || capacity < 0 {
			return
		}
		for _, g := range got {
			if g.Reclaim.Of(capacity) < 0 {
				t.Errorf("%q: %+v", text, g)
			}
		}
	})
}

// TestEvictsUntilEnoughIsReclaimed: what was crossed is met again before so much more is free; what was not is not.
func TestEvictsUntilEnoughIsReclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := plenty()
		x.reclaim = "memory.available=150Mi"
		x.pods = []Candidate{candidate("a", 0, 0, 100*mib), candidate("b", 0, 0, 90*mib), candidate("c", 0, 0, 80*mib)}
		start(t, x)
		x.change(func() { x.memory.Available = 200 * mib }) // less than 250, but more than 100
		after(interval + time.Second)
		x.wants()
		x.change(func() { x.memory.Available = 90 * mib })
		after(interval + time.Minute)
		x.wants("a", "b") // 90 + 100 is more than 100, and not yet 250
		if want := []string{"memory"}; !slices.Equal(x.announced, want) {
			t.Errorf("announced %v, want %v", x.announced, want)
		}
		x.change(func() { x.memory.Available = 200 * mib })
		after(time.Minute)
		x.wants("a", "b")
	})
}
