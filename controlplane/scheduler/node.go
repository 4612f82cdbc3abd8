package scheduler

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Node is a node and what its pods take of it. It never changes: with and without make a new one.
type Node struct {
	// Object is nil for a node that is not known, or not any more, and still has pods.
	Object      *corev1.Node
	Name        string
	Allocatable Resources
	Used        Resources
	ports       []hostPort
	// keeping are the taints that keep pods off, deterring those that only make the node less wanted.
	keeping, deterring []corev1.Taint
	// untolerated has for each of keeping what Explain says of it.
	untolerated []string
	// generation grows with each change of the cluster.
	generation uint64
}

// describe returns the node with another object, its pods as before.
func (n Node) describe(object *corev1.Node) *Node {
	n.Object, n.Allocatable, n.keeping, n.deterring, n.untolerated = object, Resources{}, nil, nil, nil
	if object == nil {
		return &n
	}
	n.Allocatable = resourcesOf(object.Status.Allocatable)
	for _, t := range object.Spec.Taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule {
			n.deterring = append(n.deterring, t)
			continue
		}
		n.keeping = append(n.keeping, t)
		n.untolerated = append(n.untolerated, fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value))
	}
	return &n
}

// with returns the node with one more pod.
func (n Node) with(p *Pod) *Node {
	n.Used = n.Used.plus(p.Requests, 1)
	if len(p.Ports) > 0 {
		n.ports = slices.Concat(n.ports, p.Ports)
	}
	return &n
}

// without returns the node with one pod less.
func (n Node) without(p *Pod) *Node {
	n.Used = n.Used.plus(p.Requests, -1)
	if len(p.Ports) > 0 {
		n.ports = slices.Clone(n.ports)
		for _, port := range p.Ports {
			if i := slices.Index(n.ports, port); i >= 0 {
				n.ports = slices.Delete(n.ports, i, i+1)
			}
		}
	}
	return &n
}

// sameForScheduling tells whether nothing changed by which a pod's chances change.
func sameForScheduling(a, b *Node) bool {
	return a.Object != nil && b.Object != nil &&
		a.Object.Spec.Unschedulable == b.Object.Spec.Unschedulable &&
		a.Allocatable.equal(b.Allocatable) && sameHandlers(a.Object, b.Object) &&
		maps.Equal(a.Object.Labels, b.Object.Labels) &&
		slices.EqualFunc(a.Object.Spec.Taints, b.Object.Spec.Taints, func(x, y corev1.Taint) bool { return x.MatchTaint(&y) && x.Value == y.Value })
}

// Snapshot is the nodes at one moment, sorted by name. It never changes.
type Snapshot struct {
	Nodes      []*Node
	generation uint64
}
