package eviction

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// candidate asked for and takes so much memory; what is negative was not measured.
func candidate(name string, priority int32, asked, takes int64) Candidate {
	c := Candidate{UID: types.UID(name), Name: name, Priority: priority, Started: time.Unix(1, 0),
		Requests: map[corev1.ResourceName]int64{corev1.ResourceMemory: asked}, Uses: map[corev1.ResourceName]int64{}}
	if takes >= 0 {
		c.Uses[corev1.ResourceMemory] = takes
	}
	return c
}

func TestRank(t *testing.T) {
	critical := candidate("critical", 0, 0, 1000)
	critical.Critical = true
	late := candidate("late", 0, 10, 20)
	late.Started = time.Unix(2, 0)
	pods := []Candidate{
		candidate("within", 0, 100, 90), candidate("important", 5, 10, 500), candidate("little", 0, 10, 20), late,
		candidate("much", 0, 10, 30), candidate("idle", 0, 0, 0), candidate("unmeasured", 0, 0, -1), critical, candidate("lowest", -1, 10, 11),
	}
	tests := map[Signal][]string{
		MemoryAvailable: {"lowest", "much", "late", "little", "important", "unmeasured", "within"},
		PIDAvailable:    {"lowest", "late", "idle", "little", "much", "unmeasured", "within", "important"},
		NodeFSAvailable: {"lowest", "late", "idle", "little", "much", "unmeasured", "within", "important"}, // nobody measured disks
	}
	for signal, want := range tests {
		for range 3 { // whatever the order they come in
			var got []string
			for _, p := range Rank(pods, signal) {
				got = append(got, p.Name)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", signal, got, want)
			}
			pods = append(pods[4:], pods[:4]...)
		}
	}
}
