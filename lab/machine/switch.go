package machine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// MaxLinks bounds how many links a switch has: each takes a /24 of the addresses.
const MaxLinks = 16

// Addresses that stand for the world outside, at which the router answers.
var (
	Outside4 = netip.MustParseAddr("198.51.100.1")
	Outside6 = netip.MustParseAddr("2001:db8::1")
)

// Link is one network of a switch: machines on it reach each other directly, others through the router.
type Link struct {
	Prefixes []netip.Prefix `json:"prefixes"`
	Router   []netip.Addr   `json:"router"`
}

// Switch joins machines: a bridge a link in a namespace of its own, and a router in another, with a foot on each link.
type Switch struct {
	Links []Link

	bridges, router *network
	mu              sync.Mutex
	next            int // number of the next cable
}

// linkAt says what the i-th link's addresses are: 10.40.i.0/24 and fd00:40:0:i::/64, the router at 1.
func linkAt(i int) Link {
	four := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 40, byte(i), 0}), 24)
	six := netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x40, 7: byte(i)}), 64)
	return Link{Prefixes: []netip.Prefix{four, six}, Router: []netip.Addr{four.Addr().Next(), six.Addr().Next()}}
}

// Host answers the addresses of the n-th machine on the link, one of each family.
func (l Link) Host(n int) []netip.Addr {
	const first = 10 // leaves room for what is no machine
	var out []netip.Addr
	for _, p := range l.Prefixes {
		raw := p.Addr().AsSlice()
		raw[len(raw)-1] = byte(first + n)
		addr, _ := netip.AddrFromSlice(raw)
		out = append(out, addr)
	}
	return out
}

// MaxHosts bounds the machines of a switch: Host counts in one byte.
const MaxHosts = 200

// NewSwitch makes a switch with so many links.
func NewSwitch(links int) (*Switch, error) {
	if links < 1 || links > MaxLinks {
		return nil, fmt.Errorf("make switch: %d links: want 1 to %d", links, MaxLinks)
	}
	s := &Switch{}
	var err error
	if s.bridges, err = newNetwork(quiet); err == nil {
		s.router, err = newNetwork(forward)
	}
	for i := range links {
		if err == nil {
			err = s.addLink(i + 1)
		}
	}
	if err == nil {
		err = s.outside()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make switch: %w", err), s.Close())
	}
	return s, nil
}

// quiet keeps IPv6's own traffic off interfaces that have no business with it.
func quiet() error { return sysctl("net/ipv6/conf/default/disable_ipv6", "1") }

// forward makes the calling thread's namespace a router.
func forward() error {
	return errors.Join(sysctl("net/ipv4/ip_forward", "1"), sysctl("net/ipv6/conf/all/forwarding", "1"),
		sysctl("net/ipv6/conf/default/accept_dad", "0"))
}

// sysctl sets a setting of the calling thread's network. A kernel without IPv6 has none of its settings.
func sysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// RouterNetns is where other processes find the router's network while this one lives.
func (s *Switch) RouterNetns() string { return s.router.path() }

// addLink makes the bridge of the i-th link and gives the router a foot there.
func (s *Switch) addLink(i int) error {
	bridge := fmt.Sprintf("br%d", i)
	in, err := netlink.NewHandleAt(netns.NsHandle(s.bridges.fd), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open bridges: %w", err)
	}
	defer in.Close()
	if err := in.LinkAdd(&netlink.Bridge{LinkAttrs: named(bridge)}); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	if err := up(in, bridge); err != nil {
		return err
	}
	link := linkAt(i)
	s.Links = append(s.Links, link)
	return s.plug(i, s.router.fd, fmt.Sprintf("link%d", i), link.Router, nil)
}

// outside gives the router the addresses of the world outside.
func (s *Switch) outside() error {
	h, err := netlink.NewHandleAt(netns.NsHandle(s.router.fd), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open router: %w", err)
	}
	defer h.Close()
	if err := up(h, "lo"); err != nil {
		return err
	}
	return assign(h, "lo", []netip.Prefix{netip.PrefixFrom(Outside4, Outside4.BitLen()), netip.PrefixFrom(Outside6, Outside6.BitLen())})
}

// Plug joins a machine to the i-th link, counted from 0, as eth0 with the addresses, and with the router as its way to
// everywhere else.
func (s *Switch) Plug(p Place, i int, addrs []netip.Addr) error {
	fd, err := p.hold()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	path := fmt.Sprintf("/proc/%d/ns/net", p.Init)
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(ns)
	h, err := netlink.NewHandleAt(netns.NsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open machine's network: %w", err)
	}
	defer h.Close()
	if err := up(h, "lo"); err != nil {
		return err
	}
	return s.plug(i+1, ns, "eth0", addrs, s.Links[i].Router)
}

// plug lays a cable from the i-th bridge into a namespace.
func (s *Switch) plug(i, ns int, name string, addrs []netip.Addr, gateways []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	port := fmt.Sprintf("port%d", s.next)
	in, err := netlink.NewHandleAt(netns.NsHandle(s.bridges.fd), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open bridges: %w", err)
	}
	defer in.Close()
	cable := &netlink.Veth{LinkAttrs: named(port), PeerName: name, PeerNamespace: netlink.NsFd(ns)}
	if err := in.LinkAdd(cable); err != nil {
		return fmt.Errorf("lay cable: %w", err)
	}
	bridge, err := in.LinkByName(fmt.Sprintf("br%d", i))
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	if err := in.LinkSetMaster(cable, bridge); err != nil {
		return fmt.Errorf("plug cable in: %w", err)
	}
	if err := up(in, port); err != nil {
		return err
	}
	return s.configure(ns, name, s.Links[i-1], addrs, gateways)
}

// configure gives the far end of a cable its addresses and routes.
func (s *Switch) configure(ns int, name string, link Link, addrs, gateways []netip.Addr) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer h.Close()
	var prefixes []netip.Prefix
	for _, a := range addrs {
		n := slices.IndexFunc(link.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
		if n < 0 {
			return fmt.Errorf("address %s: not of the link", a)
		}
		prefixes = append(prefixes, netip.PrefixFrom(a, link.Prefixes[n].Bits()))
	}
	if err := assign(h, name, prefixes); err != nil {
		return err
	}
	if err := up(h, name); err != nil {
		return err
	}
	for _, gw := range gateways {
		if err := h.RouteAdd(&netlink.Route{Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("add default route by %s: %w", gw, err)
		}
	}
	return nil
}

func named(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return attrs
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func assign(h *netlink.Handle, name string, prefixes []netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	for _, p := range prefixes {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // there is nobody to ask, and asking takes a second
		}
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("give %s %s: %w", name, p, err)
		}
	}
	return nil
}

// Close ends the switch. Cables into machines go with it.
func (s *Switch) Close() error {
	var errs []error
	for _, ns := range []*network{s.bridges, s.router} {
		if ns != nil {
			errs = append(errs, ns.close())
		}
	}
	return errors.Join(errs...)
}
