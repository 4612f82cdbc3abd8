package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// describe writes a frontend as "kind clients address -> backends", with what else is particular about it.
func describe(f *Frontend) string {
	line := fmt.Sprintf("%v %s %s", f.Kind, []string{"all", "node", "outside"}[f.Clients], f.Addr)
	switch {
	case len(f.Backends) > 0:
		line += " -> " + addrs(f.Backends)
	case f.Drop:
		line += " dropped"
	default:
		line += " refused"
	}
	if f.KeepClientIP {
		line += " keeps client"
	}
	if f.SourceRanges != nil {
		line += fmt.Sprint(" from ", f.SourceRanges)
	}
	return line
}

func wantFrontends(t *testing.T, name string, svc *Service, want ...string) {
	t.Helper()
	var got []string
	for _, f := range svc.Frontends() {
		got = append(got, describe(&f))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant\n  %s", name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func loadBalancer(s *corev1.Service) {
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.Ports[0].NodePort = 30080
	s.Spec.HealthCheckNodePort = 31000
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}, {Hostname: "lb.example"}, {IP: "192.0.2.8", IPMode: ptr.To(corev1.LoadBalancerIPModeProxy)}}
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
}

func TestTrafficPolicies(t *testing.T) {
	// The first endpoint is on this node, the second on another one.
	states := func(own, other byte) []*discoveryv1.EndpointSlice {
		far := endpointOf("127.42.1.1", other)
		far.NodeName = ptr.To("node-2")
		return []*discoveryv1.EndpointSlice{testSlice("a", "1", 80, endpointOf("127.42.0.1", own), far)}
	}
	const (
		own, far, both = "127.42.0.1:80", "127.42.1.1:80", "127.42.0.1:80 127.42.1.1:80"
	)
	type change = func(*corev1.Service)
	for _, test := range []struct {
		name       string
		changes    []change
		own, other byte
		cluster    string // of the cluster address
		node, out  string // of the load balancer's address: for clients on the node and outside; "" for no difference
	}{
		{"Cluster", nil, 'r', 'r', "-> " + both, "-> " + both, ""},
		{"Cluster, nobody", nil, 'n', 'd', "refused", "refused", ""},
		{"Cluster, terminating only", nil, 't', 'n', "-> " + own, "-> " + own, ""},
		{"internal Local", []change{internalLocal}, 'r', 'r', "-> " + own, "-> " + both, ""},
		{"internal Local, none here", []change{internalLocal}, 'n', 'r', "dropped", "-> " + far, ""},
		{"internal Local, terminating here", []change{internalLocal}, 't', 'r', "-> " + own, "-> " + far, ""},
		{"internal Local, none here, terminating there", []change{internalLocal}, 'n', 't', "dropped", "-> " + far, ""},
		{"internal Local, nobody", []change{internalLocal}, 'n', 'n', "refused", "refused", ""},
		{"external Local", []change{externalLocal}, 'r', 'r', "-> " + both, "-> " + both, "-> " + own},
		{"external Local, none here", []change{externalLocal}, 'n', 'r', "-> " + far, "-> " + far, "dropped"},
		{"external Local, terminating here", []change{externalLocal}, 't', 'r', "-> " + far, "-> " + far, "-> " + own},
		{"external Local, done here", []change{externalLocal}, 'd', 'r', "-> " + far, "-> " + far, "dropped"},
		{"external Local, nobody", []change{externalLocal}, 'n', 'n', "refused", "refused", "refused"},
		{"both Local", []change{internalLocal, externalLocal}, 'r', 'r', "-> " + own, "-> " + both, "-> " + own},
		{"both Local, none here", []change{internalLocal, externalLocal}, 'd', 'r', "dropped", "-> " + far, "dropped"},
	} {
		svc := Compile(testService("a", append(test.changes, loadBalancer)...), states(test.own, test.other), here)
		want := []string{"ClusterIP all 127.43.0.9:80 " + test.cluster}
		for _, at := range []string{"NodePort %s 0.0.0.0:30080 ", "LoadBalancer %s 192.0.2.7:80 "} {
			if test.out == "" {
				want = append(want, fmt.Sprintf(at, "all")+test.node)
				continue
			}
			want = append(want, fmt.Sprintf(at, "node")+test.node, fmt.Sprintf(at, "outside")+test.out+" keeps client")
		}
		wantFrontends(t, test.name, &svc, want...)
		ready := 0
		if test.own == 'r' {
			ready = 1
		}
		if svc.LocalReady != ready || (svc.HealthCheckNodePort != 0) != svc.ExternalLocal {
			t.Errorf("%s: %d endpoints here at health check port %d", test.name, svc.LocalReady, svc.HealthCheckNodePort)
		}
	}
}

