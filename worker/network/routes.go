package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks the routes that are ours: `ip route show table all proto 112`. The kernel and the routing daemons use other
// numbers.
const routeProtocol netlink.RouteProtocol = 112

// route is a route of ours, as far as we care. Two that are equal need no mending.
type route struct {
	place
	kind   int // RTN_LOCAL, RTN_UNICAST or RTN_UNREACHABLE
	link   int // 0 for an unreachable one
	via    netip.Addr
	onLink bool
	src    netip.Addr
}

// place is where a route is: there is one of ours at most.
type place struct {
	dst   netip.Prefix
	table int
}

// here is a place in the kernel's local table, which is asked before all others. Pods' prefixes have to be there: where
// somebody made rules of policy routing, the kernel looks for local addresses in no other table. A container's address,
// which is more specific than its node's prefix, has to be in the same one.
func here(dst netip.Prefix) place { return place{dst, unix.RT_TABLE_LOCAL} }

// away is a place in the main table.
func away(dst netip.Prefix) place { return place{dst, unix.RT_TABLE_MAIN} }

func (r route) netlink() *netlink.Route {
	out := &netlink.Route{
		Dst: ipNet(r.dst), Type: r.kind, LinkIndex: r.link, Protocol: routeProtocol, Table: r.table, Family: familyOf(r.dst.Addr()),
	}
	if r.via.IsValid() {
		out.Gw = net.IP(r.via.AsSlice())
	} else if r.kind == unix.RTN_UNICAST {
		out.Scope = netlink.SCOPE_LINK
	}
	if r.kind == unix.RTN_LOCAL {
		out.Scope = netlink.SCOPE_HOST
	}
	if r.onLink {
		out.Flags = int(netlink.FLAG_ONLINK)
	}
	if r.src.IsValid() {
		out.Src = net.IP(r.src.AsSlice())
	}
	return out
}

// routeFrom reads what the kernel has.
func routeFrom(r *netlink.Route) route {
	out := route{place: place{prefixOf(r.Dst), r.Table}, kind: r.Type, link: r.LinkIndex, onLink: r.Flags&int(netlink.FLAG_ONLINK) != 0}
	if r.Dst == nil {
		out.dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if r.Family == netlink.FAMILY_V4 {
			out.dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
	}
	if out.kind == unix.RTN_UNREACHABLE {
		out.link = 0 // IPv6 names the loopback device
	}
	if gw, ok := netip.AddrFromSlice(r.Gw); ok {
		out.via = gw.Unmap()
	}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		out.src = src.Unmap()
	}
	return out
}

// ownRoutes lists the routes that are ours.
func (s *space) ownRoutes() ([]netlink.Route, error) {
	var all []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := s.RouteListFiltered(family, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		all = append(all, routes...)
	}
	return all, nil
}

// mendRoutes makes the routes of ours those that are wanted. A route is replaced in place and what is too many goes
// last, so that nothing that stays is ever without its route.
func (s *space) mendRoutes(want []route) error {
	have, err := s.ownRoutes()
	if err != nil {
		return err
	}
	missing := map[place]route{}
	for _, r := range want {
		missing[r.place] = r
	}
	var stray []netlink.Route
	for i := range have {
		r := routeFrom(&have[i])
		if w, ok := missing[r.place]; ok && w == r {
			delete(missing, r.place)
		} else {
			stray = append(stray, have[i])
		}
	}
	err = s.setRoutes(missing)
	if len(stray) == 0 {
		return err
	}
	if errStray := s.removeStrays(want); err == nil || errStray != nil {
		return errors.Join(err, errStray)
	}
	return s.setRoutes(missing) // IPv6 takes no gateway that a stale route leads to another link
}

// setRoutes sets routes and strikes out those that were taken.
func (s *space) setRoutes(missing map[place]route) error {
	var errs []error
	for at, r := range missing {
		if err := s.RouteReplace(r.netlink()); err != nil {
			errs = append(errs, fmt.Errorf("set route to %s: %w", r.dst, err))
			continue
		}
		delete(missing, at)
	}
	return errors.Join(errs...)
}

// removeStrays looks again, because a replaced route is gone already.
func (s *space) removeStrays(want []route) error {
	have, err := s.ownRoutes()
	if err != nil {
		return err
	}
	wanted := map[route]bool{}
	for _, r := range want {
		wanted[r] = true
	}
	var errs []error
	for i := range have {
		if wanted[routeFrom(&have[i])] {
			continue
		}
		if err := s.RouteDel(&have[i]); err != nil && !isGone(err) {
			errs = append(errs, fmt.Errorf("remove route to %s: %w", have[i].Dst, err))
		}
	}
	return errors.Join(errs...)
}

// routes are those that a plan asks for, beside those of containers.
func (p *plan) routes(loopback, tunnelLink int) []route {
	var out []route
	for _, c := range p.locals {
		out = append(out, route{place: here(c), kind: unix.RTN_LOCAL, link: loopback})
	}
	for _, c := range p.cluster {
		out = append(out, route{place: away(c), kind: unix.RTN_UNREACHABLE})
	}
	for _, h := range p.hops {
		out = append(out, route{place: away(h.cidr), kind: unix.RTN_UNICAST, link: h.link, via: h.via})
	}
	if tunnelLink == 0 {
		return out
	}
	for _, t := range p.tunnels {
		for _, c := range t.cidrs {
			out = append(out, route{place: away(c), kind: unix.RTN_UNICAST, link: tunnelLink, via: nodeAddr(c), onLink: true, src: p.ownAddr(c.Addr().Is4())})
		}
	}
	return out
}

// ownAddr is this node's address among the pods' of a family; the zero Addr when it has none.
func (p *plan) ownAddr(is4 bool) netip.Addr {
	for _, c := range p.own {
		if c.Addr().Is4() == is4 {
			return nodeAddr(c)
		}
	}
	return netip.Addr{}
}
