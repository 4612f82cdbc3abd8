package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestATurnWithoutCauseWritesNothing counts the kernel's events of a turn in which nothing is amiss.
func TestATurnWithoutCauseWritesNothing(t *testing.T) {
	nodes, _ := routed(t, nil)
	a := nodes[0]
	a.container("c-a")
	a.stop()
	a.cfg.Logger = nil
	a.start() // what stands is taken over
	a.stop()
	must(t, a.Open(t.Context()))
	defer a.Close()

	done := make(chan struct{})
	routes, links := make(chan netlink.RouteUpdate, 100), make(chan netlink.LinkUpdate, 100)
	neighs, addrs := make(chan netlink.NeighUpdate, 100), make(chan netlink.AddrUpdate, 100)
	ns := a.machine.handle()
	must(t, netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{Namespace: ns}))
	must(t, netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{Namespace: ns}))
	must(t, netlink.NeighSubscribeWithOptions(neighs, done, netlink.NeighSubscribeOptions{Namespace: ns}))
	must(t, netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{Namespace: ns}))
	before := ruleHandles(t, a)
	_ = a.turn()
	if after := ruleHandles(t, a); !slices.Equal(before, after) || len(before) == 0 {
		t.Errorf("the filters were written anew: rules %v became %v", before, after)
	}
	time.Sleep(50 * time.Millisecond) // events come through a goroutine
	close(done)
	for u := range routes {
		t.Errorf("route event %+v", u)
	}
	for u := range links {
		t.Errorf("link event %+v", u.Link.Attrs())
	}
	for u := range addrs {
		t.Errorf("address event %+v", u)
	}
	for u := range neighs {
		if u.State&netlink.NUD_PERMANENT != 0 { // the kernel's own entries grow old as they like
			t.Errorf("neighbour event %+v", u)
		}
	}
}

func ruleHandles(t *testing.T, n *testNode) []uint64 {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.machine.ns)))
	must(t, err)
	chains, err := conn.ListChains()
	must(t, err)
	var out []uint64
	for _, c := range chains {
		rules, err := conn.GetRules(c.Table, c)
		must(t, err)
		for _, r := range rules {
			out = append(out, r.Handle)
		}
	}
	return out
}

// TestWhatIsAmissIsMended breaks each thing that is ours and lets Run find it, by the kernel's events where there are
// some.
func TestWhatIsAmissIsMended(t *testing.T) {
	t.Parallel() // most of it is waiting
	nodes, _ := routed(t, nil)
	a, c := nodes[0], nodes[2]
	near, far := a.container("near"), c.container("far")
	wasm := a.wasmPod("wasm")
	near.patience, wasm.patience, far.patience = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
	host := func() netlink.Link {
		return a.link(newEndpoint(Attachment{ContainerID: "near", IfName: "eth0"}, nil, 0).HostName)
	}
	whole := func() error {
		for _, from := range []*testPod{near, wasm} {
			for _, to := range far.ips {
				if _, err := from.send(to, 1000); err != nil {
					return err
				}
			}
		}
		_, err := far.send(near.ips[0], 1000)
		return err
	}
	must(t, whole())
	for _, tc := range []struct {
		name  string
		spoil func()
		quiet bool // the kernel's events do not tell: the next resync does
	}{
		{"our routes are gone", func() { must(t, a.Network.space.mendRoutes(nil)) }, false},
		{"the tunnel is gone", func() { must(t, a.LinkDel(a.link(vxlanName))) }, false},
		{"the tunnel is down", func() { must(t, a.LinkSetDown(a.link(vxlanName))) }, false},
		{"the tunnel is another's", func() {
			must(t, a.LinkDel(a.link(vxlanName)))
			attrs := netlink.NewLinkAttrs()
			attrs.Name = vxlanName
			must(t, a.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 7, Port: 4444}))
		}, false},
		{"the uplink flaps", func() {
			must(t, a.LinkSetDown(a.link("eth0")))
			must(t, a.LinkSetUp(a.link("eth0")))
			a.addr("eth0", "fd07::1/64") // the kernel forgets IPv6 addresses of a link that goes down
			a.route("0.0.0.0/0", "192.168.7.254")
			a.route("::/0", "fd07::fe")
		}, false},
		{"a container's link is down", func() { must(t, a.LinkSetDown(host())) }, false},
		{"a stray route of ours leads astray", func() {
			must(t, a.RouteReplace(&netlink.Route{Dst: ipNet(single(far.ips[0])), LinkIndex: host().Attrs().Index, Protocol: routeProtocol}))
		}, false},
		{"the tunnel's entries are gone", func() {
			must(t, a.Network.mendNeighs(a.link(vxlanName).Attrs().Index, []int{netlink.FAMILY_V4, netlink.FAMILY_V6, unix.AF_BRIDGE}, nil))
		}, true},
		{"the filters are gone", func() { must(t, a.removeFilters()) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.spoil()
			if tc.quiet {
				a.wake()
			}
			eventually(t, whole)
			eventually(t, func() error {
				if len(ruleHandles(t, a)) == 0 {
					return errors.New("the filters are not back")
				}
				return nil
			})
		})
	}
}

