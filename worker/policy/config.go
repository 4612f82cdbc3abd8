package policy

import (
	"errors"
	"fmt"
	"net/netip"
)

// CompilerConfig is what does not change.
type CompilerConfig struct {
	NodeName string
	// Hosts are the addresses of this node, which policies never cut off from its pods.
	Hosts []netip.Prefix
	// PodCIDRs are where pods' addresses come from, in the whole cluster. They may lie within Hosts.
	PodCIDRs []netip.Prefix
}

// Validate says what of the configuration makes no sense.
func (c CompilerConfig) Validate() error {
	var errs []error
	if c.NodeName == "" {
		errs = append(errs, errors.New("node name: missing"))
	}
	for _, list := range [][]netip.Prefix{c.Hosts, c.PodCIDRs} {
		for _, p := range list {
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
				errs = append(errs, fmt.Errorf("prefix %s: want a masked prefix", p))
			}
		}
	}
	return errors.Join(errs...)
}

// isHost reports whether everything in the prefix is this node's: the narrower of Hosts and PodCIDRs decides.
func (c CompilerConfig) isHost(p netip.Prefix) bool {
	return narrowest(c.Hosts, p) > narrowest(c.PodCIDRs, p)
}

// narrowest answers the length of the longest prefix of the list that covers p, or -1.
func narrowest(list []netip.Prefix, p netip.Prefix) int {
	best := -1
	for _, outer := range list {
		if covers(outer, p) {
			best = max(best, outer.Bits())
		}
	}
	return best
}

func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

func hostPrefix(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }
