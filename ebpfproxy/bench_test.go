package ebpfproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var largeSizes = Sizes{Frontends: 1 << 17, Backends: 1 << 18, Slots: 1 << 19, Maglev: 251, Affinity: 1 << 16, Datagrams: 1 << 16,
	SourceRanges: 16, NodeAddresses: 16}

// BenchmarkConnect compares connect() to a service with connect() to its backend, one after the other on the same thread,
// with as many services in the table as its name says. "ratio" is that of the medians, where the connect to the backend
// is that of a socket which no program sees; "ratio-missed" is to one whose destination was looked up and is no service's.
func BenchmarkConnect(b *testing.B) {
	for _, bb := range []struct {
		services int
		options  func(*Service)
		name     string
	}{
		{10, nil, "10"}, {10_000, nil, "10000"}, {100_000, nil, "100000"},
		{10_000, func(s *Service) { s.Affinity = time.Hour }, "10000 with affinity"},
		{1_000, func(s *Service) { s.Maglev = true }, "1000 with Maglev"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			a := newArena(b)
			p := a.open(Config{Sizes: largeSizes})
			listener, backend := a.listen()
			defer unix.Close(listener)
			table := someServices(bb.services, Backend{Addr: backend.Addr(), Port: backend.Port()})
			if bb.options != nil {
				for i := range table {
					bb.options(&table[i])
				}
			}
			mustSync(b, p, table...)
			a.compare(b, listener, backend, table[len(table)/2].at())
		})
	}
}

// listen answers a listening socket that nobody accepts from but the benchmark.
func (a *arena) listen() (int, netip.AddrPort) {
	a.t.Helper()
	s := a.socket(unix.SOCK_STREAM, false)
	must(a.t, unix.Bind(s.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}}))
	must(a.t, unix.Listen(s.fd, 128))
	sa, err := unix.Getsockname(s.fd)
	must(a.t, err)
	return s.fd, addrPortOf(sa)
}

func (a *arena) compare(b *testing.B, listener int, direct, service netip.AddrPort) {
	inside, outside := a.maker(true), a.maker(false) // both on threads of their own, so that neither's sockets are warmer
	ways := []struct {
		name   string
		to     netip.AddrPort
		socket func() (int, error)
		times  []time.Duration
	}{{"bare", direct, outside, nil}, {"missed", direct, inside, nil}, {"service", service, inside, nil}}
	a.in(func() {
		b.ResetTimer()
		for n := range b.N {
			for i := range ways {
				w := &ways[(i+n)%len(ways)]
				fd, err := w.socket()
				must(b, err)
				w.times = append(w.times, connectOnce(b, fd, listener, w.to))
			}
		}
		b.StopTimer()
	})
	median := map[string]float64{}
	for _, w := range ways {
		slices.Sort(w.times)
		median[w.name] = float64(w.times[len(w.times)/2])
		b.ReportMetric(median[w.name], w.name+"-ns")
	}
	b.ReportMetric(median["service"]/median["bare"], "ratio")
	b.ReportMetric(median["service"]/median["missed"], "ratio-missed")
}

// maker makes sockets in the arena's network namespace, and in its cgroup or not.
func (a *arena) maker(cgroup bool) func() (int, error) {
	var netns int
	var err error
	a.in(func() { netns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	must(a.t, err)
	calls := make(chan func())
	a.t.Cleanup(func() { close(calls) })
	go func() {
		runtime.LockOSThread() // for good: the thread is in a namespace of its own
		for f := range calls {
			f()
		}
	}()
	call := func(f func()) {
		done := make(chan struct{})
		calls <- func() { f(); close(done) }
		<-done
	}
	call(func() {
		err = errors.Join(unix.Setns(netns, unix.CLONE_NEWNET), unix.Close(netns))
		if cgroup && err == nil {
			err = os.WriteFile(filepath.Join(a.cgroup, "cgroup.threads"), []byte(fmt.Sprint(unix.Gettid())), 0)
		}
	})
	must(a.t, err)
	var stock []int
	a.t.Cleanup(func() {
		for _, fd := range stock {
			unix.Close(fd)
		}
	})
	return func() (int, error) {
		if len(stock) == 0 { // many at once, so that few connects come after a change of threads
			call(func() {
				for range 64 {
					var fd int
					if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
						return
					}
					stock = append(stock, fd)
				}
			})
			if err != nil {
				return -1, err
			}
		}
		fd := stock[len(stock)-1]
		stock = stock[:len(stock)-1]
		return fd, nil
	}
}

// connectOnce times connect() alone. The client resets, so that no port waits.
func connectOnce(t testing.TB, fd, listener int, to netip.AddrPort) time.Duration {
	must(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	sa := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	start := time.Now()
	err := unix.Connect(fd, sa)
	took := time.Since(start)
	must(t, err)
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	must(t, err)
	unix.Close(fd)
	unix.Close(server)
	return took
}

func someServices(n int, backends ...Backend) []Service {
	list := make([]Service, n)
	for i := range list {
		addr := netip.AddrFrom4([4]byte{10, byte(100 + i>>16), byte(i >> 8), byte(i)})
		list[i] = Service{Name: fmt.Sprint("ns/svc-", i), Frontend: Frontend{Addr: addr, Port: 80, Protocol: TCP}, Backends: backends}
	}
	return list
}

// BenchmarkLoad fills an empty table, in one Sync.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := newArena(b)
			table := someServices(n, Backend{Addr: netip.MustParseAddr("127.0.0.2"), Port: 80})
			for range b.N {
				b.StopTimer()
				p := a.openRaw(Config{Sizes: largeSizes})
				b.StartTimer()
				mustSync(b, p, table...)
				b.StopTimer()
				must(b, p.Close())
			}
		})
	}
}

// BenchmarkChange changes one endpoint of one service among many: with Update, and with Sync of the whole table.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		backends := []Backend{{Addr: netip.MustParseAddr("127.0.0.2"), Port: 80}, {Addr: netip.MustParseAddr("127.0.0.3"), Port: 80}}
		for _, whole := range []bool{false, true} {
			b.Run(fmt.Sprintf("of %d, whole table %t", n, whole), func(b *testing.B) {
				a := newArena(b)
				p := a.open(Config{Sizes: largeSizes, Grace: time.Millisecond})
				table := someServices(n, backends[0])
				mustSync(b, p, table...)
				b.ResetTimer()
				for i := range b.N {
					table[n/2].Backends = backends[i%2 : i%2+1]
					if whole {
						mustSync(b, p, table...)
					} else {
						must(b, p.Update(b.Context(), table[n/2:n/2+1], nil))
					}
				}
			})
		}
	}
}
