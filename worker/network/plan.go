package network

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

const (
	// overhead4 and overhead6 are what a tunnel adds to a packet: the inner Ethernet header, VXLAN's, UDP's and IP's.
	overhead4 = 14 + 8 + 8 + 20
	overhead6 = 14 + 8 + 8 + 40
	// defaultMTU is taken while no link is known that could tell better.
	defaultMTU = 1500
)

// Node is a node of the cluster as the network sees it.
type Node struct {
	Name     string         `json:"name"`
	IPs      []netip.Addr   `json:"ips"`
	PodCIDRs []netip.Prefix `json:"podCIDRs"`
}

// way is how this machine reaches an address.
type way struct {
	link   int
	name   string
	mtu    int
	onLink bool // no router between
	local  bool // it is this machine's own
}

// plan is what the kernel is to look like. It is a pure function of the nodes and of the ways to them.
type plan struct {
	own      []netip.Prefix // this node's pods
	locals   []netip.Prefix // what is local to this node: its pods and the services
	cluster  []netip.Prefix // all pods; what no node has is unreachable
	hops     []hop          // nodes that are reached directly
	tunnels  []tunnel       // nodes that are reached through VXLAN
	nodeIPs  []netip.Addr   // of all nodes
	links    map[string]bool
	podMTU   int
	outerMTU int // of the tunnel's device
	problems []string
}

// hop is a route to a node on the same link.
type hop struct {
	cidr netip.Prefix
	via  netip.Addr
	link int
}

// tunnel is a node that is reached through VXLAN.
type tunnel struct {
	node  string
	outer netip.Addr
	mac   net.HardwareAddr
	cidrs []netip.Prefix
}

// planner collects a plan.
type planner struct {
	*plan
	cfg  *Config
	look func(netip.Addr) (way, error)
}

// makePlan decides how each node is reached. home is the link that carries this node's address.
func makePlan(cfg *Config, own []netip.Prefix, nodes []Node, home way, look func(netip.Addr) (way, error)) *plan {
	p := &planner{plan: &plan{own: own, links: map[string]bool{}}, cfg: cfg, look: look}
	p.podMTU, p.outerMTU = defaultMTU, maxMTU
	if home.mtu > 0 {
		p.podMTU = home.mtu
		p.links[home.name] = true
	}
	p.locals = append(slices.Clone(own), cfg.ServiceCIDRs...)
	p.nodeIPs = slices.Clone(cfg.NodeIPs)
	taken := map[netip.Prefix]string{}
	for _, node := range slices.SortedFunc(slices.Values(nodes), func(a, b Node) int { return strings.Compare(a.Name, b.Name) }) {
		if node.Name == cfg.NodeName {
			continue
		}
		p.nodeIPs = append(p.nodeIPs, node.IPs...)
		p.node(node, taken)
	}
	p.cluster = slices.DeleteFunc(slices.Clone(cfg.ClusterCIDRs), func(c netip.Prefix) bool {
		return taken[c] != "" || slices.Contains(p.locals, c) // one node has all of it
	})
	if cfg.MTU > 0 {
		p.podMTU = cfg.MTU
	}
	return p.plan
}

// node plans the ways to one node. taken says who has which prefix: of two with the same one the first has it, by name.
// Prefixes within others are well: the routing table takes the longest.
func (p *planner) node(node Node, taken map[netip.Prefix]string) {
	if len(node.IPs) == 0 {
		return // it is about to join
	}
	var tunnelled []netip.Prefix
	for _, cidr := range node.PodCIDRs {
		if other := taken[cidr]; other != "" {
			p.problem("node %s: its pod CIDR %s is that of node %s", node.Name, cidr, other)
			continue
		}
		if own := slices.IndexFunc(p.locals, cidr.Overlaps); own >= 0 {
			p.problem("node %s: its pod CIDR %s overlaps this node's %s", node.Name, cidr, p.locals[own])
			continue
		}
		taken[cidr] = node.Name
		if p.cfg.Backend == VXLAN || !p.direct(node, cidr) {
			tunnelled = append(tunnelled, cidr)
		}
	}
	if len(tunnelled) > 0 && p.cfg.Backend != Direct {
		p.tunnel(node, tunnelled)
	}
}

