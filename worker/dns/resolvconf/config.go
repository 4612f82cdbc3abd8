package resolvconf

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Limits, as Kubernetes and resolvers have them.
const (
	// MaxServers is how many servers a resolver asks.
	MaxServers = 3
	// MaxSearches and MaxSearchChars bound the search list.
	MaxSearches    = 32
	MaxSearchChars = 2048
	// maxFile bounds what is read of a file, maxOptions how many options are kept.
	maxFile    = 64 << 10
	maxOptions = 32
)

// Config is what a resolv.conf says. Servers are addresses, with a port where it is not 53.
type Config struct {
	Servers  []string
	Searches []string
	Options  []string
}

// Parse reads a resolv.conf. The last search or domain line counts; options gather.
func Parse(text []byte) Config {
	var c Config
	for line := range strings.Lines(string(text[:min(len(text), maxFile)])) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil && len(c.Servers) < MaxServers {
				c.Servers = append(c.Servers, addr.String())
			}
		case "domain":
			c.Searches, _ = limitSearches(searches(fields[1:2]))
		case "search":
			c.Searches, _ = limitSearches(searches(fields[1:]))
		case "options":
			c.Options = append(c.Options, fields[1:]...)
			c.Options = c.Options[:min(len(c.Options), maxOptions)]
		}
	}
	return c
}

// searches are the domains once each and without the dot at the end, except for the root alone.
func searches(domains []string) []string {
	var out []string
	for _, d := range domains {
		if d != "." {
			d = strings.TrimRight(d, ".")
		}
		if d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// limitSearches keeps what resolvers take; cut says that something was left out.
func limitSearches(domains []string) (kept []string, cut bool) {
	chars := 0
	for i, d := range domains {
		if chars += len(d) + 1; i == MaxSearches || chars-1 > MaxSearchChars {
			return domains[:i], true
		}
	}
	return domains, false
}

// String writes the configuration as a resolv.conf.
func (c Config) String() string {
	var b strings.Builder
	if len(c.Searches) > 0 {
		b.WriteString("search " + strings.Join(c.Searches, " ") + "\n")
	}
	for _, s := range c.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(c.Options) > 0 {
		b.WriteString("options " + strings.Join(c.Options, " ") + "\n")
	}
	return b.String()
}

// Option is a number such as that of ndots:5, within what resolvers take.
func (c Config) Option(name string, otherwise, most int) int {
	n := otherwise
	for _, o := range c.Options {
		if value, ok := strings.CutPrefix(o, name+":"); ok {
			if v, err := strconv.Atoi(value); err == nil && v >= 0 {
				n = min(v, most)
			}
		}
	}
	return n
}

// Address is a server with its port.
func Address(server string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(server); err == nil {
		return netip.AddrPortFrom(addr, defaultPort), nil
	}
	return netip.ParseAddrPort(server)
}

// defaultPort is where DNS servers are.
const defaultPort = 53
