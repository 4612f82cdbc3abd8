package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// vethPrefix begins the names of the host's ends of containers' links.
	vethPrefix = "ptl"
	// vethDigits fill the name up to the 15 characters that a link's name may have.
	vethDigits = 12
	// aliasMark begins the alias by which a link of ours is known again: mark, owner, container, interface, addresses.
	aliasMark = "petrel/1"
	// maxAlias is what the kernel keeps.
	maxAlias = 255
	// maxInterfaceName is the kernel's.
	maxInterfaceName = 15
)

var (
	// gateway4 and gateway6 are where containers send everything. They are nobody's addresses: a permanent neighbour
	// entry leads to the host's end of the link.
	gateway4 = netip.MustParseAddr("169.254.1.1")
	gateway6 = netip.MustParseAddr("fe80::1")
)

// ErrNotAttached says that a container has no link, or not the one that it should have.
var ErrNotAttached = errors.New("container is not attached")

// Attachment asks for a container's link.
type Attachment struct {
	// ContainerID is the sandbox's, as its runtime knows it.
	ContainerID string
	// Owner is whose addresses it gets: the pod's UID, or the container itself where there is no pod.
	Owner string
	// Netns is the path of the container's network namespace.
	Netns string
	// IfName is what the link is called there.
	IfName string
}

func (a *Attachment) validate() error {
	for what, v := range map[string]string{"container id": a.ContainerID, "owner": a.Owner, "interface name": a.IfName} {
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("attach container: %s %q: want printable characters", what, v)
		}
	}
	if len(a.IfName) > maxInterfaceName || strings.ContainsAny(a.IfName, "/:") || a.IfName == "." || a.IfName == ".." {
		return fmt.Errorf("attach container: interface name %q: the kernel takes no such name", a.IfName)
	}
	return nil
}

func (a *Attachment) key() string { return a.ContainerID + "/" + a.IfName }

// Endpoint is a container's link as it stands.
type Endpoint struct {
	Attachment
	HostName string
	HostMAC  net.HardwareAddr
	MAC      net.HardwareAddr
	Addrs    []netip.Addr
	MTU      int
}

// Gateways are where the container sends packets of the families that it has.
func (e *Endpoint) Gateways() []netip.Addr {
	var out []netip.Addr
	for _, a := range e.Addrs {
		out = append(out, gatewayOf(a))
	}
	return out
}

func gatewayOf(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return gateway4
	}
	return gateway6
}

// isVethName tells whether a name is one of those that newEndpoint makes.
func isVethName(name string) bool {
	digits, ok := strings.CutPrefix(name, vethPrefix)
	return ok && len(digits) == vethDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

func newEndpoint(a Attachment, addrs []netip.Addr, mtu int) *Endpoint {
	sum := sha256.Sum256([]byte(a.key()))
	return &Endpoint{
		Attachment: a, Addrs: addrs, MTU: mtu,
		HostName: vethPrefix + hex.EncodeToString(sum[:])[:vethDigits],
		HostMAC:  localMAC("host " + a.key()), MAC: localMAC("container " + a.key()),
	}
}

func (e *Endpoint) alias() string {
	var addrs []string
	for _, a := range e.Addrs {
		addrs = append(addrs, a.String())
	}
	return strings.Join([]string{aliasMark, e.Owner, e.ContainerID, e.IfName, strings.Join(addrs, ",")}, " ")
}

// parseAlias reads what alias wrote; false for a link that is not ours.
func parseAlias(alias string, mtu int) (*Endpoint, bool) {
	f := strings.Split(alias, " ")
	if len(f) != 5 || f[0] != aliasMark {
		return nil, false
	}
	var addrs []netip.Addr
	for s := range strings.SplitSeq(f[4], ",") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, false
		}
		addrs = append(addrs, addr)
	}
	return newEndpoint(Attachment{Owner: f[1], ContainerID: f[2], IfName: f[3]}, addrs, mtu), true
}

// Attach gives a container a link and its owner's addresses. What an earlier attempt left is replaced.
func (n *Network) Attach(ctx context.Context, a Attachment) (*Endpoint, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	n.kernel.Lock()
	defer n.kernel.Unlock()
	if n.space == nil {
		return nil, errNotOpen
	}
	if err := ctx.Err(); err != nil { // it waited for a turn
		return nil, err
	}
	addrs, err := n.addrs.take(a.Owner, a.key())
	if err != nil {
		return nil, fmt.Errorf("attach container: %w", err)
	}
	e := newEndpoint(a, addrs, n.podMTU())
	err = n.attach(e)
	if err == nil {
		err = n.tellEndpoints()
	}
	if err != nil {
		err = errors.Join(err, n.removeLink(e.HostName))
		n.addrs.free(a.Owner, a.key())
		return nil, fmt.Errorf("attach container: %w", err)
	}
	return e, nil
}

