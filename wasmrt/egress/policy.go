package egress

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
)

// Policy is what a guest may reach. It does not change, and may be used by many.
type Policy struct {
	everything bool
	dns        bool
	grants     []grant

	names    DNS
	source4  netip.Addr    // of connections by IPv4; not valid: what the kernel chooses
	source6  netip.Addr    // and by IPv6
	sockets  Sockets       // that connections are made with; nil: ones of this process's own
	resolver *net.Resolver // the host's
}

// Parse reads grants. None are a policy that denies everything.
func Parse(grants []string) (*Policy, error) {
	if len(grants) > MaxGrants {
		return nil, fmt.Errorf("parse grants: %d of them, the limit is %d", len(grants), MaxGrants)
	}
	p := &Policy{resolver: net.DefaultResolver}
	for _, text := range grants {
		switch {
		case len(text) > maxGrant:
			return nil, fmt.Errorf("parse grant %.40q…: it has %d bytes, the limit is %d", text, len(text), maxGrant)
		case text == "*":
			p.everything, p.dns = true, true
		case text == "dns":
			p.dns = true
		default:
			g, err := parseGrant(text)
			if err != nil {
				return nil, fmt.Errorf("parse grant %q: %w", text, err)
			}
			p.grants = append(p.grants, g)
		}
	}
	return p, nil
}

// DeniedError says that no grant allows what was asked for.
type DeniedError struct {
	Network string // tcp, udp, http, https or dns
	Address string // host and port
	// Grant is one that would allow it.
	Grant string
}

// Is makes a denial look to errors.Is as one of the file system's does.
func (e *DeniedError) Is(target error) bool { return target == fs.ErrPermission }

func (e *DeniedError) Error() string {
	return fmt.Sprintf("%s to %s is not granted: the grant %s would allow it", e.Network, e.Address, e.Grant)
}

// target is what somebody wants to reach: a name, or an address.
type target struct {
	schemes []string // that allow it; the first is what is asked for
	host    string   // as it was given
	name    string   // in lower case; empty when host is an address
	addr    netip.Addr
	port    uint16
}

func (t target) denied(host string) *DeniedError {
	address := net.JoinHostPort(host, fmt.Sprint(t.port))
	return &DeniedError{Network: t.schemes[0], Address: address, Grant: t.schemes[0] + ":" + address}
}

// checkTarget tells whether any grant could allow the target, before a name is resolved.
func (p *Policy) checkTarget(t target) error {
	if t.name == "" {
		if !p.allowsAddress(t, t.addr) {
			return t.denied(t.addr.String())
		}
		return nil
	}
	if !p.allowsName(t) && !p.hasNetworks(t) {
		return t.denied(t.name)
	}
	return nil
}

// matching are the grants for the scheme and port of a target.
func (p *Policy) matching(t target, match func(pattern) bool) bool {
	return slices.ContainsFunc(p.grants, func(g grant) bool {
		return slices.Contains(t.schemes, g.scheme) && g.ports.has(t.port) && match(g.host)
	})
}

func (p *Policy) allowsName(t target) bool {
	return p.everything || p.matching(t, func(h pattern) bool { return h.matchesName(t.name) })
}

// hasNetworks tells whether a name could lead to addresses that are granted.
func (p *Policy) hasNetworks(t target) bool {
	return p.matching(t, func(h pattern) bool { return h.prefix.IsValid() })
}

// allowsAddress is for an address that was asked for by itself.
func (p *Policy) allowsAddress(t target, addr netip.Addr) bool {
	return p.everything || p.matching(t, func(h pattern) bool {
		return h.prefix.IsValid() && h.prefix.Contains(addr) || h.any && !isNear(addr)
	})
}

// allowsResolved is for an address that the target's name leads to.
func (p *Policy) allowsResolved(t target, addr netip.Addr) bool {
	switch {
	case p.allowsAddress(t, addr):
		return true
	case !p.allowsName(t):
		return false
	}
	return !isNear(addr) || t.name == "localhost" && addr.IsLoopback()
}

func (h pattern) matchesName(name string) bool {
	switch {
	case h.any:
		return true
	case h.name != "":
		return h.name == name
	case h.suffix != "":
		return len(name) > len(h.suffix) && name[len(name)-len(h.suffix):] == h.suffix
	}
	return false
}

// isNear tells of addresses that lead to the host itself or to its link.
func isNear(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Is4() && a.As4()[0] == 0 || translated(a)
}

// translated tells of addresses of version 6 that carry one of version 4, which a gateway may unpack.
func translated(a netip.Addr) bool {
	if !a.Is6() {
		return false
	}
	b := a.As16()
	switch {
	case netip.PrefixFrom(netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b}), 96).Contains(a): // NAT64
		return isNear(netip.AddrFrom4([4]byte(b[12:])))
	case b[0] == 0x20 && b[1] == 0x02: // 6to4
		return isNear(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return false
}
