package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// verdict reads compiled rules the way that bpf/policy.h does.
func verdict(p ebpfproxy.Policy, q packet) bool {
	if q.from == q.to {
		return true
	}
	return oneWay(p, p.Endpoints[q.from].Egress, q.to, q) && oneWay(p, p.Endpoints[q.to].Ingress, q.from, q)
}

func oneWay(p ebpfproxy.Policy, subject uint32, peer netip.Addr, q packet) bool {
	if subject == 0 {
		return true
	}
	id := identityOf(p, peer)
	if id == ebpfproxy.IdentityHost {
		return true
	}
	number := map[corev1.Protocol]ebpfproxy.Protocol{"TCP": ebpfproxy.TCP, "UDP": ebpfproxy.UDP, "SCTP": ebpfproxy.SCTP}
	for _, r := range p.Subjects[subject] {
		if r.Identity != ebpfproxy.IdentityAny && r.Identity != id {
			continue
		}
		if r.Protocol != 0 && r.Protocol != number[q.protocol] {
			continue
		}
		if r.Last == 0 || int32(r.First) <= q.port && q.port <= int32(r.Last) {
			return true
		}
	}
	return false
}

func identityOf(p ebpfproxy.Policy, addr netip.Addr) ebpfproxy.Identity {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if peer, ok := p.Peers[netip.PrefixFrom(addr, bits).Masked()]; ok {
			return peer.Identity
		}
	}
	return ebpfproxy.IdentityAny
}
