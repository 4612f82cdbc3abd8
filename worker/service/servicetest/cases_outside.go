package servicetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func internalPolicy(t *testing.T, w *world) {
	svc := w.add(t, func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	})
	all := named(t, w, corev1.ProtocolTCP, "here", "away")
	all[1].away = true
	svc.endpoints(all...)
	answered(t, svc.at(), "here")
	svc.endpoints(all[1])
	eventually(t, "no answer", func() bool { _, err := ask(svc.at()); return err != nil })
	if all[1].taken.Load() != 0 {
		t.Error("a client was sent to another node")
	}
	svc.change(func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = nil })
	answered(t, svc.at(), "away")
}

func withNodePort(w *world) (func(*corev1.Service), netip.AddrPort) {
	number := w.nodePort()
	return func(s *corev1.Service) {
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, int32(number)
	}, netip.AddrPortFrom(w.host.Node, number)
}

// externalPolicy: a client on the node reaches all endpoints at the node port whatever the policy.
func externalPolicy(t *testing.T, w *world) {
	open, at := withNodePort(w)
	svc := w.add(t, open, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	all := named(t, w, corev1.ProtocolTCP, "here", "away")
	all[1].away = true
	svc.endpoints(all...)
	answered(t, at, "here", "away")
	answered(t, svc.at(), "here", "away")
	svc.endpoints(all[1])
	answered(t, at, "away")
}

func nodePorts(t *testing.T, w *world) {
	open, at := withNodePort(w)
	svc := w.add(t, open)
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a", "b")...)
	answered(t, at, "a", "b")
	answered(t, svc.at(), "a", "b")
	openUDP, atUDP := withNodePort(w)
	datagrams := w.add(t, overUDP, openUDP)
	datagrams.endpoints(named(t, w, corev1.ProtocolUDP, "c")...)
	answeredBy(t, func() (string, error) { return askUDP(atUDP, true) }, "c")
	next, moved := withNodePort(w)
	svc.change(next)
	answered(t, moved, "a", "b")
	refused(t, at)
	svc.change(func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0 })
	refused(t, moved)
	answered(t, svc.at(), "a", "b")
}

func externalAddresses(t *testing.T, w *world) {
	external, balancer := w.vip(), w.vip()
	svc := w.add(t, func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalIPs = corev1.ServiceTypeLoadBalancer, []string{external.String()}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: balancer.String()}}
	})
	svc.endpoints(named(t, w, corev1.ProtocolTCP, "a", "b")...)
	for _, ip := range []netip.Addr{svc.at().Addr(), external, balancer} {
		answered(t, netip.AddrPortFrom(ip, servicePort), "a", "b")
	}
	svc.change(func(s *corev1.Service) { s.Spec.ExternalIPs = nil })
	refused(t, netip.AddrPortFrom(external, servicePort))
	svc.change(func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress[0].IPMode = ptr.To(corev1.LoadBalancerIPModeProxy)
	})
	refused(t, netip.AddrPortFrom(balancer, servicePort))
	answered(t, svc.at(), "a", "b")
}

// greeted is a connection to the Service that an endpoint of that name has taken.
func greeted(t *testing.T, svc *apiService, name string) net.Conn {
	t.Helper()
	open, err := net.Dial("tcp", svc.at().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })
	_ = open.SetDeadline(time.Now().Add(patience))
	greeting := make([]byte, len(name)+1)
	if _, err := io.ReadFull(open, greeting); err != nil || string(greeting) != name+" " {
		t.Fatalf("greeted with %q, %v", greeting, err)
	}
	return open
}

// echoed sends over an open connection and reads it back.
func echoed(conn net.Conn, message string) error {
	if _, err := io.WriteString(conn, message); err != nil {
		return err
	}
	answer := make([]byte, len(message))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != message {
		return fmt.Errorf("answered %q: %w", answer, err)
	}
	return nil
}

// endings: a client of an endpoint that has gone without a word is not left to wait.
func endings(t *testing.T, w *world) {
	svc := w.add(t)
	all := named(t, w, corev1.ProtocolTCP, "old", "new")
	svc.endpoints(all[0])
	answered(t, svc.at(), "old")
	open := greeted(t, svc, "old")
	svc.endpoints(all[1])
	answered(t, svc.at(), "new")
	began := time.Now()
	if err := echoed(open, "still there?"); err != nil && time.Since(began) < w.host.Grace/2 {
		t.Errorf("it ended at once: %v", err)
	}
	if _, err := open.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it has not ended in %v", patience)
	}
}

