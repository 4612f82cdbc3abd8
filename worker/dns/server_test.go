package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
)

func exchange(t *testing.T, network string, at netip.AddrPort, m *dns.Msg) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: dns.MaxMsgSize}
	out, _, err := client.Exchange(m, at.String())
	if err != nil {
		t.Fatalf("ask %s over %s: %v", at, network, err)
	}
	return out
}

// listening starts a server on a free port and waits for it.
func listening(t *testing.T, config Config, objects ...any) (*Server, netip.AddrPort) {
	t.Helper()
	config.Listen = []netip.AddrPort{freeAddress(t)}
	config.ResolvConf = filepath.Join(t.TempDir(), "resolv.conf")
	s := newTestServer(t, config, objects...)
	start(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	at, err := s.Servers(ctx)
	if err != nil || !slices.Equal(at, config.Listen) {
		t.Fatalf("listens at %v, %v", at, err)
	}
	return s, at[0]
}

// many is a headless Service of n endpoints.
func many(n int) []any {
	slice := newSlice("default", "many", "many-1", nil)
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, endpoint(fmt.Sprintf("10.1.%d.%d", i/250, i%250), "", true))
	}
	return []any{newService("default", "many", func(s *corev1.Service) { s.Spec.ClusterIP = "None" }), slice}
}

// objectsOf are objects as a fake API has them.
func objectsOf(all []any) []runtime.Object {
	var out []runtime.Object
	for _, o := range all {
		out = append(out, o.(runtime.Object))
	}
	return out
}

func TestTruncation(t *testing.T) {
	_, at := listening(t, Config{Client: fake.NewClientset(objectsOf(many(1000))...)}, many(1000)...)
	const name = "many.default.svc.cluster.local"
	for _, c := range []struct {
		edns, most int
	}{{0, minUDP}, {100, minUDP}, {800, 800}, {4096, maxUDP}} {
		q := query(name, dns.TypeA)
		if c.edns > 0 {
			q.SetEdns0(uint16(c.edns), false)
		}
		m := exchange(t, "udp", at, q)
		m.Compress = true
		if !m.Truncated || m.Len() > c.most || len(m.Answer) == 0 || (m.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("EDNS %d: %d bytes, %d records, truncated %v", c.edns, m.Len(), len(m.Answer), m.Truncated)
		}
	}
	first := exchange(t, "tcp", at, query(name, dns.TypeA))
	if first.Truncated || len(first.Answer) != maxAnswers {
		t.Errorf("over TCP: %d records, truncated %v", len(first.Answer), first.Truncated)
	}
	differs := false // clients take the first
	for range 20 {
		again := exchange(t, "tcp", at, query(name, dns.TypeA))
		differs = differs || again.Answer[0].String() != first.Answer[0].String()
	}
	if !differs {
		t.Error("the same endpoint is always first")
	}
}

func TestPackets(t *testing.T) {
	_, at := listening(t, Config{Client: fake.NewClientset(objectsOf(specObjects())...)}, specObjects()...)
	const name = "web.default.svc.cluster.local"
	newer := query(name, dns.TypeA)
	newer.SetEdns0(4096, false)
	newer.IsEdns0().SetVersion(1)
	update := query(name, dns.TypeA)
	update.Opcode = dns.OpcodeUpdate
	two := query(name, dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	chaos := query("version.bind", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	for what, c := range map[string]struct {
		q     *dns.Msg
		rcode int
	}{
		"a newer EDNS":  {newer, dns.RcodeBadVers},
		"an update":     {update, dns.RcodeNotImplemented},
		"two questions": {two, dns.RcodeFormatError},
		"another class": {chaos, dns.RcodeRefused},
		"a transfer":    {query("cluster.local", dns.TypeAXFR), dns.RcodeRefused},
		"all there is":  {query(name, dns.TypeANY), noError},
		"a plain query": {query(name, dns.TypeA), noError},
		"the root":      {query(".", dns.TypeNS), servfail},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if m := exchange(t, network, at, c.q); m.Rcode != c.rcode || m.Id != c.q.Id {
				t.Errorf("%s over %s: %s", what, network, dns.RcodeToString[m.Rcode])
			}
		}
	}
	// What is no message is not answered and harms nobody; neither do answers.
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := query(name, dns.TypeA)
	answer.Response = true
	wire, _ := answer.Pack()
	for _, junk := range [][]byte{{}, {1}, wire, wire[:13]} {
		_, _ = conn.Write(junk)
	}
	if m := exchange(t, "udp", at, query(name, dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("after junk: %v", m)
	}
}

func TestQueriesAreLimited(t *testing.T) {
	s, at := listening(t, Config{})
	s.working.Store(maxQueries)
	client := dns.Client{Timeout: 100 * time.Millisecond}
	if m, _, err := client.Exchange(query("localhost", dns.TypeA), at.String()); err == nil {
		t.Errorf("beyond the limit: %v", m)
	}
	s.working.Store(0)
	exchange(t, "udp", at, query("localhost", dns.TypeA))
}

// away makes every call of a fake API fail.
func away(client *fake.Clientset) *atomic.Bool {
	gone := new(atomic.Bool)
	client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return gone.Load(), nil, errors.New("connection refused")
	})
	client.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
		return gone.Load(), nil, errors.New("connection refused")
	})
	return gone
}

