package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// labelsBelow are a name's labels left of a zone's, in lower case; ok says that the name is the zone or below it. Both
// end in a dot.
func labelsBelow(zone, name string) (labels []string, ok bool) {
	name = strings.ToLower(name)
	if !dns.IsSubDomain(zone, name) {
		return nil, false
	}
	labels = dns.SplitDomainName(name)
	return labels[:len(labels)-dns.CountLabel(zone)], true
}

const (
	reverse4 = "in-addr.arpa."
	reverse6 = "ip6.arpa."
)

// reversed is the address that a name of in-addr.arpa or ip6.arpa stands for.
func reversed(name string) (netip.Addr, bool) {
	if labels, ok := labelsBelow(reverse4, name); ok {
		return reversed4(labels)
	}
	if labels, ok := labelsBelow(reverse6, name); ok {
		return reversed6(labels)
	}
	return netip.Addr{}, false
}

func reversed4(labels []string) (netip.Addr, bool) {
	var a [4]byte
	if len(labels) != len(a) {
		return netip.Addr{}, false
	}
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 10, 8)
		if err != nil || strconv.FormatUint(n, 10) != label {
			return netip.Addr{}, false
		}
		a[len(a)-1-i] = byte(n)
	}
	return netip.AddrFrom4(a), true
}

func reversed6(labels []string) (netip.Addr, bool) {
	var a [16]byte
	if len(labels) != 2*len(a) {
		return netip.Addr{}, false
	}
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 16, 4)
		if err != nil || len(label) != 1 {
			return netip.Addr{}, false
		}
		a[len(a)-1-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

// undashed is the address that a label such as 10-0-0-1 or fd00--1 is.
func undashed(label string) (netip.Addr, bool) {
	if strings.ContainsAny(label, ".:%") {
		return netip.Addr{}, false
	}
	if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil && a.Is4() {
		return a, true
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return a, err == nil && a.Is6()
}

// neverForwarded are zones that are every host's own, so that no other server is asked about them.
var neverForwarded = []string{"localhost.", "127." + reverse4, "invalid."}

func isLocalName(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(neverForwarded, func(zone string) bool { return dns.IsSubDomain(zone, name) })
}
