package service

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// defaultAffinity is the API's default for ClientIP affinity.
const defaultAffinity = 3 * time.Hour

// ProxyNameLabel on a Service says that another service proxy serves it.
const ProxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Place is where this node is: what traffic policies and distributions go by.
type Place struct {
	Node string
	Zone string // empty where the node has no such label
}

// Compile makes the table's entry of a Service and its slices, as the node sees it.
func Compile(svc *corev1.Service, all []*discoveryv1.EndpointSlice, here Place) Service {
	out := Service{Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID, App: svc.Labels[AppLabel]}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return out
	}
	if _, others := svc.Labels[ProxyNameLabel]; !others {
		out.ClusterIPs = addressesOf(svc.Spec.ClusterIPs)
	}
	headless := len(out.ClusterIPs) == 0 // or another proxy's: either way there is nothing to be reached at
	if !headless {
		compileOutside(&out, svc)
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Affinity = defaultAffinity
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	out.InternalLocal = ptr.Deref(svc.Spec.InternalTrafficPolicy, "") == corev1.ServiceInternalTrafficPolicyLocal
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if !isPort(p.Port) || p.NodePort != 0 && !isPort(p.NodePort) {
			continue // the API lets no such thing in
		}
		port := Port{Name: p.Name, Protocol: cmp.Or(string(p.Protocol), string(corev1.ProtocolTCP)), Port: uint16(p.Port)}
		if !headless {
			port.NodePort = uint16(p.NodePort)
		}
		compilePort(&out, &port, gather(svc, all, &port, here), here)
		out.Ports = append(out.Ports, port)
	}
	return out
}

func isPort(n int32) bool { return n > 0 && n <= 65535 }

// compileOutside fills in how the Service is reached from outside of the cluster.
func compileOutside(out *Service, svc *corev1.Service) {
	out.ExternalIPs = addressesOf(svc.Spec.ExternalIPs)
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			if ptr.Deref(ingress.IPMode, "") == corev1.LoadBalancerIPModeProxy {
				continue // connections to it have to pass the load balancer, which does more than we would
			}
			out.LoadBalancer = append(out.LoadBalancer, addressesOf([]string{ingress.IP})...)
		}
		compileRanges(out, svc.Spec.LoadBalancerSourceRanges)
	}
	external := svc.Spec.Type == corev1.ServiceTypeLoadBalancer || svc.Spec.Type == corev1.ServiceTypeNodePort || len(out.ExternalIPs) > 0
	out.ExternalLocal = external && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	if out.ExternalLocal && svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		out.HealthCheckNodePort = uint16(svc.Spec.HealthCheckNodePort)
	}
}

func compileRanges(out *Service, ranges []string) {
	for _, text := range ranges {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			out.SourceRanges = append(out.SourceRanges, prefix.Masked())
		}
	}
	if len(ranges) > 0 && len(out.SourceRanges) == 0 {
		out.LoadBalancer = nil // meant to be closed to most: open to nobody rather than to everybody
	}
}

// addressesOf parses addresses; what is none ("None", host names) is left out.
func addressesOf(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if ip, err := netip.ParseAddr(text); err == nil && !slices.Contains(out, ip.Unmap()) {
			out = append(out, ip.Unmap())
		}
	}
	return out
}
