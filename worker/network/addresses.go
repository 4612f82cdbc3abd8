package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// ErrNoPodCIDR says that the node was not given its pod CIDR yet.
var ErrNoPodCIDR = errors.New("the node has no pod CIDR yet")

// nodeAddr is the address of a node within its own pod CIDR: what its own packets carry as source when they go to other
// nodes' pods through a tunnel, so that answers come back the same way. Pools never give it to a pod.
func nodeAddr(podCIDR netip.Prefix) netip.Addr {
	if podCIDR.Addr().Is4() {
		return podCIDR.Masked().Addr()
	}
	return podCIDR.Masked().Addr().Next()
}

// holders are who needs an owner's addresses: the agent from Take until Free, and containers while they are attached.
// Only when all have let go do the addresses go to somebody else.
type holders struct {
	agent      bool
	containers map[string]bool
}

// addresses gives out the addresses of a node's prefixes, one of each family to an owner.
type addresses struct {
	mu    sync.Mutex
	pools []*Pool // in the order of the prefixes
	held  map[string]*holders
	// early are reservations that came before the prefix that they are of.
	early map[netip.Addr]string
}

func newAddresses() *addresses {
	return &addresses{held: map[string]*holders{}, early: map[netip.Addr]string{}}
}

// use has the addresses come from prefixes. Those of a prefix that stays keep their owners; those of one that goes are
// forgotten: their pods keep them until they end, and nobody else gets them.
func (a *addresses) use(prefixes []netip.Prefix) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var next []*Pool
	for _, prefix := range prefixes {
		at := slices.IndexFunc(a.pools, func(p *Pool) bool { return p.prefix == prefix.Masked() })
		if at >= 0 {
			next = append(next, a.pools[at])
			continue
		}
		pool, err := NewPool(prefix)
		if err != nil {
			return err
		}
		for addr, owner := range a.early {
			if pool.Reserve(owner, addr) == nil {
				delete(a.early, addr)
			}
		}
		next = append(next, pool)
	}
	a.pools = next
	return nil
}

func (a *addresses) prefixes() []netip.Prefix {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []netip.Prefix
	for _, p := range a.pools {
		out = append(out, p.prefix)
	}
	return out
}

// take gives owner its addresses on behalf of a container, or of the agent when container is empty.
func (a *addresses) take(owner, container string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pools) == 0 {
		return nil, ErrNoPodCIDR
	}
	var addrs []netip.Addr
	for _, p := range a.pools {
		addr, err := p.Allocate(owner)
		if err != nil {
			if a.held[owner] == nil {
				a.release(owner)
			}
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	a.hold(owner, container)
	return addrs, nil
}

// reserve notes that owner has an address already.
func (a *addresses) reserve(owner, container string, addr netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pools {
		if p.prefix.Contains(addr) {
			if err := p.Reserve(owner, addr); err != nil {
				return err
			}
			a.hold(owner, container)
			return nil
		}
	}
	if len(a.pools) > 0 {
		return fmt.Errorf("reserve %s: not of this node's pod CIDRs", addr)
	}
	if other, taken := a.early[addr]; taken && other != owner {
		return fmt.Errorf("reserve %s: it is another pod's", addr)
	}
	a.early[addr] = owner
	a.hold(owner, container)
	return nil
}

func (a *addresses) hold(owner, container string) {
	h := a.held[owner]
	if h == nil {
		h = &holders{}
		a.held[owner] = h
	}
	if container == "" {
		h.agent = true
		return
	}
	if h.containers == nil {
		h.containers = map[string]bool{}
	}
	h.containers[container] = true
}

// free lets go on behalf of a container, or of the agent when container is empty.
func (a *addresses) free(owner, container string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.held[owner]
	if h == nil {
		return
	}
	if container == "" {
		h.agent = false
	} else {
		delete(h.containers, container)
	}
	if !h.agent && len(h.containers) == 0 {
		delete(a.held, owner)
		a.release(owner)
	}
}

func (a *addresses) release(owner string) {
	for _, p := range a.pools {
		p.Release(owner)
	}
	maps.DeleteFunc(a.early, func(_ netip.Addr, o string) bool { return o == owner })
}

// keep lets go of every container that is not in live.
func (a *addresses) keep(live map[string]bool) {
	a.mu.Lock()
	gone := map[string][]string{}
	for owner, h := range a.held {
		for c := range h.containers {
			if !live[c] {
				gone[owner] = append(gone[owner], c)
			}
		}
	}
	a.mu.Unlock()
	for owner, containers := range gone {
		for _, c := range containers {
			a.free(owner, c)
		}
	}
}

// used counts the owners.
func (a *addresses) used() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.held)
}

// freeContainer lets go on behalf of a container, whoever owns its addresses.
func (a *addresses) freeContainer(container string) {
	a.mu.Lock()
	var owners []string
	for owner, h := range a.held {
		if h.containers[container] {
			owners = append(owners, owner)
		}
	}
	a.mu.Unlock()
	for _, owner := range owners {
		a.free(owner, container)
	}
}
