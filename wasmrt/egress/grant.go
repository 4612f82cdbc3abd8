package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// MaxGrants bounds the grants of one policy.
	MaxGrants = 256
	// maxGrant bounds one grant's text.
	maxGrant = 512
	// maxName bounds a name, as DNS does, and maxLabel each of its parts.
	maxName  = 253
	maxLabel = 63
)

// grant allows one thing.
type grant struct {
	text   string
	scheme string // tcp, udp, http or https
	host   pattern
	ports  ports
}

// pattern is what a host must be.
type pattern struct {
	any    bool
	name   string // in lower case
	suffix string // ".example.com" of *.example.com
	prefix netip.Prefix
}

// ports is a range.
type ports struct{ first, last uint16 }

func (p ports) has(port uint16) bool { return port >= p.first && port <= p.last }

// defaultPorts are those of the forms that may leave them out.
var defaultPorts = map[string]uint16{"http": 80, "https": 443}

func parseGrant(text string) (grant, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok {
		return grant{}, errors.New("it is none of dns, *, tcp:…, udp:…, http:… and https:… grants")
	}
	g := grant{text: text, scheme: scheme}
	port, hasDefault := defaultPorts[scheme]
	if scheme != "tcp" && scheme != "udp" && !hasDefault {
		return grant{}, fmt.Errorf("%q is none of tcp, udp, http and https", scheme)
	}
	host, portText, err := splitPort(rest)
	if err != nil {
		return grant{}, err
	}
	if g.host, err = parsePattern(host); err != nil {
		return grant{}, err
	}
	switch {
	case portText != "":
		g.ports, err = parsePorts(portText)
	case hasDefault:
		g.ports = ports{port, port}
	default:
		err = errors.New("it has no port: write one, a range such as 8000-8999, or *")
	}
	return g, err
}

// splitPort parts host and port. Addresses of version 6 stand in brackets, or have a mask behind them.
func splitPort(s string) (host, port string, err error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, rest, ok := strings.Cut(inner, "]")
		if !ok {
			return "", "", errors.New("a bracket is not closed")
		}
		if mask, after, ok := strings.Cut(rest, ":"); ok {
			return host + mask, after, portGiven(after)
		}
		return host + rest, "", nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", nil
	}
	if strings.Contains(s[:i], ":") {
		return "", "", errors.New("an address of IP version 6 stands in brackets: tcp:[fd00::1]:443 or tcp:[fd00::/8]:443")
	}
	return s[:i], s[i+1:], portGiven(s[i+1:])
}

func portGiven(port string) error {
	if port == "" {
		return errors.New("nothing follows the colon where the port should be")
	}
	return nil
}

func parsePorts(s string) (ports, error) {
	if s == "*" {
		return ports{1, 65535}, nil
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, errA := parsePort(first)
	b, errB := parsePort(last)
	if err := errors.Join(errA, errB); err != nil {
		return ports{}, err
	}
	if a > b {
		return ports{}, fmt.Errorf("the range of ports %s is empty", s)
	}
	return ports{a, b}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q is no port", s)
	}
	return uint16(n), nil
}

func parsePattern(s string) (pattern, error) {
	if s == "*" {
		return pattern{any: true}, nil
	}
	if strings.Contains(s, "/") {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return pattern{}, fmt.Errorf("%q is no network", s)
		}
		return pattern{prefix: unmap(prefix.Masked())}, nil
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return pattern{}, fmt.Errorf("address %s has a zone, which is not supported", s)
		}
		addr = addr.Unmap()
		return pattern{prefix: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	if parent, ok := strings.CutPrefix(s, "*."); ok {
		name, err := cleanName(parent)
		return pattern{suffix: "." + name}, err
	}
	name, err := cleanName(s)
	return pattern{name: name}, err
}

// unmap makes a network of version 4 addresses written as version 6 what it is.
func unmap(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}

// cleanName is a name in the form in which names are compared.
func cleanName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" || len(name) > maxName {
		return "", fmt.Errorf("%q is no host name", s)
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return "", fmt.Errorf("%q is no host name", s)
		}
	}
	return name, nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
