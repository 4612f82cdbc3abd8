package dns

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// kubeDNS is the Service whose address is served.
	kubeDNS = "kube-dns"
	// port is DNS's, fallbackPort the one that is served where that is not to be had: ports below 1024 are root's, and
	// another resolver may have taken every address. Guests of the Wasm runtime find it there; containers cannot.
	port         = 53
	fallbackPort = 1053
)

// doors are the addresses that are listened on: those that are configured or, without any, those of the DNS Service.
type doors struct {
	server *Server
	wake   chan struct{}
	// fallback says that pods may have been told the fallback port: it is then served even where port 53 is to be had.
	fallback atomic.Bool
	// settled is closed once it is known what to listen on and all of it was tried.
	settled chan struct{}
	settle  func()

	mu     sync.Mutex
	known  bool // what is wanted was the last word on it when the doors were seen to
	doors  map[netip.AddrPort]context.CancelFunc
	tried  map[netip.AddrPort]bool
	opened map[netip.AddrPort]bool
}

func newDoors(s *Server) *doors {
	d := &doors{
		server: s, wake: make(chan struct{}, 1), settled: make(chan struct{}),
		doors: map[netip.AddrPort]context.CancelFunc{}, tried: map[netip.AddrPort]bool{}, opened: map[netip.AddrPort]bool{},
	}
	d.settle = sync.OnceFunc(func() { close(d.settled) })
	return d
}

// poke says that the DNS Service may have changed, or that it is known now.
func (d *doors) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// wanted are the addresses to listen on.
func (d *doors) wanted() []netip.AddrPort {
	if configured := d.server.cfg.Listen; len(configured) > 0 {
		return slices.Clone(configured)
	}
	e := d.server.table.service(metav1.NamespaceSystem, kubeDNS)
	if e == nil || !e.service.NodeServed {
		return nil
	}
	var out []netip.AddrPort
	for _, ip := range e.service.ClusterIPs {
		out = append(out, netip.AddrPortFrom(ip, port))
	}
	return out
}

// open are the addresses that are listened on, the fallback ones among them.
func (d *doors) open() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Keys(d.opened), netip.AddrPort.Compare)
}

// serving are the addresses that pods are told: for each that is wanted where it is listened on.
func (d *doors) serving() []netip.AddrPort {
	wanted := d.wanted()
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []netip.AddrPort
	for _, at := range wanted {
		if d.opened[at] {
			out = append(out, at)
		} else if other, ok := fallbackOf(at); ok && d.opened[other] {
			out = append(out, other)
		}
	}
	return out
}

func fallbackOf(at netip.AddrPort) (netip.AddrPort, bool) {
	return netip.AddrPortFrom(at.Addr(), fallbackPort), at.Port() == port
}

// run opens and closes doors until ctx ends.
func (d *doors) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		d.follow(ctx, &running)
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
	}
}

func (d *doors) follow(ctx context.Context, running *sync.WaitGroup) {
	// Asked before what is wanted: a table that becomes known in between counts the next time.
	known := d.server.table.isKnown() || len(d.server.cfg.Listen) > 0
	wanted := d.wanted()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = known
	for at, end := range d.doors {
		if !slices.Contains(wanted, at) {
			end()
			delete(d.doors, at)
			delete(d.tried, at)
		}
	}
	for _, at := range wanted {
		if d.doors[at] == nil {
			var doorCtx context.Context
			doorCtx, d.doors[at] = context.WithCancel(ctx)
			one := &door{doors: d, at: at}
			running.Go(func() { one.run(doorCtx) })
		}
	}
	d.checkSettled()
}

// checkSettled is called with mu held.
func (d *doors) checkSettled() {
	for at := range d.doors {
		if !d.tried[at] {
			return
		}
	}
	if d.known {
		d.settle()
	}
}

// note tells that an address is listened on, or no longer.
func (d *doors) note(at netip.AddrPort, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if open {
		d.opened[at] = true
	} else {
		delete(d.opened, at)
	}
}

// noteTried tells that it is known whether an address can be listened on.
func (d *doors) noteTried(at netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried[at] = true
	d.checkSettled()
}
