package service

import (
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HostPort is a port of this node that is a pod's.
type HostPort struct {
	// Addr has the unspecified address of its family for all of the node's, localhost included.
	Addr     netip.AddrPort `json:"addr"`
	Protocol string         `json:"protocol"`
	// Pod is where the pod serves it.
	Pod netip.AddrPort `json:"pod"`
}

// HostPorts are those of one pod of this node.
type HostPorts struct {
	Namespace, Name string // of the pod
	UID             types.UID
	Ports           []HostPort
}

// podKey is the key in the table of a pod with host ports. No Service can have it: they are in namespaces.
func podKey(uid types.UID) types.NamespacedName {
	return types.NamespacedName{Name: "pod/" + string(uid)}
}

// ofPod reports whether the entry is a pod's, with its host ports, rather than a Service's.
func (s *Service) ofPod() bool { return len(s.HostPorts) > 0 }

// Reference is what events of the entry are about.
func (s *Service) Reference() *corev1.ObjectReference {
	kind := "Service"
	if s.ofPod() {
		kind = "Pod"
	}
	return &corev1.ObjectReference{Kind: kind, APIVersion: "v1", Namespace: s.Namespace, Name: s.Name, UID: s.UID}
}

// hostFrontends are the addresses of a pod's host ports. Those of the machine's own loopback device are for programs of
// the machine: nobody else's packets may ever reach them.
func (s *Service) hostFrontends() []Frontend {
	out := make([]Frontend, 0, len(s.HostPorts))
	for _, p := range s.HostPorts {
		f := Frontend{
			Addr: p.Addr, Protocol: p.Protocol, Kind: OnHost, Port: strconv.Itoa(int(p.Addr.Port())), KeepClientIP: true,
			Backends: []Backend{{Addr: p.Pod, Pod: s.Name, Local: true}},
		}
		if p.Addr.Addr().IsLoopback() {
			f.Clients = OnNode
		}
		out = append(out, f)
	}
	return out
}

// SetHostPorts serves the ports of a pod of this node in place of those that it had. They lead to the pod until
// DropHostPorts, also while it is asked to end: what its clients still want is for it to answer or to refuse.
func (s *Server) SetHostPorts(of HostPorts) {
	entry := Service{Namespace: of.Namespace, Name: of.Name, UID: of.UID, HostPorts: slices.Clone(of.Ports)}
	s.state.onceLoaded(func() {
		if entry.ofPod() {
			s.state.set(entry)
		} else {
			s.state.drop(podKey(of.UID))
		}
	})
}

// DropHostPorts ends a pod's.
func (s *Server) DropHostPorts(uid types.UID) {
	s.state.onceLoaded(func() { s.state.drop(podKey(uid)) })
}

// KeepHostPorts ends those of all pods but the known ones: the table of last time may hold more.
func (s *Server) KeepHostPorts(known func(types.UID) bool) {
	s.state.onceLoaded(func() {
		for key, entry := range s.state.table {
			if entry.ofPod() && !known(entry.UID) {
				s.state.drop(key)
			}
		}
	})
}
