package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	hostsPath = "/etc/hosts"
	// hostsMode lets whoever a container runs as read its names.
	hostsMode = 0o644
)

// hosts is the hosts file that the pod's containers share.
func (p paths) hosts(uid types.UID) string { return filepath.Join(p.pod(uid), "hosts") }

// addHosts gives the container the pod's hosts file, unless it brings one of its own.
func (a *actor) addHosts(_ *corev1.Container, config *runtimev1.ContainerConfig) error {
	if mountedAt(config, hostsPath) {
		return nil
	}
	var ips []string
	if s := a.view.Sandbox(); s != nil {
		ips = s.IPs
	}
	content := hosts(a.view.Pod, ips, a.m.cfg.ClusterDomain)
	if a.view.Pod.Spec.HostNetwork {
		node, err := os.ReadFile(hostsPath)
		if err != nil {
			return fmt.Errorf("read the node's hosts file: %w", err)
		}
		content = string(node) + hostAliases(a.view.Pod)
	}
	path := a.m.paths.hosts(a.uid)
	err := a.m.onDisk(func() error {
		if err := makeDir(a.m.paths.pod(a.uid), passDir); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(content), hostsMode) // in place: containers have it mounted
	})
	if err != nil {
		return fmt.Errorf("write hosts file: %w", err)
	}
	config.Mounts = append(config.Mounts, &runtimev1.Mount{ContainerPath: hostsPath, HostPath: path})
	return nil
}

// hosts is the hosts file of a pod with addresses of its own, one of each family.
func hosts(p *corev1.Pod, ips []string, domain string) string {
	var b strings.Builder
	b.WriteString("# Made by Petrel for this pod.\n")
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	b.WriteString("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	name := hostname(p)
	names := name
	if p.Spec.Subdomain != "" {
		names = name + "." + p.Spec.Subdomain + "." + p.Namespace + ".svc." + domain + "\t" + name
	}
	for _, ip := range ips {
		fmt.Fprintf(&b, "%s\t%s\n", ip, names)
	}
	b.WriteString(hostAliases(p))
	return b.String()
}

func hostAliases(p *corev1.Pod) string {
	if len(p.Spec.HostAliases) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n# The pod's own.\n")
	for _, alias := range p.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String()
}
