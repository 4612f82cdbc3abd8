package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/controlplane/controller"
	"github.com/petrelrun/petrel/worker/network"
)

// networkFlags say how pods of several machines reach one another.
type networkFlags struct {
	Backend    string
	MTU        int
	Masquerade bool
	CNISocket  string
	Cluster    []netip.Prefix
	Services   []netip.Prefix

	cluster, services []string
}

func (o *networkFlags) addFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.services, "service-cidr", nil, "addresses of services, as the control plane has them (default "+loopbackServices+", or "+clusterServices+" with --node-ip)")
	f.StringSliceVar(&o.cluster, "cluster-cidr", nil, "addresses of all machines' pods, as the control plane has them; with --node-ip, what no machine has of them is unreachable rather than sent to the world")
	f.StringVar(&o.Backend, "network-backend", string(network.Auto), "how pods of other machines are reached: direct (machines on one link), vxlan, or auto, which takes vxlan only to machines behind a router")
	f.IntVar(&o.MTU, "pod-mtu", 0, "largest packet of pods' interfaces (default: derived from the links between the machines)")
	f.StringVar(&o.CNISocket, "cni-socket", "", "unix socket by which other container runtimes attach containers to the pod network, see petrel cni (default: none)")
	f.BoolVar(&o.Masquerade, "masquerade", true, "packets of pods leave for the world under this machine's address")
}

// parse reads the networks and finds what does not go together with the machine's addresses.
func (o *networkFlags) parse(nodeIPs []netip.Addr) (err error) {
	if o.Services, err = parsePrefixes("--service-cidr", o.services); err != nil {
		return err
	}
	if o.Cluster, err = parsePrefixes("--cluster-cidr", o.cluster); err != nil {
		return err
	}
	if len(nodeIPs) == 0 {
		if len(o.Cluster) > 0 {
			return errors.New("--cluster-cidr: a cluster of several machines takes --node-ip as well")
		}
		return nil
	}
	for _, p := range o.Services {
		if p.Addr().IsLoopback() {
			return fmt.Errorf("--service-cidr: %s would be another address on each machine", p)
		}
	}
	// What is left is checked where it is used; the names of its parts are those of the flags.
	check := network.Config{
		Mode: network.Cluster, NodeName: "node", NodeIPs: nodeIPs, ClusterCIDRs: o.Cluster, ServiceCIDRs: o.Services,
		Backend: network.Backend(o.Backend), MTU: o.MTU,
	}
	return check.Validate()
}

// nodeCIDRFlags say how large a machine's share of --cluster-cidr is.
type nodeCIDRFlags struct {
	MaskSizeIPv4, MaskSizeIPv6 int
}

func (o *nodeCIDRFlags) addFlags(f *pflag.FlagSet) {
	f.IntVar(&o.MaskSizeIPv4, "node-cidr-mask-size-ipv4", controller.DefaultNodeCIDRMaskSizeIPv4, "size of a machine's part of an IPv4 --cluster-cidr: 24 is 254 pods with containers or Wasm guests")
	f.IntVar(&o.MaskSizeIPv6, "node-cidr-mask-size-ipv6", controller.DefaultNodeCIDRMaskSizeIPv6, "size of a machine's part of an IPv6 --cluster-cidr")
}
