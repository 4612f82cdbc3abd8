package kernel

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
)

// protocols are those that the kernel's tables know.
var protocols = map[string]ebpfproxy.Protocol{
	string(corev1.ProtocolTCP): ebpfproxy.TCP, string(corev1.ProtocolUDP): ebpfproxy.UDP, string(corev1.ProtocolSCTP): ebpfproxy.SCTP,
}

// Values are what the kernel is to know of a Service. Endpoints for which leaving holds take nothing new.
func Values(svc *service.Service, leaving func(netip.Addr) bool) []ebpfproxy.Service {
	frontends := svc.Frontends()
	out := make([]ebpfproxy.Service, 0, len(frontends))
	taken := func(at ebpfproxy.Frontend) bool { // an external address may be given twice
		return slices.ContainsFunc(out, func(v ebpfproxy.Service) bool { return v.Frontend == at })
	}
	for i := range frontends {
		f := &frontends[i]
		protocol, ok := protocols[f.Protocol]
		at := ebpfproxy.Frontend{Addr: f.Addr.Addr(), Port: f.Addr.Port(), Protocol: protocol, Scope: scopeOf(f)}
		if !ok || taken(at) {
			continue
		}
		out = append(out, ebpfproxy.Service{
			Frontend: at, Name: nameOf(svc, f), Backends: backendsOf(svc, f, leavingOf(f, leaving)),
			Affinity: svc.Affinity, Drop: f.Drop, SourceRanges: f.SourceRanges, KeepClientIP: f.KeepClientIP,
		})
	}
	return out
}

// nameOf is what counters and flows call it.
func nameOf(svc *service.Service, f *service.Frontend) string {
	if f.Kind == service.OnHost { // a Service may have the pod's name
		return svc.Namespace + "/pod/" + svc.Name + ":" + f.Port
	}
	return svc.Namespace + "/" + svc.Name + ":" + f.Port
}

// leavingOf: a host port is its pod's as long as that is there, whatever Services think of it.
func leavingOf(f *service.Frontend, leaving func(netip.Addr) bool) func(netip.Addr) bool {
	if f.Kind == service.OnHost {
		return func(netip.Addr) bool { return false }
	}
	return leaving
}

// scopeOf: sockets of the node take an internal entry before an external one of the same address, so that clients on the
// node have their own where the policy is Local.
func scopeOf(f *service.Frontend) ebpfproxy.Scope {
	if f.Kind == service.ClusterIP || f.Clients == service.OnNode {
		return ebpfproxy.Internal
	}
	return ebpfproxy.External
}

func backendsOf(svc *service.Service, f *service.Frontend, leaving func(netip.Addr) bool) []ebpfproxy.Backend {
	out := make([]ebpfproxy.Backend, 0, len(f.Backends)+len(f.Open))
	add := func(list []service.Backend, state ebpfproxy.BackendState) {
		for i := range list {
			b := &list[i]
			value := ebpfproxy.Backend{Addr: b.Addr.Addr(), Port: b.Addr.Port(), State: state, Local: b.Local}
			if b.Pod != "" {
				value.Name = svc.Namespace + "/" + b.Pod
			}
			if b.Local && leaving(value.Addr) {
				value.State = ebpfproxy.Unready
			}
			out = append(out, value)
		}
	}
	add(f.Backends, ebpfproxy.Active)
	add(f.Open, ebpfproxy.Unready)
	return out
}