// TestNodeChangesItsAddress renumbers a node, which the others learn from its Node.
func TestNodeChangesItsAddress(t *testing.T) {
	nodes, _ := routed(t, nil)
	pods := []*testPod{nodes[0].container("c-a"), nodes[1].container("c-b"), nodes[2].container("c-c"), nodes[2].wasmPod("w-c")}
	for _, i := range []int{0, 2} {
		n, net := nodes[i], []string{"7", "", "8"}[i]
		n.stop()
		n.noAddr("eth0", fmt.Sprintf("192.168.%s.%d/24", net, i+1))
		n.noAddr("eth0", fmt.Sprintf("fd0%s::%d/64", net, i+1))
		n.addr("eth0", fmt.Sprintf("192.168.%s.%d/24", net, i+101))
		n.addr("eth0", fmt.Sprintf("fd0%s::%d/64", net, i+101))
		n.route("0.0.0.0/0", "192.168."+net+".254")
		n.route("::/0", "fd0"+net+"::fe")
		n.self.IPs = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("192.168.%s.%d", net, i+101)), netip.MustParseAddr(fmt.Sprintf("fd0%s::%d", net, i+101))}
		n.cfg.NodeIPs = n.self.IPs
		n.start()
	}
	introduce(nodes...)
	allReach(t, 100_000, pods...)
}

// TestNodeMovesToAnotherLink has a node go behind the router: what was a direct route becomes a tunnel.
func TestNodeMovesToAnotherLink(t *testing.T) {
	nodes, router := routed(t, nil)
	b := nodes[1]
	pods := []*testPod{nodes[0].container("c-a"), b.container("c-b"), nodes[2].container("c-c")}
	allReach(t, 1000, pods...)
	b.stop()
	must(t, b.LinkDel(b.link("eth0")))
	third := newSegment(t, "third")
	third.join(router, "third", 1500, "192.168.9.254/24", "fd09::fe/64")
	third.join(b.machine, "eth0", 1500, "192.168.9.2/24", "fd09::2/64")
	b.machine.route("0.0.0.0/0", "192.168.9.254")
	b.machine.route("::/0", "fd09::fe")
	b.self.IPs = []netip.Addr{netip.MustParseAddr("192.168.9.2"), netip.MustParseAddr("fd09::2")}
	b.cfg.NodeIPs = b.self.IPs
	b.start()
	introduce(nodes...)
	allReach(t, 1000, pods...)
}

