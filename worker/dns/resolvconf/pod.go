package resolvconf

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// clusterNdots makes names with less than five dots tried below the search list first: _port._proto.service.namespace.svc
// has four.
const clusterNdots = "ndots:5"

// Cluster is the cluster's DNS as a node's pods reach it.
type Cluster struct {
	Servers []string
	Domain  string // without a dot at the end
}

// ForPod is a pod's configuration by its dnsPolicy and dnsConfig. host is the node's own. problems say in words what of it
// could not be had: a cluster without DNS, or lists that were too long.
func ForPod(p *corev1.Pod, cluster Cluster, host Config) (c Config, problems []string) {
	switch policy := effective(p); {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSClusterFirst && len(cluster.Servers) > 0:
		ns, svc := p.Namespace+".svc."+cluster.Domain, "svc."+cluster.Domain
		c = Config{Servers: slices.Clone(cluster.Servers), Options: []string{clusterNdots}}
		c.Searches = searches(append([]string{ns, svc, cluster.Domain}, host.Searches...))
	default:
		if policy == corev1.DNSClusterFirst {
			problems = append(problems, "the node serves no cluster DNS: the pod has the node's own resolvers")
		}
		c = Config{Servers: slices.Clone(host.Servers), Searches: slices.Clone(host.Searches), Options: slices.Clone(host.Options)}
	}
	if extra := p.Spec.DNSConfig; extra != nil {
		c.merge(extra)
	}
	return c, append(problems, c.limit()...)
}

// effective is the policy that applies: the cluster's DNS is not for pods in the host's network unless they say so.
func effective(p *corev1.Pod) corev1.DNSPolicy {
	switch p.Spec.DNSPolicy {
	case corev1.DNSNone, corev1.DNSDefault:
		return p.Spec.DNSPolicy
	case corev1.DNSClusterFirstWithHostNet:
		return corev1.DNSClusterFirst
	}
	if p.Spec.HostNetwork {
		return corev1.DNSDefault
	}
	return corev1.DNSClusterFirst
}

// merge adds what the pod names: servers and domains behind those that are there, options in their place.
func (c *Config) merge(extra *corev1.PodDNSConfig) {
	for _, s := range extra.Nameservers {
		if !slices.Contains(c.Servers, s) {
			c.Servers = append(c.Servers, s)
		}
	}
	c.Searches = searches(append(c.Searches, extra.Searches...))
	for _, o := range extra.Options {
		if o.Name == "" {
			continue
		}
		text := o.Name
		if o.Value != nil {
			text += ":" + *o.Value
		}
		at := slices.IndexFunc(c.Options, func(have string) bool {
			name, _, _ := strings.Cut(have, ":")
			return name == o.Name
		})
		if at >= 0 {
			c.Options[at] = text
		} else {
			c.Options = append(c.Options, text)
		}
	}
}

// limit cuts what is too long and says so.
func (c *Config) limit() (problems []string) {
	if len(c.Servers) > MaxServers {
		c.Servers = c.Servers[:MaxServers]
		problems = append(problems, "more nameservers than resolvers take: some were left out, "+strings.Join(c.Servers, " ")+" are asked")
	}
	kept, cut := limitSearches(c.Searches)
	if c.Searches = kept; cut {
		problems = append(problems, "the search list is longer than resolvers take: some domains were left out")
	}
	if len(c.Options) > maxOptions {
		c.Options = c.Options[:maxOptions]
		problems = append(problems, "more options than are kept: some were left out")
	}
	return problems
}
