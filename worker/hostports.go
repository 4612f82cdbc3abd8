package worker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/service"
)

const (
	// eventHostPort is the reason of the event that tells of a port that nobody serves.
	eventHostPort = "HostPortNotServed"
	// reasonPorts is why a pod is refused whose host ports another pod of the node has, as kubelet calls it.
	reasonPorts = "NodePorts"
	// hostPortRetry is when a pod looks again whether one that ends has given up a host port.
	hostPortRetry = time.Second
)

// hostPort is a port of the machine that a container asks for.
type hostPort struct {
	ip              string // empty: of all the node's addresses
	protocol        string
	port, container int32
}

// hostPortsOf are all of a pod's. Init containers have theirs only if they stay.
func hostPortsOf(p *corev1.Pod) []hostPort {
	var out []hostPort
	for c, role := range pod.Containers(p) {
		if role != pod.Main && role != pod.Sidecar {
			continue
		}
		for i := range c.Ports {
			if n := &c.Ports[i]; n.HostPort != 0 {
				out = append(out, hostPort{ip: n.HostIP, protocol: protocolText(n.Protocol), port: n.HostPort, container: n.ContainerPort})
			}
		}
	}
	return out
}

func protocolText(p corev1.Protocol) string {
	if p == "" {
		return string(corev1.ProtocolTCP)
	}
	return string(p)
}

func (h hostPort) String() string {
	if h.ip == "" {
		return fmt.Sprintf("%d/%s", h.port, h.protocol)
	}
	return fmt.Sprintf("%s at %s", hostPort{protocol: h.protocol, port: h.port}, h.ip)
}

// any reports whether the port is asked for at all addresses. The scheduler, too, takes no heed of their family there.
func (h hostPort) any() bool { return h.ip == "" || h.ip == "0.0.0.0" || h.ip == "::" }

func (h hostPort) clashes(o hostPort) bool {
	return h.port == o.port && h.protocol == o.protocol && (h.any() || o.any() || h.ip == o.ip)
}

// frontends are where the port is served for a pod with those addresses: one for each family that both have.
func (h hostPort) frontends(pod []netip.Addr) []service.HostPort {
	if h.protocol != string(corev1.ProtocolTCP) && h.protocol != string(corev1.ProtocolUDP) {
		return nil
	}
	var out []service.HostPort
	for _, ip := range pod {
		at := netip.IPv4Unspecified()
		if ip.Is6() {
			at = netip.IPv6Unspecified()
		}
		if h.ip != "" {
			asked, err := netip.ParseAddr(h.ip)
			if err != nil || asked.Unmap().Is4() != ip.Is4() {
				continue
			}
			at = asked.Unmap()
		}
		out = append(out, service.HostPort{
			Addr: netip.AddrPortFrom(at, uint16(h.port)), Protocol: h.protocol, Pod: netip.AddrPortFrom(ip, uint16(h.container)),
		})
	}
	return out
}

// hostPortServer serves them.
type hostPortServer interface {
	SetHostPorts(service.HostPorts)
	DropHostPorts(types.UID)
	KeepHostPorts(known func(types.UID) bool)
}

// hostPorts says which pod has which ports of the machine.
type hostPorts struct {
	server hostPortServer

	mu     sync.Mutex
	owners map[types.UID]portOwner
}

type portOwner struct {
	name  types.NamespacedName
	ports []hostPort
}

// portTaken says that a port is another pod's.
type portTaken struct {
	port hostPort
	of   types.NamespacedName
	uid  types.UID
}

func (t *portTaken) Error() string { return fmt.Sprintf("host port %s is pod %s's", t.port, t.of) }

// hold gives the pod all of the ports, unless another has one.
func (h *hostPorts) hold(p *corev1.Pod, ports []hostPort) *portTaken {
	h.mu.Lock()
	defer h.mu.Unlock()
	for uid, owner := range h.owners {
		if uid == p.UID {
			continue
		}
		for _, port := range ports {
			if slices.ContainsFunc(owner.ports, port.clashes) {
				return &portTaken{port, owner.name, uid}
			}
		}
	}
	h.owners[p.UID] = portOwner{nameOf(p), ports}
	return nil
}

// adopt has a pod of an earlier run of the worker keep its ports, before any new one may take them.
func (h *hostPorts) adopt(p *corev1.Pod) {
	if ports := hostPortsOf(p); len(ports) > 0 && !pod.Terminal(p.Status.Phase) {
		_ = h.hold(p, ports) // where two had one, it is told when they are looked at
	}
}

// release gives the pod's ports back.
func (h *hostPorts) release(uid types.UID) {
	h.mu.Lock()
	_, had := h.owners[uid]
	delete(h.owners, uid)
	h.mu.Unlock()
	if had {
		h.server.DropHostPorts(uid)
	}
}

// takeHostPorts is false for a pod that cannot have its host ports: it waits for one that ends, and is refused where
// another has them. That happens to pods that no scheduler has placed.
func (a *actor) takeHostPorts() bool {
	ports := hostPortsOf(a.view.Pod)
	if len(ports) == 0 {
		return true
	}
	taken := a.m.hostPorts.hold(a.view.Pod, ports)
	if taken == nil {
		return true
	}
	if a.m.ends(taken.uid) {
		a.holdBack(hostPortRetry, eventFailedSandbox, taken)
		return false
	}
	a.stopBy(time.Now(), pod.Why{
		Reason:  reasonPorts,
		Message: fmt.Sprintf("Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports: %v", taken),
	})
	return false
}

// ends reports whether a pod is on its way out, or was never here.
func (m *manager) ends(uid types.UID) bool {
	a := m.actor(uid)
	return a == nil || a.ends()
}

// openHostPorts has the pod's host ports lead to its sandbox, or nowhere while it has none. A pod on the machine's own
// network has them by itself.
func (a *actor) openHostPorts() {
	ports := hostPortsOf(a.view.Pod)
	if len(ports) == 0 || a.kinds == nil || a.onHost() {
		return
	}
	s := a.view.Sandbox()
	if s == nil {
		a.m.hostPorts.server.DropHostPorts(a.uid)
		return
	}
	if taken := a.m.hostPorts.hold(a.view.Pod, ports); taken != nil {
		a.tellHostPort(taken.Error())
		return
	}
	var ips []netip.Addr
	for _, text := range s.IPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			ips = append(ips, ip.Unmap())
		}
	}
	all := service.HostPorts{Namespace: a.view.Pod.Namespace, Name: a.view.Pod.Name, UID: a.uid}
	for _, port := range ports {
		served := port.frontends(ips)
		if len(served) == 0 {
			a.tellHostPort(fmt.Sprintf("host port %s is not served: that takes TCP or UDP, and an address of its family, of which the pod has %s", port, strings.Join(s.IPs, " and ")))
		}
		all.Ports = append(all.Ports, served...)
	}
	a.m.hostPorts.server.SetHostPorts(all)
}

// tellHostPort says once what does not work.
func (a *actor) tellHostPort(problem string) {
	if a.portProblem != problem {
		a.portProblem = problem
		a.m.events.sometimes(a.view.Pod, eventHostPort, "%s", problem)
	}
}