func draining(t *testing.T, w *world) {
	svc := w.add(t)
	all := named(t, w, corev1.ProtocolTCP, "old", "new")
	svc.endpoints(all[0])
	answered(t, svc.at(), "old")
	open := greeted(t, svc, "old")
	all[0].state = terminating
	svc.endpoints(all...)
	answered(t, svc.at(), "new")
	all[0].state = unready
	svc.endpoints(all...)
	answered(t, svc.at(), "new")
	time.Sleep(moment)
	if err := echoed(open, "old?"); err != nil {
		t.Errorf("what was open was cut off: %v", err)
	}
}

func deadDatagrams(t *testing.T, w *world) {
	svc := w.add(t, overUDP)
	all := named(t, w, corev1.ProtocolUDP, "old", "new")
	svc.endpoints(all[0])
	answeredBy(t, func() (string, error) { return askUDP(svc.at(), true) }, "old")
	conn, err := net.Dial("udp", svc.at().String())
	if err != nil {
		t.Fatal(err)
	}
	if name, err := exchange(conn); name != "old" || err != nil {
		t.Fatalf("answered by %q, %v", name, err)
	}
	svc.endpoints(all[1])
	all[0].close()
	eventually(t, "the new endpoint", func() bool { // a client that makes a new socket when its own fails
		name, err := exchange(conn)
		if err != nil {
			conn.Close()
			if conn, err = net.Dial("udp", svc.at().String()); err != nil {
				t.Fatal(err)
			}
		}
		return name == "new"
	})
	conn.Close()
}

// The load of a rolling update: clients that each ask again and again, and generations of endpoints.
const (
	rollingClients     = 4
	rollingPause       = 5 * time.Millisecond
	rollingGenerations = 4
)

// rolling replaces endpoints the way a Deployment does while clients go on asking.
func rolling(t *testing.T, w *world) {
	svc := w.add(t)
	current := named(t, w, corev1.ProtocolTCP, "g0-a", "g0-b")
	svc.endpoints(current...)
	answered(t, svc.at(), "g0-a", "g0-b")
	var failed, asked atomic.Int64
	var first atomic.Pointer[string]
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range rollingClients {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(rollingPause):
				}
				asked.Add(1)
				if _, err := askFrom(netip.Addr{}, svc.at(), patience); err != nil { // a busy machine may take its time
					failed.Add(1)
					first.CompareAndSwap(nil, ptr.To(err.Error()))
				}
			}
		})
	}
	for generation := range rollingGenerations {
		name := fmt.Sprintf("g%d", generation+1)
		next := named(t, w, corev1.ProtocolTCP, name+"-a", name+"-b")
		svc.endpoints(append(slices.Clone(current), next...)...)
		for i := range current {
			current[i].state = terminating
			svc.endpoints(append(slices.Clone(current), next...)...)
			eventually(t, "nobody new to be sent to "+current[i].name, func() bool {
				for range looks {
					if by, err := ask(svc.at()); err != nil || by == current[i].name {
						return false
					}
				}
				return true
			})
			time.Sleep(moment / 2) // what a preStop hook gives those that are on their way
			current[i].close()
		}
		svc.endpoints(next...)
		current = next
	}
	eventually(t, "enough requests", func() bool { return asked.Load() >= 100 })
	close(done)
	clients.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed, the first with %s", failed.Load(), asked.Load(), ptr.Deref(first.Load(), "nothing"))
	}
}

func sixes(t *testing.T, w *world) {
	at6 := func(s *corev1.Service) { s.Spec.ClusterIPs = []string{w.vip6().String()} }
	svc := w.add(t, at6)
	refused(t, svc.at())
	svc.endpoints(namedAt(t, netip.IPv6Loopback(), corev1.ProtocolTCP, "a", "b")...)
	answered(t, svc.at(), "a", "b")
	datagrams := w.add(t, at6, overUDP)
	datagrams.endpoints(namedAt(t, netip.IPv6Loopback(), corev1.ProtocolUDP, "a", "b")...)
	for _, connected := range []bool{true, false} {
		answeredBy(t, func() (string, error) { return askUDP(datagrams.at(), connected) }, "a", "b")
	}
}

func dualStack(t *testing.T, w *world) {
	svc := w.add(t, func(s *corev1.Service) { s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, w.vip6().String()) })
	four, six := named(t, w, corev1.ProtocolTCP, "four"), namedAt(t, netip.IPv6Loopback(), corev1.ProtocolTCP, "six")
	svc.endpoints(append(four, six...)...)
	answered(t, svc.atIP(0), "four")
	answered(t, svc.atIP(1), "six")
	svc.endpoints(six...)
	refused(t, svc.atIP(0))
	answered(t, svc.atIP(1), "six")
}
