package service

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// leavers are the addresses of pods that this node is about to stop. The API's endpoints name them for a while yet, but
// what is sent to them now would be lost.
type leavers struct {
	mu  sync.RWMutex
	all map[netip.Addr]struct{}
}

func newLeavers() *leavers { return &leavers{all: map[netip.Addr]struct{}{}} }

func (l *leavers) set(addr netip.Addr, leaving bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if leaving {
		l.all[addr] = struct{}{}
		return
	}
	delete(l.all, addr)
}

func (l *leavers) has(addr netip.Addr) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, leaving := l.all[addr]
	return leaving
}

// balancer chooses endpoints: round robin, or the client's last one with session affinity.
type balancer struct {
	leavers *leavers

	mu       sync.Mutex
	backends []Backend
	affinity time.Duration
	next     int
	sticky   map[netip.Addr]*list.Element
	order    *list.List // of *stick, the one used last in front
}

type stick struct {
	client  netip.Addr
	backend netip.AddrPort
	until   time.Time
}

func newBalancer(l *leavers) *balancer {
	return &balancer{leavers: l, sticky: map[netip.Addr]*list.Element{}, order: list.New()}
}

func (b *balancer) set(backends []Backend, affinity time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends, b.affinity = backends, affinity
}

func (b *balancer) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.backends) == 0
}

// pick chooses an endpoint for the client that is not among those tried already, nor one that leaves.
func (b *balancer) pick(client netip.Addr, tried []netip.AddrPort, now time.Time) (Backend, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.affinity > 0 {
		if backend, ok := b.stuck(client, tried, now); ok {
			return backend, true
		}
	}
	for range b.backends {
		backend := b.backends[b.next%len(b.backends)]
		b.next = (b.next + 1) % len(b.backends)
		if slices.Contains(tried, backend.Addr) || b.leavers.has(backend.Addr.Addr()) {
			continue
		}
		if b.affinity > 0 {
			b.stick(client, backend.Addr, now)
		}
		return backend, true
	}
	return Backend{}, false
}

// stuck is the endpoint that the client had last, if that is still one.
func (b *balancer) stuck(client netip.Addr, tried []netip.AddrPort, now time.Time) (Backend, bool) {
	element := b.sticky[client]
	if element == nil {
		return Backend{}, false
	}
	s := element.Value.(*stick)
	i := slices.IndexFunc(b.backends, func(x Backend) bool { return x.Addr == s.backend })
	if now.After(s.until) || i < 0 || slices.Contains(tried, s.backend) || b.leavers.has(s.backend.Addr()) {
		return Backend{}, false
	}
	s.until = now.Add(b.affinity)
	b.order.MoveToFront(element)
	return b.backends[i], true
}

func (b *balancer) stick(client netip.Addr, backend netip.AddrPort, now time.Time) {
	if element := b.sticky[client]; element != nil {
		b.order.Remove(element)
	}
	b.sticky[client] = b.order.PushFront(&stick{client, backend, now.Add(b.affinity)})
	if b.order.Len() > maxSticky {
		oldest := b.order.Back()
		b.order.Remove(oldest)
		delete(b.sticky, oldest.Value.(*stick).client)
	}
}
