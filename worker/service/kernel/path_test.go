package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
)

// table is a Proxy that keeps what it is given.
type table struct {
	mu      sync.Mutex
	fail    error
	has     map[ebpfproxy.Frontend]ebpfproxy.Service
	nodes   []netip.Addr
	history []string
	closed  bool
}

func newTable() *table { return &table{has: map[ebpfproxy.Frontend]ebpfproxy.Service{}} }

func (t *table) Open(context.Context) error { return nil }

func (t *table) Sync(_ context.Context, all []ebpfproxy.Service) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.history = append(t.history, fmt.Sprintf("sync %d", len(all)))
	if t.fail != nil {
		return t.fail
	}
	clear(t.has)
	for _, s := range all {
		t.has[s.Frontend] = s
	}
	return nil
}

func (t *table) Update(_ context.Context, set []ebpfproxy.Service, gone []ebpfproxy.Frontend) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.history = append(t.history, fmt.Sprintf("update %d -%d", len(set), len(gone)))
	if t.fail != nil {
		return t.fail
	}
	for _, s := range set {
		t.has[s.Frontend] = s
	}
	for _, f := range gone {
		delete(t.has, f)
	}
	return nil
}

func (t *table) SetNodeAddresses(addrs []netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes = addrs
	return nil
}

func (t *table) Close() error { t.closed = true; return nil }

func (t *table) failWith(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail = err
}

// want compares the table, written as "address name -> backends", and what was called since it was last asked.
func (t *table) want(test *testing.T, history string, lines ...string) {
	test.Helper()
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	var got []string
	for f, s := range t.has {
		line := fmt.Sprintf("%s:%d %s ->", f.Addr, f.Port, s.Name)
		for _, b := range s.Backends {
			line += fmt.Sprintf(" %s%s", b.Addr, []string{"", "(draining)", "(unready)"}[b.State])
		}
		got = append(got, line)
	}
	slices.Sort(got)
	if !slices.Equal(got, lines) {
		test.Errorf("the kernel has\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
	if h := strings.Join(t.history, ", "); h != history {
		test.Errorf("called %q, want %q", h, history)
	}
	t.history = nil
}

// nodeAddress is what a test's machine has.
var nodeAddress atomic.Pointer[netip.Addr]

func init() { setNodeAddress("192.0.2.1") }

func setNodeAddress(text string) {
	ip := netip.MustParseAddr(text)
	nodeAddress.Store(&ip)
}

// nodesSince answers the node addresses that were set since it was last asked.
func (t *table) nodesSince() []netip.Addr {
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.nodes
	t.nodes = nil
	return out
}

// path runs one over the table until the test ends.
func path(t *testing.T, to *table) *Path {
	t.Helper()
	return pathTelling(t, to, nil)
}

func pathTelling(t *testing.T, to *table, told record.EventRecorder) *Path {
	t.Helper()
	p, err := New(Config{Proxy: to, Recorder: told, Logger: discard, Addresses: func() ([]netip.Addr, error) {
		return []netip.Addr{*nodeAddress.Load(), *nodeAddress.Load()}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil || !to.closed {
			t.Errorf("run: %v, closed: %v", err, to.closed)
		}
	})
	return p
}

func svc(name, ip string, backends ...string) service.Service {
	out := service.Service{Namespace: "ns", Name: name, UID: types.UID(name), ClusterIPs: []netip.Addr{netip.MustParseAddr(ip)},
		Ports: []service.Port{{Name: "p", Protocol: "TCP", Port: 80}}}
	for _, b := range backends {
		out.Ports[0].Backends = append(out.Ports[0].Backends, service.Backend{Addr: netip.AddrPortFrom(netip.MustParseAddr(b), 8080), Local: true})
	}
	return out
}

func key(name string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: name} }

func TestFollowsTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Apply(svc("a", "10.43.0.1", "10.42.0.1"))
		p.Apply(svc("b", "10.43.0.2"))
		to.want(t, "") // not whole
		p.Settled()
		to.want(t, "sync 2", "10.43.0.1:80 ns/a:p -> 10.42.0.1", "10.43.0.2:80 ns/b:p ->")
		if got := to.nodesSince(); !slices.Equal(got, []netip.Addr{*nodeAddress.Load()}) {
			t.Errorf("node addresses are %v", got)
		}
		p.Apply(svc("a", "10.43.0.1", "10.42.0.1", "10.42.0.2"))
		to.want(t, "update 1 -0", "10.43.0.1:80 ns/a:p -> 10.42.0.1 10.42.0.2", "10.43.0.2:80 ns/b:p ->")
		p.Apply(svc("b", "10.43.0.3")) // made anew with another address
		to.want(t, "update 1 -1", "10.43.0.1:80 ns/a:p -> 10.42.0.1 10.42.0.2", "10.43.0.3:80 ns/b:p ->")
		p.Drop(key("a"))
		p.Drop(key("never was"))
		to.want(t, "update 0 -1", "10.43.0.3:80 ns/b:p ->")
		p.Settled()
		to.want(t, "", "10.43.0.3:80 ns/b:p ->")
	})
}

func TestWhatLeavesTakesNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Settled()
		p.Apply(svc("a", "10.43.0.1", "10.42.0.1", "10.42.0.2"))
		p.Leave(netip.MustParseAddr("10.42.0.1"))
		p.Leave(netip.MustParseAddr("10.42.0.9"))
		synctest.Wait()
		to.history = nil
		to.want(t, "", "10.43.0.1:80 ns/a:p -> 10.42.0.1(unready) 10.42.0.2")
		p.Arrive(netip.MustParseAddr("10.42.0.1"))
		to.want(t, "update 1 -0", "10.43.0.1:80 ns/a:p -> 10.42.0.1 10.42.0.2")
		p.Arrive(netip.MustParseAddr("10.42.0.1"))
		to.want(t, "", "10.43.0.1:80 ns/a:p -> 10.42.0.1 10.42.0.2")
	})
}

func TestAnAddressIsOneServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Settled()
		p.Apply(svc("b", "10.43.0.1", "10.42.0.2"))
		to.want(t, "sync 1", "10.43.0.1:80 ns/b:p -> 10.42.0.2")
		second := svc("a", "10.43.0.1", "10.42.0.1")
		second.ClusterIPs = append(second.ClusterIPs, netip.MustParseAddr("10.43.0.2"))
		p.Apply(second)
		to.want(t, "update 1 -0", "10.43.0.1:80 ns/b:p -> 10.42.0.2", "10.43.0.2:80 ns/a:p -> 10.42.0.1")
		p.Apply(svc("b", "10.43.0.1", "10.42.0.3")) // keeps it
		to.want(t, "update 1 -0", "10.43.0.1:80 ns/b:p -> 10.42.0.3", "10.43.0.2:80 ns/a:p -> 10.42.0.1")
		p.Drop(key("b"))
		to.want(t, "update 0 -1, update 2 -0", "10.43.0.1:80 ns/a:p -> 10.42.0.1", "10.43.0.2:80 ns/a:p -> 10.42.0.1")
		p.Drop(key("a"))
		to.want(t, "update 0 -2")
		if c := p.claims; len(c.owner)+len(c.waiting)+len(c.waits)+len(p.installed) != 0 {
			t.Errorf("left behind: %+v, %v", c, p.installed)
		}
	})
}

// TestWhoGetsNoAddressIsTold: a Service and a pod that want one port of the node, whoever comes second.
func TestWhoGetsNoAddressIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to, told := newTable(), record.NewFakeRecorder(10)
		p := pathTelling(t, to, told)
		p.Settled()
		service1 := svc("a", "10.43.0.1", "10.42.0.1")
		service1.Ports[0].NodePort = 30080
		any := netip.AddrPortFrom(netip.IPv4Unspecified(), 30080)
		pod := service.Service{Namespace: "ns", Name: "pod", UID: "uid", HostPorts: []service.HostPort{{Addr: any, Pod: netip.MustParseAddrPort("10.42.0.9:8080"), Protocol: "TCP"}}}
		for _, turn := range []struct {
			first, second service.Service
			want          string
		}{
			{service1, pod, "Warning HostPortNotServed port 30080/TCP of the node is not served for it: Service ns/a has it"},
			{pod, service1, "Warning AddressNotServed port 30080/TCP of the node is not served for it: Pod ns/pod has it"},
		} {
			p.Apply(turn.first)
			synctest.Wait()
			p.Apply(turn.second)
			synctest.Wait()
			select {
			case got := <-told.Events:
				if got != turn.want {
					t.Errorf("told %q, want %q", got, turn.want)
				}
			default:
				t.Errorf("nobody was told that %s", turn.want)
			}
			p.Drop(turn.second.Key())
			p.Drop(turn.first.Key())
			synctest.Wait()
			if left := len(told.Events); left > 0 {
				t.Errorf("%d more were told", left)
			}
		}
	})
}

func TestAnAddressGoesOverInOneTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Settled()
		p.Apply(svc("old", "10.43.0.1", "10.42.0.1"))
		synctest.Wait()
		to.history = nil
		p.mu.Lock() // both changes come before the next turn
		p.services[key("new")] = svc("new", "10.43.0.1", "10.42.0.2")
		delete(p.services, key("old"))
		p.mark(key("new"))
		p.mark(key("old"))
		p.mu.Unlock()
		to.want(t, "update 1 -0", "10.43.0.1:80 ns/new:p -> 10.42.0.2")
	})
}

func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Settled()
		p.Apply(svc("a", "10.43.0.1", "10.42.0.1"))
		p.Apply(svc("b", "10.43.0.2", "10.42.0.1"))
		synctest.Wait()
		if updated, waiting := p.Progress(); updated.IsZero() || !waiting.IsZero() {
			t.Errorf("updated %v, waiting since %v", updated, waiting)
		}
		to.history = nil
		to.failWith(errors.New("no room"))
		began := time.Now()
		p.Drop(key("b"))
		to.want(t, "update 0 -1", "10.43.0.1:80 ns/a:p -> 10.42.0.1", "10.43.0.2:80 ns/b:p -> 10.42.0.1")
		time.Sleep(retryBase + time.Millisecond)
		to.want(t, "sync 1", "10.43.0.1:80 ns/a:p -> 10.42.0.1", "10.43.0.2:80 ns/b:p -> 10.42.0.1")
		if _, waiting := p.Progress(); !waiting.Equal(began) {
			t.Errorf("waiting since %v, want %v", waiting, began)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		to.mu.Lock()
		if n := len(to.history); n < 5 || n > 25 {
			t.Errorf("tried %d times in a minute", n)
		}
		to.history, to.fail = nil, nil
		to.mu.Unlock()
		time.Sleep(retryMax)
		to.want(t, "sync 1", "10.43.0.1:80 ns/a:p -> 10.42.0.1")
		if _, waiting := p.Progress(); !waiting.IsZero() {
			t.Errorf("still waiting since %v", waiting)
		}
		if got := testutil.ToFloat64(p.metrics.failures); got < 5 {
			t.Errorf("%v failures are counted", got)
		}
	})
}

func TestWhatCannotBeServedHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Settled()
		synctest.Wait()
		to.history = nil
		to.failWith(errors.Join(fmt.Errorf("%w ns/a: odd", ebpfproxy.ErrInvalid), fmt.Errorf("%w ns/b: odd too", ebpfproxy.ErrInvalid)))
		p.Apply(svc("a", "10.43.0.1"))
		to.want(t, "update 1 -0")
		time.Sleep(time.Minute)
		to.want(t, "") // it is not tried again
		if _, waiting := p.Progress(); !waiting.IsZero() || testutil.ToFloat64(p.metrics.unserved) != 2 || testutil.ToFloat64(p.metrics.failures) != 0 {
			t.Errorf("waiting since %v, %v unserved, %v failures", waiting, testutil.ToFloat64(p.metrics.unserved), testutil.ToFloat64(p.metrics.failures))
		}
		to.failWith(errors.Join(fmt.Errorf("%w ns/a: odd", ebpfproxy.ErrInvalid), errors.New("no room")))
		p.Apply(svc("a", "10.43.0.2"))
		synctest.Wait()
		if _, waiting := p.Progress(); waiting.IsZero() {
			t.Error("what may be mended is not waited for")
		}
	})
}

func TestNodeAddressesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Settled()
		to.nodesSince()
		time.Sleep(3 * addressesEvery)
		if got := to.nodesSince(); got != nil {
			t.Errorf("the same addresses were set again: %v", got)
		}
		setNodeAddress("192.0.2.2")
		defer setNodeAddress("192.0.2.1")
		time.Sleep(addressesEvery)
		if got := to.nodesSince(); !slices.Equal(got, []netip.Addr{*nodeAddress.Load()}) {
			t.Errorf("node addresses are %v, want %v", got, *nodeAddress.Load())
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTable()
		p := path(t, to)
		p.Settled()
		p.Apply(svc("a", "10.43.0.1", "10.42.0.1", "10.42.0.2"))
		p.Apply(svc("b", "10.43.0.2", "10.42.0.1"))
		synctest.Wait()
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(p)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			if g := f.GetMetric()[0].GetGauge(); g != nil {
				got[f.GetName()] = g.GetValue()
			}
		}
		delete(got, "petrel_proxy_sync_last_timestamp_seconds")
		if want := map[string]float64{"petrel_proxy_services": 2, "petrel_proxy_frontends": 2, "petrel_proxy_endpoints": 3}; !maps.Equal(got, want) {
			t.Errorf("gauges are %v, want %v", got, want)
		}
		if len(families) != 8 {
			t.Errorf("%d families", len(families))
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
}
