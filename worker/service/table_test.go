package service

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/service/feed"
)

// The fake API's watches lose a goroutine when they are stopped with an event on its way; a real one's do not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}

func testService(name string, change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{AppLabel: name}},
		Spec: corev1.ServiceSpec{
			ClusterIPs: []string{"127.43.0.9"},
			Ports:      []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	for _, c := range change {
		c(svc)
	}
	return svc
}

// endpoint's state: r for ready, n for not, t for terminating while serving, d for terminating and done.
func endpoint(addr string, state byte) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{addr}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "pod-" + addr}, NodeName: ptr.To("node-1")}
	e.Conditions.Ready = ptr.To(state == 'r')
	e.Conditions.Serving = ptr.To(state == 'r' || state == 't')
	e.Conditions.Terminating = ptr.To(state == 't' || state == 'd')
	return e
}

func testSlice(service, name string, port int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP), Port: &port}},
		Endpoints:   endpoints,
	}
}

func addrs(b []Backend) string {
	var out []string
	for _, x := range b {
		out = append(out, x.Addr.String())
	}
	return strings.Join(out, " ")
}

func TestCompile(t *testing.T) {
	nilReady := discoveryv1.Endpoint{Addresses: []string{"127.42.0.8"}}
	away := endpoint("127.42.0.7", 'r')
	away.NodeName = ptr.To("node-2")
	for name, test := range map[string]struct {
		change func(*corev1.Service)
		slices []*discoveryv1.EndpointSlice
		want   string
	}{
		"ready only":              {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 8080, endpoint("127.42.0.2", 'r'), endpoint("127.42.0.1", 'n'))}, "127.42.0.2:8080"},
		"sorted, from two slices": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 8080, endpoint("127.42.0.3", 'r')), testSlice("a", "2", 9090, endpoint("127.42.0.2", 'r'))}, "127.42.0.2:9090 127.42.0.3:8080"},
		"once":                    {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpoint("127.42.0.3", 'r')), testSlice("a", "2", 80, endpoint("127.42.0.3", 'r'))}, "127.42.0.3:80"},
		"terminating as a last resort": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpoint("127.42.0.1", 't'), endpoint("127.42.0.2", 'd'), endpoint("127.42.0.3", 'n'))},
			"127.42.0.1:80"},
		"no terminating beside ready": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpoint("127.42.0.1", 't'), endpoint("127.42.0.2", 'r'))}, "127.42.0.2:80"},
		"unknown counts as ready":     {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, nilReady)}, "127.42.0.8:80"},
		"local only": {func(s *corev1.Service) {
			s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		},
			[]*discoveryv1.EndpointSlice{testSlice("a", "1", 80, away, endpoint("127.42.0.2", 'r'))}, "127.42.0.2:80"},
		"another port's name": {func(s *corev1.Service) { s.Spec.Ports[0].Name = "grpc" }, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpoint("127.42.0.2", 'r'))}, ""},
		"bad address":         {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpoint("nonsense", 'r'))}, ""},
		"bad port":            {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 70000, endpoint("127.42.0.2", 'r'))}, ""},
	} {
		svc := testService("a")
		if test.change != nil {
			test.change(svc)
		}
		if got := addrs(Compile(svc, test.slices, "node-1").Ports[0].Backends); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestCompileTheServiceItself(t *testing.T) {
	got := Compile(testService("a", func(s *corev1.Service) {
		s.Spec.ClusterIPs = []string{"None"}
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](60)}}
		s.Spec.Ports[0].NodePort = 30080
		s.Spec.Ports[0].Protocol = ""
	}), nil, "n")
	if len(got.ClusterIPs) != 0 || got.Affinity != time.Minute || got.Ports[0].NodePort != 30080 || got.Ports[0].Protocol != "TCP" || got.App != "a" {
		t.Errorf("got %+v", got)
	}
	external := Compile(testService("a", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, "n")
	if len(external.Ports) != 0 || len(external.ClusterIPs) != 0 {
		t.Errorf("an external name became %+v", external)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("127.43.0.1", "127.42.0.1", int32(80), int32(8080), "http", byte('r'))
	f.Add("::1", "fe80::1%lo", int32(-1), int32(0), "", byte('t'))
	f.Fuzz(func(t *testing.T, cluster, address string, port, target int32, name string, state byte) {
		svc := testService("a", func(s *corev1.Service) {
			s.Spec.ClusterIPs = []string{cluster}
			s.Spec.Ports[0].Port, s.Spec.Ports[0].Name = port, name
		})
		got := Compile(svc, []*discoveryv1.EndpointSlice{testSlice("a", "1", target, endpoint(address, state))}, "node-1")
		if !got.Equal(&got) {
			t.Error("not equal to itself")
		}
		for _, b := range got.Ports[0].Backends {
			if !b.Addr.IsValid() || b.Addr.Port() == 0 {
				t.Errorf("backend %v", b)
			}
		}
	})
}

// ledger is a sink that notes what it is told.
type ledger struct{ lines []string }

func (l *ledger) apply(s Service) {
	line := "set " + s.Name
	for _, p := range s.Ports {
		line += " [" + addrs(p.Backends) + "]"
	}
	l.lines = append(l.lines, line)
}

func (l *ledger) drop(k types.NamespacedName) { l.lines = append(l.lines, "drop "+k.Name) }

func (l *ledger) want(t *testing.T, want ...string) {
	t.Helper()
	if fmt.Sprint(l.lines) != fmt.Sprint(want) {
		t.Errorf("told %q, want %q", l.lines, want)
	}
	l.lines = nil
}

func newTestState(l *ledger) *state { return newState("node-1", discard, l) }

func key(name string) feed.Key {
	return feed.Key{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}, UID: types.UID("uid-" + name)}
}

