package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a DNS, as resolvers have them.
const (
	maxServers   = 3
	maxSearches  = 32
	defaultNdots = 1
	maxNdots     = 15
	// A server is given defaultTimeout to answer, and all of them are asked defaultAttempts times.
	defaultTimeout  = 2 * time.Second
	maxTimeout      = 10 * time.Second
	defaultAttempts = 2
	maxAttempts     = 5
)

// DNS says who is asked for names. The zero DNS is the host's own.
type DNS struct {
	servers  []netip.AddrPort
	searches []string
	ndots    int
	timeout  time.Duration
	attempts int

	domain   string
	networks []netip.Prefix
}

// ParseDNS reads servers (addresses, with a port where it is not 53), domains in which names are looked up that are not
// complete, and options as resolv.conf has them, of which ndots, timeout and attempts count.
func ParseDNS(servers, searches, options []string) (DNS, error) {
	if len(servers) > maxServers || len(searches) > maxSearches {
		return DNS{}, fmt.Errorf("parse dns: %d servers and %d domains, the limits are %d and %d", len(servers), len(searches), maxServers, maxSearches)
	}
	d := DNS{ndots: defaultNdots, timeout: defaultTimeout, attempts: defaultAttempts}
	for _, text := range servers {
		addr, err := netip.ParseAddr(text)
		at := netip.AddrPortFrom(addr, 53)
		if err != nil {
			at, err = netip.ParseAddrPort(text)
		}
		if err != nil || at.Port() == 0 {
			return DNS{}, fmt.Errorf("parse dns: server %q is no address", text)
		}
		d.servers = append(d.servers, at)
	}
	for _, text := range searches {
		if text == "." {
			continue // complete names are looked up in any case
		}
		name, err := cleanName(text)
		if err != nil {
			return DNS{}, fmt.Errorf("parse dns: domain %w", err)
		}
		d.searches = append(d.searches, name)
	}
	for _, o := range options {
		name, value, _ := strings.Cut(o, ":")
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			continue // resolvers pass over what they do not know
		}
		switch name {
		case "ndots":
			d.ndots = min(n, maxNdots)
		case "timeout":
			d.timeout = min(max(time.Duration(n)*time.Second, time.Second), maxTimeout)
		case "attempts":
			d.attempts = min(max(n, 1), maxAttempts)
		}
	}
	return d, nil
}

// Trusting names a domain whose names, as the servers have them, may lead to those networks even where these are the
// host's own: a cluster whose pods and services have loopback addresses.
func (d DNS) Trusting(domain string, networks []string) (DNS, error) {
	name, err := cleanName(domain)
	if err != nil {
		return DNS{}, fmt.Errorf("parse dns: domain %w", err)
	}
	d.domain, d.networks = name, nil
	for _, text := range networks {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return DNS{}, fmt.Errorf("parse dns: %q is no network", text)
		}
		d.networks = append(d.networks, prefix.Masked())
	}
	return d, nil
}

// WithDNS is the same policy with names looked up by d.
func (p *Policy) WithDNS(d DNS) *Policy {
	q := *p
	q.names = d
	return &q
}

// trusts tells whether a complete name may lead to an address of the host's own.
func (d *DNS) trusts(name string, addr netip.Addr) bool {
	return d.domain != "" && strings.HasSuffix(name, "."+d.domain+".") &&
		slices.ContainsFunc(d.networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// candidates are the complete names that a name may stand for, in the order in which they are tried.
func (d *DNS) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var out []string
	for _, domain := range d.searches {
		if len(name)+1+len(domain) <= maxName {
			out = append(out, name+"."+domain+".")
		}
	}
	if strings.Count(name, ".") >= d.ndots {
		return slices.Insert(out, 0, name+".")
	}
	return append(out, name+".")
}

// isLocalhost tells of names that are the host's own by definition, and looked up in its files.
func isLocalhost(name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// lookup finds a name's addresses, and the complete name that has them.
func (p *Policy) lookup(ctx context.Context, family, name string) ([]netip.Addr, string, error) {
	d := &p.names
	if len(d.servers) == 0 || isLocalhost(name) {
		found, err := p.resolver.LookupNetIP(ctx, family, name)
		return found, name, err
	}
	var err error
	for _, full := range d.candidates(name) {
		var found []netip.Addr
		if found, err = p.ask(ctx, family, full); err == nil {
			return found, strings.ToLower(full), nil
		}
		// Only a name that is known not to be lets the next one be tried: another would else answer for it.
		var absent *net.DNSError
		if !errors.As(err, &absent) || !absent.IsNotFound {
			break
		}
		absent.Name, absent.Server = name, ""
	}
	return nil, "", err
}

// ask looks a complete name up at one server after another until one answers.
func (p *Policy) ask(ctx context.Context, family, full string) (found []netip.Addr, err error) {
	d := &p.names
	for range d.attempts {
		for _, server := range d.servers {
			if found, err = p.askOne(ctx, server, family, full); err == nil {
				return found, nil
			}
			var dnsError *net.DNSError
			if errors.As(err, &dnsError) && dnsError.IsNotFound || ctx.Err() != nil {
				return nil, err
			}
		}
	}
	return nil, err
}

func (p *Policy) askOne(ctx context.Context, server netip.AddrPort, family, full string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, p.names.timeout)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := p.connect(ctx, network, server)
		if err == nil { // the resolver itself would go on reading until the host's own timeout
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}}
	return resolver.LookupNetIP(ctx, family, full)
}
