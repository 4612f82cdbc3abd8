package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// specObjects are a cluster with one Service of each kind that the specification names.
func specObjects() []any {
	headless := func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} }
	https := []discoveryv1.EndpointPort{endpointPort("https", corev1.ProtocolTCP, 8443), endpointPort("", corev1.ProtocolTCP, 9)}
	v6 := newSlice("default", "headless", "headless-v6", https, endpoint("fd00::7", "six", true))
	v6.AddressType = discoveryv1.AddressTypeIPv6
	return []any{
		newService("default", "web", func(s *corev1.Service) {
			clusterIP("10.3.0.100")(s)
			s.Spec.Ports = []corev1.ServicePort{
				{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443}, {Name: "quic", Protocol: corev1.ProtocolUDP, Port: 443},
			}
		}),
		newService("default", "dual", func(s *corev1.Service) {
			clusterIP("10.3.0.101", "2001:db8::1")(s)
			s.Spec.Ports = []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}}
		}),
		newService("default", "headless", headless),
		newSlice("default", "headless", "headless-1", https,
			endpoint("10.3.0.1", "", true), endpoint("10.3.0.2", "my-pet", true), endpoint("10.3.0.3", "unready", false)),
		newSlice("default", "headless", "headless-2", []discoveryv1.EndpointPort{endpointPort("https", corev1.ProtocolTCP, 9443)},
			endpoint("10.3.0.4", "my-pet", true), endpoint("10.3.0.1", "", true)),
		v6,
		newService("default", "unready", func(s *corev1.Service) {
			headless(s)
			s.Spec.PublishNotReadyAddresses = true
		}),
		newSlice("default", "unready", "unready-1", https, endpoint("10.3.0.5", "", false)),
		newService("default", "empty", headless),
		newService("other", "outside", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "www.example.com"
		}),
		newService("other", "inside", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "web.default.svc.cluster.local"
		}),
		newService("other", "nowhere", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "gone.default.svc.cluster.local"
		}),
		newService("other", "ring", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "gnir.other.svc.cluster.local"
		}),
		newService("other", "gnir", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "ring.other.svc.cluster.local"
		}),
		newService("other", "address", func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "10.1.2.3" }),
		newService("kube-system", kubeDNS, func(s *corev1.Service) {
			clusterIP("10.3.0.10")(s)
			s.Labels = map[string]string{labelProxyName: petrelDNS}
		}),
	}
}

const (
	noError  = dns.RcodeSuccess
	nxdomain = dns.RcodeNameError
	servfail = dns.RcodeServerFailure
)

