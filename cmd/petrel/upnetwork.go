package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/controller"
	"github.com/petrelrun/petrel/worker"
	"github.com/petrelrun/petrel/worker/network"
)

// Values of petrel up's --network.
const (
	networkLoopback = "loopback"
	networkCluster  = "cluster"
)

// clusterPods are the addresses of pods where no flag names others.
const clusterPods = "10.42.0.0/16"

// outside is an address of no machine (RFC 5737): what leads to it leads to the world.
const outside = "192.0.2.1:9"

// upNetwork says what network the pods of petrel up are on.
type upNetwork struct {
	Mode       string
	Containerd containerdFlags
	nodeIPs    []string
	ips        []netip.Addr // none: loopback addresses
	boxes      *containers  // nil: the node runs no containers
	node       *worker.Worker
}

func (o *upNetwork) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Mode, "network", networkLoopback, "loopback: pods have loopback addresses, and nothing of the machine is changed; cluster: they have addresses of their own ("+clusterPods+", services "+clusterServices+"), as in a cluster of several machines, which takes root, implies --tls and lets the node run containers")
	f.StringSliceVar(&o.nodeIPs, "node-ip", nil, "this machine's address with --network=cluster, one of each family (default: the one by which it reaches the world)")
	o.Containerd.addFlags(f)
}

// clustered reports whether pods have addresses of their own.
func (o *upNetwork) clustered() bool { return len(o.ips) > 0 }

// settle checks the flags and fills in what they left open.
func (o *upOptions) settleNetwork(changed func(flag string) bool) (err error) {
	n := &o.Network
	if n.Mode != networkLoopback && n.Mode != networkCluster {
		return fmt.Errorf("--network %q: want loopback or cluster", n.Mode)
	}
	if n.Mode == networkLoopback {
		if len(n.nodeIPs) > 0 {
			return errors.New("--node-ip: add --network=cluster")
		}
		return n.Containerd.check(&networkFlags{}, false)
	}
	if os.Geteuid() != 0 {
		return errors.New("--network=cluster takes root: it makes links, routes and filters")
	}
	if n.ips, err = parseNodeIPs(n.nodeIPs); err != nil {
		return err
	}
	if len(n.ips) == 0 {
		if n.ips, err = addressToWorld(); err != nil {
			return err
		}
	}
	o.TLS = true
	if !changed("listen") {
		o.Listen = net.JoinHostPort(n.ips[0].String(), portOf(o.Listen))
	}
	if !changed("pod-cidr") {
		o.PodCIDR = clusterPods
	}
	if !changed("service-cidr") {
		o.ServiceCIDR = clusterServices
	}
	if n.Containerd.Mode == containerdSystem {
		return errors.New("--containerd=system is for petrel worker")
	}
	return n.Containerd.check(&networkFlags{}, true)
}

// addressToWorld is the address that the machine's packets to the world carry. Nothing is sent.
func addressToWorld() ([]netip.Addr, error) {
	conn, err := net.Dial("udp", outside)
	if err != nil {
		return nil, fmt.Errorf("find this machine's address: %w; give one with --node-ip", err)
	}
	defer conn.Close()
	at, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || at.IP.IsLoopback() {
		return nil, errors.New("this machine has no address beyond loopback: give one with --node-ip")
	}
	return []netip.Addr{at.AddrPort().Addr().Unmap()}, nil
}

// addresses are the cluster's.
func (o *upOptions) addresses() (a clusterAddresses, err error) {
	if a.Services, err = netip.ParsePrefix(o.ServiceCIDR); err != nil {
		return a, fmt.Errorf("--service-cidr: %w", err)
	}
	if !o.Network.clustered() {
		return a, nil
	}
	if a.Pods, err = parsePrefixes("--pod-cidr", strings.Split(o.PodCIDR, ",")); err != nil {
		return a, err
	}
	if err := a.check(); err != nil {
		return a, err
	}
	return a, a.reachable(o.Listen)
}

// checkListen keeps a cluster on loopback addresses on them.
func (o *upOptions) checkListen() error {
	if o.TLS && !o.Network.clustered() && !auth.IsLoopbackHost(o.Listen) {
		return fmt.Errorf("--listen %s: petrel up listens on loopback only, unless --network=cluster; beyond it run petrel controlplane and petrel worker", o.Listen)
	}
	return nil
}

// nodeCIDRs give the one node all addresses.
func (a *clusterAddresses) nodeCIDRs() nodeCIDRFlags {
	sizes := nodeCIDRFlags{MaskSizeIPv4: controller.DefaultNodeCIDRMaskSizeIPv4, MaskSizeIPv6: controller.DefaultNodeCIDRMaskSizeIPv6}
	for _, p := range a.Pods {
		if p.Addr().Is4() {
			sizes.MaskSizeIPv4 = p.Bits()
		}
	}
	return sizes
}

// tell puts the network into the worker's options.
func (o *upNetwork) tell(w *workerOptions, addresses clusterAddresses) {
	if !o.clustered() {
		return
	}
	w.NodeIPs = o.ips
	w.Network = networkFlags{Backend: string(network.Auto), Masquerade: true, Cluster: addresses.Pods, Services: []netip.Prefix{addresses.Services}}
	o.boxes.tell(w)
}

// stop ends the pods with containers and removes what the pods' network left in the kernel. It comes after the parts.
func (o *upNetwork) stop() error {
	if !o.clustered() || o.node == nil {
		return nil
	}
	return errors.Join(o.boxes.Stop(o.node), o.node.RemoveNetwork(), o.node.RemoveProxy())
}
