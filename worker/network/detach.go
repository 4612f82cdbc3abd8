package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// standing is a container's link as the kernel has it.
type standing struct {
	*Endpoint
	link netlink.Link
}

// endpoints lists the links of containers, oldest first.
func (n *Network) endpoints() ([]standing, error) {
	all, _, err := n.veths()
	return all, err
}

// veths lists the links of containers, oldest first, and those that an Attach left which was cut off before it could
// say whose they are. Nobody else names links so.
func (n *Network) veths() (all []standing, halves []netlink.Link, err error) {
	links, err := n.space.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		attrs := link.Attrs()
		if link.Type() != "veth" || !isVethName(attrs.Name) {
			continue
		}
		if e, ok := parseAlias(attrs.Alias, attrs.MTU); ok && e.HostName == attrs.Name {
			all = append(all, standing{e, link})
		} else if attrs.Alias == "" {
			halves = append(halves, link)
		}
	}
	slices.SortFunc(all, func(a, b standing) int { return a.link.Attrs().Index - b.link.Attrs().Index })
	return all, halves, nil
}

// removeHalves removes what unfinished Attaches left. Whoever calls it holds the kernel, so that none is under way.
func (n *Network) removeHalves(halves []netlink.Link) error {
	var errs []error
	for _, link := range halves {
		errs = append(errs, n.removeLink(link.Attrs().Name))
	}
	return errors.Join(errs...)
}

// Attached lists the containers that have a link.
func (n *Network) Attached() ([]*Endpoint, error) {
	n.kernel.Lock()
	defer n.kernel.Unlock()
	if n.space == nil {
		return nil, errNotOpen
	}
	all, err := n.endpoints()
	var out []*Endpoint
	for _, s := range all {
		out = append(out, s.Endpoint)
	}
	return out, err
}

// Detach removes a container's link and lets go of its addresses. One that has none is no error.
func (n *Network) Detach(ctx context.Context, containerID, ifName string) error {
	n.kernel.Lock()
	defer n.kernel.Unlock()
	if n.space == nil {
		return errNotOpen
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a := Attachment{ContainerID: containerID, IfName: ifName}
	if err := n.removeLink(newEndpoint(a, nil, 0).HostName); err != nil {
		return fmt.Errorf("detach container: %w", err)
	}
	n.addrs.freeContainer(a.key())
	return n.tellEndpoints()
}

// tellEndpoints tells whoever wants to know which links there are, when they are others than last time.
func (n *Network) tellEndpoints() error {
	if n.cfg.Endpoints == nil {
		return nil
	}
	all, err := n.endpoints()
	if err != nil {
		return err
	}
	shown := "all"
	var out []*Endpoint
	for _, s := range all {
		out = append(out, s.Endpoint)
		// The index tells a link that was made anew.
		shown += fmt.Sprintf("\n%d %s", s.link.Attrs().Index, s.alias())
	}
	if shown != n.shown {
		n.shown = shown
		n.cfg.Endpoints(out)
	}
	return nil
}

// Check tells whether a container's link is whole, on both sides.
func (n *Network) Check(ctx context.Context, a Attachment) error {
	n.kernel.Lock()
	defer n.kernel.Unlock()
	if n.space == nil {
		return errNotOpen
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	link, err := n.space.LinkByName(newEndpoint(a, nil, 0).HostName)
	if isGone(err) {
		return fmt.Errorf("check container: %w: its link is gone", ErrNotAttached)
	}
	if err != nil {
		return fmt.Errorf("check container: %w", err)
	}
	e, ok := parseAlias(link.Attrs().Alias, link.Attrs().MTU)
	if !ok || e.ContainerID != a.ContainerID || e.IfName != a.IfName {
		return fmt.Errorf("check container: %w: %s is another's", ErrNotAttached, link.Attrs().Name)
	}
	if err := n.checkRoutes(e, link.Attrs().Index); err != nil {
		return fmt.Errorf("check container: %w", err)
	}
	e.Netns = a.Netns
	if err := checkInside(e); err != nil {
		return fmt.Errorf("check container: %w", err)
	}
	return nil
}

func (n *Network) checkRoutes(e *Endpoint, index int) error {
	have, err := n.space.ownRoutes()
	if err != nil {
		return err
	}
	for _, want := range e.routes(index) {
		if !slices.ContainsFunc(have, func(r netlink.Route) bool { return routeFrom(&r) == want }) {
			return fmt.Errorf("%w: no route to %s", ErrNotAttached, want.dst)
		}
	}
	return nil
}

// checkInside looks at the container's side of its link.
func checkInside(e *Endpoint) error {
	inside, err := openSpace(e.Netns)
	if err != nil {
		return errors.Join(ErrNotAttached, err)
	}
	defer inside.close()
	link, err := inside.LinkByName(e.IfName)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotAttached, e.IfName, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 || !bytes.Equal(link.Attrs().HardwareAddr, e.MAC) {
		return fmt.Errorf("%w: %s is down or has another address", ErrNotAttached, e.IfName)
	}
	addrs, err := inside.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	missing := map[netip.Prefix]bool{}
	for _, a := range e.Addrs {
		missing[single(a)] = true
	}
	for _, a := range addrs {
		delete(missing, prefixOf(a.IPNet))
	}
	for m := range maps.Keys(missing) {
		return fmt.Errorf("%w: %s lacks %s", ErrNotAttached, e.IfName, m)
	}
	return nil
}

// removeLink removes a link of ours by name; one that is not there is no error.
func (n *Network) removeLink(name string) error {
	link, err := n.space.LinkByName(name)
	if err == nil {
		err = n.space.LinkDel(link)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}

// mendContainers takes note of the links that stand and mends the host's ends. It answers the routes to them: where two
// containers of one pod stand, the old one that is about to go and the new one, the new one has the address.
func (n *Network) mendContainers() ([]route, error) {
	all, halves, err := n.veths()
	if err != nil {
		return nil, err
	}
	live, routes := map[string]bool{}, map[place]route{}
	errs := []error{n.removeHalves(halves)}
	for _, s := range all {
		live[s.key()] = true
		for _, addr := range s.Addrs {
			if err := n.addrs.reserve(s.Owner, s.key(), addr); err != nil {
				n.cfg.Logger.Debug("address of a container was not reserved", "container", s.ContainerID, "address", addr, "error", err)
			}
		}
		if err := n.mendLink(s); err != nil {
			errs = append(errs, err)
			continue // down or gone: it can have no routes
		}
		for _, r := range s.routes(s.link.Attrs().Index) {
			routes[r.place] = r
		}
	}
	n.addrs.keep(live)
	return slices.Collect(maps.Values(routes)), errors.Join(errs...)
}

func (n *Network) mendLink(s standing) error {
	if s.link.Attrs().Flags&net.FlagUp == 0 {
		if err := n.space.LinkSetUp(s.link); err != nil && !isGone(err) {
			return fmt.Errorf("set %s up: %w", s.HostName, err)
		}
	}
	index := s.link.Attrs().Index
	return n.mendNeighs(index, []int{netlink.FAMILY_V4, netlink.FAMILY_V6}, hostNeighbours(s.Endpoint, index))
}
