package confine

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/pod"
)

// PodLimits bound the pod as a whole: by what it says itself, or else by what its containers may take together. A pod of
// which one container is unbounded is unbounded. Init containers count as far as they need more than what runs later;
// sidecars run beside the rest.
func PodLimits(p *corev1.Pod) *runtimev1.LinuxContainerResources {
	total := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if request, _ := sum(p, name, requestOf); !request.IsZero() {
			total.Requests[name] = request
		}
		if limit, bounded := sum(p, name, limitOf); bounded {
			total.Limits[name] = limit
		}
		if own := p.Spec.Resources; own != nil {
			override(total.Requests, own.Requests, name)
			override(total.Limits, own.Limits, name)
		}
		if overhead, ok := p.Spec.Overhead[name]; ok {
			add(total.Requests, name, overhead)
			if _, bounded := total.Limits[name]; bounded {
				add(total.Limits, name, overhead)
			}
		}
	}
	if _, asked := total.Requests[corev1.ResourceCPU]; !asked { // not its limit: that of a pod is no wish
		total.Requests[corev1.ResourceCPU] = resource.Quantity{}
	}
	return Limits(&total)
}

// amountOf is what a container has of a resource, and whether it says so.
type amountOf func(r *corev1.ResourceRequirements, name corev1.ResourceName) (resource.Quantity, bool)

func requestOf(r *corev1.ResourceRequirements, name corev1.ResourceName) (resource.Quantity, bool) {
	if q, ok := r.Requests[name]; ok {
		return q, true
	}
	return r.Limits[name], true
}

func limitOf(r *corev1.ResourceRequirements, name corev1.ResourceName) (resource.Quantity, bool) {
	q, ok := r.Limits[name]
	return q, ok && !q.IsZero()
}

// sum is what the pod's containers have together at the most, and whether each of them says how much.
func sum(p *corev1.Pod, name corev1.ResourceName, of amountOf) (resource.Quantity, bool) {
	var running, sidecars, most resource.Quantity
	for c, role := range pod.Containers(p) {
		if role == pod.Ephemeral {
			continue
		}
		q, ok := of(&c.Resources, name)
		if !ok {
			return resource.Quantity{}, false
		}
		switch role {
		case pod.Main:
			running.Add(q)
		case pod.Sidecar:
			sidecars.Add(q)
		default:
			q.Add(sidecars)
			if q.Cmp(most) > 0 {
				most = q
			}
		}
	}
	running.Add(sidecars)
	if running.Cmp(most) < 0 {
		return most, true
	}
	return running, true
}

func override(list, by corev1.ResourceList, name corev1.ResourceName) {
	if q, ok := by[name]; ok {
		list[name] = q
	}
}

func add(list corev1.ResourceList, name corev1.ResourceName, more resource.Quantity) {
	q := list[name]
	q.Add(more)
	list[name] = q
}
