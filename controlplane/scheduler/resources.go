package scheduler

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// Resources is an amount of everything that a node has and a pod asks for.
type Resources struct {
	MilliCPU  int64
	Memory    int64 // bytes
	Ephemeral int64 // bytes of local storage
	Pods      int64
	// Extended holds all others, huge pages and devices for instance. It is never changed once set.
	Extended map[corev1.ResourceName]int64
}

// resourcesOf reads a resource list.
func resourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Ephemeral = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if r.Extended == nil {
				r.Extended = make(map[corev1.ResourceName]int64)
			}
			r.Extended[name] = q.Value()
		}
	}
	return r
}

// requestsOf is what a pod takes of a node: its containers' requests, init containers and overhead included, and one
// place.
func requestsOf(pod *corev1.Pod) Resources {
	r := resourcesOf(resource.PodRequests(pod, resource.PodResourcesOptions{UseStatusResources: true}))
	r.Pods = 1
	return r
}

// plus returns the sum; sign -1 takes away.
func (r Resources) plus(other Resources, sign int64) Resources {
	r.MilliCPU += sign * other.MilliCPU
	r.Memory += sign * other.Memory
	r.Ephemeral += sign * other.Ephemeral
	r.Pods += sign * other.Pods
	if len(other.Extended) > 0 {
		sum := maps.Clone(r.Extended)
		if sum == nil {
			sum = make(map[corev1.ResourceName]int64)
		}
		for name, n := range other.Extended {
			sum[name] += sign * n
		}
		r.Extended = sum
	}
	return r
}

// equal compares two amounts.
func (r Resources) equal(other Resources) bool {
	return r.MilliCPU == other.MilliCPU && r.Memory == other.Memory && r.Ephemeral == other.Ephemeral &&
		r.Pods == other.Pods && maps.Equal(r.Extended, other.Extended)
}
