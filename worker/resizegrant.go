package worker

import (
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/resource"

	"github.com/petrelrun/petrel/worker/pod"
)

// grants are what pods that are being resized have been granted: two must not be granted the same.
type grants struct {
	mu   sync.Mutex
	pods map[types.UID]corev1.ResourceList
}

func (g *grants) forget(uid types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pods, uid)
}

// mayGrant grants a pod's requests, or says in kubelet's words why not.
func (m *manager) mayGrant(uid types.UID, has, wants *corev1.Pod) pod.Why {
	g := &m.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	before, after := helpers.PodRequests(has, helpers.PodResourcesOptions{}), helpers.PodRequests(wants, helpers.PodResourcesOptions{})
	there := m.allocatable()
	used := corev1.ResourceList{}
	for _, other := range m.all() {
		shown := other.snapshot()
		if other.uid == uid || pod.Terminal(shown.phase) {
			continue
		}
		granted, resized := g.pods[other.uid]
		if !resized {
			granted = helpers.PodRequests(shown.pod, helpers.PodResourcesOptions{})
		}
		for name, q := range granted {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		asked, had := after[name], before[name]
		free, known := there[name]
		if asked.Cmp(had) <= 0 || !known {
			continue // what is given back needs no room
		}
		in := func(q int64, milli int64) int64 {
			if name == corev1.ResourceCPU {
				return milli
			}
			return q
		}
		requested, capacity := in(asked.Value(), asked.MilliValue()), in(free.Value(), free.MilliValue())
		if requested > capacity {
			return pod.Why{Reason: corev1.PodReasonInfeasible, Message: fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, requested, capacity)}
		}
		others := used[name]
		if taken := in(others.Value(), others.MilliValue()); requested+taken > capacity {
			return pod.Why{Reason: corev1.PodReasonDeferred, Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, taken, capacity)}
		}
	}
	if g.pods == nil {
		g.pods = map[types.UID]corev1.ResourceList{}
	}
	g.pods[uid] = maps.Clone(after)
	return pod.Why{}
}
