package service

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

// proxy listens on the Services' addresses.
type proxy struct {
	ctx      context.Context
	nodeAddr netip.Addr // where node ports are
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

func newProxy(ctx context.Context, nodeAddr netip.Addr, leavers *leavers, recorder record.EventRecorder, log *slog.Logger) *proxy {
	return &proxy{
		ctx: ctx, nodeAddr: nodeAddr, leavers: leavers, recorder: recorder, log: log,
		frontends: map[place]*frontend{}, by: map[types.NamespacedName][]place{},
	}
}

// apply implements sink.
func (p *proxy) apply(svc Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := svc.Key()
	var places []place
	for _, port := range svc.Ports {
		for _, at := range p.places(&svc, &port) {
			f := p.frontends[at]
			if f != nil && f.service != key { // an address that went from one Service to another
				f.close()
				f = nil
			}
			if f == nil {
				f = newFrontend(p, key, svc.UID, at)
				if f == nil {
					continue
				}
				p.frontends[at] = f
			}
			f.set(port.Backends, svc.Affinity)
			places = append(places, at)
		}
	}
	p.closeExcept(key, places)
	p.by[key] = places
}

func (p *proxy) places(svc *Service, port *Port) []place {
	var out []place
	for _, ip := range svc.ClusterIPs {
		out = append(out, place{port.Protocol, netip.AddrPortFrom(ip, port.Port)})
	}
	if port.NodePort != 0 {
		out = append(out, place{port.Protocol, netip.AddrPortFrom(p.nodeAddr, port.NodePort)})
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

// complain says that a frontend cannot listen, to the log and to the Service.
func (p *proxy) complain(f *frontend, err error) {
	p.log.Warn("service address cannot be listened on", "service", f.service.String(), "address", f.at.addr.String(), "protocol", f.at.protocol, "error", err)
	if p.recorder == nil {
		return
	}
	ref := &corev1.ObjectReference{Kind: "Service", APIVersion: "v1", Namespace: f.service.Namespace, Name: f.service.Name, UID: f.uid}
	p.recorder.Eventf(ref, corev1.EventTypeWarning, "FailedListen", "Cannot listen on %s/%s: %v", f.at.addr, f.at.protocol, err)
}

// server serves one frontend.
type server interface {
	// serve listens and takes connections until ctx ends.
	serve(ctx context.Context) error
	// drain returns when no connection is open any longer, which it sees to at shutdown.
	drain(shutdown <-chan struct{})
}

// frontend is one address and port of a Service.
type frontend struct {
	p       *proxy
	service types.NamespacedName
	uid     types.UID
	at      place
	balance *balancer
	server  server

	wake chan struct{}
	end  context.CancelFunc
}

// newFrontend is nil for a protocol that is not served.
func newFrontend(p *proxy, service types.NamespacedName, uid types.UID, at place) *frontend {
	f := &frontend{p: p, service: service, uid: uid, at: at, balance: newBalancer(p.leavers), wake: make(chan struct{}, 1)}
	switch at.protocol {
	case string(corev1.ProtocolTCP):
		f.server = &tcpServer{balance: f.balance, at: at.addr, conns: map[closer]struct{}{}}
	case string(corev1.ProtocolUDP):
		f.server = &udpServer{balance: f.balance, at: at.addr}
	default:
		return nil
	}
	var ctx context.Context
	ctx, f.end = context.WithCancel(p.ctx)
	p.serving.Go(func() { f.run(ctx) })
	return f
}

func (f *frontend) set(backends []Backend, affinity time.Duration) {
	f.balance.set(backends, affinity)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *frontend) close() { f.end() }

// run listens while there is an endpoint, and only then: a client of a Service without any is refused by the kernel.
func (f *frontend) run(ctx context.Context) {
	defer f.server.drain(f.p.ctx.Done())
	retry := listenRetry
	for ctx.Err() == nil {
		if f.balance.empty() {
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
		if retry == listenRetry || retry >= listenRetryMax {
			f.p.complain(f, explain(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, listenRetryMax)
	}
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
			if f.balance.empty() {
				cancel()
			}
		}
	}
}
