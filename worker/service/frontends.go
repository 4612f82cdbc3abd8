package service

import (
	"net/netip"
	"slices"
)

// Kind is what sort of address a frontend has.
type Kind uint8

// Kinds of frontends.
const (
	ClusterIP Kind = iota
	NodePort
	ExternalIP
	LoadBalancer
	OnHost // a pod's host port
)

func (k Kind) String() string {
	return [...]string{"ClusterIP", "NodePort", "ExternalIP", "LoadBalancer", "HostPort"}[k]
}

// Clients are who a frontend is for.
type Clients uint8

// Clients of frontends.
const (
	Everybody Clients = iota
	OnNode            // sockets on this node
	Outside           // what comes from other machines
)

// Frontend is one address at which a port of a Service is reached, with the endpoints of its own family.
type Frontend struct {
	// Addr has the unspecified address of its family for a node port, and for most host ports: any address of the node.
	Addr     netip.AddrPort
	Protocol string
	Kind     Kind
	Clients  Clients
	Port     string // the port's name
	Backends []Backend
	// Open take nothing new, but what is open with them goes on.
	Open []Backend
	// Drop says that there are endpoints, but none that the policy allows: clients are not answered, for they may be
	// sent elsewhere. Without it and without backends they are refused.
	Drop bool
	// KeepClientIP says that endpoints are to see the address of clients from outside.
	KeepClientIP bool
	SourceRanges []netip.Prefix
}

// Frontends are all addresses of the Service, each once for the same clients.
func (s *Service) Frontends() []Frontend {
	if s.ofPod() {
		return s.hostFrontends()
	}
	out := make([]Frontend, 0, len(s.Ports)*len(s.ClusterIPs))
	for i := range s.Ports {
		p := &s.Ports[i]
		for _, ip := range s.ClusterIPs {
			out = append(out, s.frontend(p, ip, p.Port, ClusterIP, Everybody, s.Internal(p)))
		}
		if p.NodePort != 0 {
			for _, ip := range s.nodePortFamilies() {
				out = s.appendOutside(out, p, ip, p.NodePort, NodePort)
			}
		}
		for _, ip := range s.ExternalIPs {
			out = s.appendOutside(out, p, ip, p.Port, ExternalIP)
		}
		for _, ip := range s.LoadBalancer {
			if !slices.Contains(s.ExternalIPs, ip) {
				out = s.appendOutside(out, p, ip, p.Port, LoadBalancer)
			}
		}
	}
	return out
}

// nodePortFamilies are the families of the cluster addresses, as unspecified addresses.
func (s *Service) nodePortFamilies() []netip.Addr {
	var out []netip.Addr
	for _, ip := range s.ClusterIPs {
		any := netip.IPv4Unspecified()
		if ip.Is6() {
			any = netip.IPv6Unspecified()
		}
		if !slices.Contains(out, any) {
			out = append(out, any)
		}
	}
	return out
}

// appendOutside adds an address for clients from outside. Under the policy Local there are two of it: this node's own
// clients are not bound to the node's endpoints.
func (s *Service) appendOutside(to []Frontend, p *Port, ip netip.Addr, number uint16, kind Kind) []Frontend {
	if !s.ExternalLocal {
		return append(to, s.frontend(p, ip, number, kind, Everybody, p.Backends))
	}
	outside := s.frontend(p, ip, number, kind, Outside, p.Local)
	outside.KeepClientIP = true
	return append(to, s.frontend(p, ip, number, kind, OnNode, p.Backends), outside)
}

func (s *Service) frontend(p *Port, ip netip.Addr, number uint16, kind Kind, clients Clients, backends []Backend) Frontend {
	f := Frontend{Addr: netip.AddrPortFrom(ip, number), Protocol: p.Protocol, Kind: kind, Clients: clients, Port: p.Name}
	f.Backends = ofFamily(backends, ip)
	f.Open = p.unused(f.Backends, ip)
	f.Drop = len(f.Backends) == 0 && (p.Any4 && ip.Is4() || p.Any6 && ip.Is6())
	if kind == LoadBalancer {
		f.SourceRanges = rangesOfFamily(s.SourceRanges, ip)
	}
	return f
}

// unused are the port's endpoints of the family that are not among the chosen ones.
func (p *Port) unused(chosen []Backend, like netip.Addr) []Backend {
	if len(p.Local) == 0 && len(chosen) == len(ofFamily(p.Backends, like)) { // there are two lists, and one was chosen
		return ofFamily(p.Open, like)
	}
	has := make(map[netip.AddrPort]bool, len(chosen))
	for _, b := range chosen {
		has[b.Addr] = true
	}
	var out []Backend
	for _, list := range [][]Backend{p.Backends, p.Local, p.Open} {
		for _, b := range ofFamily(list, like) {
			if !has[b.Addr] {
				has[b.Addr] = true
				out = append(out, b)
			}
		}
	}
	return out
}

// ofFamily cuts the part of the address's family out of a list with IPv4 before IPv6.
func ofFamily(list []Backend, like netip.Addr) []Backend {
	split, _ := slices.BinarySearchFunc(list, true, func(b Backend, _ bool) int {
		if b.Addr.Addr().Is6() {
			return 0
		}
		return -1
	})
	if like.Is4() {
		return list[:split:split]
	}
	return list[split:]
}

// rangesOfFamily answers nil, for everybody, where the ranges say nothing of the family.
func rangesOfFamily(all []netip.Prefix, like netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range all {
		if r.Addr().Is4() == like.Is4() {
			out = append(out, r)
		}
	}
	return out
}
