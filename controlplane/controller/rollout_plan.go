package controller

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// bounds are what a rolling update keeps: never more pods than most, never fewer available ones than least.
type bounds struct {
	desired, most, least int32
}

// boundsOf resolves maxSurge and maxUnavailable. Should both come to zero, one pod may be unavailable, or nothing
// could ever move.
func boundsOf(d *appsv1.Deployment) bounds {
	desired := ptr.Deref(d.Spec.Replicas, 1)
	b := bounds{desired: desired, most: desired, least: desired}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || desired == 0 {
		return b
	}
	quarter := intstr.FromString("25%") // Kubernetes' default for both
	surge, unavailable := quarter, quarter
	if rolling := d.Spec.Strategy.RollingUpdate; rolling != nil {
		surge = ptr.Deref(rolling.MaxSurge, quarter)
		unavailable = ptr.Deref(rolling.MaxUnavailable, quarter)
	}
	up, err := intstr.GetScaledValueFromIntOrPercent(&surge, int(desired), true)
	if err != nil {
		up = 0
	}
	down, err := intstr.GetScaledValueFromIntOrPercent(&unavailable, int(desired), false)
	if err != nil {
		down = 0
	}
	if up <= 0 && down <= 0 {
		down = 1
	}
	b.most = desired + int32(max(up, 0))
	b.least = max(desired-int32(max(down, 0)), 0)
	return b
}

// setState is what the plan needs of one ReplicaSet.
type setState struct {
	want      int32 // spec.replicas
	available int32
	// pods is how many pods it has or is about to have: more than wanted while its controller has yet to take some
	// down.
	pods int32
	// pending tells that its controller has not followed the last change yet: its number of pods is not known.
	pending bool
}

func stateOf(rs *appsv1.ReplicaSet) setState {
	want := ptr.Deref(rs.Spec.Replicas, 1)
	// A ReplicaSet scaled down a moment ago may still count pods that are about to go.
	return setState{
		want: want, available: min(rs.Status.AvailableReplicas, want), pods: max(rs.Status.Replicas, want),
		pending: rs.Status.ObservedGeneration < rs.Generation,
	}
}

// planRolling takes the next step of a rolling update: how many replicas the present ReplicaSet and each old one
// (oldest first) shall have. It first grows the present one as far as the surge allows; only when nothing is to
// grow does it shrink old ones, those pods first that are not available anyway. The surge is reckoned by pods that there are, not by those wanted, so that it
// holds while ReplicaSets are still following earlier steps.
func planRolling(b bounds, current setState, old []setState) (int32, []int32) {
	wants := make([]int32, len(old))
	var oldTotal int32
	pods, pending := current.pods, current.pending
	for i, s := range old {
		wants[i] = s.want
		oldTotal += s.want
		pods += s.pods
		pending = pending || s.pending
	}
	if current.want > b.desired {
		return b.desired, wants
	}
	if room := min(b.most-pods, b.desired-current.want); room > 0 && !pending {
		return current.want + room, wants
	}
	if oldTotal == 0 {
		return current.want, wants
	}
	// Pods of the present template that are not available yet hold their place: of the rest, all above the least
	// may go.
	spare := current.want + oldTotal - b.least - (current.want - current.available)
	spare = shrinkUnavailable(spare, old, wants)
	shrinkAvailable(b, spare, current, old, wants)
	return current.want, wants
}

// shrinkUnavailable takes away replicas that are not available: they cost nothing. It returns what may go besides.
func shrinkUnavailable(spare int32, old []setState, wants []int32) int32 {
	for i, s := range old {
		cut := min(s.want-s.available, spare)
		if cut > 0 {
			wants[i] -= cut
			spare -= cut
		}
	}
	return spare
}

// shrinkAvailable takes away available replicas, oldest ReplicaSet first, as long as enough are left.
func shrinkAvailable(b bounds, spare int32, current setState, old []setState, wants []int32) {
	available := current.available
	for _, s := range old {
		available += s.available
	}
	spare = min(spare, available-b.least)
	for i := range old {
		if cut := min(wants[i], spare); cut > 0 {
			wants[i] -= cut
			spare -= cut
		}
	}
}

// share is one ReplicaSet in a proportional scaling.
type share struct {
	want int32
	// wasMost is what the Deployment allowed in all when the ReplicaSet was scaled last; zero when unknown.
	wasMost int32
}

// planProportional spreads a change of the Deployment's number over the ReplicaSets of a rollout under way, so that
// neither template gets all of it. shares are oldest first; those without replicas must not be among them.
func planProportional(most int32, shares []share) []int32 {
	wants := make([]int32, len(shares))
	var total int32
	for i, s := range shares {
		wants[i] = s.want
		total += s.want
	}
	left := most - total
	// Growing favours the larger, then the newer; shrinking the larger, then the older.
	order := make([]int, len(shares))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		byAge := cmp.Compare(a, b)
		if left > 0 {
			byAge = -byAge
		}
		return cmp.Or(cmp.Compare(shares[b].want, shares[a].want), byAge)
	})
	for _, i := range order {
		part := proportion(shares[i], most, total)
		if left > 0 {
			part = min(max(part, 0), left)
		} else {
			part = max(min(part, 0), left)
		}
		wants[i] += part
		left -= part
	}
	if len(order) > 0 {
		wants[order[0]] = max(wants[order[0]]+left, 0)
	}
	return wants
}

// proportion is by how much one ReplicaSet changes when all together come to most.
func proportion(s share, most, total int32) int32 {
	base := s.wasMost
	if base <= 0 {
		base = total
	}
	if base <= 0 {
		return 0
	}
	return int32(math.Round(float64(s.want)*float64(most)/float64(base))) - s.want
}
