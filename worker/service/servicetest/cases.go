package servicetest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// cases are tried everywhere, cases6 where there is IPv6.
var (
	cases = map[string]func(*testing.T, *world){
		"TCP is spread over the endpoints":             spread,
		"UDP is spread over the endpoints":             spreadUDP,
		"the peer is the Service":                      peerName,
		"no endpoint means refused at once":            noEndpoint,
		"endpoints come and go":                        comeAndGo,
		"ports are told apart":                         ports,
		"an endpoint reaches itself":                   hairpin,
		"terminating endpoints are the last resort":    lastResort,
		"an address changes its Service":               handOver,
		"a Service that goes is refused":               gone,
		"headless Services have no address":            headless,
		"ExternalName Services have no address":        externalName,
		"another proxy's Services are left to it":      anotherProxys,
		"clients stay with their endpoint":             affinity,
		"clients may change when affinity times out":   affinityTimeout,
		"affinity is turned on and off":                affinityChange,
		"affinity leaves an endpoint that has gone":    affinityGone,
		"internalTrafficPolicy Local":                  internalPolicy,
		"externalTrafficPolicy Local":                  externalPolicy,
		"node ports":                                   nodePorts,
		"host ports":                                   hostPorts,
		"host ports of one address":                    hostPortsAt,
		"host ports while their pod ends":              hostPortsToTheEnd,
		"external and load balancer addresses":         externalAddresses,
		"open connections outlive their endpoint":      draining,
		"connections end a while after their endpoint": endings,
		"UDP leaves an endpoint that has gone":         deadDatagrams,
		"a rolling update under load fails no request": rolling,
	}
	cases6 = map[string]func(*testing.T, *world){
		"IPv6 TCP and UDP": sixes,
		"dual stack":       dualStack,
		"IPv6 host ports":  hostPorts6,
	}
)

func spread(t *testing.T, w *world) {
	svc := w.add(t)
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a", "b", "c")...)
	answered(t, svc.at(), "a", "b", "c")
}

func overUDP(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }

func spreadUDP(t *testing.T, w *world) {
	svc := w.add(t, overUDP)
	svc.endpoints(named(t, w, corev1.ProtocolUDP, "a", "b")...)
	for _, connected := range []bool{true, false} {
		answeredBy(t, func() (string, error) { return askUDP(svc.at(), connected) }, "a", "b")
	}
}

func peerName(t *testing.T, w *world) {
	svc := w.add(t)
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a")...)
	answered(t, svc.at(), "a")
	conn, err := net.Dial("tcp", svc.at().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().(*net.TCPAddr).AddrPort(); got != svc.at() {
		t.Errorf("the client is connected to %v, want %v", got, svc.at())
	}
}

func noEndpoint(t *testing.T, w *world) {
	all := named(t, w, corev1.ProtocolTCP, "a")
	svc := w.add(t)
	refused(t, svc.at())
	all[0].state = unready
	svc.endpoints(all...)
	refused(t, svc.at())
	all[0].state = ready
	svc.endpoints(all...)
	answered(t, svc.at(), "a")
	svc.endpoints()
	refused(t, svc.at())
}

func comeAndGo(t *testing.T, w *world) {
	svc := w.add(t)
	all := named(t, w, corev1.ProtocolTCP, "a", "b", "c")
	svc.endpoints(all[0])
	answered(t, svc.at(), "a")
	svc.endpoints(all...)
	answered(t, svc.at(), "a", "b", "c")
	all[1].state = unready
	svc.endpoints(all...)
	answered(t, svc.at(), "a", "c")
	svc.endpoints(all[2])
	answered(t, svc.at(), "c")
}

func ports(t *testing.T, w *world) {
	svc := w.add(t, func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{
			{Name: "http", Protocol: corev1.ProtocolTCP, Port: 8000}, {Name: "https", Protocol: corev1.ProtocolTCP, Port: 8443},
			{Name: "quic", Protocol: corev1.ProtocolUDP, Port: 8443},
		}
	})
	all := append(named(t, w, corev1.ProtocolTCP, "a", "b"), named(t, w, corev1.ProtocolUDP, "c")...)
	for i, port := range []string{"http", "https", "quic"} {
		all[i].port = port
	}
	svc.endpoints(all...)
	ip := svc.at().Addr()
	answered(t, netip.AddrPortFrom(ip, 8000), "a")
	answered(t, netip.AddrPortFrom(ip, 8443), "b")
	answeredBy(t, func() (string, error) { return askUDP(netip.AddrPortFrom(ip, 8443), true) }, "c")
	refused(t, netip.AddrPortFrom(ip, 8080))
}