// TestNodeGetsAnotherCIDR is a node that was deleted and registered anew.
func TestNodeGetsAnotherCIDR(t *testing.T) {
	nodes, _ := routed(t, nil)
	c := nodes[2]
	old := c.container("old")
	c.self.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.42.33.0/24"), netip.MustParsePrefix("fd42:0:0:33::/64")}
	introduce(nodes...)
	must(t, c.Detach(t.Context(), "old", "eth0")) // its pod went with the node
	fresh := c.container("fresh")
	if !c.self.PodCIDRs[0].Contains(fresh.ips[0]) || !c.self.PodCIDRs[1].Contains(fresh.ips[1]) {
		t.Fatalf("a new pod got %v", fresh.ips)
	}
	allReach(t, 1000, fresh, nodes[0].container("c-a"), nodes[1].wasmPod("w-b"))
	if _, err := nodes[0].wasmPod("w-a").send(old.ips[0], 1); err == nil {
		t.Error("an address of the old prefix still leads somewhere")
	}
}

// TestRestart: what runs goes on while the worker is away and after it came back, without the control plane.
func TestRestart(t *testing.T) {
	t.Parallel() // most of it is waiting
	nodes, _ := routed(t, nil)
	pods := []*testPod{nodes[0].container("c-a"), nodes[0].wasmPod("w-a"), nodes[2].container("c-c")}
	nodes[0].stop()
	allReach(t, 1000, pods...)
	nodes[0].start()
	if got := nodes[0].PodCIDRs(); !slices.Equal(got, nodes[0].self.PodCIDRs) {
		t.Fatalf("pod CIDRs after a restart without the control plane: %v", got)
	}
	for _, ip := range pods[1].ips {
		must(t, nodes[0].Reserve("uid-w-a", ip)) // the agent finds it among the runtime's sandboxes
	}
	allReach(t, 1000, pods...)
	for i := range 20 {
		ips, err := nodes[0].Take(fmt.Sprint("new", i))
		must(t, err)
		for k, ip := range ips {
			if ip == pods[0].ips[k] || ip == pods[1].ips[k] {
				t.Fatalf("%s was given to another pod", ip)
			}
		}
	}
	again, err := nodes[0].Take("uid-c-a")
	must(t, err)
	if !slices.Equal(again, pods[0].ips) {
		t.Errorf("the container's pod got %v, it had %v", again, pods[0].ips)
	}
}

