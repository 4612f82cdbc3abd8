package dns

import (
	"testing"

	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func BenchmarkAnswers(b *testing.B) {
	s := newTestServer(b, Config{ResolvConf: "/nonexistent"}, specObjects()...)
	s.forwarder.cache.put(question{name: "www.example.com.", qtype: dns.TypeA}, reply("www.example.com", dns.TypeA, noError, a("www.example.com", 3600)))
	for name, q := range map[string]*dns.Msg{
		"service": query("web.default.svc.cluster.local", dns.TypeA), "absent": query("web.default.svc.cluster.local.default.svc.cluster.local", dns.TypeA),
		"headless": query("headless.default.svc.cluster.local", dns.TypeA), "cached": query("www.example.com", dns.TypeA),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, _ := s.answer(b.Context(), q)
				if _, err := m.Pack(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkChange(b *testing.B) {
	s := newTestServer(b, Config{ResolvConf: "/nonexistent"}, many(1000)...)
	slice := many(1000)[1].(*discoveryv1.EndpointSlice)
	fewer := slice.DeepCopy()
	fewer.Endpoints = fewer.Endpoints[1:]
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ { // one of a thousand endpoints comes and goes
		s.catalog.Slices().Set([]*discoveryv1.EndpointSlice{fewer, slice}[n%2])
	}
}
