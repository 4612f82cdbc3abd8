package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
)

// program puts everything that is new into effect.
func (p *Path) program(ctx context.Context) error {
	work := p.take()
	if work == nil {
		return nil
	}
	began := time.Now()
	values, gone := p.plan(work)
	var err error
	if work.whole {
		err = p.cfg.Proxy.Sync(ctx, values) // of a whole table, what is set is everything
	} else {
		err = p.cfg.Proxy.Update(ctx, values, gone)
	}
	if err = p.serious(err); err != nil {
		err = fmt.Errorf("program services: %w", err)
	}
	p.metrics.synced(time.Since(began), len(work.changed), err)
	p.done(work, err)
	return err
}

// serious is what trying again may mend. Services that the kernel's tables cannot hold are told of, and the others serve.
func (p *Path) serious(err error) error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		var rest []error
		for _, e := range all.Unwrap() {
			rest = append(rest, p.serious(e))
		}
		return errors.Join(rest...)
	}
	if errors.Is(err, ebpfproxy.ErrInvalid) {
		p.metrics.unserved.Inc()
		p.cfg.Logger.Warn("service is not served", "error", err)
		return nil
	}
	return err
}

func (p *Path) programAddresses() error {
	addrs, err := p.cfg.Addresses()
	if err != nil {
		return fmt.Errorf("list node addresses: %w", err)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	if p.addresses != nil && slices.Equal(addrs, p.addresses) {
		return nil
	}
	if err := p.cfg.Proxy.SetNodeAddresses(addrs); err != nil {
		return fmt.Errorf("set node addresses: %w", err)
	}
	p.addresses = addrs
	return nil
}

// work is what one turn puts into effect.
type work struct {
	whole   bool
	changed map[types.NamespacedName]*service.Service // nil for one that has gone
	leaving map[netip.Addr]struct{}
	told    time.Time
}

// take is nil when there is nothing to do.
func (p *Path) take() *work {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.settled || !p.whole && len(p.dirty) == 0 {
		return nil
	}
	w := &work{whole: p.whole, changed: make(map[types.NamespacedName]*service.Service, len(p.dirty)), leaving: maps.Clone(p.leaving), told: p.waiting}
	for key := range p.dirty {
		w.changed[key] = nil
		if svc, ok := p.services[key]; ok {
			w.changed[key] = &svc
		}
	}
	if p.whole { // everything, so that what could not be done before is
		for key, svc := range p.services {
			if w.changed[key] == nil {
				w.changed[key] = &svc
			}
		}
	}
	p.dirty, p.whole = map[types.NamespacedName]struct{}{}, false
	return w
}

// plan gives each address to one Service and says what changes for the kernel.
func (p *Path) plan(w *work) (set []ebpfproxy.Service, gone []ebpfproxy.Frontend) {
	left := func(ip netip.Addr) bool { _, ok := w.leaving[ip]; return ok }
	wanted := make(map[types.NamespacedName][]ebpfproxy.Service, len(w.changed))
	released := map[ebpfproxy.Frontend]bool{}
	for key, svc := range w.changed {
		if svc != nil {
			wanted[key] = Values(svc, left)
		}
		for _, at := range p.installed[key] {
			if !slices.ContainsFunc(wanted[key], func(v ebpfproxy.Service) bool { return v.Frontend == at }) {
				released[at] = true
				p.again(p.claims.release(at, key))
			}
		}
		p.claims.forget(key)
		delete(p.installed, key)
	}
	for _, key := range slices.SortedFunc(maps.Keys(wanted), compareNames) {
		for _, v := range wanted[key] {
			if owner, ok := p.claims.claim(v.Frontend, key); !ok {
				p.tellTaken(w.changed[key], v.Frontend, owner)
				continue
			}
			p.installed[key] = append(p.installed[key], v.Frontend)
			set = append(set, v)
			delete(released, v.Frontend)
		}
	}
	return set, slices.Collect(maps.Keys(released))
}

// again has Services that wait for an address looked at once more: it has come free.
func (p *Path) again(waiting []types.NamespacedName) {
	if len(waiting) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range waiting {
		p.mark(key)
	}
}

// done notes how the turn ended.
func (p *Path) done(w *work, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.whole = true
		if p.waiting.IsZero() {
			p.waiting = w.told
		}
		return
	}
	p.updated = time.Now()
	p.waiting = time.Time{}
	if len(p.dirty) > 0 {
		p.waiting = p.updated
	}
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
