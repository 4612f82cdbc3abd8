package ebpfproxy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// BenchmarkNATConnect compares connecting to a node port whose backend is on another node with connecting to that
// backend over the same node's plain routing: interleaved, by the medians of both.
func BenchmarkNATConnect(b *testing.B) {
	routed, served := newNATTown(b, Config{}), newNATTown(b, Config{})
	c, f := natLiveCases[0], bothFamilies[0]
	served.serve(c.service(f, TCP))
	for _, w := range []*natTown{routed, served} {
		l := natListen(w.other, c.to(f))
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
	}
	var times [2][]time.Duration
	targets := [2]struct {
		w    *natTown
		addr netip.AddrPort
	}{{routed, netip.MustParseAddrPort(c.to(f))}, {served, netip.MustParseAddrPort(c.at(f))}}
	for b.Loop() {
		for i, to := range targets {
			to.w.client.do(func() {
				for range 20 {
					d, err := connectTime(to.addr)
					if err != nil {
						b.Fatal(err)
					}
					times[i] = append(times[i], d)
				}
			})
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	direct, via := times[0][len(times[0])/2], times[1][len(times[1])/2]
	b.ReportMetric(float64(direct.Nanoseconds()), "routed-p50-ns")
	b.ReportMetric(float64(via.Nanoseconds()), "nodeport-p50-ns")
	b.ReportMetric(float64(via)/float64(direct), "ratio")
}

// connectTime is what connect(2) alone takes.
func connectTime(to netip.AddrPort) (time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	// Ends with a reset: no address is kept for what may come late.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return 0, err
	}
	start := time.Now()
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	return time.Since(start), err
}

// BenchmarkNATSweep looks through a full table of the default size.
func BenchmarkNATSweep(b *testing.B) {
	r := newNATRig(b, NATConfig{})
	now, err := kernelNow()
	must(b, err)
	for i := range defaultNATConnections {
		client := netip.AddrFrom4([4]byte{192, 0, byte(i >> 16), byte(i >> 8)})
		k := bpf.NatNatTuple{Src: natAddr(client), Dst: natAddr(netip.MustParseAddr("192.0.2.10")), Sport: swap16(uint16(1000 + i&255)), Dport: swap16(80), Proto: 6}
		e := bpf.NatNatEntry{Src: natAddr(netip.MustParseAddr("10.9.0.10")), Dst: natAddr(netip.MustParseAddr("10.9.0.20")), Sport: uint16(i), Dport: swap16(80), Kind: natForward, State: natAnswered, Last: now}
		must(b, r.table().Put(&k, &e))
		peer := natPeer(&k, &e)
		e.Kind, e.Src, e.Dst, e.Sport, e.Dport = natReply, k.Dst, k.Src, k.Dport, k.Sport
		must(b, r.table().Put(&peer, &e))
	}
	for b.Loop() {
		must(b, r.nat.sweep(now))
	}
	b.ReportMetric(float64(r.nat.entries), "entries")
}
