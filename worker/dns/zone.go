package dns

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// specVersion is the version of the specification that is served.
const specVersion = "1.1.0"

// zone answers for the cluster's names. It does no I/O.
type zone struct {
	domain string // with a dot at the end
	table  *table
	// pods are the networks whose addresses have pod records; none: every address has.
	pods []netip.Prefix
	// server is where the zone's DNS itself is.
	server func() []netip.Addr
}

// answer is what is known about a name.
type answer struct {
	exists  bool // the name, with whatever records
	records []dns.RR
	extra   []dns.RR
	alias   string // what the last record, a CNAME, leads to
}

// lookup answers a question about a name; inZone is false for names that are not the zone's.
func (z *zone) lookup(name string, qtype uint16) (a answer, inZone bool) {
	labels, ok := labelsBelow(z.domain, name)
	if !ok {
		return answer{}, false
	}
	n := len(labels)
	if n == 0 {
		return z.apex(name, qtype), true
	}
	switch kind, below := labels[n-1], labels[:n-1]; {
	case kind == "svc":
		return z.underServices(name, qtype, below), true
	case kind == "pod":
		return z.underPods(name, qtype, below), true
	case kind == "dns-version" && n == 1:
		return z.version(name, qtype), true
	case kind == "dns" && n == 1:
		return answer{exists: true}, true
	case kind == "dns" && n == 2 && labels[0] == "ns":
		return addresses(name, qtype, z.server()), true
	}
	return answer{}, true
}

func header(name string, qtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: ttl}
}

func (z *zone) apex(name string, qtype uint16) answer {
	a := answer{exists: true}
	switch qtype {
	case dns.TypeSOA:
		a.records = []dns.RR{z.soa()}
	case dns.TypeNS:
		ns := "ns.dns." + z.domain
		a.records = []dns.RR{&dns.NS{Hdr: header(name, dns.TypeNS, clusterTTL), Ns: ns}}
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
			a.extra = append(a.extra, addresses(ns, t, z.server()).records...)
		}
	}
	return a
}

// soa says how long the absence of a name may be kept. Nobody transfers the zone: its serial is never compared.
func (z *zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(z.domain, dns.TypeSOA, clusterTTL), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: clusterTTL,
	}
}

func (z *zone) version(name string, qtype uint16) answer {
	a := answer{exists: true}
	if qtype == dns.TypeTXT {
		a.records = []dns.RR{&dns.TXT{Hdr: header(name, dns.TypeTXT, versionTTL), Txt: []string{specVersion}}}
	}
	return a
}

// underServices answers for what is below svc.<domain>, from right to left: namespace, Service, then a host's name or
// protocol and port.
func (z *zone) underServices(name string, qtype uint16, labels []string) answer {
	n := len(labels)
	switch n {
	case 0:
		return answer{exists: true}
	case 1:
		return answer{exists: z.table.hasNamespace(labels[0])}
	}
	e := z.table.service(labels[n-1], labels[n-2])
	if e == nil {
		return answer{}
	}
	if n == 2 {
		return e.answer(name, qtype)
	}
	if e.service.ExternalName != "" {
		return answer{}
	}
	base := strings.Join(labels[n-2:], ".") + ".svc." + z.domain
	switch {
	case n == 3 && strings.HasPrefix(labels[0], "_"):
		return answer{exists: e.hasProtocol(labels[0][1:])}
	case n == 3:
		addrs, ok := e.hosts[labels[0]]
		if !ok {
			return answer{}
		}
		return addresses(name, qtype, addrs)
	case n == 4 && strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		return e.ports(name, qtype, portKey(labels[0][1:], labels[1][1:]), base)
	}
	return answer{}
}

