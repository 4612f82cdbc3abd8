package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Port is a port of a Service, or of its endpoints where it is headless. Unnamed ports have no records.
type Port struct {
	Name     string `json:"name,omitempty"`
	Protocol string `json:"protocol"` // in lower case
	Port     uint16 `json:"port"`
}

// Endpoint is an endpoint of a headless Service that may be named.
type Endpoint struct {
	Addr     netip.Addr `json:"addr"`
	Hostname string     `json:"hostname,omitempty"`
}

// Group is endpoints with the same ports.
type Group struct {
	Ports     []Port     `json:"ports,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Service is what the DNS knows of a Service.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// ClusterIPs are the addresses of a Service that is not headless; Ports its ports.
	ClusterIPs []netip.Addr `json:"clusterIPs,omitempty"`
	Ports      []Port       `json:"ports,omitempty"`
	// ExternalName is the name that the Service is an alias of.
	ExternalName string `json:"externalName,omitempty"`
	// Groups are the endpoints of a headless Service.
	Groups []Group `json:"groups,omitempty"`
	// NodeServed says that each node's own DNS serves the Service's address: of the cluster's DNS Service alone.
	NodeServed bool `json:"nodeServed,omitempty"`
}

// Key names the Service.
func (s *Service) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// Equal reports whether two services have the same records.
func (s *Service) Equal(o *Service) bool {
	return s.Namespace == o.Namespace && s.Name == o.Name && s.ExternalName == o.ExternalName && s.NodeServed == o.NodeServed &&
		slices.Equal(s.ClusterIPs, o.ClusterIPs) && slices.Equal(s.Ports, o.Ports) &&
		slices.EqualFunc(s.Groups, o.Groups, func(a, b Group) bool {
			return slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Endpoints, b.Endpoints)
		})
}

const (
	// labelProxyName says who serves a Service's address when not the service proxy; petrelDNS is this server.
	labelProxyName = "service.kubernetes.io/service-proxy-name"
	petrelDNS      = "petrel-dns"
)

// Compile makes the table's entry of a Service and its slices.
func Compile(svc *corev1.Service, all []*discoveryv1.EndpointSlice) Service {
	out := Service{Namespace: svc.Namespace, Name: svc.Name, NodeServed: svc.Labels[labelProxyName] == petrelDNS}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = svc.Spec.ExternalName
		return out
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		out.Groups = groups(all, svc.Spec.PublishNotReadyAddresses)
		return out
	}
	for _, text := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			out.ClusterIPs = append(out.ClusterIPs, ip.Unmap())
		}
	}
	for _, p := range svc.Spec.Ports {
		if p.Name != "" && p.Port > 0 && p.Port <= 65535 {
			out.Ports = append(out.Ports, Port{Name: p.Name, Protocol: protocol(p.Protocol), Port: uint16(p.Port)})
		}
	}
	return out
}

func protocol(p corev1.Protocol) string {
	return strings.ToLower(string(cmp.Or(p, corev1.ProtocolTCP)))
}

// groups are the slices' endpoints that may be named, in an order that does not depend on how they came.
func groups(all []*discoveryv1.EndpointSlice, unready bool) []Group {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	var out []Group
	for _, s := range all {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		if g := (Group{Ports: slicePorts(s), Endpoints: sliceEndpoints(s, unready)}); len(g.Endpoints) > 0 {
			out = append(out, g)
		}
	}
	return out
}

func slicePorts(s *discoveryv1.EndpointSlice) []Port {
	var out []Port
	for _, p := range s.Ports {
		if p.Name == nil || *p.Name == "" || p.Port == nil || *p.Port <= 0 || *p.Port > 65535 {
			continue
		}
		var proto corev1.Protocol
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		out = append(out, Port{Name: *p.Name, Protocol: protocol(proto), Port: uint16(*p.Port)})
	}
	return out
}

func sliceEndpoints(s *discoveryv1.EndpointSlice, unready bool) []Endpoint {
	var out []Endpoint
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if ready := e.Conditions.Ready == nil || *e.Conditions.Ready; !ready && !unready {
			continue
		}
		hostname := ""
		if e.Hostname != nil {
			hostname = strings.ToLower(*e.Hostname)
		}
		for _, text := range e.Addresses[:min(len(e.Addresses), 1)] { // the others are the same endpoint's
			if ip, err := netip.ParseAddr(text); err == nil {
				out = append(out, Endpoint{Addr: ip.Unmap(), Hostname: hostname})
			}
		}
	}
	return out
}