func hairpin(t *testing.T, w *world) {
	svc := w.add(t)
	all := named(t, w, corev1.ProtocolTCP, "a")
	svc.endpoints(all...)
	own := all[0].addr.Addr()
	answeredBy(t, func() (string, error) { return askFrom(own, svc.at(), moment) }, "a")
}

func lastResort(t *testing.T, w *world) {
	svc := w.add(t)
	all := named(t, w, corev1.ProtocolTCP, "a", "b")
	all[0].state = terminating
	svc.endpoints(all...)
	answered(t, svc.at(), "b")
	all[1].state = terminating
	svc.endpoints(all...)
	answered(t, svc.at(), "a", "b")
	all[0].state = unready
	svc.endpoints(all...)
	answered(t, svc.at(), "b")
	svc.endpoints(all[0])
	refused(t, svc.at())
}

func handOver(t *testing.T, w *world) {
	old := w.add(t)
	all := named(t, w, corev1.ProtocolTCP, "old", "new")
	old.endpoints(all[0])
	answered(t, old.at(), "old")
	at := old.at()
	old.remove()
	next := w.add(t, func(s *corev1.Service) { s.Spec.ClusterIPs = []string{at.Addr().String()} })
	next.endpoints(all[1])
	answered(t, at, "new")
}

func gone(t *testing.T, w *world) {
	svc := w.add(t)
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a")...)
	answered(t, svc.at(), "a")
	svc.remove()
	refused(t, svc.at())
}

// unserved serves a Service, makes it what has no address, and wants it to be refused.
func unserved(t *testing.T, w *world, change func(*corev1.Service)) {
	t.Helper()
	svc := w.add(t)
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a")...)
	answered(t, svc.at(), "a")
	at := svc.at()
	svc.change(change)
	refused(t, at)
}

func headless(t *testing.T, w *world) {
	unserved(t, w, func(s *corev1.Service) { s.Spec.ClusterIPs = []string{corev1.ClusterIPNone} })
}

func externalName(t *testing.T, w *world) {
	unserved(t, w, func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.test"
	})
}

func anotherProxys(t *testing.T, w *world) {
	unserved(t, w, func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "another"}
	})
}

func sticky(seconds int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To(seconds)}}
	}
}

// stays reports whether a client gets the same endpoint time and again.
func stays(at netip.AddrPort) (string, bool) {
	first, err := ask(at)
	for range looks {
		if name, again := ask(at); err != nil || again != nil || name != first {
			return first, false
		}
	}
	return first, true
}

func affinity(t *testing.T, w *world) {
	svc := w.add(t, sticky(3600))
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a", "b", "c")...)
	eventually(t, "an endpoint", func() bool { _, err := ask(svc.at()); return err == nil })
	time.Sleep(moment) // all endpoints are known
	if _, ok := stays(svc.at()); !ok {
		t.Error("the client was sent to several endpoints")
	}
}

func affinityTimeout(t *testing.T, w *world) {
	svc := w.add(t, sticky(3))
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a", "b", "c", "d", "e", "f", "g", "h")...)
	eventually(t, "an endpoint", func() bool { _, err := ask(svc.at()); return err == nil })
	time.Sleep(moment)
	first, ok := stays(svc.at())
	if !ok {
		t.Fatal("the client was sent to several endpoints before the time was up")
	}
	eventually(t, "another endpoint", func() bool {
		time.Sleep(3200 * time.Millisecond)
		name, err := ask(svc.at())
		return err == nil && name != first
	})
}

func affinityChange(t *testing.T, w *world) {
	svc := w.add(t)
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a", "b", "c")...)
	answered(t, svc.at(), "a", "b", "c")
	svc.change(sticky(3600))
	eventually(t, "affinity", func() bool { _, ok := stays(svc.at()); return ok })
	svc.change(func(s *corev1.Service) {
		s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
	})
	answered(t, svc.at(), "a", "b", "c")
}

func affinityGone(t *testing.T, w *world) {
	svc := w.add(t, sticky(3600))
	all := named(t, w, corev1.ProtocolTCP, "a", "b", "c")
	svc.endpoints(all...)
	eventually(t, "affinity", func() bool { _, ok := stays(svc.at()); return ok })
	first, _ := ask(svc.at())
	var rest []member
	for _, m := range all {
		if m.name != first {
			rest = append(rest, m)
		}
	}
	svc.endpoints(rest...)
	eventually(t, "another endpoint, and only that", func() bool { name, ok := stays(svc.at()); return ok && name != first })
}
