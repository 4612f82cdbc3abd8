package dns

import (
	"net/netip"

	"github.com/miekg/dns"
)

// loopbacks are what localhost is.
var loopbacks = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// local answers for the names that isLocalName tells: localhost and what is below it, by RFC 6761, and loopback addresses,
// of which only one has a name.
func local(name string, qtype uint16) answer {
	if _, ok := labelsBelow("localhost.", name); ok {
		return addresses(name, qtype, loopbacks)
	}
	addr, ok := reversed(name)
	if !ok || addr != loopbacks[0] {
		return answer{}
	}
	a := answer{exists: true}
	if qtype == dns.TypePTR {
		a.records = []dns.RR{&dns.PTR{Hdr: header(name, dns.TypePTR, clusterTTL), Ptr: "localhost."}}
	}
	return a
}
