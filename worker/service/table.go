package service

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AppLabel marks the Service of an app that the gateway serves; its value is the app's name.
const AppLabel = "petrel.run/app"

// Backend is one endpoint of a port.
type Backend struct {
	Addr netip.AddrPort `json:"addr"`
	Pod  string         `json:"pod,omitempty"`
}

// Port is one port of a Service with the endpoints that take its connections now.
type Port struct {
	Name     string    `json:"name,omitempty"`
	Protocol string    `json:"protocol"`
	Port     uint16    `json:"port"`
	NodePort uint16    `json:"nodePort,omitempty"`
	Backends []Backend `json:"backends"`
}

// Service is what the data path knows of a Service.
type Service struct {
	Namespace  string        `json:"namespace"`
	Name       string        `json:"name"`
	UID        types.UID     `json:"uid"`
	App        string        `json:"app,omitempty"`
	ClusterIPs []netip.Addr  `json:"clusterIPs"`
	Affinity   time.Duration `json:"affinity,omitempty"` // 0 for none
	Ports      []Port        `json:"ports"`
}

// Key names the Service.
func (s *Service) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// Equal reports whether two services mean the same to the data path.
func (s *Service) Equal(o *Service) bool {
	return s.Namespace == o.Namespace && s.Name == o.Name && s.UID == o.UID && s.App == o.App && s.Affinity == o.Affinity &&
		slices.Equal(s.ClusterIPs, o.ClusterIPs) &&
		slices.EqualFunc(s.Ports, o.Ports, func(a, b Port) bool {
			return a.Name == b.Name && a.Protocol == b.Protocol && a.Port == b.Port && a.NodePort == b.NodePort && slices.Equal(a.Backends, b.Backends)
		})
}

// defaultAffinity is the API's default for ClientIP affinity.
const defaultAffinity = 3 * time.Hour

// Compile makes the table's entry of a Service and its slices, as the node sees it.
func Compile(svc *corev1.Service, all []*discoveryv1.EndpointSlice, node string) Service {
	out := Service{Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID, App: svc.Labels[AppLabel]}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return out
	}
	for _, text := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil { // "None" is no address
			out.ClusterIPs = append(out.ClusterIPs, ip.Unmap())
		}
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Affinity = defaultAffinity
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	local := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		port := Port{Name: p.Name, Protocol: string(p.Protocol), Port: uint16(p.Port), NodePort: uint16(p.NodePort)}
		port.Protocol = cmp.Or(port.Protocol, string(corev1.ProtocolTCP))
		port.Backends = choose(all, &port, node, local)
		out.Ports = append(out.Ports, port)
	}
	return out
}

// choose takes the ready endpoints of the port or, when there is none, those that still serve while they terminate.
func choose(all []*discoveryv1.EndpointSlice, port *Port, node string, local bool) []Backend {
	var ready, serving []Backend
	for _, slice := range all {
		number, ok := endpointPort(slice, port)
		if !ok || slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if local && (e.NodeName == nil || *e.NodeName != node) {
				continue
			}
			switch c := e.Conditions; {
			case c.Ready == nil || *c.Ready:
				ready = appendBackend(ready, e, number)
			case c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating:
				serving = appendBackend(serving, e, number)
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.SortFunc(ready, func(a, b Backend) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(ready, func(a, b Backend) bool { return a.Addr == b.Addr })
}

func endpointPort(slice *discoveryv1.EndpointSlice, port *Port) (uint16, bool) {
	for _, p := range slice.Ports {
		name, protocol := "", string(corev1.ProtocolTCP)
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = string(*p.Protocol)
		}
		if name == port.Name && protocol == port.Protocol && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// appendBackend takes an endpoint's first address: the others are the same pod's.
func appendBackend(to []Backend, e *discoveryv1.Endpoint, port uint16) []Backend {
	if len(e.Addresses) == 0 {
		return to
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return to
	}
	b := Backend{Addr: netip.AddrPortFrom(ip.Unmap(), port)}
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		b.Pod = e.TargetRef.Name
	}
	return append(to, b)
}