// TestSpecification is the Kubernetes DNS specification 1.1 as a table: sections 2.1 to 2.6 in order, then what it leaves
// to the name system itself.
func TestSpecification(t *testing.T) {
	s := newTestServer(t, Config{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16"), netip.MustParsePrefix("fd00::/16")}}, specObjects()...)
	const soa = "cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"
	for _, c := range []struct {
		name   string
		qtype  uint16
		rcode  int
		answer string
		extra  string
	}{
		// 2.1 definitions, 2.2 the version
		{"dns-version.cluster.local", dns.TypeTXT, noError, `TXT "1.1.0"`, ""},
		{"dns-version.cluster.local", dns.TypeA, noError, "", ""},

		// 2.3 Services with a cluster IP
		{"web.default.svc.cluster.local", dns.TypeA, noError, "A 10.3.0.100", ""},
		{"web.default.svc.cluster.local", dns.TypeAAAA, noError, "", ""},
		{"WEB.Default.svc.Cluster.LOCAL", dns.TypeA, noError, "A 10.3.0.100", ""},
		{"dual.default.svc.cluster.local", dns.TypeA, noError, "A 10.3.0.101", ""},
		{"dual.default.svc.cluster.local", dns.TypeAAAA, noError, "AAAA 2001:db8::1", ""},
		{"_https._tcp.web.default.svc.cluster.local", dns.TypeSRV, noError, "SRV 0 100 443 web.default.svc.cluster.local.",
			"web.default.svc.cluster.local. A 10.3.0.100"},
		{"_quic._udp.web.default.svc.cluster.local", dns.TypeSRV, noError, "SRV 0 100 443 web.default.svc.cluster.local.",
			"web.default.svc.cluster.local. A 10.3.0.100"},
		{"_https._udp.web.default.svc.cluster.local", dns.TypeSRV, nxdomain, "", ""},
		{"_http._tcp.web.default.svc.cluster.local", dns.TypeSRV, nxdomain, "", ""},
		{"_https._tcp.web.default.svc.cluster.local", dns.TypeA, noError, "", ""},
		{"_tcp.web.default.svc.cluster.local", dns.TypeSRV, noError, "", ""},
		{"_sctp.web.default.svc.cluster.local", dns.TypeSRV, nxdomain, "", ""},
		{"_tcp.dual.default.svc.cluster.local", dns.TypeSRV, nxdomain, "", ""}, // its port has no name
		{"web.default.svc.cluster.local", dns.TypeSRV, noError, "", ""},
		{"100.0.3.10.in-addr.arpa", dns.TypePTR, noError, "PTR web.default.svc.cluster.local.", ""},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", dns.TypePTR, noError, "PTR dual.default.svc.cluster.local.", ""},
		{"100.0.3.10.in-addr.arpa", dns.TypeA, noError, "", ""},

		// 2.4 headless Services
		{"headless.default.svc.cluster.local", dns.TypeA, noError, "A 10.3.0.1, A 10.3.0.2, A 10.3.0.4", ""},
		{"headless.default.svc.cluster.local", dns.TypeAAAA, noError, "AAAA fd00::7", ""},
		{"my-pet.headless.default.svc.cluster.local", dns.TypeA, noError, "A 10.3.0.2, A 10.3.0.4", ""},
		{"six.headless.default.svc.cluster.local", dns.TypeAAAA, noError, "AAAA fd00::7", ""},
		{"six.headless.default.svc.cluster.local", dns.TypeA, noError, "", ""},
		{"10-3-0-1.headless.default.svc.cluster.local", dns.TypeA, noError, "A 10.3.0.1", ""},
		{"10-3-0-2.headless.default.svc.cluster.local", dns.TypeA, nxdomain, "", ""}, // it has a hostname
		{"unready.headless.default.svc.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"_https._tcp.headless.default.svc.cluster.local", dns.TypeSRV, noError,
			"SRV 0 20 8443 10-3-0-1.headless.default.svc.cluster.local., SRV 0 20 8443 my-pet.headless.default.svc.cluster.local., " +
				"SRV 0 20 8443 six.headless.default.svc.cluster.local., " +
				"SRV 0 20 9443 10-3-0-1.headless.default.svc.cluster.local., SRV 0 20 9443 my-pet.headless.default.svc.cluster.local.",
			"10-3-0-1.headless.default.svc.cluster.local. A 10.3.0.1, " +
				"my-pet.headless.default.svc.cluster.local. A 10.3.0.2, my-pet.headless.default.svc.cluster.local. A 10.3.0.4, " +
				"six.headless.default.svc.cluster.local. AAAA fd00::7"},
		{"2.0.3.10.in-addr.arpa", dns.TypePTR, noError, "PTR my-pet.headless.default.svc.cluster.local.", ""},
		{"1.0.3.10.in-addr.arpa", dns.TypePTR, noError, "PTR 10-3-0-1.headless.default.svc.cluster.local.", ""},
		{"unready.default.svc.cluster.local", dns.TypeA, noError, "A 10.3.0.5", ""}, // publishNotReadyAddresses
		{"empty.default.svc.cluster.local", dns.TypeA, noError, "", ""},
		{"my-pet.empty.default.svc.cluster.local", dns.TypeA, nxdomain, "", ""},

		// 2.5 external names
		{"inside.other.svc.cluster.local", dns.TypeA, noError,
			"CNAME web.default.svc.cluster.local., web.default.svc.cluster.local. A 10.3.0.100", ""},
		{"inside.other.svc.cluster.local", dns.TypeCNAME, noError, "CNAME web.default.svc.cluster.local.", ""},
		{"outside.other.svc.cluster.local", dns.TypeCNAME, noError, "CNAME www.example.com.", ""},
		{"outside.other.svc.cluster.local", dns.TypeA, servfail, "CNAME www.example.com.", ""}, // nobody to ask here
		{"nowhere.other.svc.cluster.local", dns.TypeA, nxdomain, "CNAME gone.default.svc.cluster.local.", ""},
		{"_http._tcp.outside.other.svc.cluster.local", dns.TypeSRV, nxdomain, "", ""},
		{"address.other.svc.cluster.local", dns.TypeA, nxdomain, "", ""},

		// 2.6 pods
		{"10-3-4-5.default.pod.cluster.local", dns.TypeA, noError, "A 10.3.4.5", ""},
		{"10-3-4-5.default.pod.cluster.local", dns.TypeAAAA, noError, "", ""},
		{"fd00--9.default.pod.cluster.local", dns.TypeAAAA, noError, "AAAA fd00::9", ""},
		{"192-0-2-1.default.pod.cluster.local", dns.TypeA, nxdomain, "", ""}, // of no pod network
		{"10-3-4.default.pod.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"10-3-4-256.default.pod.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"web.default.pod.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"x.10-3-4-5.default.pod.cluster.local", dns.TypeA, nxdomain, "", ""},

		// the zone itself
		{"cluster.local", dns.TypeSOA, noError, "SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5", ""},
		{"cluster.local", dns.TypeNS, noError, "NS ns.dns.cluster.local.", "ns.dns.cluster.local. A 10.3.0.10"},
		{"cluster.local", dns.TypeA, noError, "", ""},
		{"ns.dns.cluster.local", dns.TypeA, noError, "A 10.3.0.10", ""},
		{"dns.cluster.local", dns.TypeA, noError, "", ""},
		{"svc.cluster.local", dns.TypeA, noError, "", ""},
		{"default.svc.cluster.local", dns.TypeA, noError, "", ""},
		{"absent.svc.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"gone.default.svc.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"web.absent.svc.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"foo.cluster.local", dns.TypeA, nxdomain, "", ""},
		{"x.y.web.default.svc.cluster.local", dns.TypeA, nxdomain, "", ""},
		{`w\.eb.default.svc.cluster.local`, dns.TypeA, nxdomain, "", ""},

		// every host's own
		{"localhost", dns.TypeA, noError, "A 127.0.0.1", ""},
		{"app.localhost", dns.TypeAAAA, noError, "AAAA ::1", ""},
		{"1.0.0.127.in-addr.arpa", dns.TypePTR, noError, "PTR localhost.", ""},
		{"9.9.42.127.in-addr.arpa", dns.TypePTR, nxdomain, "", ""},
		{"x.invalid", dns.TypeA, nxdomain, "", ""},
		{"xcluster.local", dns.TypeA, servfail, "", ""}, // not below the zone: nobody to ask here
	} {
		t.Run(fmt.Sprintf("%s_%s", dns.TypeToString[c.qtype], c.name), func(t *testing.T) {
			m := s.ask(t, query(c.name, c.qtype))
			if m.Rcode != c.rcode || !m.Response || !m.RecursionAvailable {
				t.Errorf("%s, want %s", dns.RcodeToString[m.Rcode], dns.RcodeToString[c.rcode])
			}
			if got := short(c.name, m.Answer); got != c.answer {
				t.Errorf("answer %s, want %s", got, c.answer)
			}
			if got := short(c.name, m.Extra); got != c.extra {
				t.Errorf("additional %s, want %s", got, c.extra)
			}
			inZone := strings.HasSuffix(strings.ToLower(c.name), ".cluster.local") || c.name == "cluster.local"
			wantSOA := inZone && c.rcode != servfail && len(m.Answer) == 0 || c.name == "nowhere.other.svc.cluster.local"
			if got := short("x", m.Ns); wantSOA != (got == soa) {
				t.Errorf("authority %q", got)
			}
			for _, rr := range m.Answer {
				if ttl := rr.Header().Ttl; ttl != clusterTTL && c.qtype != dns.TypeTXT {
					t.Errorf("time to live %d", ttl)
				}
			}
		})
	}
	if m := s.ask(t, query("ring.other.svc.cluster.local", dns.TypeA)); m.Rcode != servfail || len(m.Answer) > maxAliases {
		t.Errorf("a ring of aliases: %v", m)
	}
}
