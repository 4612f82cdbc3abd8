package ebpfproxy

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkPolicyPrograms tells what a program costs a packet.
func BenchmarkPolicyPrograms(b *testing.B) {
	a := newArena(b)
	e := a.openEnforcer(a.open(Config{}), PolicySizes{})
	run := func(name, program string, p policyPacket) {
		b.Run(name, func(b *testing.B) {
			_, per, err := e.collection.Programs[program].Benchmark(p.bytes(), 100_000, b.ResetTimer)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(per.Nanoseconds()), "ns/packet")
		})
	}
	syn := policyPacket{from: friend, to: podIn, protocol: unix.IPPROTO_TCP, toPort: 80}
	run("no policies", "petrel_ingress", syn)
	policy := programPolicy()
	for i := range 10_000 { // as many as a node and its policies may have
		addr := netip.AddrFrom4([4]byte{10, 44, byte(i / 250), byte(i % 250)})
		policy.Peers[netip.PrefixFrom(addr, 32)] = Peer{Identity: Identity(100 + i%1000), Refuse: true}
		policy.Endpoints[addr] = Endpoint{Ingress: uint32(100 + i%500)}
		policy.Subjects[uint32(100+i%500)] = append(policy.Subjects[uint32(100+i%500)], PolicyRule{Identity: Identity(100 + i%1000), Protocol: TCP, First: 80, Last: 80})
	}
	began := time.Now()
	mustPolicy(b, e, policy)
	b.Logf("10,000 pods and rules in %s", time.Since(began))
	policy.Peers[netip.MustParsePrefix("10.44.0.1/32")] = Peer{Identity: 7}
	began = time.Now()
	mustPolicy(b, e, policy)
	b.Logf("one change in %s", time.Since(began))
	run("SYN allowed", "petrel_ingress", syn)
	run("SYN of a pod without policies", "petrel_ingress", policyPacket{from: friend, to: podFree, protocol: unix.IPPROTO_TCP, toPort: 80})
	run("segment of a connection", "petrel_ingress", policyPacket{from: friend, to: podIn, protocol: unix.IPPROTO_TCP, toPort: 80, flags: tcpACK})
	run("datagram allowed", "petrel_ingress", policyPacket{from: friend, to: podIn, protocol: unix.IPPROTO_UDP, toPort: 80})
	run("SYN denied", "petrel_ingress", policyPacket{from: stranger, to: podIn, protocol: unix.IPPROTO_TCP, toPort: 80})
}

// BenchmarkPolicyConnect compares connect() under different loads of work, interleaved in one run.
func BenchmarkPolicyConnect(b *testing.B) {
	a := newArena(b)
	p := a.open(Config{})
	to := a.serve(policyA + policyAt).addr
	e, err := NewEnforcer(EnforcerConfig{Proxy: p})
	if err != nil {
		b.Fatal(err)
	}
	f := a.openFlows(FlowsConfig{Enforcer: e})
	times := map[string][]time.Duration{}
	const rounds, each = 40, 100
	measure := func(mode string) { times[mode] = append(times[mode], a.connectTimes(to, each)...) }
	for range rounds {
		measure("1 proxy alone")
		if err := e.Open(b.Context()); err != nil {
			b.Fatal(err)
		}
		measure("2 no policies")
		mustPolicy(b, e, isolateA())
		measure("3 isolated")
		q, _, err := f.join()
		if err != nil {
			b.Fatal(err)
		}
		measure("4 isolated, flows heard")
		f.leave(q)
		mustPolicy(b, e, Policy{})
		if err := e.Detach(); err != nil {
			b.Fatal(err)
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(times)) {
		slices.Sort(times[mode])
		b.Logf("%-24s p50 %s", mode, times[mode][len(times[mode])/2])
	}
}

// connectTimes connects from the pod that may.
func (a *arena) connectTimes(to netip.AddrPort, n int) []time.Duration {
	var out []time.Duration
	for range n {
		s := a.socket(unix.SOCK_STREAM, false)
		s.bind(policyB)
		began := time.Now()
		err := s.connect(to)
		out = append(out, time.Since(began))
		s.close()
		if err != nil {
			a.t.Fatal(err)
		}
	}
	return out
}
