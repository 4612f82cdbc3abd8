package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// errNoRoute says that the routing table has no way to an address.
var errNoRoute = errors.New("no route")

// lookups asks the kernel for ways, and for each link once a turn.
type lookups struct {
	space *space
	links map[int]netlink.Link
}

// way asks by which link an address is reached.
func (l *lookups) way(addr netip.Addr) (way, error) {
	routes, err := l.space.RouteGet(net.IP(addr.AsSlice()))
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(routes) == 0 {
		return way{}, errNoRoute
	}
	if err != nil {
		return way{}, fmt.Errorf("ask route: %w", err)
	}
	r := routes[0]
	if r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_PROHIBIT {
		return way{}, errNoRoute
	}
	link, err := l.link(r.LinkIndex)
	if err != nil {
		return way{}, err
	}
	w := way{link: r.LinkIndex, name: link.Attrs().Name, mtu: link.Attrs().MTU}
	w.local = r.Type == unix.RTN_LOCAL || link.Attrs().Flags&net.FlagLoopback != 0
	w.onLink = r.Gw == nil && r.Via == nil
	if r.MTU > 0 {
		w.mtu = min(w.mtu, r.MTU)
	}
	return w, nil
}

func (l *lookups) link(index int) (netlink.Link, error) {
	if link, ok := l.links[index]; ok {
		return link, nil
	}
	link, err := l.space.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("find link %d: %w", index, err)
	}
	l.links[index] = link
	return link, nil
}

// home finds the link that carries this node's address; the zero way when none does.
func (l *lookups) home(ip netip.Addr) (way, error) {
	addrs, err := l.space.AddrList(nil, familyOf(ip))
	if err != nil {
		return way{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if got, ok := netip.AddrFromSlice(a.IP); ok && got.Unmap() == ip {
			link, err := l.link(a.LinkIndex)
			if err != nil {
				return way{}, err
			}
			return way{link: a.LinkIndex, name: link.Attrs().Name, mtu: link.Attrs().MTU, local: true}, nil
		}
	}
	return way{}, nil
}

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// ipNet is a prefix as netlink wants it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// single is the prefix of one address alone.
func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// prefixOf is a prefix as netlink tells it; the zero Prefix for none.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	bits, size := n.Mask.Size()
	if addr.Is4In6() && size == 32 {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, bits)
}
