package network

import (
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkTurn compares everything of a large cluster in which nothing is amiss: what each event and each resync costs.
func BenchmarkTurn(b *testing.B) {
	for _, nodes := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			m := newMachine(b, "a")
			newSegment(b, "wire").join(m, "eth0", 1500, "172.16.0.1/16")
			m.route("0.0.0.0/0", "172.16.255.254")
			cfg := Config{
				Mode: Cluster, NodeName: "a", NodeIPs: []netip.Addr{netip.MustParseAddr("172.16.0.1")}, Netns: m.path(), Masquerade: true,
				PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
			}
			n, err := New(cfg)
			must(b, err)
			must(b, n.Open(b.Context()))
			defer n.Close()
			var all []Node
			for i := range nodes { // every other one behind the router
				ip := fmt.Sprintf("172.%d.%d.%d", 16+i%2, 1+i>>8, i&0xff)
				all = append(all, node(fmt.Sprint("n", i), ip, fmt.Sprintf("10.%d.%d.0/24", 1+i>>8, i&0xff)))
			}
			n.SetNodes(all)
			_ = n.turn()
			if p := n.Problems(); len(p) > 0 {
				b.Fatal(p)
			}
			for b.Loop() {
				_ = n.turn()
			}
		})
	}
}
