package network

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

// bridged makes three nodes on one link.
func bridged(t *testing.T, change func(*Config)) []*testNode {
	t.Helper()
	wire := newSegment(t, "wire")
	var nodes []*testNode
	for i := range 3 {
		m := newMachine(t, string(rune('a'+i)))
		wire.join(m, "eth0", 1500, fmt.Sprintf("192.168.7.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
		nodes = append(nodes, newNode(t, m, i+1, change, fmt.Sprintf("192.168.7.%d", i+1), fmt.Sprintf("fd07::%d", i+1)))
	}
	introduce(nodes...)
	return nodes
}

func TestOneLink(t *testing.T) {
	for _, backend := range []Backend{Auto, Direct, VXLAN} {
		t.Run(string(backend), func(t *testing.T) {
			nodes := bridged(t, func(c *Config) { c.Backend = backend })
			var pods []*testPod
			for _, n := range nodes {
				pods = append(pods, n.container("c-"+n.machine.name), n.wasmPod("w-"+n.machine.name))
			}
			pods = append(pods, nodes[0].container("c2-a"))
			allReach(t, 100_000, pods...)
			_, err := nodes[0].LinkByName(vxlanName)
			if (err == nil) != (backend == VXLAN) {
				t.Errorf("looking for the tunnel: %v", err)
			}
		})
	}
}

// routed makes nodes a and b on one link and c on another, with a router between.
func routed(t *testing.T, change func(*Config)) (nodes []*testNode, router *machine) {
	t.Helper()
	left, right := newSegment(t, "left"), newSegment(t, "right")
	router = newMachine(t, "router")
	left.join(router, "left", 1500, "192.168.7.254/24", "fd07::fe/64")
	right.join(router, "right", 1500, "192.168.8.254/24", "fd08::fe/64")
	router.sysctl("ipv4/ip_forward", "1")
	router.sysctl("ipv6/conf/all/forwarding", "1")
	for i, at := range []struct {
		wire *segment
		net  string
	}{{left, "7"}, {left, "7"}, {right, "8"}} {
		m := newMachine(t, string(rune('a'+i)))
		ip, ip6 := fmt.Sprintf("192.168.%s.%d", at.net, i+1), fmt.Sprintf("fd0%s::%d", at.net, i+1)
		at.wire.join(m, "eth0", 1500, ip+"/24", ip6+"/64")
		m.route("0.0.0.0/0", "192.168."+at.net+".254")
		m.route("::/0", "fd0"+at.net+"::fe")
		nodes = append(nodes, newNode(t, m, i+1, change, ip, ip6))
	}
	introduce(nodes...)
	return nodes, router
}

func TestTwoLinksWithARouter(t *testing.T) {
	nodes, _ := routed(t, nil)
	a, b, c := nodes[0], nodes[1], nodes[2]
	var pods []*testPod
	for _, n := range nodes {
		pods = append(pods, n.container("c-"+n.machine.name), n.wasmPod("w-"+n.machine.name))
	}
	allReach(t, 100_000, pods...)

	tunnel, err := a.LinkByName(vxlanName)
	must(t, err)
	direct, tunnelled := 0, 0
	routes, err := a.ownRoutes()
	must(t, err)
	for i := range routes {
		r := routeFrom(&routes[i])
		switch {
		case r.via.IsValid() && r.link == tunnel.Attrs().Index:
			tunnelled++
			if !c.self.PodCIDRs[0].Overlaps(r.dst) && !c.self.PodCIDRs[1].Overlaps(r.dst) {
				t.Errorf("tunnel to %s, which is on the same link", r.dst)
			}
		case r.via.IsValid():
			direct++
			if !b.self.PodCIDRs[0].Overlaps(r.dst) && !b.self.PodCIDRs[1].Overlaps(r.dst) {
				t.Errorf("direct route to %s, which is behind a router", r.dst)
			}
		}
	}
	if direct != 2 || tunnelled != 2 {
		t.Errorf("%d direct routes and %d through the tunnel, want 2 and 2", direct, tunnelled)
	}
}

// TestHostReachesPods: probes, and the API server's calls of webhooks, come from the nodes themselves. On every way the
// answers have to come back the way that the question took, or strict filters on it would drop them.
func TestHostReachesPods(t *testing.T) {
	nodes, _ := routed(t, nil)
	for _, n := range nodes {
		n.sysctl("ipv4/conf/all/rp_filter", "1")
		n.settle()
	}
	for _, to := range nodes {
		pods := []*testPod{to.container("c-" + to.machine.name), to.wasmPod("w-" + to.machine.name)}
		for _, from := range nodes {
			host := &testPod{name: "node " + from.machine.name, at: from.machine}
			for _, p := range pods {
				for _, ip := range p.ips {
					if _, err := host.send(ip, 10_000); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
}

// TestPathMTU: the largest packet that containers' links take gets through everywhere, a larger one is refused where it
// begins, and one that fits the sender's link only is refused by the tunnel.
func TestPathMTU(t *testing.T) {
	nodes, _ := routed(t, nil)
	a, b, c := nodes[0].container("c-a"), nodes[1].container("c-b"), nodes[2].container("c-c")
	w := nodes[0].wasmPod("w-a")
	const inner = 1500 - overhead4
	for _, ends := range [][2]*testPod{{a, b}, {b, a}, {a, c}, {c, a}, {b, c}} {
		for _, to := range ends[1].ips {
			if err := ends[0].ping(to, inner); err != nil {
				t.Errorf("%s to %s with %d bytes: %v", ends[0].name, to, inner, err)
			}
			if err := ends[0].ping(to, inner+1); err == nil {
				t.Errorf("%s to %s: %d bytes went through a link that takes %d", ends[0].name, to, inner+1, inner)
			}
			if _, err := ends[0].send(to, 4<<20); err != nil {
				t.Error(err)
			}
		}
	}
	for _, to := range c.ips { // a Wasm pod's packets enter the tunnel from the node itself
		if err := w.ping(to, inner); err != nil {
			t.Errorf("%s to %s with %d bytes: %v", w.name, to, inner, err)
		}
		if err := w.ping(to, inner+1); err == nil {
			t.Errorf("%s to %s: %d bytes went through the tunnel", w.name, to, inner+1)
		}
		if _, err := w.send(to, 4<<20); err != nil {
			t.Error(err)
		}
	}
}

// TestUplinkMTUChanges: a link that takes less has the tunnel and new containers take less; a container that stands
// learns of it as any sender does.
func TestUplinkMTUChanges(t *testing.T) {
	nodes, _ := routed(t, nil)
	old, far := nodes[0].container("c-a"), nodes[2].container("c-c")
	for _, n := range nodes {
		must(t, n.LinkSetMTU(n.link("eth0"), 1400))
	}
	for _, n := range nodes {
		n.settle()
	}
	for _, to := range far.ips {
		if _, err := old.send(to, 4<<20); err != nil {
			t.Error(err)
		}
	}
	fresh := nodes[0].container("c2-a")
	if mtu := fresh.at.link("eth0").Attrs().MTU; mtu != 1400-overhead4 {
		t.Errorf("a new container's MTU is %d, want %d", mtu, 1400-overhead4)
	}
}

// TestTunnelOverIPv6 has nodes without IPv4 addresses carry pods' IPv4 packets.
func TestTunnelOverIPv6(t *testing.T) {
	left, right := newSegment(t, "left"), newSegment(t, "right")
	router := newMachine(t, "router")
	left.join(router, "left", 1500, "fd07::fe/64")
	right.join(router, "right", 1500, "fd08::fe/64")
	router.sysctl("ipv6/conf/all/forwarding", "1")
	var nodes []*testNode
	for i, wire := range []*segment{left, left, right} {
		m := newMachine(t, string(rune('a'+i)))
		net := []string{"fd07", "fd07", "fd08"}[i]
		ip := fmt.Sprintf("%s::%d", net, i+1)
		wire.join(m, "eth0", 1500, ip+"/64")
		m.route("::/0", net+"::fe")
		nodes = append(nodes, newNode(t, m, i+1, nil, ip))
	}
	introduce(nodes...)
	var pods []*testPod
	for _, n := range nodes {
		pods = append(pods, n.container("c-"+n.machine.name), n.wasmPod("w-"+n.machine.name))
	}
	allReach(t, 100_000, pods...)
	for _, to := range pods[4].ips { // across the router
		if err := pods[0].ping(to, 1500-overhead6); err != nil {
			t.Errorf("%d bytes to %s: %v", 1500-overhead6, to, err)
		}
	}
}

// TestLocalAddressesSurviveRules: with rules of policy routing the kernel asks its tables one after another, and pods'
// prefixes are not in its local one.
func TestLocalAddressesSurviveRules(t *testing.T) {
	nodes := bridged(t, nil)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rule := netlink.NewRule()
		rule.Family, rule.Mark, rule.Table, rule.Priority = family, 7, 77, 777
		must(t, nodes[0].RuleAdd(rule))
	}
	allReach(t, 1000, nodes[0].wasmPod("w-a"), nodes[0].container("c-a"), nodes[1].wasmPod("w-b"))
}
