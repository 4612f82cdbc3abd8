package service

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// zone is the domain that app URLs are below. Browsers and resolvers take it for this machine.
const zone = ".localhost"

// routes maps host names to apps.
type routes struct {
	leavers *leavers
	held    atomic.Int32

	mu    sync.RWMutex
	hosts map[string]*route
	by    map[types.NamespacedName]*route
}

// route is one app.
type route struct {
	balance *balancer
	hosts   []string

	mu      sync.Mutex
	changed chan struct{} // closed with the next change
	gone    bool
}

func newRoutes(l *leavers) *routes {
	return &routes{leavers: l, hosts: map[string]*route{}, by: map[types.NamespacedName]*route{}}
}

// hostsOf are the names of an app: with its namespace, and without it in the namespace "default".
func hostsOf(app, namespace string) []string {
	hosts := []string{app + "." + namespace + zone}
	if namespace == corev1.NamespaceDefault {
		hosts = append(hosts, app+zone)
	}
	return hosts
}

// apply implements sink. An app's Service has its name, so that two Services of a namespace cannot claim one host.
func (r *routes) apply(svc Service) {
	if svc.App == "" || svc.App != svc.Name || len(svc.Ports) == 0 {
		r.drop(svc.Key())
		return
	}
	r.mu.Lock()
	to := r.by[svc.Key()]
	if to == nil {
		to = &route{balance: newBalancer(r.leavers), hosts: hostsOf(svc.App, svc.Namespace), changed: make(chan struct{})}
		r.by[svc.Key()] = to
		for _, host := range to.hosts {
			r.hosts[host] = to
		}
	}
	r.mu.Unlock()
	to.balance.set(svc.Internal(httpPort(svc.Ports)), svc.Affinity)
	to.wake(false)
}

// httpPort is the port that the app URL leads to: the one named http, else the first.
func httpPort(ports []Port) *Port {
	for i := range ports {
		if ports[i].Name == "http" {
			return &ports[i]
		}
	}
	return &ports[0]
}

// drop implements sink.
func (r *routes) drop(key types.NamespacedName) {
	r.mu.Lock()
	from := r.by[key]
	if from != nil {
		delete(r.by, key)
		for _, host := range from.hosts {
			delete(r.hosts, host)
		}
	}
	r.mu.Unlock()
	if from != nil {
		from.wake(true)
	}
}

// find is the app of a Host header.
func (r *routes) find(host string) *route {
	host = hostname(host)
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.hosts[host]
}

// hostname takes a Host header's port away and lowers it; without need it allocates nothing.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func (t *route) wake(gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = t.gone || gone
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *route) state() (changed <-chan struct{}, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed, t.gone
}

// pick chooses an endpoint that was not tried. When there is none, the request waits a while: for the app to get one,
// or for one that refused, and may just be restarting, to be worth another try.
func (r *routes) pick(ctx context.Context, to *route, client netip.Addr, tried []netip.AddrPort) (Backend, bool) {
	if backend, ok := to.balance.pick(client, tried, time.Now()); ok {
		return backend, true
	}
	if r.held.Add(1) > maxHeld {
		r.held.Add(-1)
		return Backend{}, false
	}
	defer r.held.Add(-1)
	timeout, again := time.NewTimer(holdTimeout), time.NewTicker(holdRetry)
	defer timeout.Stop()
	defer again.Stop()
	for {
		changed, gone := to.state()
		if backend, ok := to.balance.pick(client, tried, time.Now()); ok || gone {
			return backend, ok
		}
		select {
		case <-changed:
		case <-again.C:
			tried = nil
		case <-timeout.C:
			return Backend{}, false
		case <-ctx.Done():
			return Backend{}, false
		}
	}
}
