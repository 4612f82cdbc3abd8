package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

// The fake API's watches lose a goroutine when they are stopped with an event on its way; a real one's do not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func newService(ns, name string, change func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(ns + "/" + name)},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP},
	}
	change(svc)
	return svc
}

func clusterIP(ips ...string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = ips[0], ips }
}

func newSlice(ns, service, name string, ports []discoveryv1.EndpointPort, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(name), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: ports, Endpoints: endpoints,
	}
}

func endpoint(addr, hostname string, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	if hostname != "" {
		e.Hostname = &hostname
	}
	return e
}

func endpointPort(name string, protocol corev1.Protocol, number int32) discoveryv1.EndpointPort {
	return discoveryv1.EndpointPort{Name: ptr.To(name), Protocol: ptr.To(protocol), Port: ptr.To(number)}
}

// newTestServer is a server that does not run: its table is what the objects say.
func newTestServer(t testing.TB, config Config, objects ...any) *Server {
	t.Helper()
	if config.Client == nil {
		config.Client = fake.NewClientset()
	}
	if config.StateFile == "" {
		config.StateFile = filepath.Join(t.TempDir(), "dns.json")
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) == 0 {
		return s
	}
	s.catalog.Join(s.state)
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			s.catalog.Services().Set(o)
		case *discoveryv1.EndpointSlice:
			s.catalog.Slices().Set(o)
		}
	}
	s.catalog.Services().Synced()
	s.catalog.Slices().Synced()
	return s
}

func query(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	return m
}

// ask answers without a network, but packed and unpacked again.
func (s *Server) ask(t testing.TB, q *dns.Msg) *dns.Msg {
	t.Helper()
	m, _ := s.answer(t.Context(), q)
	wire, err := m.Pack()
	if err != nil {
		t.Fatalf("pack the answer to %s: %v", q.Question[0].Name, err)
	}
	out := new(dns.Msg)
	if err := out.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	return out
}

// short writes records as "TYPE data", in order, without their names where they are the question's.
func short(question string, list []dns.RR) string {
	var out []string
	for _, rr := range list {
		h := rr.Header()
		if h.Rrtype == dns.TypeOPT {
			continue
		}
		text := dns.TypeToString[h.Rrtype] + " " + strings.Join(strings.Fields(strings.TrimPrefix(rr.String(), h.String())), " ")
		if !strings.EqualFold(h.Name, dns.Fqdn(question)) {
			text = h.Name + " " + text
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

var lastAddress atomic.Int64

// ownAddress is a loopback address that no other test has, here or in a process beside this one: who takes a port of
// 127.0.0.1 for UDP finds it in use for TCP now and then.
func ownAddress() string {
	n := lastAddress.Add(1)
	return netip.AddrFrom4([4]byte{127, 203, byte(os.Getpid() % 250), byte(10 + n%240)}).String()
}

// serveUpstream is a DNS server on a loopback port; handle answers its queries.
func serveUpstream(t *testing.T, handle func(dns.ResponseWriter, *dns.Msg)) netip.AddrPort {
	t.Helper()
	packets, err := net.ListenPacket("udp", ownAddress()+":0")
	if err != nil {
		t.Fatal(err)
	}
	at := packets.LocalAddr().(*net.UDPAddr).AddrPort()
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	var serving, started sync.WaitGroup
	servers := []*dns.Server{{PacketConn: packets}, {Listener: listener}}
	for _, server := range servers {
		server.Handler = dns.HandlerFunc(handle)
		started.Add(1)
		server.NotifyStartedFunc = started.Done
		serving.Go(func() { _ = server.ActivateAndServe() })
	}
	started.Wait()
	t.Cleanup(func() {
		for _, server := range servers {
			_ = server.Shutdown()
		}
		serving.Wait()
	})
	return at
}

// freeAddress is a loopback address with a port that is free for UDP and TCP.
func freeAddress(t *testing.T) netip.AddrPort {
	t.Helper()
	packets, err := net.ListenPacket("udp", ownAddress()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	return packets.LocalAddr().(*net.UDPAddr).AddrPort()
}

// start runs the server until the test ends, or until what it answers is called.
func start(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("%s: not in time", what)
}

// counting answers every A question with an address, after a pause, and counts.
type counting struct {
	n     atomic.Int64
	ttl   uint32
	pause time.Duration
}

func (c *counting) handle(w dns.ResponseWriter, r *dns.Msg) {
	c.n.Add(1)
	time.Sleep(c.pause)
	m := new(dns.Msg)
	m.SetReply(r)
	if q := r.Question[0]; q.Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: header(q.Name, dns.TypeA, c.ttl), A: net.IPv4(192, 0, 2, 1)}}
	}
	_ = w.WriteMsg(m)
}