// TestLastKnownState follows the API, goes on without it, and starts without it from what is on disk.
func TestLastKnownState(t *testing.T) {
	objects := objectsOf(specObjects())
	client := feedtest.CopyWatches(fake.NewClientset(objects...))
	gone := away(client)
	config := Config{Client: client, StateFile: filepath.Join(t.TempDir(), "dns.json"), Listen: []netip.AddrPort{freeAddress(t)}, ResolvConf: "/nonexistent"}
	s := newTestServer(t, config)
	stop := start(t, s)
	eventually(t, "the table", s.table.isKnown)
	const pet = "my-pet.headless.default.svc.cluster.local"
	if m := exchange(t, "udp", config.Listen[0], query(pet, dns.TypeA)); len(m.Answer) != 2 {
		t.Errorf("of the API: %v", m)
	}
	slice := specObjects()[3].(*discoveryv1.EndpointSlice).DeepCopy()
	slice.Endpoints = slice.Endpoints[:1]
	if _, err := client.DiscoveryV1().EndpointSlices("default").Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Services("default").Delete(t.Context(), "dual", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the changes", func() bool {
		return len(exchange(t, "udp", config.Listen[0], query(pet, dns.TypeA)).Answer) == 1 &&
			exchange(t, "udp", config.Listen[0], query("dual.default.svc.cluster.local", dns.TypeA)).Rcode == nxdomain
	})
	before := s.table.all()
	eventually(t, "the file", func() bool {
		fresh := newTable()
		_, err := fresh.load(config.StateFile)
		return err == nil && slices.EqualFunc(fresh.all(), before, func(a, b Service) bool { return a.Equal(&b) })
	})
	stop()

	gone.Store(true)
	s = newTestServer(t, config)
	start(t, s)
	eventually(t, "the server without an API", func() bool { return len(s.doors.open()) == 1 })
	if m := exchange(t, "udp", config.Listen[0], query(pet, dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("of the disk: %v", m)
	}
	if err := client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("services"), "default", "web"); err != nil {
		t.Fatal(err)
	}
	gone.Store(false)
	eventually(t, "what the API says when it is back", func() bool {
		return exchange(t, "udp", config.Listen[0], query("web.default.svc.cluster.local", dns.TypeA)).Rcode == nxdomain
	})
}

