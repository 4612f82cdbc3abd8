package ebpfproxy

import (
	"net/netip"
	"testing"
)

// TestNATFlows: who listens hears of clients from outside, of the service they asked for and of what became of them.
func TestNATFlows(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	ranged := external(TCP, ":30081", remote("10.9.0.20:80"))
	ranged.SourceRanges = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	dropped := external(TCP, ":30082")
	dropped.Drop = true
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")), ranged, dropped, external(UDP, "[2001:db8:1::7]:53"))
	e, err := NewEnforcer(EnforcerConfig{Proxy: r.proxy, Sizes: testPolicySizes})
	must(t, err)
	must(t, e.Open(t.Context()))
	t.Cleanup(func() { must(t, e.Close()) })
	flows, err := NewFlows(FlowsConfig{Enforcer: e})
	must(t, err)
	heard := collectFlows(t, flows)
	r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, ""), tcRedirect)
	r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagAck, "no news"), tcRedirect)
	r.in(tcp("192.0.2.1:5001", "192.0.2.10:30081", flagSyn, ""), tcShot)
	r.in(tcp("192.0.2.1:5002", "192.0.2.10:30082", flagSyn, ""), tcShot)
	r.in(udp("[2001:db8::1]:5003", "[2001:db8:1::7]:53", "query"), tcNext)
	want := []Flow{
		{Kind: FlowConnect, Protocol: TCP, Source: netip.MustParseAddrPort("192.0.2.1:5000"),
			Destination: netip.MustParseAddrPort("10.9.0.20:80"),
			ServiceAddr: netip.MustParseAddrPort("192.0.2.10:30080"), Service: "test/:30080"},
		{Kind: FlowDenied, Protocol: TCP, Source: netip.MustParseAddrPort("192.0.2.1:5001"),
			ServiceAddr: netip.MustParseAddrPort("192.0.2.10:30081"), Service: "test/:30081"},
		{Kind: FlowRefused, Protocol: TCP, Source: netip.MustParseAddrPort("192.0.2.1:5002"),
			ServiceAddr: netip.MustParseAddrPort("192.0.2.10:30082"), Service: "test/:30082"},
		{Kind: FlowRefused, Protocol: UDP, Source: netip.MustParseAddrPort("[2001:db8::1]:5003"),
			ServiceAddr: netip.MustParseAddrPort("[2001:db8:1::7]:53"), Service: "test/[2001:db8:1::7]:53"},
	}
	got := heard.wait(len(want))
	for i, w := range want {
		if w.Kind != FlowConnect {
			w.Destination = w.ServiceAddr
		}
		w.Direction, w.Time = FlowIngress, got[i].Time
		if got[i] != w {
			t.Errorf("event %d is %+v, want %+v", i, got[i], w)
		}
	}
}