func TestStateFollowsTheAPI(t *testing.T) {
	l := &ledger{}
	s := newTestState(l)
	s.setSlice(testSlice("a", "1", 80, endpoint("127.42.0.1", 'r')))
	s.setService(testService("a"))
	s.markSynced(syncedServices)
	l.want(t) // half of the truth is none
	s.markSynced(syncedSlices)
	l.want(t, "set a [127.42.0.1:80]")
	s.setSlice(testSlice("a", "1", 80, endpoint("127.42.0.1", 'r')))
	l.want(t) // nothing new
	s.setSlice(testSlice("a", "2", 80, endpoint("127.42.0.2", 'r')))
	l.want(t, "set a [127.42.0.1:80 127.42.0.2:80]")
	s.dropSlice(key("1"))
	l.want(t, "set a [127.42.0.2:80]")
	s.setSlice(testSlice("b", "2", 80, endpoint("127.42.0.2", 'r'))) // goes over to another Service
	l.want(t, "set a []")
	s.setService(testService("b"))
	l.want(t, "set b [127.42.0.2:80]")
	s.dropService(feed.Key{NamespacedName: key("a").NamespacedName, UID: "an older one"})
	l.want(t)
	s.dropService(key("a"))
	l.want(t, "drop a")
	s.dropSlice(key("2"))
	s.dropSlice(key("2"))
	l.want(t, "set b []")
	if len(s.owners) != 0 || len(s.slices) != 0 {
		t.Errorf("left behind: %v %v", s.owners, s.slices)
	}
}

func TestStateOfLastTimeServesUntilTheAPIIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.json")
	l := &ledger{}
	s := newTestState(l)
	s.markSynced(syncedServices)
	s.markSynced(syncedSlices)
	for _, name := range []string{"kept", "removed"} {
		s.setService(testService(name))
		s.setSlice(testSlice(name, "s-"+name, 80, endpoint("127.42.0.1", 'r')))
	}
	if err := s.save(path); err != nil {
		t.Fatal(err)
	}
	l = &ledger{}
	s = newTestState(l)
	if err := s.load(path); err != nil {
		t.Fatal(err)
	}
	l.want(t, "set kept [127.42.0.1:80]", "set removed [127.42.0.1:80]")
	s.setService(testService("kept"))
	s.markSynced(syncedServices)
	l.want(t) // its slices are not known yet
	s.setSlice(testSlice("kept", "s-kept", 80, endpoint("127.42.0.1", 'r')))
	s.markSynced(syncedSlices)
	l.want(t, "drop removed")
	if got, ok := s.lookup(key("kept").NamespacedName); !ok || got.ClusterIPs[0] != netip.MustParseAddr("127.43.0.9") {
		t.Errorf("lookup = %+v, %v", got, ok)
	}
	if err := s.load(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("no file: %v", err)
	}
}