// A cluster that is not known yet is not an empty one: its names fail, they are not denied. Others are resolved.
func TestNothingIsDeniedBeforeItIsKnown(t *testing.T) {
	client := feedtest.CopyWatches(fake.NewClientset())
	away(client).Store(true)
	for _, content := range []string{"", "{", `{"services": 7}`} {
		file := filepath.Join(t.TempDir(), "dns.json")
		if content != "" {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := newTestServer(t, Config{Client: client, StateFile: file, Upstreams: []netip.AddrPort{serveUpstream(t, (&counting{ttl: 1}).handle)}})
		stop := start(t, s)
		eventually(t, "an upstream", func() bool { return len(s.forwarder.pool.all()) == 1 })
		for name, rcode := range map[string]int{
			"web.default.svc.cluster.local": servfail, "www.example.com": noError, "cluster.local": noError, "localhost": noError,
		} {
			if m := s.ask(t, query(name, dns.TypeA)); m.Rcode != rcode {
				t.Errorf("%q, %s: %s", content, name, dns.RcodeToString[m.Rcode])
			}
		}
		select {
		case <-s.doors.settled:
			t.Error("it is settled where to listen")
		default:
		}
		stop()
	}
}

func TestReload(t *testing.T) {
	own := freeAddress(t)
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newTestServer(t, Config{ResolvConf: conf, Listen: []netip.AddrPort{netip.AddrPortFrom(own.Addr(), 53)}})
	names := func() string {
		s.reload()
		var out []string
		for _, u := range s.forwarder.pool.all() {
			out = append(out, u.addr.String())
		}
		return strings.Join(out, " ")
	}
	if got := names(); got != "" {
		t.Errorf("without a file: %s", got)
	}
	write("search a.example\nnameserver 192.0.2.1\nnameserver " + own.Addr().String() + "\nnameserver 2001:db8::1\n") // one is itself
	if got := names(); got != "192.0.2.1:53 [2001:db8::1]:53" || s.Host().Searches[0] != "a.example" {
		t.Errorf("at first: %s %v", got, s.Host())
	}
	kept := s.forwarder.pool.all()[1]
	write("nameserver 2001:db8::1\nnameserver 2001:db8::1\n")
	if got := names(); got != "[2001:db8::1]:53" || s.forwarder.pool.all()[0] != kept {
		t.Errorf("after a change: %s", got)
	}
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	if got := names(); got != "[2001:db8::1]:53" {
		t.Errorf("with the file gone: %s", got)
	}
}

func dnsService(ip string) *corev1.Service {
	return newService("kube-system", kubeDNS, func(s *corev1.Service) {
		clusterIP(ip)(s)
		s.Labels = map[string]string{labelProxyName: petrelDNS}
	})
}

func listen53(ip string) (net.PacketConn, error) {
	return net.ListenPacket("udp", netip.AddrPortFrom(netip.MustParseAddr(ip), 53).String())
}

// takePort53 takes the address as another resolver would; without the right to, it skips.
func takePort53(t *testing.T, ip string) net.PacketConn {
	t.Helper()
	packets, err := listen53(ip)
	if errors.Is(err, syscall.EACCES) {
		t.Skip("not root: ports below 1024 cannot be listened on")
	}
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

// TestFollowsTheService listens where the Service is, moves with it, and leaves it to others when its label says so.
func TestFollowsTheService(t *testing.T) {
	clusterDNS, moved := ownAddress(), ownAddress()
	_ = takePort53(t, clusterDNS).Close()
	client := feedtest.CopyWatches(fake.NewClientset(dnsService(clusterDNS)))
	s := newTestServer(t, Config{Client: client, ResolvConf: "/nonexistent"})
	start(t, s)
	if at, err := s.Servers(t.Context()); err != nil || len(at) != 1 || at[0].String() != clusterDNS+":53" {
		t.Fatalf("served at %v, %v", at, err)
	}
	exchange(t, "udp", netip.MustParseAddrPort(clusterDNS+":53"), query("cluster.local", dns.TypeSOA))
	services := client.CoreV1().Services("kube-system")
	if _, err := services.Update(t.Context(), dnsService(moved), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other address", func() bool {
		at, err := s.Servers(t.Context())
		return err == nil && len(at) == 1 && at[0].String() == moved+":53" && len(s.doors.open()) == 1
	})
	foreign := dnsService(moved)
	foreign.Labels = nil
	if _, err := services.Update(t.Context(), foreign, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing to be served", func() bool { return len(s.doors.open()) == 0 })
	if at, err := s.Servers(t.Context()); err != nil || len(at) != 0 {
		t.Errorf("served at %v, %v", at, err)
	}
}

// TestFallsBack cannot have port 53, which another has taken or this user may not have: it says so, serves another port,
// and goes on with that once it was told to pods.
func TestFallsBack(t *testing.T) {
	ip := ownAddress()
	other, err := listen53(ip)
	why := "address already in use"
	if errors.Is(err, syscall.EACCES) {
		why = "CAP_NET_BIND_SERVICE"
	} else if err != nil {
		t.Fatal(err)
	}
	recorder := record.NewFakeRecorder(10)
	config := Config{
		Client: fake.NewClientset(dnsService(ip)), ResolvConf: "/nonexistent", StateFile: filepath.Join(t.TempDir(), "dns.json"),
		Recorder: recorder, NodeName: "node", Registerer: prometheus.NewRegistry(),
	}
	s := newTestServer(t, config)
	stop := start(t, s)
	at, err := s.Servers(t.Context())
	if err != nil || len(at) != 1 || at[0].String() != ip+":1053" {
		t.Fatalf("served at %v, %v", at, err)
	}
	exchange(t, "tcp", at[0], query("cluster.local", dns.TypeSOA))
	select {
	case e := <-recorder.Events:
		if !strings.Contains(e, eventListen) || !strings.Contains(e, ip+":53") || !strings.Contains(e, why) || !strings.Contains(e, ":1053") {
			t.Errorf("event %q", e)
		}
	case <-time.After(60 * time.Second):
		t.Error("no event")
	}
	ports := 1
	if other != nil {
		ports = 2
		_ = other.Close()
		eventually(t, "port 53, once it is free", func() bool {
			at, err := s.Servers(t.Context())
			return err == nil && len(at) == 1 && at[0].Port() == 53
		})
	}
	eventually(t, "the file", func() bool {
		fallback, err := newTable().load(config.StateFile)
		return err == nil && fallback
	})
	stop()
	config.Registerer = nil
	s = newTestServer(t, config)
	start(t, s)
	eventually(t, "the ports of last time", func() bool { return len(s.doors.open()) == ports })
}

func TestConfigIsValidated(t *testing.T) {
	good := Config{Client: fake.NewClientset(), StateFile: "/x"}
	for what, change := range map[string]func(*Config){
		"no client":        func(c *Config) { c.Client = nil },
		"a bad domain":     func(c *Config) { c.ClusterDomain = "cluster_local" },
		"a long domain":    func(c *Config) { c.ClusterDomain = strings.Repeat("a.", 70) + "a" },
		"a relative file":  func(c *Config) { c.StateFile = "x" },
		"no real upstream": func(c *Config) { c.Upstreams = make([]netip.AddrPort, 1) },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}
