package resolvconf

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"# a comment\nnameserver 192.0.2.1 # behind\n; another\nnameserver\t2001:db8::1\n":   "nameserver 192.0.2.1\nnameserver 2001:db8::1\n",
		"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4": "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n",
		"nameserver nonsense\nnameserver\n":                                                  "",
		"search a.example b.example. a.example\n":                                            "search a.example b.example\n",
		"search a.example\ndomain c.example d.example\n":                                     "search c.example\n",
		"domain c.example\nsearch .\n":                                                       "search .\n",
		"options ndots:2 rotate\noptions edns0\nsortlist 10.0.0.0\nfoo bar":                  "options ndots:2 rotate edns0\n",
	} {
		if got := Parse([]byte(text)).String(); got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}

func TestOption(t *testing.T) {
	c := Config{Options: []string{"ndots:3", "rotate", "ndots:x", "timeout:-1", "attempts:99"}}
	for name, want := range map[string]int{"ndots": 3, "timeout": 5, "attempts": 10, "rotate": 5} {
		if got := c.Option(name, 5, 10); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{"10.0.0.1": "10.0.0.1:53", "10.0.0.1:1053": "10.0.0.1:1053", "fd00::1": "[fd00::1]:53", "[fd00::1]:99": "[fd00::1]:99"} {
		if got, err := Address(text); err != nil || got.String() != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	if _, err := Address("dns.example"); err == nil {
		t.Error("a name is taken for an address")
	}
}

var (
	cluster = Cluster{Servers: []string{"127.43.0.10"}, Domain: "cluster.local"}
	host    = Config{Servers: []string{"192.0.2.1"}, Searches: []string{"corp.example"}, Options: []string{"rotate"}}
)

func newPod(policy corev1.DNSPolicy, hostNetwork bool, extra *corev1.PodDNSConfig) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{DNSPolicy: policy, HostNetwork: hostNetwork, DNSConfig: extra}}
}

const (
	clusterFirst = "search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 127.43.0.10\noptions ndots:5\n"
	hosts        = "search corp.example\nnameserver 192.0.2.1\noptions rotate\n"
)

// TestForPod has each policy, with and without the pod's own part, as Kubernetes' node agent has them.
func TestForPod(t *testing.T) {
	own := &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.53", "127.43.0.10"}, Searches: []string{"ns.svc.cluster.local", "my.example."},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("2")}, {Name: "edns0"}, {}},
	}
	for name, c := range map[string]struct {
		pod      *corev1.Pod
		cluster  Cluster
		want     string
		problems int
	}{
		"nothing said":                  {newPod("", false, nil), cluster, clusterFirst, 0},
		"ClusterFirst":                  {newPod(corev1.DNSClusterFirst, false, nil), cluster, clusterFirst, 0},
		"ClusterFirst, the host's":      {newPod(corev1.DNSClusterFirst, true, nil), cluster, hosts, 0},
		"ClusterFirstWithHostNet":       {newPod(corev1.DNSClusterFirstWithHostNet, true, nil), cluster, clusterFirst, 0},
		"ClusterFirst without a server": {newPod(corev1.DNSClusterFirst, false, nil), Cluster{Domain: "cluster.local"}, hosts, 1},
		"Default":                       {newPod(corev1.DNSDefault, false, nil), cluster, hosts, 0},
		"None":                          {newPod(corev1.DNSNone, false, &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.9"}}), cluster, "nameserver 192.0.2.9\n", 0},
		"ClusterFirst with more": {newPod(corev1.DNSClusterFirst, false, own), cluster,
			"search ns.svc.cluster.local svc.cluster.local cluster.local corp.example my.example\n" +
				"nameserver 127.43.0.10\nnameserver 192.0.2.53\noptions ndots:2 edns0\n", 0},
		"Default with more": {newPod(corev1.DNSDefault, false, own), cluster,
			"search corp.example ns.svc.cluster.local my.example\nnameserver 192.0.2.1\nnameserver 192.0.2.53\nnameserver 127.43.0.10\noptions rotate ndots:2 edns0\n", 0},
	} {
		before := host.String()
		got, problems := ForPod(c.pod, c.cluster, host)
		if got.String() != c.want || len(problems) != c.problems {
			t.Errorf("%s: %q, want %q; %q", name, got.String(), c.want, problems)
		}
		if host.String() != before {
			t.Fatalf("%s: the host's own was changed to %q", name, host.String())
		}
	}
}

func TestForPodKeepsLimits(t *testing.T) {
	long := &corev1.PodDNSConfig{Nameservers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}}
	for i := range 40 {
		long.Searches = append(long.Searches, fmt.Sprintf("s%d.example", i))
		long.Options = append(long.Options, corev1.PodDNSConfigOption{Name: fmt.Sprintf("o%d", i)})
	}
	c, problems := ForPod(newPod(corev1.DNSClusterFirst, false, long), cluster, host)
	if len(c.Servers) != MaxServers || len(c.Searches) != MaxSearches || len(c.Options) != maxOptions || len(problems) != 3 || c.Servers[0] != "127.43.0.10" {
		t.Errorf("%d servers, %d domains, %d options, %q", len(c.Servers), len(c.Searches), len(c.Options), problems)
	}
	long.Searches = []string{strings.Repeat("a", 1020), strings.Repeat("b", 1020), "c.example"}
	if c, _ = ForPod(newPod(corev1.DNSNone, false, long), cluster, host); len(c.Searches) != 2 {
		t.Errorf("%d domains", len(c.Searches))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("search a b\nnameserver 10.0.0.1\noptions ndots:5\n")
	f.Add("domain .\nnameserver fe80::1%eth0\n;\n#")
	f.Fuzz(func(t *testing.T, text string) {
		c := Parse([]byte(text))
		again := Parse([]byte(c.String()))
		if !slices.Equal(c.Servers, again.Servers) || !slices.Equal(c.Searches, again.Searches) || !slices.Equal(c.Options, again.Options) {
			t.Errorf("%q is %+v, written and read again %+v", text, c, again)
		}
		if len(c.Servers) > MaxServers || len(c.Searches) > MaxSearches {
			t.Errorf("%+v is beyond the limits", c)
		}
		for _, s := range c.Servers {
			if _, err := Address(s); err != nil {
				t.Errorf("server %q: %v", s, err)
			}
		}
	})
}