// TestRemoveLeavesNothing compares a machine with itself before.
func TestRemoveLeavesNothing(t *testing.T) {
	wire := newSegment(t, "wire")
	m := newMachine(t, "a")
	wire.join(m, "eth0", 1500, "192.168.7.1/24", "fd07::1/64")
	m.route("0.0.0.0/0", "192.168.7.254")
	before := inventory(t, m)
	n := newNode(t, m, 1, func(c *Config) { c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")} }, "192.168.7.1", "fd07::1")
	n.SetNodes([]Node{n.self, {Name: "far", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.9.0/24")}}})
	n.settle()
	pod := newMachine(t, "pod")
	_, err := n.Attach(t.Context(), Attachment{ContainerID: "pod", Owner: "pod", Netns: pod.path(), IfName: "eth0"})
	must(t, err)
	if during := inventory(t, m); len(during) < len(before)+10 {
		t.Fatalf("only %d things stand, %d before", len(during), len(before))
	}
	n.stop()
	must(t, n.Remove())
	must(t, n.Remove()) // again, from nothing
	after := inventory(t, m)
	for _, thing := range after {
		if !slices.Contains(before, thing) {
			t.Errorf("left behind: %s", thing)
		}
	}
	for _, thing := range before {
		if !slices.Contains(after, thing) {
			t.Errorf("gone, though not ours: %s", thing)
		}
	}
	if nodes, err := loadNodes(n.cfg.Dir); nodes != nil || err != nil {
		t.Errorf("nodes on disk: %v, %v", nodes, err)
	}
}

// inventory lists everything that a machine's kernel has.
func inventory(t *testing.T, m *machine) []string {
	t.Helper()
	var out []string
	links, err := m.LinkList()
	must(t, err)
	for _, l := range links {
		out = append(out, "link "+l.Attrs().Name)
		addrs, err := m.AddrList(l, netlink.FAMILY_ALL)
		must(t, err)
		for _, a := range addrs {
			out = append(out, fmt.Sprintf("address %s on %s", a.IPNet, l.Attrs().Name))
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			neighs, err := m.NeighList(l.Attrs().Index, family)
			must(t, err)
			for _, e := range neighs {
				if e.State&netlink.NUD_PERMANENT != 0 {
					out = append(out, fmt.Sprintf("neighbour %s on %s", e.IP, l.Attrs().Name))
				}
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := m.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		must(t, err)
		for _, r := range routes {
			if r.Protocol != unix.RTPROT_KERNEL { // those follow from addresses, and from forwarding
				out = append(out, fmt.Sprintf("route %s table %d protocol %d", r.Dst, r.Table, r.Protocol))
			}
		}
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(m.ns)))
	must(t, err)
	tables, err := conn.ListTables()
	must(t, err)
	for _, table := range tables {
		out = append(out, "nftables table "+table.Name)
	}
	return out
}

// TestRunFollowsEvents holds that Run, and not a test's own turn, does the mending.
func TestRunFollowsEvents(t *testing.T) {
	t.Parallel() // most of it is waiting
	nodes := bridged(t, nil)
	a := nodes[0]
	route := func() bool {
		routes, err := a.ownRoutes()
		must(t, err)
		return slices.ContainsFunc(routes, func(r netlink.Route) bool { return prefixOf(r.Dst) == nodes[1].self.PodCIDRs[0] })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for ctx.Err() == nil { // the subscription begins some time after Run
		must(t, a.Network.space.mendRoutes(nil))
		for range 20 {
			if time.Sleep(50 * time.Millisecond); route() {
				return
			}
		}
	}
	t.Error("a removed route did not come back")
}

// TestEndpointsAreTold: whoever guards containers' links hears of each before the container is used, and of all after a
// restart.
func TestEndpointsAreTold(t *testing.T) {
	wire := newSegment(t, "wire")
	m := newMachine(t, "a")
	wire.join(m, "eth0", 1500, "192.168.7.1/24")
	var told []string // by the test's own calls and by turns, one at a time
	n := newNode(t, m, 1, func(c *Config) {
		c.Endpoints = func(all []*Endpoint) {
			var ids []string
			for _, e := range all {
				ids = append(ids, e.ContainerID+" "+e.Addrs[0].String())
			}
			told = append(told, fmt.Sprint(ids))
		}
	}, "192.168.7.1")
	introduce(n)
	n.container("c1")
	n.container("c2")
	must(t, n.Detach(t.Context(), "c1", "eth0"))
	n.stop()
	n.start()
	n.stop()
	want := []string{"[]", "[c1 10.42.1.1]", "[c1 10.42.1.1 c2 10.42.1.2]", "[c2 10.42.1.2]", "[c2 10.42.1.2]"}
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// TestCutOffAttach: a worker that is killed between making a link and naming it leaves one that nobody asks for again.
func TestCutOffAttach(t *testing.T) {
	nodes := bridged(t, nil)
	a := nodes[0]
	a.stop()
	half := newEndpoint(Attachment{ContainerID: "half", Owner: "half", IfName: "eth0"}, nil, 0).HostName
	for name, alias := range map[string]string{half: "", "ptlfoo": "", "ptl0123456789ab": "somebody's"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		veth := netlink.NewVeth(attrs)
		veth.PeerName = "x" + name[3:]
		must(t, a.LinkAdd(veth))
		if alias != "" {
			must(t, a.LinkSetAlias(veth, alias))
		}
	}
	a.start()
	if _, err := a.LinkByName(half); !isGone(err) {
		t.Errorf("the link of a cut off Attach is still there: %v", err)
	}
	for _, name := range []string{"ptlfoo", "ptl0123456789ab"} {
		if _, err := a.LinkByName(name); err != nil {
			t.Errorf("%s, which is another's, is gone: %v", name, err)
		}
	}
	a.container("half")
}
