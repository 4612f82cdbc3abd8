package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// atlas answers ways as a routing table would.
func atlas(addr netip.Addr) (way, error) {
	switch text := addr.String(); {
	case text == "192.168.7.1" || text == "fd07::1":
		return way{link: 1, name: "lo", mtu: 65536, local: true, onLink: true}, nil
	case strings.HasPrefix(text, "192.168.7.") || strings.HasPrefix(text, "fd07::"):
		return way{link: 2, name: "eth0", mtu: 1500, onLink: true}, nil
	case strings.HasPrefix(text, "192.168.9."):
		return way{link: 3, name: "eth1", mtu: 9000, onLink: true}, nil
	case strings.HasPrefix(text, "192.168.8.") || strings.HasPrefix(text, "fd08::"):
		return way{link: 2, name: "eth0", mtu: 1400}, nil
	}
	return way{}, errNoRoute
}

func node(name string, fields ...string) Node {
	n := Node{Name: name}
	for _, f := range fields {
		if p, err := netip.ParsePrefix(f); err == nil {
			n.PodCIDRs = append(n.PodCIDRs, p)
		} else {
			n.IPs = append(n.IPs, netip.MustParseAddr(f))
		}
	}
	return n
}

// sketch is a plan in few words.
func sketch(p *plan) string {
	var out []string
	for _, h := range p.hops {
		out = append(out, fmt.Sprintf("%s via %s dev %d", h.cidr, h.via, h.link))
	}
	for _, t := range p.tunnels {
		out = append(out, fmt.Sprintf("%v in %s", t.cidrs, t.outer))
	}
	return strings.Join(append(out, fmt.Sprintf("mtu %d", p.podMTU)), "; ")
}

func TestPlan(t *testing.T) {
	self := node("a", "192.168.7.1", "fd07::1", "10.42.1.0/24", "fd42:0:0:1::/64")
	for _, tc := range []struct {
		name     string
		backend  Backend
		change   func(*Config)
		nodes    []Node
		want     string
		problems int
	}{
		{"alone", Auto, nil, []Node{self}, "mtu 1500", 0},
		{"on the link", Auto, nil, []Node{self, node("b", "192.168.7.2", "fd07::2", "10.42.2.0/24", "fd42:0:0:2::/64")},
			"10.42.2.0/24 via 192.168.7.2 dev 2; fd42:0:0:2::/64 via fd07::2 dev 2; mtu 1500", 0},
		{"behind a router", Auto, nil, []Node{self, node("c", "192.168.8.3", "10.42.3.0/24")}, "[10.42.3.0/24] in 192.168.8.3; mtu 1350", 0},
		{"behind a router, direct only", Direct, nil, []Node{self, node("c", "192.168.8.3", "10.42.3.0/24")}, "mtu 1500", 1},
		{"on the link, tunnel always", VXLAN, nil, []Node{self, node("b", "192.168.7.2", "10.42.2.0/24")}, "[10.42.2.0/24] in 192.168.7.2; mtu 1450", 0},
		{"IPv6 pods of a node without IPv6", Auto, nil, []Node{self, node("b", "192.168.7.2", "10.42.2.0/24", "fd42:0:0:2::/64")},
			"10.42.2.0/24 via 192.168.7.2 dev 2; [fd42:0:0:2::/64] in 192.168.7.2; mtu 1450", 0},
		{"tunnels over IPv6", VXLAN, func(c *Config) { c.NodeIPs = []netip.Addr{netip.MustParseAddr("fd07::1")} },
			[]Node{self, node("b", "192.168.7.2", "fd07::2", "10.42.2.0/24")}, "[10.42.2.0/24] in fd07::2; mtu 1430", 0},
		{"no address of the tunnels' family", VXLAN, nil, []Node{self, node("b", "fd07::2", "10.42.2.0/24")}, "mtu 1500", 1},
		{"no route to it", Auto, nil, []Node{self, node("x", "203.0.113.9", "10.42.9.0/24")}, "[10.42.9.0/24] in 203.0.113.9; mtu 1500", 1},
		{"no address yet", Auto, nil, []Node{self, node("b", "10.42.2.0/24")}, "mtu 1500", 0},
		{"no CIDR yet", Auto, nil, []Node{self, node("b", "192.168.7.2")}, "mtu 1500", 0},
		{"a loopback address", Auto, nil, []Node{self, node("b", "127.0.0.1", "10.42.2.0/24")}, "mtu 1500", 1},
		{"our own address", Auto, nil, []Node{self, node("b", "192.168.7.1", "10.42.2.0/24")}, "mtu 1500", 1},
		{"our own CIDR", Auto, nil, []Node{self, node("b", "192.168.7.2", "10.42.0.0/16")}, "mtu 1500", 1},
		{"the services' CIDR", Auto, nil, []Node{self, node("b", "192.168.7.2", "10.43.1.0/24")}, "mtu 1500", 1},
		{"two with one CIDR", Auto, nil, []Node{node("z", "192.168.7.4", "10.42.2.0/24"), node("b", "192.168.7.2", "10.42.2.0/24"), self},
			"10.42.2.0/24 via 192.168.7.2 dev 2; mtu 1500", 1},
		{"one within another", Auto, nil, []Node{self, node("b", "192.168.7.2", "10.42.2.0/23"), node("c", "192.168.7.3", "10.42.3.0/24")},
			"10.42.2.0/23 via 192.168.7.2 dev 2; 10.42.3.0/24 via 192.168.7.3 dev 2; mtu 1500", 0},
		{"a larger link", Auto, nil, []Node{self, node("b", "192.168.9.2", "10.42.2.0/24")}, "10.42.2.0/24 via 192.168.9.2 dev 3; mtu 1500", 0},
		{"an MTU of one's own", Auto, func(c *Config) { c.MTU = 1300 }, []Node{self, node("c", "192.168.8.3", "10.42.3.0/24")}, "[10.42.3.0/24] in 192.168.8.3; mtu 1300", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Mode: Cluster, NodeName: "a", NodeIPs: self.IPs, Backend: tc.backend, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}}
			if tc.change != nil {
				tc.change(&cfg)
			}
			p := makePlan(&cfg, self.PodCIDRs, tc.nodes, way{link: 2, name: "eth0", mtu: 1500, local: true}, atlas)
			if got := sketch(p); got != tc.want {
				t.Errorf("planned %s\nwant    %s", got, tc.want)
			}
			if len(p.problems) != tc.problems {
				t.Errorf("problems %q, want %d", p.problems, tc.problems)
			}
		})
	}
}

