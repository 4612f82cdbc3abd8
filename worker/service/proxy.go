package service

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

// proxy is the data path in user space: it listens on the Services' addresses.
type proxy struct {
	ctx      context.Context
	nodes    []netip.Addr   // where node ports are
	inside   []netip.Prefix // whose clients are on this node, beside the node's own addresses
	grace    time.Duration
	leavers  *leavers
	recorder record.EventRecorder
	log      *slog.Logger

	mu        sync.Mutex
	frontends map[place]*frontend
	by        map[types.NamespacedName][]place
	serving   sync.WaitGroup
}

// place is where a frontend listens.
type place struct {
	protocol string
	addr     netip.AddrPort
}

func newProxy(ctx context.Context, cfg *Config, leavers *leavers) *proxy {
	return &proxy{
		ctx: ctx, nodes: cfg.NodeAddrs, inside: cfg.Inside, grace: cfg.Grace, leavers: leavers, recorder: cfg.Recorder, log: cfg.Logger,
		frontends: map[place]*frontend{}, by: map[types.NamespacedName][]place{},
	}
}

// apply implements sink.
func (p *proxy) apply(svc Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := svc.Key()
	targets := p.targets(&svc)
	places := make([]place, 0, len(targets))
	for at, to := range targets {
		f := p.frontends[at]
		if f != nil && f.service != key { // an address that went from one Service to another
			f.close()
			f = nil
		}
		if f == nil {
			f = newFrontend(p, key, svc.Reference(), at, to.kind)
			if f == nil {
				continue
			}
			p.frontends[at] = f
		}
		f.set(to, svc.Affinity)
		places = append(places, at)
	}
	p.closeExcept(key, places)
	p.by[key] = places
}

// target is what is served at one place: to clients on this node and to others.
type target struct {
	kind          Kind
	node, outside []Backend
	ranges        []netip.Prefix
	// known are all endpoints that have not gone: connections to others end after a while.
	known map[netip.AddrPort]bool
}

// targets are the places of a Service. Under the policy Local, two frontends share one.
func (p *proxy) targets(svc *Service) map[place]*target {
	out := map[place]*target{}
	for _, f := range svc.Frontends() {
		for _, addr := range p.listenAt(&f) {
			at := place{f.Protocol, addr}
			to := out[at]
			if to == nil {
				to = &target{kind: f.Kind, known: map[netip.AddrPort]bool{}}
				out[at] = to
			}
			to.take(&f)
		}
	}
	return out
}

func (t *target) take(f *Frontend) {
	if f.Clients != Outside {
		t.node = f.Backends
	}
	if f.Clients != OnNode {
		t.outside, t.ranges = f.Backends, f.SourceRanges
	}
	for _, list := range [][]Backend{f.Backends, f.Open} {
		for _, b := range list {
			t.known[b.Addr] = true
		}
	}
}

func (p *proxy) listenAt(f *Frontend) []netip.AddrPort {
	if !f.Addr.Addr().IsUnspecified() {
		return []netip.AddrPort{f.Addr}
	}
	var out []netip.AddrPort
	for _, ip := range p.nodes {
		if ip.Is4() == f.Addr.Addr().Is4() {
			out = append(out, netip.AddrPortFrom(ip, f.Addr.Port()))
		}
	}
	return out
}

// closeExcept closes the Service's frontends that are none any longer. It is called with mu held.
func (p *proxy) closeExcept(key types.NamespacedName, kept []place) {
	keep := map[place]bool{}
	for _, at := range kept {
		keep[at] = true
	}
	for _, at := range p.by[key] {
		if f := p.frontends[at]; f != nil && !keep[at] && f.service == key {
			f.close()
			delete(p.frontends, at)
		}
	}
}

// drop implements sink.
func (p *proxy) drop(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeExcept(key, nil)
	delete(p.by, key)
}

// close ends everything; the proxy's context has ended.
func (p *proxy) close() {
	p.mu.Lock()
	for at, f := range p.frontends {
		f.close()
		delete(p.frontends, at)
	}
	p.mu.Unlock()
	p.serving.Wait()
}

// onNode reports whether a client that connected to an address of ours is on this node.
func (p *proxy) onNode(client, at netip.Addr) bool {
	return client.IsLoopback() || client == at || slices.Contains(p.nodes, client) ||
		slices.ContainsFunc(p.inside, func(in netip.Prefix) bool { return in.Contains(client) })
}

// complain says that a frontend cannot listen, to the log and to the Service.
func (p *proxy) complain(f *frontend, err error) {
	p.log.Warn("service address cannot be listened on", "service", f.of.Namespace+"/"+f.of.Name, "kind", f.of.Kind, "address", f.at.addr.String(), "protocol", f.at.protocol, "error", err)
	if p.recorder == nil {
		return
	}
	p.recorder.Eventf(f.of, corev1.EventTypeWarning, "FailedListen", "Cannot listen on %s/%s: %v", f.at.addr, f.at.protocol, err)
}
