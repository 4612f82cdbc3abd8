package policy

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// policy is a NetworkPolicy as far as it matters here.
type policy struct {
	name    types.NamespacedName
	version uint64 // of this parse, never another's
	selects labels.Selector
	ingress *rules // nil: says nothing about that direction
	egress  *rules
}

type rules struct{ list []rule }

// rule allows any of its ports with any of its peers. Without peers it is for everyone, without ports for each protocol
// and port.
type rule struct {
	everyone  bool
	peers     []*atom
	everyPort bool
	ports     []portRange
	named     []namedPort // of ingress: those that the selected pod has
}

type portRange struct {
	protocol    ebpfproxy.Protocol
	first, last uint16 // 0 to 0: every port
}

var protocols = map[corev1.Protocol]ebpfproxy.Protocol{
	corev1.ProtocolTCP: ebpfproxy.TCP, corev1.ProtocolUDP: ebpfproxy.UDP, corev1.ProtocolSCTP: ebpfproxy.SCTP,
}

func parsePolicy(p *networkingv1.NetworkPolicy) (*policy, error) {
	out := &policy{name: types.NamespacedName{Namespace: p.Namespace, Name: p.Name}}
	var err error
	if out.selects, err = metav1.LabelSelectorAsSelector(&p.Spec.PodSelector); err != nil {
		return nil, fmt.Errorf("pod selector: %w", err)
	}
	ingress, egress := directions(p.Spec)
	if ingress {
		out.ingress = &rules{}
		for i, r := range p.Spec.Ingress {
			parsed, err := parseRules(r.From, r.Ports, p.Namespace, false)
			if err != nil {
				return nil, fmt.Errorf("ingress rule %d: %w", i, err)
			}
			out.ingress.list = append(out.ingress.list, parsed...)
		}
	}
	if egress {
		out.egress = &rules{}
		for i, r := range p.Spec.Egress {
			parsed, err := parseRules(r.To, r.Ports, p.Namespace, true)
			if err != nil {
				return nil, fmt.Errorf("egress rule %d: %w", i, err)
			}
			out.egress.list = append(out.egress.list, parsed...)
		}
	}
	return out, nil
}

// directions of a policy that does not name them: ingress, and egress where it has rules for it.
func directions(spec networkingv1.NetworkPolicySpec) (ingress, egress bool) {
	if len(spec.PolicyTypes) == 0 {
		return true, len(spec.Egress) > 0
	}
	for _, t := range spec.PolicyTypes {
		ingress = ingress || t == networkingv1.PolicyTypeIngress
		egress = egress || t == networkingv1.PolicyTypeEgress
	}
	return ingress, egress
}

// parseRules makes one rule of the ports by number, and with toPeers one for each port by name: what number that is
// depends on the peer there, on the selected pod otherwise.
func parseRules(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, namespace string, toPeers bool) ([]rule, error) {
	r := rule{everyone: len(peers) == 0, everyPort: len(ports) == 0}
	for _, peer := range peers {
		a, err := peerAtom(peer, namespace)
		if err != nil {
			return nil, err
		}
		r.peers = append(r.peers, a)
	}
	for _, port := range ports {
		number, name, err := parsePort(port)
		if err != nil {
			return nil, err
		}
		if name != (namedPort{}) {
			r.named = append(r.named, name)
		} else {
			r.ports = append(r.ports, number)
		}
	}
	if !toPeers {
		return []rule{r}, nil
	}
	out := []rule{r}
	for _, name := range r.named {
		of := r.peers
		if r.everyone {
			of = []*atom{everyPod()}
		}
		byName := rule{ports: []portRange{{protocol: name.protocol}}}
		for _, a := range of {
			byName.peers = append(byName.peers, a.withPort(name))
		}
		out = append(out, byName)
	}
	out[0].named = nil
	return out, nil
}

func parsePort(p networkingv1.NetworkPolicyPort) (portRange, namedPort, error) {
	protocol := ebpfproxy.TCP
	if p.Protocol != nil {
		known, ok := protocols[*p.Protocol]
		if !ok {
			return portRange{}, namedPort{}, fmt.Errorf("protocol %q: want TCP, UDP or SCTP", *p.Protocol)
		}
		protocol = known
	}
	if p.Port == nil {
		return portRange{protocol: protocol}, namedPort{}, nil
	}
	if p.Port.Type == intstr.String {
		return portRange{}, namedPort{p.Port.StrVal, protocol}, nil
	}
	first, last := p.Port.IntVal, p.Port.IntVal
	if p.EndPort != nil {
		last = *p.EndPort
	}
	if first < 1 || last < first || last > 65535 {
		return portRange{}, namedPort{}, fmt.Errorf("ports %d to %d: want a range from 1 to 65535", first, last)
	}
	return portRange{protocol, uint16(first), uint16(last)}, namedPort{}, nil
}

// atoms that the policy's rules name.
func (p *policy) atoms(visit func(*atom)) {
	for _, direction := range []*rules{p.ingress, p.egress} {
		if direction == nil {
			continue
		}
		for _, r := range direction.list {
			for _, a := range r.peers {
				visit(a)
			}
		}
	}
}
