package resource

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// dnsOffset is the place of the DNS Service's address in the range: the tenth, as everywhere.
const dnsOffset = 10

// ipRange is an IPv4 network to give addresses from: all but its own and the broadcast address.
type ipRange struct {
	prefix netip.Prefix
	base   uint32
	size   uint32
}

func newIPRange(prefix netip.Prefix) ipRange {
	a := prefix.Addr().As4()
	return ipRange{prefix: prefix, base: binary.BigEndian.Uint32(a[:]), size: 1 << (32 - prefix.Bits())}
}

func (r ipRange) at(offset uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], r.base+offset)
	return netip.AddrFrom4(a)
}

// first is the address of default/kubernetes.
func (r ipRange) first() netip.Addr { return r.at(1) }

// dns is the address of kube-system/kube-dns; a range may be too small for it.
func (r ipRange) dns() (netip.Addr, bool) {
	return r.at(dnsOffset), r.size > dnsOffset+1
}

// reserved tells of addresses that are given only to those who name them.
func (r ipRange) reserved(a netip.Addr) bool {
	dns, ok := r.dns()
	return a == r.first() || ok && a == dns
}

func (r ipRange) contains(a netip.Addr) bool {
	return r.prefix.Contains(a) && a != r.at(0) && a != r.at(r.size-1)
}

// fillClusterIP claims the address that svc names, or any.
func (a *allocation) fillClusterIP(ctx context.Context, svc *corev1.Service) error {
	if !needsClusterIP(svc) {
		return nil
	}
	if err := checkFamilies(svc); err != nil {
		return err
	}
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	if p := svc.Spec.IPFamilyPolicy; p == nil {
		single := corev1.IPFamilyPolicySingleStack
		svc.Spec.IPFamilyPolicy = &single
	}
	switch {
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return nil
	case svc.Spec.ClusterIP == "":
		return a.anyClusterIP(ctx, svc)
	}
	return a.thisClusterIP(ctx, svc)
}

func (a *allocation) thisClusterIP(ctx context.Context, svc *corev1.Service) error {
	path := field.NewPath("spec", "clusterIPs")
	addr, err := netip.ParseAddr(svc.Spec.ClusterIP)
	if err != nil || !a.ips.contains(addr) {
		return invalidService(svc, path, svc.Spec.ClusterIPs,
			fmt.Sprintf("cluster IPs are given from %s, and its first and last address are not given", a.ips.prefix))
	}
	err = a.get(ctx, claim{poolClusterIP, addr.String()})
	if apierrors.IsAlreadyExists(err) {
		return invalidService(svc, path, svc.Spec.ClusterIPs, "provided IP is already allocated")
	}
	return err
}

// anyClusterIP starts at a random place, so that servers side by side seldom try the same address and an address
// that was just given back is seldom given again while clients still know it.
func (a *allocation) anyClusterIP(ctx context.Context, svc *corev1.Service) error {
	usable := a.ips.size - 2
	start := rand.Uint32N(usable)
	for i := range usable {
		addr := a.ips.at(1 + (start+i)%usable)
		if a.ips.reserved(addr) || !a.free(ctx, poolClusterIP, addr.String()) {
			continue
		}
		err := a.get(ctx, claim{poolClusterIP, addr.String()})
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			return err
		}
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = addr.String(), []string{addr.String()}
		return nil
	}
	return exhausted("a cluster IP")
}

// checkFamilies refuses what a cluster of one family cannot give.
func checkFamilies(svc *corev1.Service) error {
	if p := svc.Spec.IPFamilyPolicy; p != nil && *p == corev1.IPFamilyPolicyRequireDualStack {
		return invalidService(svc, field.NewPath("spec", "ipFamilyPolicy"), *p, "this cluster has IPv4 only")
	}
	for i, f := range svc.Spec.IPFamilies {
		if f != corev1.IPv4Protocol {
			return invalidService(svc, field.NewPath("spec", "ipFamilies").Index(i), f, "this cluster has IPv4 only")
		}
	}
	if len(svc.Spec.ClusterIPs) > 1 {
		return invalidService(svc, field.NewPath("spec", "clusterIPs"), svc.Spec.ClusterIPs, "this cluster has one address for a service")
	}
	return nil
}

// fillNodePorts claims a node port for each port of a Service that is to be reached from outside. One number may
// serve two protocols.
func (a *allocation) fillNodePorts(ctx context.Context, svc *corev1.Service) error {
	used := map[int32]corev1.Protocol{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.NodePort == 0 && !needsNodePort(svc) {
			continue
		}
		path := field.NewPath("spec", "ports").Index(i).Child("nodePort")
		if proto, ok := used[p.NodePort]; ok && p.NodePort != 0 && proto == p.Protocol {
			return invalidService(svc, path, p.NodePort, "is given twice")
		}
		port, err := a.port(ctx, svc, p.NodePort, path)
		if err != nil {
			return err
		}
		p.NodePort = port
		used[port] = p.Protocol
	}
	return nil
}

// port claims the wanted port, or any where none is wanted.
func (a *allocation) port(ctx context.Context, svc *corev1.Service, want int32, path *field.Path) (int32, error) {
	if want == 0 {
		return a.anyPort(ctx)
	}
	if want < a.ports.First || want > a.ports.Last {
		return 0, invalidService(svc, path, want, fmt.Sprintf("node ports are given from %d-%d", a.ports.First, a.ports.Last))
	}
	err := a.get(ctx, portClaim(want))
	if apierrors.IsAlreadyExists(err) {
		return 0, invalidService(svc, path, want, "provided port is already allocated")
	}
	return want, err
}

func (a *allocation) anyPort(ctx context.Context) (int32, error) {
	n := a.ports.Last - a.ports.First + 1
	start := rand.Int32N(n)
	for i := range n {
		port := a.ports.First + (start+i)%n
		c := portClaim(port)
		if a.holds(c) || !a.free(ctx, c.pool, c.value) {
			continue
		}
		err := a.get(ctx, c)
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		return port, err
	}
	return 0, exhausted("a node port")
}