// answer is about the Service itself.
func (e *entry) answer(name string, qtype uint16) answer {
	target := e.service.ExternalName
	if target == "" {
		return addresses(name, qtype, e.addrs)
	}
	if _, ok := dns.IsDomainName(target); !ok || isAddress(target) {
		return answer{} // nothing that an alias could name
	}
	target = dns.Fqdn(target)
	return answer{exists: true, alias: target, records: []dns.RR{&dns.CNAME{Hdr: header(name, dns.TypeCNAME, clusterTTL), Target: target}}}
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (e *entry) hasProtocol(protocol string) bool {
	for key := range e.targets {
		if strings.HasSuffix(key, "/"+protocol) {
			return true
		}
	}
	return false
}

// ports are the targets of a named port, with their addresses.
func (e *entry) ports(name string, qtype uint16, key, base string) answer {
	targets, ok := e.targets[key]
	if !ok {
		return answer{}
	}
	a := answer{exists: true}
	if qtype != dns.TypeSRV {
		return a
	}
	described := map[string]bool{}
	for _, i := range some(len(targets)) {
		t := targets[i]
		host := base
		if t.host != "" {
			host = t.host + "." + base
		}
		a.records = append(a.records, &dns.SRV{
			Hdr: header(name, dns.TypeSRV, clusterTTL), Priority: 0, Weight: uint16(max(1, 100/len(targets))), Port: t.port, Target: host,
		})
		for _, family := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if !described[host] {
				a.extra = append(a.extra, addresses(host, family, t.addrs).records...)
			}
		}
		described[host] = true
	}
	return a
}

// addresses are the records of a name that exists.
func addresses(name string, qtype uint16, addrs []netip.Addr) answer {
	a := answer{exists: true}
	if qtype != dns.TypeA && qtype != dns.TypeAAAA {
		return a
	}
	for _, i := range some(len(addrs)) {
		switch addr := addrs[i]; {
		case qtype == dns.TypeA && addr.Is4():
			a.records = append(a.records, &dns.A{Hdr: header(name, qtype, clusterTTL), A: addr.AsSlice()})
		case qtype == dns.TypeAAAA && addr.Is6():
			a.records = append(a.records, &dns.AAAA{Hdr: header(name, qtype, clusterTTL), AAAA: addr.AsSlice()})
		}
	}
	return a
}

// some are the indexes of up to maxAnswers of n records, from a random place on: clients take the first.
func some(n int) []int {
	if n == 0 {
		return nil
	}
	start := rand.IntN(n)
	out := make([]int, min(n, maxAnswers))
	for i := range out {
		out[i] = (start + i) % n
	}
	return out
}

// underPods answers for the addresses of pods as names. Whether a pod has the address is not looked at: the answer says
// no more than the question does.
func (z *zone) underPods(name string, qtype uint16, labels []string) answer {
	switch len(labels) {
	case 0, 1:
		return answer{exists: true}
	case 2:
		addr, ok := undashed(labels[0])
		if !ok || !z.isPod(addr) {
			return answer{}
		}
		return addresses(name, qtype, []netip.Addr{addr})
	}
	return answer{}
}

func (z *zone) isPod(addr netip.Addr) bool {
	for _, p := range z.pods {
		if p.Contains(addr) {
			return true
		}
	}
	return len(z.pods) == 0
}

// reverse answers for the name of an address, when it is one of the cluster's.
func (z *zone) reverse(name string, qtype uint16) (answer, bool) {
	addr, ok := reversed(name)
	if !ok {
		return answer{}, false
	}
	names := z.table.names(addr)
	if len(names) == 0 {
		return answer{}, false
	}
	a := answer{exists: true}
	if qtype != dns.TypePTR {
		return a, true
	}
	for _, i := range some(len(names)) {
		p := names[i]
		full := p.service.Name + "." + p.service.Namespace + ".svc." + z.domain
		if p.host != "" {
			full = p.host + "." + full
		}
		a.records = append(a.records, &dns.PTR{Hdr: header(name, dns.TypePTR, clusterTTL), Ptr: full})
	}
	return a, true
}
