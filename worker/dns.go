package worker

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/dns"
	"github.com/petrelrun/petrel/worker/dns/resolvconf"
)

const (
	// dnsPatience is how long after the worker's start pods wait to be told of the cluster's DNS. It is known at once
	// where there is an API or a table of last time.
	dnsPatience = 5 * time.Second
	// dnsPort is where containers' resolvers look for a server; they know no other.
	dnsPort = 53

	// eventDNS is the reason of the event that tells what of a pod's DNS could not be had.
	eventDNS = "DNSConfigForming"

	// Annotations that tell the Wasm runtime that names below the domain may lead to these networks, loopback as they are.
	annotationDomain   = annotationPrefix + "cluster-domain"
	annotationNetworks = annotationPrefix + "cluster-networks"
)

// loopback tells whether pods and services have addresses of the machine's own.
func (c *Config) loopback() bool { return c.NodeIPs[0].IsLoopback() }

func (w *Worker) newDNS(events *events, files paths) (*dns.Server, error) {
	config := dns.Config{
		Client: w.cfg.Client, Catalog: w.catalog, NodeName: w.cfg.NodeName, ClusterDomain: w.cfg.ClusterDomain, ResolvConf: w.cfg.ResolvConf,
		StateFile: files.dns(), Recorder: events, Registerer: w.metrics.registry, Logger: w.cfg.Logger,
	}
	if w.cfg.loopback() {
		pods, err := netip.ParsePrefix(w.cfg.PodCIDR)
		if err != nil {
			return nil, fmt.Errorf("pod CIDR: %w", err)
		}
		config.PodCIDRs = []netip.Prefix{pods}
	}
	return dns.New(config)
}

// naming gives pods their DNS configuration.
type naming struct {
	server *dns.Server
	until  time.Time // pods wait for the server
	// networks are the cluster's own, where those are the host's too.
	networks []string
}

func (w *Worker) newNaming(server *dns.Server) *naming {
	n := &naming{server: server, until: time.Now().Add(dnsPatience)}
	if w.cfg.loopback() {
		n.networks = []string{w.cfg.PodCIDR}
		for _, p := range w.cfg.ServiceCIDRs {
			n.networks = append(n.networks, p.String())
		}
	}
	return n
}

// fill puts a pod's DNS configuration into its sandbox's. Of what could not be had, problems tells.
func (n *naming) fill(ctx context.Context, config *runtimev1.PodSandboxConfig, p *corev1.Pod, ownRuntime bool) (problems []string, err error) {
	waiting, cancel := context.WithDeadline(ctx, n.until)
	defer cancel()
	servers, err := n.server.Servers(waiting)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	cluster := resolvconf.Cluster{Domain: n.server.Domain()}
	for _, at := range servers { // none where it is not known yet
		switch {
		case at.Port() == dnsPort:
			cluster.Servers = append(cluster.Servers, at.Addr().String())
		case ownRuntime:
			cluster.Servers = append(cluster.Servers, at.String())
		}
	}
	c, problems := resolvconf.ForPod(p, cluster, n.server.Host())
	config.DnsConfig = &runtimev1.DNSConfig{Servers: c.Servers, Searches: c.Searches, Options: c.Options}
	// What the pod itself says there counts for nothing.
	delete(config.Annotations, annotationDomain)
	delete(config.Annotations, annotationNetworks)
	if len(n.networks) > 0 {
		config.Annotations[annotationDomain] = cluster.Domain
		config.Annotations[annotationNetworks] = strings.Join(n.networks, ",")
	}
	return problems, nil
}
