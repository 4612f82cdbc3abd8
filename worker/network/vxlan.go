package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vxlanName is the tunnel's device.
const vxlanName = "petrel-vxlan"

// addrGenNone keeps the kernel from giving a link an address of its own.
const addrGenNone = 1

// mendTunnel makes the tunnel's device and all that belongs to it what the plan asks for, and answers its index; 0 when
// no node is reached through it. A device that is not needed is left to removeTunnel, after the routes through it went.
func (n *Network) mendTunnel(p *plan) (int, error) {
	if len(p.tunnels) == 0 {
		return 0, nil
	}
	link, err := n.vxlanLink()
	if err != nil {
		return 0, err
	}
	index := link.Attrs().Index
	if link.Attrs().MTU != p.tunnelMTU() {
		if err := n.space.LinkSetMTU(link, p.tunnelMTU()); err != nil {
			return 0, fmt.Errorf("set MTU of %s: %w", vxlanName, err)
		}
	}
	if err := n.mendTunnelAddrs(link, p); err != nil {
		return 0, err
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := n.space.LinkSetUp(link); err != nil {
			return 0, fmt.Errorf("set %s up: %w", vxlanName, err)
		}
	}
	return index, errors.Join(n.mendNeighbours(index, p), n.mendForwarding(index, p))
}

// vxlanLink finds the device, or makes it anew when it is not as configured.
func (n *Network) vxlanLink() (netlink.Link, error) {
	link, err := n.space.LinkByName(vxlanName)
	if err == nil {
		if n.isOurTunnel(link) {
			return link, nil
		}
		err = n.space.LinkDel(link)
	}
	if err != nil && !isGone(err) {
		return nil, fmt.Errorf("look for %s: %w", vxlanName, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = vxlanName, tunnelMAC(n.cfg.NodeName), defaultMTU-overhead6
	made := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: n.cfg.VXLANID, Port: n.cfg.VXLANPort, SrcAddr: net.IP(n.cfg.NodeIPs[0].AsSlice())}
	if err := n.space.LinkAdd(made); err != nil {
		return nil, fmt.Errorf("make %s: %w", vxlanName, err)
	}
	if link, err = n.space.LinkByName(vxlanName); err != nil {
		return nil, fmt.Errorf("find %s: %w", vxlanName, err)
	}
	if err := n.space.LinkSetIP6AddrGenMode(link, addrGenNone); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		n.cfg.Logger.Debug("tunnel keeps its link-local address", "error", err)
	}
	return link, nil
}

func (n *Network) isOurTunnel(link netlink.Link) bool {
	v, ok := link.(*netlink.Vxlan)
	return ok && v.VxlanId == n.cfg.VXLANID && v.Port == n.cfg.VXLANPort && !v.FlowBased &&
		v.SrcAddr.Equal(net.IP(n.cfg.NodeIPs[0].AsSlice())) && bytes.Equal(v.HardwareAddr, tunnelMAC(n.cfg.NodeName))
}

// mendTunnelAddrs gives the device this node's addresses among the pods'.
func (n *Network) mendTunnelAddrs(link netlink.Link, p *plan) error {
	want := map[netip.Prefix]bool{}
	for _, c := range p.own {
		want[single(nodeAddr(c))] = true
	}
	have, err := n.space.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", vxlanName, err)
	}
	for i := range have {
		at := prefixOf(have[i].IPNet)
		if want[at] {
			delete(want, at)
			continue
		}
		if at.Addr().IsLinkLocalUnicast() {
			continue
		}
		if err := n.space.AddrDel(link, &have[i]); err != nil && !isGone(err) {
			return fmt.Errorf("remove address %s of %s: %w", at, vxlanName, err)
		}
	}
	for at := range want {
		addr := &netlink.Addr{IPNet: ipNet(at), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
		if err := n.space.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("set address %s of %s: %w", at, vxlanName, err)
		}
	}
	return nil
}

// mendNeighbours tells the device the other nodes' inner addresses, which nobody answers for.
func (n *Network) mendNeighbours(index int, p *plan) error {
	want := map[string]*netlink.Neigh{}
	for _, t := range p.tunnels {
		for _, c := range t.cidrs {
			gw := nodeAddr(c)
			want[gw.String()+" "+t.mac.String()] = &netlink.Neigh{
				LinkIndex: index, Family: familyOf(gw), State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST,
				IP: net.IP(gw.AsSlice()), HardwareAddr: t.mac,
			}
		}
	}
	return n.mendNeighs(index, []int{netlink.FAMILY_V4, netlink.FAMILY_V6}, want)
}

// mendForwarding tells the device to which node the packets for an inner address go.
func (n *Network) mendForwarding(index int, p *plan) error {
	want := map[string]*netlink.Neigh{}
	for _, t := range p.tunnels {
		want[t.outer.String()+" "+t.mac.String()] = &netlink.Neigh{
			LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
			IP: net.IP(t.outer.AsSlice()), HardwareAddr: t.mac,
		}
	}
	return n.mendNeighs(index, []int{unix.AF_BRIDGE}, want)
}

// mendNeighs makes a link's permanent entries those that are wanted, by "address MAC".
func (n *Network) mendNeighs(index int, families []int, want map[string]*netlink.Neigh) error {
	var stray []netlink.Neigh
	for _, family := range families {
		have, err := n.space.NeighList(index, family)
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		for _, e := range have {
			key := e.IP.String() + " " + e.HardwareAddr.String()
			if w, ok := want[key]; ok && e.State&netlink.NUD_PERMANENT != 0 && w.Family == family {
				delete(want, key)
			} else if e.State&netlink.NUD_PERMANENT != 0 && !e.IP.IsMulticast() {
				e.Family = family
				stray = append(stray, e)
			}
		}
	}
	var errs []error
	for i := range stray {
		if replaced(&stray[i], want) {
			continue
		}
		if err := n.space.NeighDel(&stray[i]); err != nil && !isGone(err) {
			errs = append(errs, fmt.Errorf("remove neighbour %s: %w", stray[i].IP, err))
		}
	}
	for key, e := range want {
		if err := n.space.NeighSet(e); err != nil {
			errs = append(errs, fmt.Errorf("set neighbour %s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// replaced tells whether setting a wanted entry takes a stray one's place: neighbours are keyed by their IP address,
// forwarding entries by their MAC address.
func replaced(stray *netlink.Neigh, want map[string]*netlink.Neigh) bool {
	for _, w := range want {
		if w.Family != stray.Family {
			continue
		}
		if w.Family == unix.AF_BRIDGE && bytes.Equal(w.HardwareAddr, stray.HardwareAddr) || w.Family != unix.AF_BRIDGE && w.IP.Equal(stray.IP) {
			return true
		}
	}
	return false
}

// removeTunnel removes the device.
func (n *Network) removeTunnel() error {
	link, err := n.space.LinkByName(vxlanName)
	if err == nil {
		err = n.space.LinkDel(link)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("remove %s: %w", vxlanName, err)
	}
	return nil
}
