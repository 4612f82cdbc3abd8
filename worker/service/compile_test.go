package service

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
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
		if c != nil {
			c(svc)
		}
	}
	return svc
}

// endpointOf's state: r for ready, n for not, t for terminating while serving, d for terminating and done.
func endpointOf(addr string, state byte) discoveryv1.Endpoint {
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

var here = Place{Node: "node-1", Zone: "zone-a"}

// of is an endpoint on a node of a zone, with hints for nodes and zones ("" for none).
func of(e discoveryv1.Endpoint, node, zone, forNode, forZone string) discoveryv1.Endpoint {
	e.NodeName, e.Zone = ptr.To(node), ptr.To(zone)
	if forNode+forZone != "" {
		e.Hints = &discoveryv1.EndpointHints{}
	}
	if forNode != "" {
		e.Hints.ForNodes = []discoveryv1.ForNode{{Name: forNode}}
	}
	if forZone != "" {
		e.Hints.ForZones = []discoveryv1.ForZone{{Name: forZone}}
	}
	return e
}

func TestEndpointsOfAPort(t *testing.T) {
	nilConditions := discoveryv1.Endpoint{Addresses: []string{"127.42.0.8"}}
	onlyTerminating := discoveryv1.Endpoint{Addresses: []string{"127.42.0.8"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false), Terminating: ptr.To(true)}}
	for name, test := range map[string]struct {
		change func(*corev1.Service)
		slices []*discoveryv1.EndpointSlice
		want   string
		open   string
	}{
		"ready only": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 8080, endpointOf("127.42.0.2", 'r'), endpointOf("127.42.0.1", 'n'))},
			"127.42.0.2:8080", "127.42.0.1:8080"},
		"sorted, from two slices": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 8080, endpointOf("127.42.0.3", 'r')),
			testSlice("a", "2", 9090, endpointOf("127.42.0.2", 'r'))}, "127.42.0.2:9090 127.42.0.3:8080", ""},
		"once": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.3", 'r')),
			testSlice("a", "2", 80, endpointOf("127.42.0.3", 'r'))}, "127.42.0.3:80", ""},
		"once, the better news": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.3", 'd')),
			testSlice("a", "2", 80, endpointOf("127.42.0.3", 'r'))}, "127.42.0.3:80", ""},
		"terminating as a last resort": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.1", 't'),
			endpointOf("127.42.0.2", 'd'), endpointOf("127.42.0.3", 'n'))}, "127.42.0.1:80", "127.42.0.2:80 127.42.0.3:80"},
		"no terminating beside ready": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.1", 't'),
			endpointOf("127.42.0.2", 'r'))}, "127.42.0.2:80", "127.42.0.1:80"},
		"unknown counts as ready":   {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, nilConditions)}, "127.42.0.8:80", ""},
		"unknown counts as serving": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, onlyTerminating)}, "127.42.0.8:80", ""},
		"not ready but published": {func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }, // the API says ready
			[]*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.2", 'r'))}, "127.42.0.2:80", ""},
		"another port's name": {func(s *corev1.Service) { s.Spec.Ports[0].Name = "grpc" },
			[]*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.2", 'r'))}, "", ""},
		"another protocol": {func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP },
			[]*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.2", 'r'))}, "", ""},
		"a named target port of two pods": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 8080, endpointOf("127.42.0.2", 'r')),
			testSlice("a", "2", 9090, endpointOf("127.42.0.2", 'r'))}, "127.42.0.2:8080 127.42.0.2:9090", ""},
		"bad address": {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("nonsense", 'r'))}, "", ""},
		"no address":  {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, discoveryv1.Endpoint{})}, "", ""},
		"bad port":    {nil, []*discoveryv1.EndpointSlice{testSlice("a", "1", 70000, endpointOf("127.42.0.2", 'r'))}, "", ""},
	} {
		svc := testService("a", test.change)
		got := Compile(svc, test.slices, here).Ports[0]
		if addrs(got.Backends) != test.want || addrs(got.Open) != test.open {
			t.Errorf("%s: %q, open %q, want %q, open %q", name, addrs(got.Backends), addrs(got.Open), test.want, test.open)
		}
		if got.Any4 != (test.want != "") || got.Any6 {
			t.Errorf("%s: any is %v, %v", name, got.Any4, got.Any6)
		}
	}
}

