package controller

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

// portGroup is the pods of a service that serve it on the same ports: with named target ports two pods may differ.
type portGroup struct {
	// signature names the ports; it is the same for the same ports each time.
	signature string
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// groupEndpoints turns a service and its pods, which it sorts, into endpoints, grouped by ports and in a fixed order. A service
// without endpoints has one group without any, so that those who look know that it was seen.
func groupEndpoints(service *corev1.Service, pods []*corev1.Pod) []*portGroup {
	groups := make(map[portNumbers]*portGroup)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for _, pod := range pods {
		address, ok := podAddress(pod)
		if !ok || finished(pod) || mirrors(pod) {
			continue
		}
		numbers, ok := resolvePorts(service, pod)
		if !ok {
			continue
		}
		group := groups[numbers]
		if group == nil {
			ports := endpointPorts(service, numbers)
			group = &portGroup{signature: portSignature(ports), ports: ports}
			groups[numbers] = group
		}
		group.endpoints = append(group.endpoints, endpointOf(service, pod, address))
	}
	if len(groups) == 0 {
		groups[portNumbers("")] = &portGroup{ports: []discoveryv1.EndpointPort{}}
	}
	sorted := make([]*portGroup, 0, len(groups))
	for _, group := range groups {
		sorted = append(sorted, group)
	}
	slices.SortFunc(sorted, func(a, b *portGroup) int { return cmp.Compare(a.signature, b.signature) })
	return sorted
}

// mirrors tells a mirror of a static pod. A node makes them by itself, with whatever labels: they must not be a way to
// come by the connections of any service.
func mirrors(pod *corev1.Pod) bool { return pod.Annotations[corev1.MirrorPodAnnotationKey] != "" }

// podAddress is a pod's IPv4 address.
func podAddress(pod *corev1.Pod) (string, bool) {
	if isIPv4(pod.Status.PodIP) {
		return pod.Status.PodIP, true
	}
	for _, ip := range pod.Status.PodIPs {
		if isIPv4(ip.IP) {
			return ip.IP, true
		}
	}
	return "", false
}

func isIPv4(s string) bool {
	if s == "" {
		return false // of a pod that does not run yet: parsing would make an error for each
	}
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Is4()
}

// endpointOf builds the endpoint of one pod.
func endpointOf(service *corev1.Service, pod *corev1.Pod, address string) discoveryv1.Endpoint {
	serving, terminating := ready(pod), pod.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: []string{address},
		Conditions: discoveryv1.EndpointConditions{
			Ready:       ptr.To(service.Spec.PublishNotReadyAddresses || serving && !terminating),
			Serving:     ptr.To(serving),
			Terminating: ptr.To(terminating),
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = ptr.To(pod.Spec.NodeName)
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name {
		e.Hostname = ptr.To(pod.Spec.Hostname)
	}
	return e
}

// endpointKey tells endpoints apart: the pod, whatever its state.
func endpointKey(e *discoveryv1.Endpoint) types.UID {
	if e.TargetRef == nil {
		return "" // none of this controller's
	}
	return e.TargetRef.UID
}

// equalEndpoint compares what endpointOf sets. A general comparison of a thousand endpoints costs milliseconds, at
// each change of one.
func equalEndpoint(a, b *discoveryv1.Endpoint) bool {
	x, y := &a.Conditions, &b.Conditions
	return slices.Equal(a.Addresses, b.Addresses) &&
		ptr.Equal(x.Ready, y.Ready) && ptr.Equal(x.Serving, y.Serving) && ptr.Equal(x.Terminating, y.Terminating) &&
		ptr.Equal(a.NodeName, b.NodeName) && ptr.Equal(a.Hostname, b.Hostname) && ptr.Equal(a.TargetRef, b.TargetRef) &&
		a.Zone == nil && b.Zone == nil && a.Hints == nil && b.Hints == nil && len(a.DeprecatedTopology)+len(b.DeprecatedTopology) == 0
}

// portNumbers is what the ports of a service mean on a pod: four bytes each, zero where the pod has no such port. It
// is a string so that pods can be grouped by it.
type portNumbers string

// resolvePorts resolves a service's ports on a pod; ok is false when the service has ports and none can be resolved.
func resolvePorts(service *corev1.Service, pod *corev1.Pod) (numbers portNumbers, ok bool) {
	ok = len(service.Spec.Ports) == 0
	raw := make([]byte, 0, 4*len(service.Spec.Ports))
	for i := range service.Spec.Ports {
		number, found := targetPort(&service.Spec.Ports[i], pod)
		ok = ok || found
		raw = binary.BigEndian.AppendUint32(raw, uint32(number))
	}
	return portNumbers(raw), ok
}

// endpointPorts are the ports of a service with the numbers that some pods have; those without a number are left out.
func endpointPorts(service *corev1.Service, numbers portNumbers) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		number := binary.BigEndian.Uint32([]byte(numbers[4*i:]))
		if number == 0 {
			continue
		}
		ports = append(ports, discoveryv1.EndpointPort{
			Name: ptr.To(p.Name), Port: ptr.To(int32(number)), Protocol: ptr.To(protocol(p.Protocol)), AppProtocol: p.AppProtocol,
		})
	}
	return ports
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// targetPort finds the number that a service's port means on a pod.
func targetPort(p *corev1.ServicePort, pod *corev1.Pod) (int32, bool) {
	if p.TargetPort.Type == intstr.Int {
		if p.TargetPort.IntVal == 0 {
			return p.Port, true
		}
		return p.TargetPort.IntVal, true
	}
	for i := range pod.Spec.Containers {
		if n, ok := namedPort(&pod.Spec.Containers[i], p); ok {
			return n, true
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if ptr.Deref(c.RestartPolicy, "") != corev1.ContainerRestartPolicyAlways {
			continue // it has ended by the time the pod serves
		}
		if n, ok := namedPort(c, p); ok {
			return n, true
		}
	}
	return 0, false
}

func namedPort(c *corev1.Container, p *corev1.ServicePort) (int32, bool) {
	for _, cp := range c.Ports {
		if cp.Name == p.TargetPort.StrVal && protocol(cp.Protocol) == protocol(p.Protocol) {
			return cp.ContainerPort, true
		}
	}
	return 0, false
}

// portSignature is one string for the same ports, in whatever order they come.
func portSignature(ports []discoveryv1.EndpointPort) string {
	parts := make([]string, 0, len(ports))
	for _, p := range ports {
		parts = append(parts, fmt.Sprintf("%s/%s/%s/%s", ptr.Deref(p.Name, ""), ptr.Deref(p.Protocol, ""),
			strconv.Itoa(int(ptr.Deref(p.Port, 0))), ptr.Deref(p.AppProtocol, "")))
	}
	slices.Sort(parts)
	return strings.Join(parts, ";")
}

// sliceName names a new slice. It follows from what the slice is for, so that a step taken twice on a lagging cache
// meets the slice that the first made instead of making another. taken are names in use.
func sliceName(service *corev1.Service, signature string, salt int) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s|%s|%d", service.UID, signature, salt)
	return generateName(service.Name) + rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}
