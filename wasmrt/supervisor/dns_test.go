package supervisor

import (
	"fmt"
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSandboxDNS(t *testing.T) {
	config := func(servers []string, searches []string, annotations ...string) *runtimev1.PodSandboxConfig {
		c := &runtimev1.PodSandboxConfig{Annotations: map[string]string{}, DnsConfig: &runtimev1.DNSConfig{Servers: servers, Searches: searches, Options: []string{"ndots:5"}}}
		for i := 0; i < len(annotations); i += 2 {
			c.Annotations[annotations[i]] = annotations[i+1]
		}
		return c
	}
	for _, c := range []struct {
		config *runtimev1.PodSandboxConfig
		want   string
	}{
		{&runtimev1.PodSandboxConfig{}, "<nil>"},
		{config(nil, []string{"x"}), "<nil>"},
		{config([]string{"127.43.0.10:1053"}, []string{"ns.svc.cluster.local"}), "&{[127.43.0.10:1053] [ns.svc.cluster.local] [ndots:5]  []}"},
		{config([]string{"127.43.0.10"}, nil, annotationDomain, "cluster.local", annotationNetworks, "127.42.0.0/16, 127.43.0.0/16"),
			"&{[127.43.0.10] [] [ndots:5] cluster.local [127.42.0.0/16 127.43.0.0/16]}"},
		{config([]string{"127.43.0.10"}, nil, annotationNetworks, "127.0.0.0/8"), "&{[127.43.0.10] [] [ndots:5]  []}"},
		{config([]string{"dns.example"}, nil), "error"},
		{config([]string{"127.43.0.10"}, []string{"a b"}), "error"},
		{config([]string{"127.43.0.10"}, nil, annotationDomain, "a b"), "error"},
		{config([]string{"127.43.0.10"}, nil, annotationDomain, "cluster.local", annotationNetworks, "127.0.0.1"), "error"},
	} {
		d, err := sandboxDNS(c.config)
		got := fmt.Sprint(d)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%v: %s (%v), want %s", c.config, got, err, c.want)
		}
	}
}
