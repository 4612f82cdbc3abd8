package worker

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
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// kubeDNS is the Service that the control plane makes.
func kubeDNS(ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "kube-system", Name: "kube-dns", UID: types.UID("kube-dns"),
			Labels: map[string]string{"service.kubernetes.io/service-proxy-name": "petrel-dns"},
		},
		Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}},
	}
}

// mayListenOn53 tells whether this user may; elsewhere the runtime of these tests, which is not Petrel's own, has no
// cluster DNS.
func mayListenOn53(t *testing.T, ip string) bool {
	t.Helper()
	packets, err := net.ListenPacket("udp", netip.AddrPortFrom(netip.MustParseAddr(ip), dnsPort).String())
	if errors.Is(err, syscall.EACCES) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = packets.Close()
	return true
}

// withHostDNS gives the node a resolv.conf of the test's own.
func (n *testNode) withHostDNS() {
	n.Helper()
	n.stop()
	n.cfg.ResolvConf = filepath.Join(n.TempDir(), "resolv.conf")
	if err := os.WriteFile(n.cfg.ResolvConf, []byte("search corp.example\nnameserver 192.0.2.1\noptions rotate\n"), 0o600); err != nil {
		n.Fatal(err)
	}
	n.start()
}

func TestPodsGetTheClustersDNS(t *testing.T) {
	ip := fmt.Sprintf("127.204.%d.10", os.Getpid()%250) // no other process's
	n := newTestNode(t, kubeDNS(ip))
	n.withHostDNS()
	if !mayListenOn53(t, fmt.Sprintf("127.204.%d.11", os.Getpid()%250)) {
		t.Skip("not root: ports below 1024 cannot be listened on, and other runtimes than Petrel's own know no other for DNS")
	}
	n.create(testPod("first", "idle", func(p *corev1.Pod) {
		p.Annotations = map[string]string{annotationDomain: "evil.example", annotationNetworks: "0.0.0.0/0"}
		p.Spec.DNSConfig = &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("2")}}}
	}))
	n.create(testPod("hosts", "idle", func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSDefault }))
	n.create(testPod("own", "idle", func(p *corev1.Pod) {
		p.Spec.DNSPolicy, p.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.9"}, Searches: []string{"a.example"}}
	}))
	for name, want := range map[string]string{
		"first": "[" + ip + "] [default.svc.cluster.local svc.cluster.local cluster.local corp.example] [ndots:2]",
		"hosts": "[192.0.2.1] [corp.example] [rotate]",
		"own":   "[192.0.2.9] [a.example] []",
	} {
		n.ready(name)
		config := n.runtime.SandboxConfig("uid-" + name)
		d := config.GetDnsConfig()
		if got := fmt.Sprint(d.GetServers(), d.GetSearches(), d.GetOptions()); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if a := config.GetAnnotations(); a[annotationDomain] != "cluster.local" || a[annotationNetworks] != n.cfg.PodCIDR+",127.43.0.0/16" {
			t.Errorf("%s: the runtime is told to trust %s and %s", name, a[annotationDomain], a[annotationNetworks])
		}
	}

	// The node answers for its Services, also when the API is away.
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, ip+":53")
	}}
	resolves := func() bool {
		found, err := resolver.LookupHost(t.Context(), "kube-dns.kube-system.svc.cluster.local.")
		return err == nil && slices.Contains(found, ip)
	}
	if !resolves() {
		t.Error("the cluster's names are not resolved")
	}
	n.eventually("the table to be on disk", func() bool {
		_, err := os.Stat(filepath.Join(n.cfg.RootDir, "dns.json"))
		return err == nil
	})
	n.away.Store(true)
	n.restart()
	n.eventually("the cluster's names to be resolved without an API", resolves)
	n.away.Store(false)
}

// A node without cluster DNS says so to its pods' owners, and runs them with its own resolvers.
func TestPodsWithoutClusterDNS(t *testing.T) {
	n := newTestNode(t)
	n.withHostDNS()
	began := time.Now()
	n.create(testPod("p", "idle"))
	n.ready("p")
	if took := time.Since(began); took > dnsPatience {
		t.Errorf("it took %v", took)
	}
	if got := n.runtime.SandboxConfig("uid-p").GetDnsConfig(); fmt.Sprint(got.GetServers(), got.GetSearches()) != "[192.0.2.1] [corp.example]" {
		t.Errorf("DNS %v", got)
	}
	if e := n.event("p", eventDNS); e.Type != corev1.EventTypeWarning || !strings.Contains(e.Message, "no cluster DNS") {
		t.Errorf("event %+v", e)
	}
}
