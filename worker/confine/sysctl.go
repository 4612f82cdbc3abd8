package confine

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safeSysctls are those that a pod may set: they are of its own namespaces, and harm nobody beside it.
var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}

// Sysctls are what the pod sets of its namespaces' kernel parameters.
func Sysctls(p *corev1.Pod) (map[string]string, error) {
	if p.Spec.SecurityContext == nil || len(p.Spec.SecurityContext.Sysctls) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, s := range p.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(s.Name, "/", ".")
		switch {
		case !slices.Contains(safeSysctls, name):
			return nil, fmt.Errorf("forbidden sysctl: %q is not one that pods may set: it is not known to stay within the pod", s.Name)
		case p.Spec.HostNetwork && strings.HasPrefix(name, "net."), p.Spec.HostIPC && strings.HasPrefix(name, "kernel."):
			return nil, fmt.Errorf("forbidden sysctl: %q cannot be set by a pod that shares that namespace with the node", s.Name)
		}
		out[name] = s.Value
	}
	return out, nil
}
