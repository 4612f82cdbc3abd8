package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestBounds(t *testing.T) {
	for _, tc := range []struct {
		replicas           int32
		surge, unavailable string
		most, least        int32
	}{
		{10, "25%", "25%", 13, 8}, {1, "25%", "25%", 2, 1}, {3, "1", "0", 4, 3}, {3, "0", "1", 3, 2},
		{3, "0", "0", 3, 2}, {2, "0%", "10%", 2, 1}, {4, "100%", "100%", 8, 0}, {0, "25%", "25%", 0, 0},
	} {
		surge, unavailable := intstr.Parse(tc.surge), intstr.Parse(tc.unavailable)
		d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &tc.replicas, Strategy: appsv1.DeploymentStrategy{
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
		}}}
		if b := boundsOf(d); b.most != tc.most || b.least != tc.least {
			t.Errorf("%+v: got %+v", tc, b)
		}
	}
	if b := boundsOf(&appsv1.Deployment{}); b != (bounds{desired: 1, most: 2, least: 1}) {
		t.Errorf("without any field: %+v", b)
	}
}

func TestPlanRolling(t *testing.T) {
	for _, tc := range []struct {
		name    string
		bounds  bounds
		current [2]int32 // wanted, available
		old     [][2]int32
		want    int32
		wants   []int32
	}{
		{"the first", bounds{3, 4, 3}, [2]int32{}, nil, 3, []int32{}},
		{"surge first", bounds{3, 4, 3}, [2]int32{}, [][2]int32{{3, 3}}, 1, []int32{3}},
		{"wait for the new one", bounds{3, 4, 3}, [2]int32{1, 0}, [][2]int32{{3, 3}}, 1, []int32{3}},
		{"then shrink", bounds{3, 4, 3}, [2]int32{1, 1}, [][2]int32{{3, 3}}, 1, []int32{2}},
		{"unavailable old ones go at once", bounds{3, 4, 2}, [2]int32{1, 0}, [][2]int32{{3, 1}}, 1, []int32{2}},
		{"all old ones are broken", bounds{3, 4, 3}, [2]int32{1, 1}, [][2]int32{{3, 0}}, 1, []int32{2}},
		{"oldest first", bounds{4, 5, 4}, [2]int32{3, 3}, [][2]int32{{1, 1}, {1, 1}}, 3, []int32{0, 1}},
		{"the last old one", bounds{3, 4, 3}, [2]int32{3, 3}, [][2]int32{{1, 1}}, 3, []int32{0}},
		{"not below the least", bounds{3, 4, 3}, [2]int32{3, 2}, [][2]int32{{1, 1}}, 3, []int32{1}},
		{"too large", bounds{3, 4, 3}, [2]int32{5, 5}, nil, 3, []int32{}},
		{"through", bounds{3, 4, 3}, [2]int32{3, 3}, [][2]int32{{0, 0}}, 3, []int32{0}},
		{"scaled to nothing", bounds{0, 0, 0}, [2]int32{0, 0}, [][2]int32{{2, 2}}, 0, []int32{0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			state := func(s [2]int32) setState { return setState{want: s[0], available: s[1], pods: s[0]} }
			old := []setState{}
			for _, s := range tc.old {
				old = append(old, state(s))
			}
			want, wants := planRolling(tc.bounds, state(tc.current), old)
			if want != tc.want || !slices.Equal(wants, tc.wants) {
				t.Errorf("got %d %v, want %d %v", want, wants, tc.want, tc.wants)
			}
		})
	}
}

// TestPlanRollingWaitsForPodsToGo has an old ReplicaSet that was scaled down and still has its pods: their places are
// not free yet.
func TestPlanRollingWaitsForPodsToGo(t *testing.T) {
	b := bounds{desired: 3, most: 4, least: 2}
	want, _ := planRolling(b, setState{want: 1, pods: 1}, []setState{{want: 1, available: 1, pods: 3}})
	if want != 1 {
		t.Errorf("grows to %d while five pods would be too many", want)
	}
	want, _ = planRolling(b, setState{want: 1, pods: 1}, []setState{{want: 1, available: 1, pods: 1, pending: true}})
	if want != 1 {
		t.Errorf("grows to %d while nobody knows how many old pods there are", want)
	}
}

// simSet is a ReplicaSet with its pods, each ready or not.
type simSet struct {
	want   int32
	pods   []bool
	broken bool // its pods never become ready
}

func (s *simSet) available() (n int32) {
	for _, ready := range s.pods {
		if ready {
			n++
		}
	}
	return n
}

// settle does what the ReplicaSet's controller does: unready pods go first.
func (s *simSet) settle() {
	for int32(len(s.pods)) < s.want {
		s.pods = append(s.pods, false)
	}
	slices.SortFunc(s.pods, func(a, b bool) int { return -falseFirst(a, b) })
	s.pods = s.pods[:s.want]
}