// direct plans a route to a node on the same link; it is false when there is no such way.
func (p *planner) direct(node Node, cidr netip.Prefix) bool {
	via, ok := ofFamily(node.IPs, cidr.Addr().Is4())
	if !ok {
		return p.no("node %s: it has no address of the family of its pod CIDR %s", node.Name, cidr)
	}
	w, err := p.look(via)
	switch {
	case err != nil:
		return p.no("node %s: no route to %s: %v", node.Name, via, err)
	case w.local:
		return p.no("node %s: its address %s is this node's own", node.Name, via)
	case !w.onLink:
		return p.no("node %s: its address %s is behind a router", node.Name, via)
	}
	p.hops = append(p.hops, hop{cidr, via, w.link})
	p.links[w.name] = true
	p.podMTU = min(p.podMTU, w.mtu)
	return true
}

// no tells why there is no direct way, where that is the only one that is allowed.
func (p *planner) no(format string, args ...any) bool {
	if p.cfg.Backend == Direct {
		p.problem(format, args...)
	}
	return false
}

// tunnel plans a tunnel to a node. One that cannot be reached now gets it all the same: it works from the moment that
// there is a route.
func (p *planner) tunnel(node Node, cidrs []netip.Prefix) {
	is4 := p.cfg.NodeIPs[0].Is4()
	outer, ok := ofFamily(node.IPs, is4)
	if !ok {
		p.problem("node %s: a tunnel to it needs an address of the family of %s", node.Name, p.cfg.NodeIPs[0])
		return
	}
	w, err := p.look(outer)
	if err == nil && w.local {
		p.problem("node %s: its address %s is this node's own", node.Name, outer)
		return
	}
	overhead := overhead6
	if is4 {
		overhead = overhead4
	}
	if err != nil {
		p.problem("node %s: no route to %s: %v", node.Name, outer, err)
	} else {
		p.links[w.name] = true
		p.outerMTU = min(p.outerMTU, max(w.mtu-overhead, minMTU))
		p.podMTU = min(p.podMTU, p.outerMTU)
	}
	p.tunnels = append(p.tunnels, tunnel{node.Name, outer, tunnelMAC(node.Name), cidrs})
}

func (p *planner) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// family tells whether anything of a family is to be routed.
func (p *plan) family(six bool) bool {
	is := func(c netip.Prefix) bool { return c.Addr().Is6() == six }
	return slices.ContainsFunc(p.locals, is) || slices.ContainsFunc(p.hops, func(h hop) bool { return is(h.cidr) })
}

// uplinks are the names of the links that lead to other nodes, and of the tunnel.
func (p *plan) uplinks() []string {
	names := slices.Sorted(maps.Keys(p.links))
	if len(p.tunnels) > 0 {
		names = append(names, vxlanName)
	}
	return names
}

// tunnelMTU is that of the tunnel's device.
func (p *plan) tunnelMTU() int {
	if p.outerMTU == maxMTU { // no node of a tunnel can be reached at all
		return defaultMTU - overhead6
	}
	return p.outerMTU
}

// ofFamily finds an address by which a node can be reached.
func ofFamily(ips []netip.Addr, is4 bool) (netip.Addr, bool) {
	at := slices.IndexFunc(ips, func(ip netip.Addr) bool {
		return ip.Is4() == is4 && ip.IsValid() && !ip.IsLoopback() && !ip.IsUnspecified() && !ip.IsMulticast()
	})
	if at < 0 {
		return netip.Addr{}, false
	}
	return ips[at], true
}

// tunnelMAC is the address of a node's tunnel device. It follows from the node's name, so that nobody has to tell it.
func tunnelMAC(node string) net.HardwareAddr { return localMAC("vxlan " + node) }

// localMAC is an address of our own making, as its second bit says. Links that carry one are left alone by udev, which
// gives those without a fixed address another some time after they appear.
func localMAC(seed string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("petrel " + seed))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}
