package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// Filter tells whether a node can take a pod. It is pure.
type Filter struct {
	Name string
	// Check appends why the node cannot take the pod, in words that follow a number of nodes; nothing when it can.
	Check func(p *Pod, n *Node, reasons []string) []string
}

// filters in the order in which they are asked. The first that objects ends it for a node.
var filters = []Filter{
	{"NodeName", filterName},
	{"NodeUnschedulable", filterUnschedulable},
	{"TaintToleration", filterTaints},
	{"NodeAffinity", filterAffinity},
	{"RuntimeHandler", filterRuntime},
	{"NodePorts", filterPorts},
	{"VolumeBinding", filterVolumes},
	{"NodeResourcesFit", filterResources},
}

// check asks the filters about one node; no reasons means that it can take the pod.
func check(p *Pod, n *Node, reasons []string) []string {
	for i := range filters {
		if reasons = filters[i].Check(p, n, reasons); len(reasons) > 0 {
			return reasons
		}
	}
	return reasons
}

// fits tells whether a node can take a pod.
func fits(p *Pod, n *Node) bool {
	var buffer [reasonsPerNode]string
	return n.Object != nil && len(check(p, n, buffer[:0])) == 0
}

func filterName(p *Pod, n *Node, reasons []string) []string {
	if want := p.Object.Spec.NodeName; want != "" && want != n.Name {
		return append(reasons, "node(s) didn't match the requested node name")
	}
	return reasons
}

// cordoned is the taint that stands for spec.unschedulable: whoever tolerates it may come all the same.
var cordoned = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

func filterUnschedulable(p *Pod, n *Node, reasons []string) []string {
	if n.Object.Spec.Unschedulable && !tolerates(p, &cordoned) {
		return append(reasons, "node(s) were unschedulable")
	}
	return reasons
}

func filterTaints(p *Pod, n *Node, reasons []string) []string {
	for i := range n.keeping {
		if !tolerates(p, &n.keeping[i]) {
			return append(reasons, n.untolerated[i])
		}
	}
	return reasons
}

func tolerates(p *Pod, taint *corev1.Taint) bool {
	for i := range p.Object.Spec.Tolerations {
		if p.Object.Spec.Tolerations[i].ToleratesTaint(klog.Background(), taint, true) {
			return true
		}
	}
	return false
}

func filterAffinity(p *Pod, n *Node, reasons []string) []string {
	if !p.selective {
		return reasons
	}
	// A malformed term is an error and matches nothing.
	if match, err := p.required.Match(n.Object); err != nil || !match {
		return append(reasons, "node(s) didn't match Pod's node affinity/selector")
	}
	return reasons
}

func filterPorts(p *Pod, n *Node, reasons []string) []string {
	for _, want := range p.Ports {
		for _, taken := range n.ports {
			if want.clashes(taken) {
				return append(reasons, "node(s) didn't have free ports for the requested pod ports")
			}
		}
	}
	return reasons
}

func filterResources(p *Pod, n *Node, reasons []string) []string {
	want, have, used := &p.Requests, &n.Allocatable, &n.Used
	if used.Pods+want.Pods > have.Pods {
		reasons = append(reasons, "Too many pods")
	}
	if want.MilliCPU > 0 && used.MilliCPU+want.MilliCPU > have.MilliCPU {
		reasons = append(reasons, "Insufficient cpu")
	}
	if want.Memory > 0 && used.Memory+want.Memory > have.Memory {
		reasons = append(reasons, "Insufficient memory")
	}
	if want.Ephemeral > 0 && used.Ephemeral+want.Ephemeral > have.Ephemeral {
		reasons = append(reasons, "Insufficient ephemeral-storage")
	}
	for name, amount := range want.Extended {
		if amount > 0 && used.Extended[name]+amount > have.Extended[name] {
			reasons = append(reasons, "Insufficient "+string(name))
		}
	}
	return reasons
}
