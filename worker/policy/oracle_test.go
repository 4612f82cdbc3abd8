package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world is what an answer depends on. Its methods are written from the text of the NetworkPolicy API, object by object,
// and share nothing with the compiler.
type world struct {
	namespaces []*corev1.Namespace
	pods       []*corev1.Pod
	policies   []*networkingv1.NetworkPolicy
	host       []netip.Prefix
	podRange   []netip.Prefix // not the host's, whatever host says
}

// packet is the first one of a connection.
type packet struct {
	from, to netip.Addr
	protocol corev1.Protocol
	port     int32
}

// permits asks both ends' policies; each end asks only on its own node.
func (w *world) permits(p packet) bool { return w.permitsEgress(p) && w.permitsIngress(p) }

func (w *world) permitsEgress(p packet) bool {
	return w.permitsOneWay(p.from, p.to, networkingv1.PolicyTypeEgress, p)
}

func (w *world) permitsIngress(p packet) bool {
	return w.permitsOneWay(p.to, p.from, networkingv1.PolicyTypeIngress, p)
}

func (w *world) permitsOneWay(self, peer netip.Addr, direction networkingv1.PolicyType, p packet) bool {
	pod := w.podAt(self)
	if pod == nil || self == peer || w.isHost(peer) {
		return true
	}
	isolated := false
	for _, np := range w.policies {
		if np.Namespace != pod.Namespace || !matches(&np.Spec.PodSelector, pod.Labels) || !says(np, direction) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, r := range np.Spec.Ingress {
				if w.peersInclude(r.From, np.Namespace, peer) && w.portsInclude(r.Ports, p) {
					return true
				}
			}
		} else {
			for _, r := range np.Spec.Egress {
				if w.peersInclude(r.To, np.Namespace, peer) && w.portsInclude(r.Ports, p) {
					return true
				}
			}
		}
	}
	return !isolated
}

func says(np *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	for _, t := range np.Spec.PolicyTypes {
		if t == direction {
			return true
		}
	}
	if len(np.Spec.PolicyTypes) > 0 {
		return false
	}
	return direction == networkingv1.PolicyTypeIngress || len(np.Spec.Egress) > 0
}

func (w *world) peersInclude(peers []networkingv1.NetworkPolicyPeer, namespace string, addr netip.Addr) bool {
	if len(peers) == 0 {
		return true
	}
	pod := w.podAt(addr)
	for _, peer := range peers {
		if b := peer.IPBlock; b != nil {
			in := netip.MustParsePrefix(b.CIDR).Masked().Contains(addr)
			for _, e := range b.Except {
				in = in && !netip.MustParsePrefix(e).Masked().Contains(addr)
			}
			if in {
				return true
			}
			continue
		}
		if pod == nil {
			continue
		}
		there := pod.Namespace == namespace
		if peer.NamespaceSelector != nil {
			there = matches(peer.NamespaceSelector, w.namespaceLabels(pod.Namespace))
		}
		if there && (peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)) {
			return true
		}
	}
	return false
}

func (w *world) portsInclude(ports []networkingv1.NetworkPolicyPort, p packet) bool {
	if len(ports) == 0 {
		return true
	}
	for _, port := range ports {
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		if protocol != p.protocol {
			continue
		}
		switch {
		case port.Port == nil:
			return true
		case port.Port.Type == intstr.String:
			if pod := w.podAt(p.to); pod != nil && numberOf(pod, port.Port.StrVal, protocol) == p.port {
				return true
			}
		case port.EndPort != nil:
			if p.port >= port.Port.IntVal && p.port <= *port.EndPort {
				return true
			}
		case port.Port.IntVal == p.port:
			return true
		}
	}
	return false
}

// numberOf answers the port of that name, or -1.
func numberOf(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	for _, c := range pod.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == name && port.Protocol == protocol {
				return port.ContainerPort
			}
		}
	}
	return -1
}

func (w *world) podAt(addr netip.Addr) *corev1.Pod {
	for _, pod := range w.pods {
		if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, ip := range pod.Status.PodIPs {
			if netip.MustParseAddr(ip.IP) == addr {
				return pod
			}
		}
	}
	return nil
}

func (w *world) isHost(addr netip.Addr) bool {
	if w.podAt(addr) != nil {
		return false
	}
	for _, p := range w.podRange {
		if p.Contains(addr) {
			return false
		}
	}
	for _, p := range w.host {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func (w *world) namespaceLabels(name string) map[string]string {
	for _, ns := range w.namespaces {
		if ns.Name == name {
			return ns.Labels
		}
	}
	return nil
}

func matches(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}