// TestRollingUpdateProperty rolls random Deployments over random old ReplicaSets with pods that become ready in random
// order, become unready again, or are broken. Never may a step leave more pods than the surge allows or take
// available pods below the least, and it must come to an end.
func TestRollingUpdateProperty(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		rollOnce(t, seed, r)
		if t.Failed() {
			return
		}
	}
}

func rollOnce(t *testing.T, seed uint64, r *rand.Rand) {
	desired := int32(r.IntN(12))
	surge, unavailable := intstr.FromInt32(int32(r.IntN(4))), intstr.FromInt32(int32(r.IntN(4)))
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To(desired), Strategy: appsv1.DeploymentStrategy{
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
	}}}
	b := boundsOf(d)
	sets := []*simSet{{}} // the present one last
	left := b.most
	for range r.IntN(3) {
		old := &simSet{want: int32(r.IntN(int(left) + 1)), broken: r.IntN(3) == 0}
		left -= old.want
		old.settle()
		for i := range old.pods {
			old.pods[i] = !old.broken && r.IntN(4) > 0
		}
		sets = slices.Insert(sets, 0, old)
	}
	for step := range 400 {
		before, beforeTotal := totals(sets)
		applyPlan(b, sets)
		after, total := totals(sets)
		if total > max(b.most, beforeTotal) {
			t.Fatalf("seed %d step %d: %d pods, at most %d allowed", seed, step, total, b.most)
		}
		if after < min(before, b.least) {
			t.Fatalf("seed %d step %d: available fell from %d to %d, least is %d", seed, step, before, after, b.least)
		}
		if rolledOut(sets, desired) {
			return
		}
		for _, s := range sets {
			for i := range s.pods {
				switch {
				case s.broken:
				case !s.pods[i]:
					s.pods[i] = r.IntN(3) == 0
				case step < 200 && r.IntN(20) == 0:
					s.pods[i] = false // falls ill, for a while
				}
			}
		}
	}
	t.Fatalf("seed %d: never through: %s", seed, describe(sets))
}

func applyPlan(b bounds, sets []*simSet) {
	old := sets[:len(sets)-1]
	states := make([]setState, len(old))
	for i, s := range old {
		states[i] = setState{want: s.want, available: s.available(), pods: s.want}
	}
	current := sets[len(sets)-1]
	want, wants := planRolling(b, setState{want: current.want, available: current.available(), pods: current.want}, states)
	current.want = want
	for i, s := range old {
		s.want = wants[i]
	}
	for _, s := range sets {
		s.settle()
	}
}

func totals(sets []*simSet) (available, total int32) {
	for _, s := range sets {
		available += s.available()
		total += int32(len(s.pods))
	}
	return available, total
}

func rolledOut(sets []*simSet, desired int32) bool {
	_, total := totals(sets)
	current := sets[len(sets)-1]
	return total == desired && current.want == desired && current.available() == desired
}

func describe(sets []*simSet) (s string) {
	for _, set := range sets {
		s += fmt.Sprintf("%d of %d ready; ", set.available(), set.want)
	}
	return s
}

func TestPlanProportional(t *testing.T) {
	for _, tc := range []struct {
		name   string
		most   int32
		shares []share
		want   []int32
	}{
		{"up by the same share", 26, []share{{8, 13}, {5, 13}}, []int32{16, 10}},
		{"down by the same share", 6, []share{{8, 12}, {4, 12}}, []int32{4, 2}},
		{"growing favours the larger, then the newer", 14, []share{{6, 12}, {3, 12}, {3, 12}}, []int32{7, 3, 4}},
		{"to nothing", 0, []share{{8, 12}, {4, 12}}, []int32{0, 0}},
		{"the annotation is missing", 20, []share{{5, 0}, {5, 0}}, []int32{10, 10}},
		{"nothing to do", 12, []share{{8, 12}, {4, 12}}, []int32{8, 4}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := planProportional(tc.most, tc.shares); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestPlanProportionalProperty spreads random changes: the sum is what was asked for and nothing falls below zero.
func TestPlanProportionalProperty(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 4))
		var total int32
		shares := make([]share, 1+r.IntN(5))
		for i := range shares {
			shares[i].want = 1 + int32(r.IntN(20))
			total += shares[i].want
		}
		for i := range shares {
			shares[i].wasMost = total
		}
		most := int32(r.IntN(150))
		var sum int32
		for i, n := range planProportional(most, shares) {
			if n < 0 || most >= total && n < shares[i].want || most <= total && n > shares[i].want {
				t.Fatalf("seed %d: %v to %d: share %d became %d", seed, shares, most, i, n)
			}
			sum += n
		}
		if sum != most {
			t.Fatalf("seed %d: %v to %d: the sum is %d", seed, shares, most, sum)
		}
	}
}
