package resource

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// normalizeService makes a Service's linked fields agree before it is validated: clusterIP with clusterIPs, for
// clients that know only the first; and what was allocated before stays where the client sends its own manifest
// again, which does not name it.
func normalizeService(svc, before *corev1.Service) {
	if before == nil {
		if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
		}
		return
	}
	linkClusterIPs(svc, before)
	keepAllocated(svc, before)
}

func linkClusterIPs(svc, before *corev1.Service) {
	same := slices.Equal(svc.Spec.ClusterIPs, before.Spec.ClusterIPs)
	switch {
	case svc.Spec.ClusterIP == before.Spec.ClusterIP:
		if len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = slices.Clone(before.Spec.ClusterIPs)
		}
	case svc.Spec.ClusterIP == "" && same:
		svc.Spec.ClusterIPs = nil
	case same:
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
}

func keepAllocated(svc, before *corev1.Service) {
	if needsClusterIP(svc) && needsClusterIP(before) {
		if svc.Spec.ClusterIP == "" {
			svc.Spec.ClusterIP = before.Spec.ClusterIP
		}
		if len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = slices.Clone(before.Spec.ClusterIPs)
		}
	}
	if needsNodePort(svc) && needsNodePort(before) {
		keepNodePorts(svc, before)
	}
	if needsHealthCheckNodePort(svc) && needsHealthCheckNodePort(before) && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = before.Spec.HealthCheckNodePort
	}
}

// keepNodePorts gives a port without a node port the one it had, unless another port names it now.
func keepNodePorts(svc, before *corev1.Service) {
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	had := map[key]int32{}
	for _, p := range before.Spec.Ports {
		had[key{p.Protocol, p.Port}] = p.NodePort
	}
	named := map[int32]bool{}
	for _, p := range svc.Spec.Ports {
		named[p.NodePort] = true
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if was := had[key{p.Protocol, p.Port}]; p.NodePort == 0 && !named[was] {
			p.NodePort = was
		}
	}
}
