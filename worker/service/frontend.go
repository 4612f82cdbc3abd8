package service

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// server serves one frontend.
type server interface {
	// serve listens and takes connections until ctx ends.
	serve(ctx context.Context) error
	// retain ends what is open with endpoints that are not known any longer, after a while where that can be told.
	retain(known map[netip.AddrPort]bool)
	// drain returns when no connection is open any longer, which it sees to at shutdown.
	drain(shutdown <-chan struct{})
}

// frontend is one address and port of a Service.
type frontend struct {
	p       *proxy
	service types.NamespacedName
	of      *corev1.ObjectReference // for events
	at      place
	kind    Kind
	// node and outside choose endpoints for clients on this node and for others.
	node, outside *balancer
	ranges        atomic.Pointer[[]netip.Prefix]
	server        server

	wake chan struct{}
	end  context.CancelFunc
}

// newFrontend is nil for a protocol that is not served.
func newFrontend(p *proxy, service types.NamespacedName, of *corev1.ObjectReference, at place, kind Kind) *frontend {
	leavers := p.leavers
	if kind == OnHost {
		leavers = newLeavers() // a host port is its pod's as long as that is there
	}
	f := &frontend{
		p: p, service: service, of: of, at: at, kind: kind,
		node: newBalancer(leavers), outside: newBalancer(leavers), wake: make(chan struct{}, 1),
	}
	f.ranges.Store(&[]netip.Prefix{})
	switch at.protocol {
	case string(corev1.ProtocolTCP):
		f.server = &tcpServer{choose: f.choose, at: at.addr, grace: p.grace, conns: map[*pair]struct{}{}}
	case string(corev1.ProtocolUDP):
		f.server = &udpServer{choose: f.choose, at: at.addr}
	default:
		return nil
	}
	var ctx context.Context
	ctx, f.end = context.WithCancel(p.ctx)
	p.serving.Go(func() { f.run(ctx) })
	return f
}

func (f *frontend) set(to *target, affinity time.Duration) {
	f.node.set(to.node, affinity)
	f.outside.set(to.outside, affinity)
	f.ranges.Store(&to.ranges)
	f.server.retain(to.known)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *frontend) close() { f.end() }

func (f *frontend) empty() bool { return f.node.empty() && f.outside.empty() }

// choose picks an endpoint for a client that came to the address at.
func (f *frontend) choose(client, at netip.Addr, tried []netip.AddrPort) (Backend, bool) {
	if ranges := *f.ranges.Load(); len(ranges) > 0 && !slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(client) }) {
		return Backend{}, false
	}
	if f.p.onNode(client, at) {
		return f.node.pick(client, tried, time.Now())
	}
	return f.outside.pick(client, tried, time.Now())
}

// run listens while there is an endpoint, and only then: a client of a Service without any is refused by the kernel.
func (f *frontend) run(ctx context.Context) {
	defer f.server.drain(f.p.ctx.Done())
	retry := listenRetry
	for ctx.Err() == nil {
		if f.empty() {
			select {
			case <-ctx.Done():
			case <-f.wake:
			}
			continue
		}
		began := time.Now()
		err := f.serveWhileNeeded(ctx)
		if err == nil {
			continue
		}
		if time.Since(began) > listenRetryMax {
			retry = listenRetry
		}
		if (retry == listenRetry || retry >= listenRetryMax) && !f.elsewhere(err) {
			f.p.complain(f, explain(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, listenRetryMax)
	}
}

// elsewhere reports whether the address is not this machine's, and need not be: an external address may be a router's.
func (f *frontend) elsewhere(err error) bool {
	return (f.kind == ExternalIP || f.kind == LoadBalancer) && errors.Is(err, syscall.EADDRNOTAVAIL)
}

// serveWhileNeeded serves until ctx ends or the last endpoint has gone.
func (f *frontend) serveWhileNeeded(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.server.serve(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-f.wake:
			if f.empty() {
				cancel()
			}
		}
	}
}
