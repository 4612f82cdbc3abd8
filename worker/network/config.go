package network

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
)

// Mode is how pods get their addresses.
type Mode uint8

const (
	// Loopback gives pods addresses of 127.0.0.0/8 and touches nothing of the machine.
	Loopback Mode = iota
	// Cluster gives pods addresses that other nodes reach.
	Cluster
)

// Backend is how packets reach the pods of other nodes.
type Backend string

const (
	// Auto takes Direct to nodes on the same link and VXLAN to the others.
	Auto Backend = "auto"
	// Direct routes to the other node's address, which has to be on the same link.
	Direct Backend = "direct"
	// VXLAN tunnels to every node.
	VXLAN Backend = "vxlan"
)

const (
	// DefaultVXLANPort is VXLAN's own port; network cards that know tunnels know them by it.
	DefaultVXLANPort = 4789
	// DefaultVXLANID tells our tunnel from others on the same port.
	DefaultVXLANID = 4242
	// minMTU is what IPv6 asks of every link; less has no use with IPv4 either.
	minMTU = 1280
	maxMTU = 65535
	// maxVXLANID is what fits into the header's 24 bits.
	maxVXLANID = 1<<24 - 1
)

// Config says what the network works with.
type Config struct {
	Mode Mode
	// NodeName is this node's name: its entry among SetNodes' is this node.
	NodeName string
	// NodeIPs are this node's addresses, at most one of a family. The first one's family is that of the tunnels' outer
	// packets, which has to be the same on all nodes.
	NodeIPs []netip.Addr
	// PodCIDRs are where pods of this node get their addresses from, at most one of a family. In cluster mode they may be
	// empty: then they come with SetNodes.
	PodCIDRs []netip.Prefix
	// ClusterCIDRs are where all nodes' PodCIDRs are of. What goes there is never masqueraded, though no node has it yet.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs are made local, so that a proxy in userspace can listen on services' addresses. Cluster mode only.
	ServiceCIDRs []netip.Prefix
	// Backend is Auto when empty.
	Backend Backend
	// MTU is that of pods' interfaces; 0: derived from the links by which other nodes are reached.
	MTU int
	// VXLANPort and VXLANID have to be the same on all nodes; 0: the defaults.
	VXLANPort int
	VXLANID   int
	// Masquerade gives packets from pods to the world outside of the cluster this node's address.
	Masquerade bool
	// Dir is where the last known nodes are kept, so that a restart without the control plane goes on. Empty: nowhere.
	Dir string
	// Endpoints, when set, is told of all containers' links at the start and whenever one came or went, before Attach
	// answers. It is called one at a time and must not call the Network.
	Endpoints func([]*Endpoint)
	// Netns is the path of the network namespace to work in; empty: the process's own.
	Netns  string
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Backend == "" {
		c.Backend = Auto
	}
	if c.VXLANPort == 0 {
		c.VXLANPort = DefaultVXLANPort
	}
	if c.VXLANID == 0 {
		c.VXLANID = DefaultVXLANID
	}
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if err := checkPrefixes("pod CIDR", c.PodCIDRs); err != nil {
		return err
	}
	if c.Mode == Loopback {
		return c.validateLoopback()
	}
	switch {
	case c.Mode != Cluster:
		return fmt.Errorf("network mode %d is unknown", c.Mode)
	case c.NodeName == "":
		return errors.New("pod network needs the node's name")
	case c.Backend != "" && c.Backend != Auto && c.Backend != Direct && c.Backend != VXLAN:
		return fmt.Errorf("network backend %q: want auto, direct or vxlan", c.Backend)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return fmt.Errorf("pod MTU %d: want 0 or %d to %d", c.MTU, minMTU, maxMTU)
	case c.VXLANPort < 0 || c.VXLANPort > 65535:
		return fmt.Errorf("VXLAN port %d: want 1 to 65535", c.VXLANPort)
	case c.VXLANID < 0 || c.VXLANID > maxVXLANID:
		return fmt.Errorf("VXLAN id %d: want 1 to %d", c.VXLANID, maxVXLANID)
	case c.Dir != "" && !filepath.IsAbs(c.Dir):
		return fmt.Errorf("network directory %q: want an absolute path", c.Dir)
	}
	if err := checkPrefixes("service CIDR", c.ServiceCIDRs); err != nil {
		return err
	}
	for _, p := range c.ClusterCIDRs {
		if !p.IsValid() || p != p.Masked() {
			return fmt.Errorf("cluster CIDR %s: want the first address of a prefix", p)
		}
	}
	return checkNodeIPs(c.NodeIPs)
}

func (c *Config) validateLoopback() error {
	if len(c.PodCIDRs) != 1 || !c.PodCIDRs[0].Addr().Is4() {
		return errors.New("loopback mode needs one IPv4 pod CIDR")
	}
	return nil
}

// checkPrefixes lets through at most one whole prefix of each family.
func checkPrefixes(what string, prefixes []netip.Prefix) error {
	seen := map[bool]bool{}
	for _, p := range prefixes {
		switch {
		case !p.IsValid() || p != p.Masked() || p.Addr().Is4In6():
			return fmt.Errorf("%s %s: want the first address of a prefix", what, p)
		case seen[p.Addr().Is4()]:
			return fmt.Errorf("%s %s: there is another of its family", what, p)
		}
		seen[p.Addr().Is4()] = true
	}
	return nil
}

func checkNodeIPs(ips []netip.Addr) error {
	if len(ips) == 0 {
		return errors.New("pod network needs the node's address")
	}
	seen := map[bool]bool{}
	for _, ip := range ips {
		if !ip.IsValid() || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip.Is4In6() || ip.Zone() != "" {
			return fmt.Errorf("node address %s: want one by which other nodes reach this one", ip)
		}
		if seen[ip.Is4()] {
			return fmt.Errorf("node address %s: there is another of its family", ip)
		}
		seen[ip.Is4()] = true
	}
	return nil
}