func TestWhatNoNodeHasIsUnreachable(t *testing.T) {
	whole := netip.MustParsePrefix("10.42.0.0/16")
	cfg := Config{Mode: Cluster, NodeName: "a", NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.7.1")}, ClusterCIDRs: []netip.Prefix{whole}}
	if p := makePlan(&cfg, []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}, nil, way{}, atlas); !slices.Equal(p.cluster, cfg.ClusterCIDRs) {
		t.Errorf("unreachable: %v", p.cluster)
	}
	if p := makePlan(&cfg, cfg.ClusterCIDRs, nil, way{}, atlas); len(p.cluster) != 0 {
		t.Errorf("all of it is this node's, and yet unreachable: %v", p.cluster)
	}
	other := []Node{node("b", "192.168.7.2", "10.42.0.0/16")}
	if p := makePlan(&cfg, nil, other, way{}, atlas); len(p.cluster) != 0 || len(p.hops) != 1 {
		t.Errorf("all of it is another node's, and yet unreachable: %v", p.cluster)
	}
}

func TestConfigIsChecked(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for name, change := range map[string]func(*Config){
		"no name":                     func(c *Config) { c.NodeName = "" },
		"unknown mode":                func(c *Config) { c.Mode = 7 },
		"no address":                  func(c *Config) { c.NodeIPs = nil },
		"two addresses of a family":   func(c *Config) { c.NodeIPs = append(c.NodeIPs, addr("10.0.0.2")) },
		"a loopback address":          func(c *Config) { c.NodeIPs = []netip.Addr{addr("127.0.0.1")} },
		"an address with a zone":      func(c *Config) { c.NodeIPs = []netip.Addr{addr("fe80::1%eth0")} },
		"unknown backend":             func(c *Config) { c.Backend = "pigeon" },
		"a tiny MTU":                  func(c *Config) { c.MTU = 576 },
		"a VXLAN port beyond":         func(c *Config) { c.VXLANPort = 70000 },
		"a VXLAN id beyond":           func(c *Config) { c.VXLANID = 1 << 24 },
		"a relative directory":        func(c *Config) { c.Dir = "state" },
		"a pod CIDR with host bits":   func(c *Config) { c.PodCIDRs = []netip.Prefix{prefix("10.42.1.1/24")} },
		"two pod CIDRs of a family":   func(c *Config) { c.PodCIDRs = []netip.Prefix{prefix("10.42.1.0/24"), prefix("10.42.2.0/24")} },
		"a tiny pod CIDR":             func(c *Config) { c.PodCIDRs = []netip.Prefix{prefix("10.42.1.0/30")} },
		"a service CIDR in disguise":  func(c *Config) { c.ServiceCIDRs = []netip.Prefix{prefix("::ffff:10.43.0.0/112")} },
		"a cluster CIDR of host bits": func(c *Config) { c.ClusterCIDRs = []netip.Prefix{prefix("10.42.1.0/16")} },
		"loopback of IPv6":            func(c *Config) { c.Mode, c.PodCIDRs = Loopback, []netip.Prefix{prefix("fd00::/64")} },
		"loopback without a CIDR":     func(c *Config) { c.Mode = Loopback },
	} {
		cfg := Config{Mode: Cluster, NodeName: "a", NodeIPs: []netip.Addr{addr("10.0.0.1")}}
		if _, err := New(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestLoopbackModeTouchesNothing(t *testing.T) {
	n, err := New(Config{Mode: Loopback, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("127.42.0.0/16")}})
	must(t, err)
	must(t, n.Open(t.Context()))
	n.SetNodes([]Node{node("b", "192.168.7.2", "10.42.2.0/24")})
	ips, err := n.Take("pod")
	if err != nil || len(ips) != 1 || ips[0] != netip.MustParseAddr("127.42.0.1") {
		t.Errorf("took %v, %v", ips, err)
	}
	if n.space != nil || len(n.Problems()) != 0 || n.Prefix() != netip.MustParsePrefix("127.42.0.0/16") {
		t.Errorf("space %v, problems %v, prefix %s", n.space, n.Problems(), n.Prefix())
	}
	if _, err := n.Attach(t.Context(), Attachment{ContainerID: "c", Owner: "o", Netns: "/proc/self/ns/net", IfName: "eth0"}); !errors.Is(err, errNotOpen) {
		t.Errorf("attaching a container: %v", err)
	}
	must(t, errors.Join(n.Close(), n.Remove()))
}

// TestWithoutRights: a worker that cannot do its work says so at once, and not pod by pod.
func TestWithoutRights(t *testing.T) {
	n, err := New(Config{Mode: Cluster, NodeName: "a", NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.7.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}})
	must(t, err)
	defer n.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and its lack of rights with it
		if os.Geteuid() == 0 {
			none := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), unix.Capset(&none, &make([]unix.CapUserData, 2)[0])); err != nil {
				done <- err
				return
			}
		}
		done <- n.Open(t.Context())
	}()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("opened with %v", err)
	}
}