func TestFrontends(t *testing.T) {
	six := testSlice("a", "6", 80, endpointOf("fd42::1", 'r'))
	six.AddressType = discoveryv1.AddressTypeIPv6
	slices := []*discoveryv1.EndpointSlice{six, testSlice("a", "1", 80, endpointOf("127.42.0.1", 'r'))}
	compile := func(changes ...func(*corev1.Service)) *Service {
		svc := Compile(testService("a", changes...), slices, here)
		return &svc
	}
	dual := func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"127.43.0.9", "fd43::9"} }
	wantFrontends(t, "dual stack", compile(dual, func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080 }),
		"ClusterIP all 127.43.0.9:80 -> 127.42.0.1:80", "ClusterIP all [fd43::9]:80 -> [fd42::1]:80",
		"NodePort all 0.0.0.0:30080 -> 127.42.0.1:80", "NodePort all [::]:30080 -> [fd42::1]:80")
	wantFrontends(t, "external addresses of both families", compile(dual, func(s *corev1.Service) {
		s.Spec.ExternalIPs = []string{"192.0.2.1", "2001:db8::1", "192.0.2.1"}
	}), "ClusterIP all 127.43.0.9:80 -> 127.42.0.1:80", "ClusterIP all [fd43::9]:80 -> [fd42::1]:80",
		"ExternalIP all 192.0.2.1:80 -> 127.42.0.1:80", "ExternalIP all [2001:db8::1]:80 -> [fd42::1]:80")
	wantFrontends(t, "source ranges are the load balancer's alone, by family", compile(loadBalancer, func(s *corev1.Service) {
		s.Spec.LoadBalancerSourceRanges = []string{"10.1.2.3/8", "2001:db8::/32"}
	}), "ClusterIP all 127.43.0.9:80 -> 127.42.0.1:80", "NodePort all 0.0.0.0:30080 -> 127.42.0.1:80",
		"LoadBalancer all 192.0.2.7:80 -> 127.42.0.1:80 from [10.0.0.0/8]")
	wantFrontends(t, "unreadable source ranges open nothing", compile(loadBalancer, func(s *corev1.Service) {
		s.Spec.LoadBalancerSourceRanges = []string{"anybody"}
	}), "ClusterIP all 127.43.0.9:80 -> 127.42.0.1:80", "NodePort all 0.0.0.0:30080 -> 127.42.0.1:80")
	wantFrontends(t, "one address, two kinds", compile(loadBalancer, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.7"} }),
		"ClusterIP all 127.43.0.9:80 -> 127.42.0.1:80", "NodePort all 0.0.0.0:30080 -> 127.42.0.1:80", "ExternalIP all 192.0.2.7:80 -> 127.42.0.1:80")
	wantFrontends(t, "no node port", compile(loadBalancer, func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 0 }),
		"ClusterIP all 127.43.0.9:80 -> 127.42.0.1:80", "LoadBalancer all 192.0.2.7:80 -> 127.42.0.1:80")
	wantFrontends(t, "headless", compile(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"None"} }))
	wantFrontends(t, "external name", compile(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }))
	wantFrontends(t, "another proxy's", compile(loadBalancer, func(s *corev1.Service) { s.Labels[ProxyNameLabel] = "other" }))
	wantFrontends(t, "no such port", compile(func(s *corev1.Service) { s.Spec.Ports[0].Port = 70000 }))
}

func TestCompileTheServiceItself(t *testing.T) {
	got := Compile(testService("a", func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](60)}}
		s.Spec.Ports[0].NodePort = 30080
		s.Spec.Ports[0].Protocol = ""
	}), nil, here)
	if got.Affinity != time.Minute || got.Ports[0].NodePort != 30080 || got.Ports[0].Protocol != "TCP" || got.App != "a" ||
		!slices.Equal(got.ClusterIPs, []netip.Addr{netip.MustParseAddr("127.43.0.9")}) {
		t.Errorf("got %+v", got)
	}
	got = Compile(testService("a", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }), nil, here)
	if got.Affinity != 3*time.Hour {
		t.Errorf("affinity is %v by default", got.Affinity)
	}
}

// TestChoicesHoldEverywhere asks of every set of three endpoints, of all states, places and hints, what must hold.
func TestChoicesHoldEverywhere(t *testing.T) {
	var kinds []endpoint
	for _, state := range []struct{ ready, serving bool }{{true, false}, {false, true}, {false, false}} {
		for _, local := range []bool{true, false} {
			for _, nodes := range [][]string{nil, {"node-1"}, {"node-2"}} {
				for _, zones := range [][]string{nil, {"zone-a"}, {"zone-b"}} {
					kinds = append(kinds, endpoint{Backend: Backend{Local: local}, ready: state.ready, serving: state.serving, nodes: nodes, zones: zones})
				}
			}
		}
	}
	all := make([]endpoint, 3)
	for n := range len(kinds) * len(kinds) * len(kinds) {
		for i := range all {
			all[i] = kinds[n%len(kinds)]
			n /= len(kinds)
			all[i].Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
		}
		svc, port := Service{InternalLocal: true}, Port{NodePort: 1}
		compilePort(&svc, &port, all, here)
		if broken := brokenRule(all, &port); broken != "" {
			t.Fatalf("%s: %+v gave %+v", broken, all, port)
		}
	}
}

func brokenRule(all []endpoint, port *Port) string {
	in := func(list []Backend, e *endpoint) bool {
		return slices.ContainsFunc(list, func(b Backend) bool { return b.Addr == e.Addr })
	}
	var ready, localReady, usable, localUsable, taken bool
	for i := range all {
		e := &all[i]
		ready = ready || e.ready
		localReady = localReady || e.ready && e.Local
		usable = usable || e.ready || e.serving
		localUsable = localUsable || e.Local && (e.ready || e.serving)
		if in(port.Open, e) == (in(port.Backends, e) || in(port.Local, e)) {
			return "every endpoint is chosen or open"
		}
	}
	for i := range all {
		e := &all[i]
		taken = in(port.Backends, e)
		switch {
		case taken && !e.ready && (ready || !e.serving):
			return "what is not ready serves only when nobody is, and only if it still can"
		case !taken && !ready && e.serving:
			return "the terminating ones serve together"
		case in(port.Local, e) && !e.Local:
			return "Local stays here"
		case e.Local && e.ready && !in(port.Local, e):
			return "all that are ready here serve"
		case in(port.Local, e) && !e.ready && (localReady || !e.serving):
			return "what terminates here serves only when nobody here is ready"
		}
	}
	switch {
	case port.Any4 != usable || usable != (len(port.Backends) > 0):
		return "somebody serves if anybody can"
	case localUsable != (len(port.Local) > 0):
		return "somebody here serves if anybody here can"
	}
	return ""
}