func TestBalancer(t *testing.T) {
	backend := func(n byte) Backend {
		return Backend{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 42, 0, n}), 80)}
	}
	client := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, n}) }
	now := time.Unix(0, 0)
	b := newBalancer(newLeavers())
	if _, ok := b.pick(client(1), nil, now); ok || !b.empty() {
		t.Error("an empty balancer gave something")
	}
	b.set([]Backend{backend(1), backend(2), backend(3)}, 0)
	count := map[Backend]int{}
	for range 30 {
		got, _ := b.pick(client(1), nil, now)
		count[got]++
	}
	for n := range byte(3) {
		if count[backend(n+1)] != 10 {
			t.Errorf("shares are %v, want 10 each", count)
		}
	}
	if got, ok := b.pick(client(1), []netip.AddrPort{backend(1).Addr, backend(3).Addr}, now); !ok || got != backend(2) {
		t.Errorf("got %v, want the one that was not tried", got)
	}
	if _, ok := b.pick(client(1), []netip.AddrPort{backend(1).Addr, backend(2).Addr, backend(3).Addr}, now); ok {
		t.Error("got one when all were tried")
	}
}

func TestBalancerLeavesOutWhatIsBeingStopped(t *testing.T) {
	one, two := netip.MustParseAddrPort("127.42.0.1:80"), netip.MustParseAddrPort("127.42.0.2:80")
	l := newLeavers()
	b := newBalancer(l)
	b.set([]Backend{{Addr: one}, {Addr: two}}, time.Minute)
	client := netip.MustParseAddr("127.0.0.1")
	now := time.Unix(0, 0)
	first, _ := b.pick(client, nil, now)
	l.set(first.Addr.Addr(), true)
	second, ok := b.pick(client, nil, now)
	if !ok || second == first {
		t.Errorf("picked %v, which leaves, though the client is used to it", second)
	}
	l.set(second.Addr.Addr(), true)
	if got, ok := b.pick(client, nil, now); ok {
		t.Errorf("picked %v when all leave", got)
	}
	l.set(second.Addr.Addr(), false)
	if got, ok := b.pick(client, nil, now); !ok || got != second {
		t.Errorf("picked %v, want the one that is back", got)
	}
}

func TestBalancerAffinity(t *testing.T) {
	backend := func(n byte) Backend {
		return Backend{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 42, 0, n}), 80)}
	}
	now := time.Unix(0, 0)
	b := newBalancer(newLeavers())
	all := []Backend{backend(1), backend(2), backend(3)}
	b.set(all, time.Minute)
	client := netip.MustParseAddr("127.0.0.1")
	first, _ := b.pick(client, nil, now)
	for range 5 {
		now = now.Add(50 * time.Second) // each use renews it
		if got, _ := b.pick(client, nil, now); got != first {
			t.Fatalf("went from %v to %v", first, got)
		}
	}
	other, _ := b.pick(client, []netip.AddrPort{first.Addr}, now)
	if other == first {
		t.Error("stuck to one that was tried")
	}
	if got, _ := b.pick(client, nil, now); got != other {
		t.Error("did not stick to the one that took it")
	}
	b.set([]Backend{first}, time.Minute)
	if got, _ := b.pick(client, nil, now); got != first {
		t.Error("stuck to one that is gone")
	}
	for n := range maxSticky + 10 {
		b.pick(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), nil, now)
	}
	if len(b.sticky) != maxSticky || b.order.Len() != maxSticky {
		t.Errorf("%d clients are remembered, want %d", len(b.sticky), maxSticky)
	}
}
