package network

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// ErrExhausted says that every address of the pool has an owner.
var ErrExhausted = errors.New("no free pod address")

// maxPrefixBits leaves a pool at least the 254 addresses of one /24, the unit that host numbers are skipped in.
const maxPrefixBits = 24

// Pool hands out the addresses of one IPv4 prefix. Its methods are safe for concurrent use.
type Pool struct {
	prefix netip.Prefix

	mu    sync.Mutex
	next  netip.Addr // the first address that was never used
	rest  []netip.Addr
	owned map[netip.Addr]string
	of    map[string]netip.Addr
}

// NewPool makes a pool over an IPv4 prefix of /24 or larger.
func NewPool(prefix netip.Prefix) (*Pool, error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() || prefix.Bits() > maxPrefixBits {
		return nil, fmt.Errorf("pod prefix %s: want an IPv4 prefix of /%d or larger", prefix, maxPrefixBits)
	}
	prefix = prefix.Masked()
	return &Pool{
		prefix: prefix,
		next:   prefix.Addr(),
		owned:  map[netip.Addr]string{},
		of:     map[string]netip.Addr{},
	}, nil
}

// Prefix is what the pool hands out of.
func (p *Pool) Prefix() netip.Prefix { return p.prefix }

// Allocate gives owner an address, the one it has when it has one.
func (p *Pool) Allocate(owner string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if addr, ok := p.of[owner]; ok {
		return addr, nil
	}
	addr, err := p.pick()
	if err != nil {
		return netip.Addr{}, err
	}
	p.owned[addr], p.of[owner] = owner, addr
	return addr, nil
}

func (p *Pool) pick() (netip.Addr, error) {
	for p.prefix.Contains(p.next) {
		addr := p.next
		p.next = addr.Next()
		if _, taken := p.owned[addr]; !taken && isHost(addr) {
			return addr, nil
		}
	}
	for len(p.rest) > 0 {
		addr := p.rest[0]
		p.rest = p.rest[1:]
		if _, taken := p.owned[addr]; !taken {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("allocate of %s: %w", p.prefix, ErrExhausted)
}

// isHost leaves out the ends of each /24, which some programs take for a network or a broadcast.
func isHost(addr netip.Addr) bool {
	last := addr.As4()[3]
	return last != 0 && last != 255
}

// Reserve notes that owner has the address already, as found after a restart.
func (p *Pool) Reserve(owner string, addr netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.prefix.Contains(addr) {
		return fmt.Errorf("reserve %s: not of %s", addr, p.prefix)
	}
	if other, taken := p.owned[addr]; taken && other != owner {
		return fmt.Errorf("reserve %s: it is another pod's", addr)
	}
	if old, has := p.of[owner]; has && old != addr {
		return fmt.Errorf("reserve %s: the pod has %s", addr, old)
	}
	p.owned[addr], p.of[owner] = owner, addr
	return nil
}

// Release frees the owner's address. An owner without one is no error.
func (p *Pool) Release(owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	addr, ok := p.of[owner]
	if !ok {
		return
	}
	delete(p.of, owner)
	delete(p.owned, addr)
	if addr.Less(p.next) && isHost(addr) { // one ahead of next is found again by itself
		p.rest = append(p.rest, addr)
	}
}

// Used counts the addresses that have an owner.
func (p *Pool) Used() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.owned)
}
