package network

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// ErrExhausted says that every address of the pool has an owner.
var ErrExhausted = errors.New("no free pod address")

const (
	// maxPrefixBits4 leaves a pool about a dozen addresses: less is a mistake, not a node.
	maxPrefixBits4 = 28
	// maxPrefixBits6 leaves one about 250.
	maxPrefixBits6 = 120
)

// Pool hands out the addresses of one prefix. Its methods are safe for concurrent use.
type Pool struct {
	prefix netip.Prefix

	mu    sync.Mutex
	next  netip.Addr // the first address that was never used
	rest  []netip.Addr
	owned map[netip.Addr]string
	of    map[string]netip.Addr
}

// NewPool makes a pool over an IPv4 prefix of /28 or an IPv6 prefix of /120, or larger.
func NewPool(prefix netip.Prefix) (*Pool, error) {
	most := maxPrefixBits6
	if prefix.Addr().Is4() {
		most = maxPrefixBits4
	}
	if !prefix.IsValid() || prefix.Addr().Is4In6() || prefix.Bits() > most {
		return nil, fmt.Errorf("pod prefix %s: want one of /%d or larger", prefix, most)
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
		if _, taken := p.owned[addr]; !taken && p.isHost(addr) {
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

// isHost leaves out the ends of each IPv4 /24, which some programs take for a network or a broadcast, the first IPv6
// address, which is any router's, and the node's own (see nodeAddr).
func (p *Pool) isHost(addr netip.Addr) bool {
	if addr.Is4() {
		last := addr.As4()[3]
		return last != 0 && last != 255 && addr != nodeAddr(p.prefix)
	}
	return addr != p.prefix.Addr() && addr != nodeAddr(p.prefix)
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
	if addr.Less(p.next) && p.isHost(addr) { // one ahead of next is found again by itself
		p.rest = append(p.rest, addr)
	}
}

// Used counts the addresses that have an owner.
func (p *Pool) Used() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.owned)
}
