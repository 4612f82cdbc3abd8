package service

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// endpoint is one endpoint of a port with what decides on it.
type endpoint struct {
	Backend
	ready bool
	// serving says that it terminates and still answers: better than nothing.
	serving bool
	// nodes and zones are for whom it is meant; nil where nobody said.
	nodes, zones []string
}

// rank orders what two slices say of one endpoint while it moves from one to the other: the better news is the newer.
func (e *endpoint) rank() int {
	switch {
	case e.ready:
		return 0
	case e.serving:
		return 1
	default:
		return 2
	}
}

// gather collects the port's endpoints from all slices, sorted by address, each once.
func gather(svc *corev1.Service, all []*discoveryv1.EndpointSlice, port *Port, here Place) []endpoint {
	var out []endpoint
	hinted := false
	for _, slice := range all {
		number, ok := endpointPort(slice, port)
		if !ok || slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for i := range slice.Endpoints {
			if e, ok := readEndpoint(&slice.Endpoints[i], number, here); ok {
				hinted = hinted || slice.Endpoints[i].Hints != nil
				out = append(out, e)
			}
		}
	}
	if !hinted {
		deriveHints(ptr.Deref(svc.Spec.TrafficDistribution, ""), all, out)
	}
	slices.SortFunc(out, func(a, b endpoint) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.rank(), b.rank())) })
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.Addr == b.Addr })
}

func endpointPort(slice *discoveryv1.EndpointSlice, port *Port) (uint16, bool) {
	for _, p := range slice.Ports {
		protocol := string(ptr.Deref(p.Protocol, corev1.ProtocolTCP))
		if ptr.Deref(p.Name, "") == port.Name && protocol == port.Protocol && p.Port != nil && isPort(*p.Port) {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// readEndpoint takes an endpoint's first address: the others are the same pod's.
func readEndpoint(e *discoveryv1.Endpoint, port uint16, here Place) (endpoint, bool) {
	if len(e.Addresses) == 0 {
		return endpoint{}, false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || ip.Zone() != "" {
		return endpoint{}, false
	}
	out := endpoint{
		Backend: Backend{Addr: netip.AddrPortFrom(ip.Unmap(), port), Local: here.Node != "" && ptr.Deref(e.NodeName, "") == here.Node},
		ready:   ptr.Deref(e.Conditions.Ready, true),
		serving: ptr.Deref(e.Conditions.Serving, true) && ptr.Deref(e.Conditions.Terminating, false),
	}
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		out.Pod = e.TargetRef.Name
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.zones = append(out.zones, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			out.nodes = append(out.nodes, n.Name)
		}
	}
	return out, true
}

// deriveHints does what the API's endpoint controller does where that one does not: an endpoint is for its own zone
// and, if the Service prefers the same node, for its own node.
func deriveHints(distribution string, all []*discoveryv1.EndpointSlice, to []endpoint) {
	sameNode := distribution == corev1.ServiceTrafficDistributionPreferSameNode
	if !sameNode && distribution != corev1.ServiceTrafficDistributionPreferSameZone && distribution != corev1.ServiceTrafficDistributionPreferClose {
		return
	}
	where := map[netip.Addr]*discoveryv1.Endpoint{}
	for _, slice := range all {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 {
				continue
			}
			if ip, err := netip.ParseAddr(e.Addresses[0]); err == nil {
				where[ip.Unmap()] = e
			}
		}
	}
	for i := range to {
		e := where[to[i].Addr.Addr()]
		if e.Zone != nil {
			to[i].zones = []string{*e.Zone}
		}
		if sameNode && e.NodeName != nil {
			to[i].nodes = []string{*e.NodeName}
		}
	}
}
