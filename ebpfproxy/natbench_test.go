package ebpfproxy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