// TestTrafficDistribution goes through what hints may say of four endpoints: two nodes in this zone, two in another.
func TestTrafficDistribution(t *testing.T) {
	const (
		own, near, far, farther = "127.42.0.1", "127.42.0.2", "127.42.0.3", "127.42.0.4"
		all                     = "127.42.0.1:80 127.42.0.2:80 127.42.0.3:80 127.42.0.4:80"
		zone                    = "127.42.0.1:80 127.42.0.2:80"
	)
	// hints says for each endpoint: n for its node, z for its zone, b for both, - for none; states as in endpointOf.
	set := func(hints, states string) []*discoveryv1.EndpointSlice {
		var out []discoveryv1.Endpoint
		for i, addr := range []string{own, near, far, farther} {
			node, zone := []string{"node-1", "node-2", "node-3", "node-4"}[i], []string{"zone-a", "zone-a", "zone-b", "zone-b"}[i]
			forNode, forZone := "", ""
			if hints[i] == 'n' || hints[i] == 'b' {
				forNode = node
			}
			if hints[i] == 'z' || hints[i] == 'b' {
				forZone = zone
			}
			out = append(out, of(endpointOf(addr, states[i]), node, zone, forNode, forZone))
		}
		return []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, out...)}
	}
	for _, test := range []struct {
		name, distribution, hints, states string
		here                              Place
		want                              string
	}{
		{"no hints", "", "----", "rrrr", here, all},
		{"zone hints", "", "zzzz", "rrrr", here, zone},
		{"one without a hint", "", "zzz-", "rrrr", here, all},
		{"one without a hint that is not ready", "", "zzz-", "rrrn", here, zone},
		{"a zone without an endpoint", "", "zzzz", "rrrr", Place{"node-9", "zone-c"}, all},
		{"a node without a zone", "", "zzzz", "rrrr", Place{"node-1", ""}, all},
		{"nobody ready in the zone", "", "zzzz", "nnrr", here, "127.42.0.3:80 127.42.0.4:80"},
		{"terminating in the zone, ready elsewhere", "", "zzzz", "ttrr", here, "127.42.0.3:80 127.42.0.4:80"},
		{"terminating everywhere", "", "zzzz", "tttt", here, all},
		{"node hints", "", "nnnn", "rrrr", here, "127.42.0.1:80"},
		{"node and zone hints", "", "bbbb", "rrrr", here, "127.42.0.1:80"},
		{"node not ready: its zone", "", "bbbb", "nrrr", here, "127.42.0.2:80"},
		{"node not ready, no zone hints", "", "nnnn", "nrrr", here, "127.42.0.2:80 127.42.0.3:80 127.42.0.4:80"},
		{"another node: the zone", "", "bbbb", "rrrr", Place{"node-9", "zone-b"}, "127.42.0.3:80 127.42.0.4:80"},
		{"one node hint is missing: the zone", "", "bbbz", "rrrr", here, zone},
		{"PreferSameZone without hints", "PreferSameZone", "----", "rrrr", here, zone},
		{"PreferClose without hints", "PreferClose", "----", "rrrr", here, zone},
		{"PreferSameNode without hints", "PreferSameNode", "----", "rrrr", here, "127.42.0.1:80"},
		{"PreferSameNode without hints, not ready here", "PreferSameNode", "----", "nrrr", here, "127.42.0.2:80"},
		{"PreferSameZone, hints are a part", "PreferSameZone", "z---", "rrrr", here, all},
		{"an unknown distribution", "PreferMoon", "----", "rrrr", here, all},
	} {
		svc := testService("a", func(s *corev1.Service) {
			if test.distribution != "" {
				s.Spec.TrafficDistribution = &test.distribution
			}
		})
		got := Compile(svc, set(test.hints, test.states), test.here).Ports[0]
		if addrs(got.Backends) != test.want {
			t.Errorf("%s: %q, want %q", test.name, addrs(got.Backends), test.want)
		}
		if len(got.Backends)+len(got.Open) != 4 {
			t.Errorf("%s: %q and open %q are not everybody", test.name, addrs(got.Backends), addrs(got.Open))
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("127.43.0.1", "127.42.0.1", int32(80), int32(8080), "http", byte('r'), "10.0.0.0/8")
	f.Add("::1", "fe80::1%lo", int32(-1), int32(0), "", byte('t'), "::/0")
	f.Fuzz(func(t *testing.T, cluster, address string, port, target int32, name string, state byte, ranges string) {
		svc := testService("a", func(s *corev1.Service) {
			s.Spec.ClusterIPs = []string{cluster}
			s.Spec.Ports[0].Port, s.Spec.Ports[0].Name, s.Spec.Ports[0].NodePort = port, name, target
			s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
			s.Spec.LoadBalancerSourceRanges, s.Spec.ExternalIPs = []string{ranges}, []string{address}
		})
		got := Compile(svc, []*discoveryv1.EndpointSlice{testSlice("a", "1", target, endpointOf(address, state))}, here)
		if !got.Equal(&got) {
			t.Error("not equal to itself")
		}
		for _, f := range got.Frontends() {
			if !f.Addr.IsValid() || f.Addr.Port() == 0 || f.Addr.Addr().Is4In6() {
				t.Errorf("frontend %v", f.Addr)
			}
			for _, b := range append(f.Backends, f.Open...) {
				if !b.Addr.IsValid() || b.Addr.Port() == 0 || b.Addr.Addr().Is4() != f.Addr.Addr().Is4() {
					t.Errorf("backend %v of %v", b, f.Addr)
				}
			}
		}
	})
}