func (n *Network) attach(e *Endpoint) error {
	if len(e.alias()) > maxAlias {
		return fmt.Errorf("container id and owner are too long: %d characters beside their addresses", len(e.Owner)+len(e.ContainerID))
	}
	inside, err := openSpace(e.Netns)
	if err != nil {
		return err
	}
	defer inside.close()
	if err := n.removeLink(e.HostName); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = e.HostName, e.MTU, e.HostMAC
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU, veth.PeerNamespace = e.IfName, e.MAC, uint32(e.MTU), netlink.NsFd(inside.ns)
	if err := n.space.LinkAdd(veth); err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	host, err := n.space.LinkByName(e.HostName)
	if err != nil {
		return fmt.Errorf("find link: %w", err)
	}
	if err := n.space.LinkSetAlias(host, e.alias()); err != nil {
		return fmt.Errorf("name link: %w", err)
	}
	if err := n.mendHostEnd(e, host); err != nil {
		return err
	}
	if err := inside.furnish(e); err != nil {
		return err
	}
	if err := n.space.awaitUp(e.HostName); err != nil {
		return err
	}
	if err := inside.awaitUp(e.IfName); err != nil {
		return err
	}
	return inside.awaitAddrs(e.Addrs)
}

// furnish sets up the container's side.
func (s *space) furnish(e *Endpoint) error {
	if lo, err := s.LinkByName("lo"); err == nil {
		if err := s.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
	}
	link, err := s.LinkByName(e.IfName)
	if err != nil {
		return fmt.Errorf("find container's link: %w", err)
	}
	if err := s.run(func() error { return prepareInside(e) }); err != nil {
		return err
	}
	if err := s.LinkSetUp(link); err != nil {
		return fmt.Errorf("set container's link up: %w", err)
	}
	for _, addr := range e.Addrs {
		if err := s.furnishAddr(e, link.Attrs().Index, link, addr); err != nil {
			return err
		}
	}
	return nil
}

// prepareInside has IPv6 on where the container gets an address of it, and keeps it from listening to anybody who says
// to be a router.
func prepareInside(e *Endpoint) error {
	if !slices.ContainsFunc(e.Addrs, netip.Addr.Is6) {
		return nil
	}
	for _, s := range []sysctl{
		{path: "ipv6/conf/" + e.IfName + "/disable_ipv6", value: "0"},
		{path: "ipv6/conf/" + e.IfName + "/accept_ra", value: "0"},
	} {
		if _, err := setSysctl(s); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, unix.EROFS) {
			return err
		}
	}
	return nil
}

func (s *space) furnishAddr(e *Endpoint, index int, link netlink.Link, addr netip.Addr) error {
	gw, family := gatewayOf(addr), familyOf(addr)
	if err := s.AddrReplace(link, &netlink.Addr{IPNet: ipNet(single(addr)), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}); err != nil {
		return fmt.Errorf("set container's address %s: %w", addr, err)
	}
	neigh := &netlink.Neigh{LinkIndex: index, Family: family, State: netlink.NUD_PERMANENT, IP: net.IP(gw.AsSlice()), HardwareAddr: e.HostMAC}
	if err := s.NeighSet(neigh); err != nil {
		return fmt.Errorf("set container's neighbour %s: %w", gw, err)
	}
	if addr.Is4() {
		if err := s.RouteReplace(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: ipNet(single(gw))}); err != nil {
			return fmt.Errorf("set container's route to %s: %w", gw, err)
		}
	}
	all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if addr.Is4() {
		all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if err := s.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(all), Gw: net.IP(gw.AsSlice()), Src: net.IP(addr.AsSlice())}); err != nil {
		return fmt.Errorf("set container's default route: %w", err)
	}
	return nil
}

// mendHostEnd makes the host's side what it should be: up, with routes and neighbours to the container.
func (n *Network) mendHostEnd(e *Endpoint, link netlink.Link) error {
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := n.space.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", e.HostName, err)
		}
	}
	index := link.Attrs().Index
	if err := n.mendNeighs(index, []int{netlink.FAMILY_V4, netlink.FAMILY_V6}, hostNeighbours(e, index)); err != nil {
		return err
	}
	for _, r := range e.routes(index) {
		if err := n.space.RouteReplace(r.netlink()); err != nil {
			return fmt.Errorf("set route to %s: %w", r.dst, err)
		}
	}
	return nil
}

func hostNeighbours(e *Endpoint, index int) map[string]*netlink.Neigh {
	want := map[string]*netlink.Neigh{}
	for _, addr := range e.Addrs {
		want[addr.String()+" "+e.MAC.String()] = &netlink.Neigh{
			LinkIndex: index, Family: familyOf(addr), State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST,
			IP: net.IP(addr.AsSlice()), HardwareAddr: e.MAC,
		}
	}
	return want
}

func (e *Endpoint) routes(index int) []route {
	var out []route
	for _, addr := range e.Addrs {
		out = append(out, route{place: here(single(addr)), kind: unix.RTN_UNICAST, link: index})
	}
	return out
}
