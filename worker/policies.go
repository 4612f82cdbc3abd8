package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/flows"
	"github.com/petrelrun/petrel/worker/network"
	netpolicy "github.com/petrelrun/petrel/worker/policy"
	"github.com/petrelrun/petrel/worker/service/kernel"
)

const (
	// policyPatience is how long a pod's start waits for its policies to be in the kernel before it is put off.
	policyPatience = 5 * time.Second
	// policyRetry is when it is tried again.
	policyRetry = 2 * time.Second
	// dnsOffset is the place of the cluster's DNS in the services' addresses, which each node serves itself.
	dnsOffset = 10
)

// guard holds pods to the NetworkPolicies, and knows the node's flows. Both need the eBPF data path: without it there are
// none, which is said once.
type guard struct {
	cfg      *Config
	metrics  *metrics
	log      *slog.Logger
	podCIDRs func() []netip.Prefix
	decided  chan struct{} // closed once it is known whether eBPF serves
	decide   func()

	mu       sync.Mutex
	agent    *netpolicy.Agent    // nil: policies are not enforced
	enforcer *ebpfproxy.Enforcer // likewise
	flows    *ebpfproxy.Flows
	devices  map[string][]netip.Addr // containers' links
}

func newGuard(cfg *Config, m *metrics) *guard {
	g := &guard{cfg: cfg, metrics: m, log: cfg.Logger, decided: make(chan struct{})}
	g.decide = sync.OnceFunc(func() { close(g.decided) })
	return g
}

// prefixes are networks that hold one address each.
func prefixes(addrs []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// compiler says which addresses are this node's and which are pods'. The DNS that the node serves is the node: a pod that
// may reach nobody may still ask for names, as everywhere where policies are written without the nodes' DNS in mind.
func (g *guard) compiler() netpolicy.CompilerConfig {
	c := netpolicy.CompilerConfig{NodeName: g.cfg.NodeName, Hosts: prefixes(g.cfg.NodeIPs)}
	c.Hosts = append(c.Hosts, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	for _, p := range g.cfg.ServiceCIDRs {
		dns := p.Masked().Addr()
		for range dnsOffset {
			dns = dns.Next()
		}
		if p.Contains(dns) {
			c.Hosts = append(c.Hosts, netip.PrefixFrom(dns, dns.BitLen()))
		}
	}
	if !g.cfg.onLoopback() {
		// The node speaks to pods behind routers from its end of the tunnel, the first address of its own pods'.
		for _, p := range g.podCIDRs() {
			c.Hosts = append(c.Hosts, netip.PrefixFrom(p.Masked().Addr(), p.Addr().BitLen()))
		}
	}
	c.PodCIDRs = g.cfg.ClusterCIDRs
	if len(c.PodCIDRs) == 0 {
		c.PodCIDRs = g.podCIDRs()
	}
	return c
}

// opened begins to enforce policies with the programs that are open; what it answers ends that.
func (g *guard) opened(ctx context.Context, proxy *ebpfproxy.Proxy) (func() error, error) {
	enforcer, err := ebpfproxy.NewEnforcer(ebpfproxy.EnforcerConfig{Proxy: proxy})
	if err != nil {
		return nil, err
	}
	if err := enforcer.Open(ctx); errors.Is(err, ebpfproxy.ErrUnsupported) {
		g.log.Warn("network policies are not enforced", "missing", err)
		return func() error { return nil }, nil
	} else if err != nil {
		return nil, err
	}
	agent, err := netpolicy.New(netpolicy.Config{Compiler: g.compiler(), Client: g.cfg.Client, Enforcer: enforcer, StateFile: paths(g.cfg.RootDir).policies(), Logger: g.log})
	if err != nil {
		return nil, errors.Join(err, enforcer.Close())
	}
	recorder, err := ebpfproxy.NewFlows(ebpfproxy.FlowsConfig{Enforcer: enforcer, Logger: g.log, PodName: agent.PodName})
	if err != nil {
		return nil, errors.Join(err, enforcer.Close())
	}
	if err := g.metrics.registry.Register(agent); err != nil {
		return nil, errors.Join(err, enforcer.Close())
	}
	g.mu.Lock()
	g.agent, g.enforcer, g.flows = agent, enforcer, recorder
	err = g.applyDevices()
	g.mu.Unlock()
	if err != nil {
		g.log.Error("containers' links are not guarded", "error", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = agent.Run(ctx) }) // it ends with ctx and for nothing else
	return func() error {
		cancel()
		running.Wait()
		g.mu.Lock()
		g.agent, g.enforcer, g.flows = nil, nil, nil
		g.mu.Unlock()
		return enforcer.Close()
	}, nil
}

// renumbered is told that this node was given other pod CIDRs.
func (g *guard) renumbered() {
	g.mu.Lock()
	agent := g.agent
	g.mu.Unlock()
	if agent == nil {
		return
	}
	if err := agent.SetHosts(g.compiler().Hosts); err != nil {
		g.log.Error("policies do not know the node's addresses", "error", err)
	}
}

// without says that there is no eBPF data path.
func (g *guard) without() {
	g.log.Warn("network policies are not enforced and flows are not told: both take the eBPF data path")
	g.decide()
}

// setDevices is told of all containers' links.
func (g *guard) setDevices(all []*network.Endpoint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.devices = make(map[string][]netip.Addr, len(all))
	for _, e := range all {
		g.devices[e.HostName] = e.Addrs
	}
	if err := g.applyDevices(); err != nil {
		g.log.Error("containers' links are not guarded", "error", err)
	}
}

// applyDevices is called with mu held.
func (g *guard) applyDevices() error {
	if g.enforcer == nil || g.devices == nil {
		return nil
	}
	return g.enforcer.SetDevices(g.devices)
}

// assign answers once the policies for a pod with those addresses are in the kernel, where they are enforced at all.
func (g *guard) assign(ctx context.Context, p *corev1.Pod, addrs []netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	select {
	case <-g.decided:
	case <-ctx.Done():
		return fmt.Errorf("enforce policies: %w", ctx.Err())
	}
	agent := g.current()
	if agent == nil {
		return nil
	}
	return agent.Assign(ctx, p, addrs)
}

func (g *guard) current() *netpolicy.Agent {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.agent
}

// release says that a pod's addresses are about to be another's.
func (g *guard) release(name types.NamespacedName) {
	if agent := g.current(); agent != nil {
		agent.Release(name)
	}
}

// source is where flows come from; nil while there are none.
func (g *guard) source() flows.Source {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flows == nil {
		return nil
	}
	return g.flows
}

// guardedPath is a data path of Services that tells when it is known whether it serves.
type guardedPath struct {
	*kernel.Path
	guard *guard
}

// Open implements service.DataPath.
func (p *guardedPath) Open(ctx context.Context) error {
	err := p.Path.Open(ctx)
	if err != nil {
		p.guard.without()
		return err
	}
	p.guard.decide()
	return nil
}
