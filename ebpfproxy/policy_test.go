package ebpfproxy

import (
	"net/netip"
	"strings"
	"testing"
)

// TestPortPrefixes: a range is covered exactly, by no more prefixes than its size asks for.
func TestPortPrefixes(t *testing.T) {
	ranges := [][2]uint16{{1, 65535}, {0, 65535}, {1, 65534}, {80, 80}, {80, 81}, {81, 82}, {1024, 2047}, {30000, 32767}, {65535, 65535}, {1, 2}}
	for first := uint16(0); first < 40; first++ {
		for last := first; last < 40; last++ {
			ranges = append(ranges, [2]uint16{first, last})
		}
	}
	for _, r := range ranges {
		var covered [1 << portBits]int
		list := portPrefixes(r[0], r[1])
		for _, p := range list {
			for i := range uint32(1) << (portBits - p.bits) {
				covered[uint32(p.port)+i]++
			}
		}
		for port := range uint32(len(covered)) {
			want := 0
			if port >= uint32(r[0]) && port <= uint32(r[1]) {
				want = 1
			}
			if covered[port] != want {
				t.Fatalf("%v: port %d is covered %d times by %v", r, port, covered[port], list)
			}
		}
		if len(list) > 30 {
			t.Errorf("%v takes %d prefixes", r, len(list))
		}
	}
}

func TestPolicyValidate(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for _, tt := range []struct {
		policy Policy
		want   string
	}{
		{Policy{}, ""},
		{programPolicy(), ""},
		{isolateA(), ""},
		{Policy{Peers: map[netip.Prefix]Peer{{}: {}}}, "want a masked prefix"},
		{Policy{Peers: map[netip.Prefix]Peer{prefix("10.0.0.1/8"): {}}}, "10.0.0.1/8: want a masked"},
		{Policy{Peers: map[netip.Prefix]Peer{prefix("::ffff:10.0.0.0/104"): {}}}, "want a masked"},
		{Policy{Peers: map[netip.Prefix]Peer{prefix("10.0.0.0/8"): {Identity: maxNumber}}}, "identity 2147483648"},
		{Policy{Endpoints: map[netip.Addr]Endpoint{{}: {}}}, "want an address"},
		{Policy{Endpoints: map[netip.Addr]Endpoint{addr("fe80::1%eth0"): {}}}, "want an address"},
		{Policy{Endpoints: map[netip.Addr]Endpoint{addr("10.0.0.1"): {Egress: 3}}}, "no subject 3"},
		{Policy{Subjects: map[uint32][]PolicyRule{0: nil}}, "subject 0"},
		{Policy{Subjects: map[uint32][]PolicyRule{maxNumber: nil}}, "subject 2147483648"},
		{Policy{Subjects: map[uint32][]PolicyRule{1: {{Protocol: TCP, First: 2, Last: 1}}}}, "ports 2 to 1"},
		{Policy{Subjects: map[uint32][]PolicyRule{1: {{Protocol: TCP, Last: 1}}}}, "ports 0 to 1"},
		{Policy{Subjects: map[uint32][]PolicyRule{1: {{First: 1, Last: 1}}}}, "ports without a protocol"},
		{Policy{Subjects: map[uint32][]PolicyRule{1: {{Identity: maxNumber}}}}, "identity 2147483648"},
	} {
		err := tt.policy.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

func TestEnforcerConfigs(t *testing.T) {
	for _, cfg := range []EnforcerConfig{{}, {Proxy: &Proxy{}, Sizes: PolicySizes{Rules: -1}}, {Proxy: &Proxy{}, Sizes: PolicySizes{Peers: maxEntries + 1}}} {
		if _, err := NewEnforcer(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
