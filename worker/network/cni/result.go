package cni

import (
	"net/netip"

	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

// result is what ADD prints.
type result struct {
	CNIVersion string            `json:"cniVersion"`
	Interfaces []resultInterface `json:"interfaces"`
	IPs        []resultIP        `json:"ips"`
	Routes     []resultRoute     `json:"routes"`
	DNS        struct{}          `json:"dns"`
}

type resultInterface struct {
	Name    string `json:"name"`
	MAC     string `json:"mac"`
	MTU     int    `json:"mtu,omitempty"` // since 1.1
	Sandbox string `json:"sandbox,omitempty"`
}

type resultIP struct {
	Address   string `json:"address"`
	Gateway   string `json:"gateway"`
	Interface int    `json:"interface"` // counts Interfaces
}

type resultRoute struct {
	Dst string `json:"dst"`
	GW  string `json:"gw"`
}

// newResult tells of a container's link: the host's end comes first.
func newResult(version string, e *network.Endpoint) *result {
	r := &result{CNIVersion: version, Interfaces: []resultInterface{
		{Name: e.HostName, MAC: e.HostMAC.String()},
		{Name: e.IfName, MAC: e.MAC.String(), Sandbox: e.Netns},
	}}
	if version != plugin.Versions[0] {
		r.Interfaces[0].MTU, r.Interfaces[1].MTU = e.MTU, e.MTU
	}
	for i, gateway := range e.Gateways() {
		addr := e.Addrs[i]
		all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if addr.Is4() {
			all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		r.IPs = append(r.IPs, resultIP{Address: netip.PrefixFrom(addr, addr.BitLen()).String(), Gateway: gateway.String(), Interface: 1})
		r.Routes = append(r.Routes, resultRoute{Dst: all.String(), GW: gateway.String()})
	}
	return r
}
