package servicetest

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/service"
)

// hostPort has endpoints serve a new host port at the address, as one pod that is gone with the test.
func (w *world) hostPort(t *testing.T, ip netip.Addr, pods ...member) (uid types.UID, number uint16) {
	t.Helper()
	number = w.nodePort()
	all := service.HostPorts{Namespace: "test", Name: pods[0].name, UID: types.UID(t.Name())}
	for _, pod := range pods {
		all.Ports = append(all.Ports, service.HostPort{Addr: netip.AddrPortFrom(ip, number), Protocol: string(pod.protocol), Pod: pod.addr})
	}
	w.server.SetHostPorts(all)
	t.Cleanup(func() { w.server.DropHostPorts(all.UID) })
	return all.UID, number
}

// hostPorts lead to their pod until that is gone.
func hostPorts(t *testing.T, w *world) {
	pod, datagrams := named(t, w, corev1.ProtocolTCP, "pod"), named(t, w, corev1.ProtocolUDP, "pod")
	uid, number := w.hostPort(t, netip.IPv4Unspecified(), append(pod, datagrams...)...)
	at := netip.AddrPortFrom(w.host.Node, number)
	answered(t, at, "pod")
	for _, connected := range []bool{true, false} {
		answeredBy(t, func() (string, error) { return askUDP(at, connected) }, "pod")
	}
	next := named(t, w, corev1.ProtocolTCP, "next")
	w.server.SetHostPorts(service.HostPorts{Namespace: "test", Name: "pod", UID: uid, Ports: []service.HostPort{
		{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), number), Protocol: "TCP", Pod: next[0].addr},
	}})
	answered(t, at, "next")
	if _, found := w.server.Lookup("test", "pod"); found {
		t.Error("the pod is taken for a Service")
	}
	w.server.KeepHostPorts(func(is types.UID) bool { return true })
	answered(t, at, "next")
	w.server.SetHostPorts(service.HostPorts{Namespace: "test", Name: "pod", UID: uid})
	refused(t, at)
}

// hostPortsAt an address are at that one alone.
func hostPortsAt(t *testing.T, w *world) {
	own := w.vip()
	_, number := w.hostPort(t, own, named(t, w, corev1.ProtocolTCP, "pod")...)
	answered(t, netip.AddrPortFrom(own, number), "pod")
	refused(t, netip.AddrPortFrom(w.host.Node, number))
}

// hostPortsToTheEnd: a pod that Services leave goes on to answer at its host port.
func hostPortsToTheEnd(t *testing.T, w *world) {
	own := w.vip() // other cases' endpoints are at the node's address
	pod := namedAt(t, own, corev1.ProtocolTCP, "pod")
	uid, number := w.hostPort(t, netip.IPv4Unspecified(), pod...)
	svc := w.add(t)
	svc.endpoints(pod...)
	at := netip.AddrPortFrom(w.host.Node, number)
	answered(t, at, "pod")
	answered(t, svc.at(), "pod")
	w.server.Leave(own)
	t.Cleanup(func() { w.server.Arrive(own) })
	eventually(t, "the Service to leave it", func() bool { _, err := ask(svc.at()); return err != nil })
	answered(t, at, "pod")
	w.server.DropHostPorts(uid)
	refused(t, at)
}

func hostPorts6(t *testing.T, w *world) {
	uid, number := w.hostPort(t, netip.IPv6Unspecified(), namedAt(t, netip.IPv6Loopback(), corev1.ProtocolTCP, "six")...)
	at := netip.AddrPortFrom(netip.IPv6Loopback(), number)
	answered(t, at, "six")
	refused(t, netip.AddrPortFrom(w.host.Node, number))
	w.server.DropHostPorts(uid)
	refused(t, at)
}
