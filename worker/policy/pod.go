package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// pod is a Pod as far as it matters here, and what is known of it.
type pod struct {
	name   types.NamespacedName
	full   string // its name as it is told
	labels labels.Set
	addrs  []netip.Addr
	ports  map[namedPort]uint16
	local  bool

	stale    bool     // members and selected have to be found anew
	members  []member // atoms of pods that the pod is of, of those that are in use
	selected []*policy
}

// newPod answers nil for a pod that no policy can concern: it has no address of its own, or none any more.
func newPod(p *corev1.Pod, node string, assigned []netip.Addr) *pod {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	out := &pod{
		name:   types.NamespacedName{Namespace: p.Namespace, Name: p.Name},
		full:   p.Namespace + "/" + p.Name,
		labels: p.Labels,
		addrs:  assigned,
		ports:  map[namedPort]uint16{},
		local:  p.Spec.NodeName == node,
		stale:  true,
	}
	if len(assigned) == 0 {
		out.addrs = addrsOf(p.Status)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range list {
			out.addPorts(c.Ports)
		}
	}
	if len(out.addrs) == 0 {
		return nil
	}
	return out
}

// addPorts keeps the first port of a name, as Services do.
func (p *pod) addPorts(ports []corev1.ContainerPort) {
	for _, port := range ports {
		protocol, ok := protocols[port.Protocol]
		if !ok {
			protocol = protocols[corev1.ProtocolTCP]
		}
		key := namedPort{port.Name, protocol}
		if _, had := p.ports[key]; !had && port.Name != "" && port.ContainerPort > 0 {
			p.ports[key] = uint16(port.ContainerPort)
		}
	}
}

func addrsOf(status corev1.PodStatus) []netip.Addr {
	var out []netip.Addr
	for _, ip := range status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	if addr, err := netip.ParseAddr(status.PodIP); err == nil && len(out) == 0 {
		out = append(out, addr.Unmap())
	}
	return out
}
