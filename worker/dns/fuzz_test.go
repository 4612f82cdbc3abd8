package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzPacket answers whatever message there can be: the answer packs, has the question, and is not larger than asked for.
func FuzzPacket(f *testing.F) {
	for _, q := range []*dns.Msg{query("web.default.svc.cluster.local", dns.TypeA), query("_https._tcp.headless.default.svc.cluster.local", dns.TypeSRV),
		query("2.0.3.10.in-addr.arpa", dns.TypePTR), query("inside.other.svc.cluster.local", dns.TypeAAAA), query(".", dns.TypeANY)} {
		q.SetEdns0(1232, true)
		wire, _ := q.Pack()
		f.Add(wire)
	}
	s := newTestServer(f, Config{ResolvConf: "/nonexistent"}, specObjects()...)
	f.Fuzz(func(t *testing.T, wire []byte) {
		q := new(dns.Msg)
		if q.Unpack(wire) != nil {
			return
		}
		m, _ := s.answer(t.Context(), q)
		m.Compress = true
		m.Truncate(datagram(q))
		out, err := m.Pack()
		if err != nil {
			t.Fatalf("%v: %v", q, err)
		}
		if len(q.Question) == 1 && len(out) > maxUDP {
			t.Errorf("%d bytes", len(out))
		}
		if !m.Response || m.Id != q.Id {
			t.Errorf("no answer: %v", m)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "1.0.0.127.in-addr.arpa.", `a\.b.cluster.local.`, `\097.cluster.local.`, "cluster.local.", ".", "10-0-0-1.x.pod.cluster.local."} {
		f.Add(name)
	}
	s := newTestServer(f, Config{ResolvConf: "/nonexistent"}, specObjects()...)
	f.Fuzz(func(t *testing.T, name string) {
		if _, ok := dns.IsDomainName(name); !ok {
			return
		}
		name = dns.Fqdn(name)
		labels, ok := labelsBelow("cluster.local.", name)
		if ok != (strings.EqualFold(name, "cluster.local.") || dns.IsSubDomain("cluster.local.", strings.ToLower(name))) {
			t.Errorf("%q: below the zone %v", name, ok)
		}
		if ok && len(labels) > dns.CountLabel(name) {
			t.Errorf("%q has the labels %q", name, labels)
		}
		if addr, ok := reversed(name); ok {
			back, err := dns.ReverseAddr(addr.String())
			if err != nil || !strings.EqualFold(back, name) && !addr.Is4In6() {
				t.Errorf("%q is %v, which is %q", name, addr, back)
			}
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR} {
			if a, ok := s.own(name, qtype); ok && !a.exists && len(a.records) > 0 {
				t.Errorf("%q has records and does not exist", name)
			}
		}
	})
}

func FuzzUndashed(f *testing.F) {
	for _, label := range []string{"10-0-0-1", "fd00--1", "2001-0db8-0000-0000-0000-0000-0000-0001", "--", "1-2-3", "--ffff-10-0-0-1"} {
		f.Add(label)
	}
	f.Fuzz(func(t *testing.T, label string) {
		addr, ok := undashed(label)
		if !ok {
			return
		}
		if addr.Zone() != "" {
			t.Errorf("%q is %v", label, addr)
		}
		if again, ok := undashed(dashed(addr)); !ok || again != addr {
			t.Errorf("%q is %v, which is written %q", label, addr, dashed(addr))
		}
	})
}

func TestUndashed(t *testing.T) {
	for label, want := range map[string]string{"10-0-0-1": "10.0.0.1", "fd00--1": "fd00::1", "--1": "::1", "10-0-0": "", "10.0.0.1": "", "a": "", "": ""} {
		addr, ok := undashed(label)
		if ok != (want != "") || ok && addr != netip.MustParseAddr(want) {
			t.Errorf("%q is %v %v", label, addr, ok)
		}
	}
}
