package service

import (
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// AppLabel marks the Service of an app that the gateway serves; its value is the app's name.
const AppLabel = "petrel.run/app"

// Backend is one endpoint of a port.
type Backend struct {
	Addr  netip.AddrPort `json:"addr"`
	Pod   string         `json:"pod,omitempty"`
	Local bool           `json:"local,omitempty"` // it is on this node
}

// Port is one port of a Service with the endpoints that take its connections now. Each list has IPv4 before IPv6.
type Port struct {
	Name     string `json:"name,omitempty"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	NodePort uint16 `json:"nodePort,omitempty"`
	// Backends are the endpoints under the policy Cluster; nil where nothing uses that policy.
	Backends []Backend `json:"backends"`
	// Local are the endpoints under the policy Local; nil where nothing uses it.
	Local []Backend `json:"local,omitempty"`
	// Open are all other endpoints there are: they take nothing new, but what is open with them goes on.
	Open []Backend `json:"open,omitempty"`
	// Any4 and Any6 say that an endpoint of the family can be had somewhere. Where a policy leaves none of them, clients
	// are dropped; where there is none at all, they are refused.
	Any4 bool `json:"any4,omitempty"`
	Any6 bool `json:"any6,omitempty"`
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

	// ExternalIPs and LoadBalancer are addresses at which the Service is reached from outside, beside its node ports.
	ExternalIPs  []netip.Addr `json:"externalIPs,omitempty"`
	LoadBalancer []netip.Addr `json:"loadBalancer,omitempty"`
	// SourceRanges are who may use the LoadBalancer addresses; nil for everybody.
	SourceRanges []netip.Prefix `json:"sourceRanges,omitempty"`
	// InternalLocal and ExternalLocal are the traffic policies "Local" of the cluster addresses and of the others.
	InternalLocal bool `json:"internalLocal,omitempty"`
	ExternalLocal bool `json:"externalLocal,omitempty"`
	// HealthCheckNodePort is where load balancers ask whether this node has an endpoint; 0 for none.
	HealthCheckNodePort uint16 `json:"healthCheckNodePort,omitempty"`
	// LocalReady is how many ready endpoints this node has.
	LocalReady int `json:"localReady,omitempty"`

	// HostPorts are a pod's, whose Namespace, Name and UID these are then; the rest is empty. nil for a Service.
	HostPorts []HostPort `json:"hostPorts,omitempty"`
}

// Key names the Service in the table.
func (s *Service) Key() types.NamespacedName {
	if s.ofPod() {
		return podKey(s.UID)
	}
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// Internal are the endpoints of the cluster addresses.
func (s *Service) Internal(p *Port) []Backend {
	if s.InternalLocal {
		return p.Local
	}
	return p.Backends
}

// External are the endpoints for what comes from other machines to node ports, external and load balancer addresses.
// What comes from this node goes to p.Backends whatever the policy: there is no client address to be kept.
func (s *Service) External(p *Port) []Backend {
	if s.ExternalLocal {
		return p.Local
	}
	return p.Backends
}

// Equal reports whether two services mean the same to the data path.
func (s *Service) Equal(o *Service) bool {
	return s.Namespace == o.Namespace && s.Name == o.Name && s.UID == o.UID && s.App == o.App && s.Affinity == o.Affinity &&
		s.InternalLocal == o.InternalLocal && s.ExternalLocal == o.ExternalLocal &&
		s.HealthCheckNodePort == o.HealthCheckNodePort && s.LocalReady == o.LocalReady &&
		slices.Equal(s.ClusterIPs, o.ClusterIPs) && slices.Equal(s.ExternalIPs, o.ExternalIPs) &&
		slices.Equal(s.LoadBalancer, o.LoadBalancer) && slices.Equal(s.SourceRanges, o.SourceRanges) &&
		slices.EqualFunc(s.Ports, o.Ports, equalPort) && slices.Equal(s.HostPorts, o.HostPorts)
}

func equalPort(a, b Port) bool {
	return a.Name == b.Name && a.Protocol == b.Protocol && a.Port == b.Port && a.NodePort == b.NodePort &&
		a.Any4 == b.Any4 && a.Any6 == b.Any6 && slices.Equal(a.Backends, b.Backends) && slices.Equal(a.Local, b.Local) &&
		slices.Equal(a.Open, b.Open)
}
