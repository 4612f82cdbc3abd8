package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	// DialTimeout bounds a connection's making, with the look-up of the name.
	DialTimeout = 30 * time.Second
	// maxAddresses bounds how many of a name's addresses are tried.
	maxAddresses = 8
)

// DialContext connects to host:port over tcp or udp (or tcp4, udp6 …), when a grant allows it.
func (p *Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	scheme := strings.TrimRight(network, "46")
	if scheme != "tcp" && scheme != "udp" {
		return nil, fmt.Errorf("dial: network %q is none of tcp and udp", network)
	}
	return p.dial(ctx, network, address, []string{scheme})
}

// DialHTTP connects for a request of the scheme http or https that the host makes for the guest.
func (p *Policy) DialHTTP(ctx context.Context, scheme, network, address string) (net.Conn, error) {
	if strings.TrimRight(network, "46") != "tcp" {
		return nil, fmt.Errorf("dial: network %q is not tcp", network)
	}
	schemes, err := httpSchemes(scheme)
	if err != nil {
		return nil, err
	}
	return p.dial(ctx, network, address, schemes)
}

// CheckHTTP tells whether a request to a host could be allowed, before anything is resolved: the error is *DeniedError, or
// says what is wrong with the host.
func (p *Policy) CheckHTTP(scheme, host string, port int) error {
	schemes, err := httpSchemes(scheme)
	if err != nil {
		return err
	}
	t, err := newTarget(schemes, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return p.check(t)
}

func httpSchemes(scheme string) ([]string, error) {
	if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("check request: scheme %q is none of http and https", scheme)
	}
	return []string{scheme, "tcp"}, nil
}

func newTarget(schemes []string, address string) (target, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return target{}, fmt.Errorf("dial %q: %w", address, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return target{}, fmt.Errorf("dial %q: it has no port", address)
	}
	t := target{schemes: schemes, host: host, port: uint16(port)}
	if t.addr, err = netip.ParseAddr(host); err == nil {
		if t.addr.Zone() != "" {
			return target{}, fmt.Errorf("dial %q: zones are not supported", address)
		}
		t.addr = t.addr.Unmap()
		return t, nil
	}
	if t.name, err = cleanName(host); err != nil {
		return target{}, fmt.Errorf("dial %q: %w", address, err)
	}
	return t, nil
}

// check is checkTarget for a policy that may be nil.
func (p *Policy) check(t target) error {
	if p == nil {
		return t.denied(t.host)
	}
	return p.checkTarget(t)
}

func (p *Policy) dial(ctx context.Context, network, address string, schemes []string) (net.Conn, error) {
	t, err := newTarget(schemes, address)
	if err != nil {
		return nil, err
	}
	if err := p.check(t); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	addrs := []netip.Addr{t.addr}
	if t.name != "" {
		if addrs, err = p.resolve(ctx, network, t); err != nil {
			return nil, err
		}
	}
	// Each address gets its share, so that one that does not answer leaves time for the others.
	var errs []error
	for _, addr := range addrs {
		share, done := context.WithTimeout(ctx, DialTimeout/time.Duration(len(addrs)))
		conn, err := p.connect(share, network, netip.AddrPortFrom(addr, t.port))
		done()
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// resolve looks a name up and leaves the addresses that are allowed.
func (p *Policy) resolve(ctx context.Context, network string, t target) ([]netip.Addr, error) {
	family := "ip"
	if last := network[len(network)-1]; last == '4' || last == '6' {
		family += string(last)
	}
	found, full, err := p.lookup(ctx, family, t.host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", t.name, err)
	}
	var allowed []netip.Addr
	for _, addr := range found {
		addr = addr.Unmap()
		if addr.Zone() == "" && (p.allowsResolved(t, addr) || p.allowsName(t) && p.names.trusts(full, addr)) && len(allowed) < maxAddresses {
			allowed = append(allowed, addr)
		}
	}
	if len(allowed) == 0 {
		if len(found) > 0 {
			return nil, t.denied(found[0].Unmap().String())
		}
		return nil, &net.DNSError{Err: "no such host", Name: t.name, IsNotFound: true}
	}
	return allowed, nil
}

// LookupHost resolves a name for the guest, when dns is granted.
func (p *Policy) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{addr}, nil // nobody is asked
	}
	clean, err := cleanName(name)
	if err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: name, IsNotFound: true}
	}
	if p == nil || !p.dns {
		return nil, &DeniedError{Network: "dns", Address: clean, Grant: "dns"}
	}
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	found, _, err := p.lookup(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", clean, err)
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found, nil
}
