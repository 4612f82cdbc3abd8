package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

const (
	// maxCIDRSlotBits bounds how many nodes' shares one cluster CIDR is cut into, and with that the memory to count them:
	// 65,536 nodes are more than a cluster has.
	maxCIDRSlotBits = 16
	// A node's share has at least as many addresses as make a node worth having.
	maxNodeMaskIPv4 = 28
	maxNodeMaskIPv6 = 120
	// maxFormer bounds the memory of nodes that are gone; beyond it any may be forgotten.
	maxFormer = 10_000
)

// errCIDRsExhausted says that every share of a cluster CIDR is some node's.
var errCIDRsExhausted = errors.New("no share is left")

// checkClusterCIDRs tells what makes the cluster's prefixes unusable.
func checkClusterCIDRs(cluster []netip.Prefix, mask4, mask6 int) error {
	seen := map[bool]bool{}
	for _, c := range cluster {
		is4 := c.Addr().Is4()
		mask, most := mask6, maxNodeMaskIPv6
		if is4 {
			mask, most = mask4, maxNodeMaskIPv4
		}
		switch {
		case !c.IsValid() || c != c.Masked() || c.Addr().Is4In6():
			return fmt.Errorf("cluster CIDR %s: want the first address of a prefix", c)
		case seen[is4]:
			return fmt.Errorf("cluster CIDR %s: there is another of its family", c)
		case mask < c.Bits() || mask > most:
			return fmt.Errorf("cluster CIDR %s: node mask size %d: want %d to %d", c, mask, c.Bits(), most)
		case mask-c.Bits() > maxCIDRSlotBits:
			return fmt.Errorf("cluster CIDR %s: node mask size %d: at most %d more than the prefix's", c, mask, maxCIDRSlotBits)
		}
		seen[is4] = true
	}
	return nil
}

// cidrBook knows who has which share of the cluster's prefixes. What it gave to a node stays the node's until the node
// is gone or shows another. A node that comes back, deleted and registered anew, gets what it had so long as nobody else
// does: its pods run on, under addresses of that.
type cidrBook struct {
	ranges []*cidrRange
	held   map[string][]netip.Prefix
	former map[string][]netip.Prefix
}

func newCIDRBook(cluster []netip.Prefix, mask4, mask6 int) (*cidrBook, error) {
	if err := checkClusterCIDRs(cluster, mask4, mask6); err != nil {
		return nil, err
	}
	b := &cidrBook{held: map[string][]netip.Prefix{}, former: map[string][]netip.Prefix{}}
	for _, c := range cluster {
		bits := mask6
		if c.Addr().Is4() {
			bits = mask4
		}
		b.ranges = append(b.ranges, &cidrRange{cluster: c, bits: bits, used: make([]uint32, 1<<(bits-c.Bits()))})
	}
	return b, nil
}

// note takes in what a node shows. One that shows nothing keeps what it was given.
func (b *cidrBook) note(node string, shown []netip.Prefix) {
	have := b.held[node]
	if len(shown) == 0 || slices.Equal(have, shown) {
		return
	}
	for _, p := range shown {
		b.count(p, 1)
	}
	for _, p := range have {
		b.count(p, -1)
	}
	b.held[node] = shown
}

// forget frees what a node had.
func (b *cidrBook) forget(node string) {
	have := b.held[node]
	if len(have) == 0 {
		return
	}
	for _, p := range have {
		b.count(p, -1)
	}
	delete(b.held, node)
	for other := range b.former {
		if len(b.former) < maxFormer {
			break
		}
		delete(b.former, other)
	}
	b.former[node] = have
}

// back answers what a node had before it went, if that is still to be had.
func (b *cidrBook) back(node string) []netip.Prefix {
	had := b.former[node]
	if len(had) != len(b.ranges) {
		return nil
	}
	for i, r := range b.ranges {
		if p := had[i]; !r.cluster.Contains(p.Addr()) || p.Bits() != r.bits || r.used[r.slot(p.Addr())] != 0 {
			return nil
		}
	}
	return had
}

// give answers a node's shares, the ones it has when it has some.
func (b *cidrBook) give(node string) ([]netip.Prefix, error) {
	if have := b.held[node]; len(have) > 0 {
		return have, nil
	}
	if had := b.back(node); had != nil {
		return b.given(node, had), nil
	}
	var out []netip.Prefix
	for _, r := range b.ranges {
		p, ok := r.pick()
		if !ok {
			return nil, fmt.Errorf("%s in shares of /%d: %w", r.cluster, r.bits, errCIDRsExhausted)
		}
		out = append(out, p)
	}
	return b.given(node, out), nil
}

func (b *cidrBook) given(node string, prefixes []netip.Prefix) []netip.Prefix {
	b.note(node, prefixes)
	delete(b.former, node)
	return prefixes
}

func (b *cidrBook) count(p netip.Prefix, by int) {
	for _, r := range b.ranges {
		r.count(p, by)
	}
}

// cidrRange counts the users of each share of one cluster prefix. There is more than one user where nodes were given
// prefixes by hand, or under another mask size.
type cidrRange struct {
	cluster netip.Prefix
	bits    int
	used    []uint32
	next    int // where the search begins: a share that was freed rests for a round
}

// pick finds a share that nobody uses; it is not counted yet.
func (r *cidrRange) pick() (netip.Prefix, bool) {
	for i := range r.used {
		slot := (r.next + i) % len(r.used)
		if r.used[slot] == 0 {
			r.next = (slot + 1) % len(r.used)
			return r.share(slot), true
		}
	}
	return netip.Prefix{}, false
}

// count notes users of a prefix, which may be larger or smaller than a share.
func (r *cidrRange) count(p netip.Prefix, by int) {
	if !r.cluster.Overlaps(p) {
		return
	}
	first, count := 0, len(r.used)
	if p.Bits() > r.cluster.Bits() {
		first, count = r.slot(p.Addr()), 1
		if p.Bits() < r.bits {
			count = 1 << (r.bits - p.Bits())
		}
	}
	for i := first; i < first+count; i++ {
		r.used[i] = uint32(int(r.used[i]) + by)
	}
}

// share is the prefix of a slot: the slot's number stands between the cluster's bits and the share's end.
func (r *cidrRange) share(slot int) netip.Prefix {
	raw := r.cluster.Addr().As16()
	hi, lo := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	shift := r.shift()
	if shift >= 64 {
		hi |= uint64(slot) << (shift - 64)
	} else {
		lo |= uint64(slot) << shift
		hi |= uint64(slot) >> (64 - shift)
	}
	binary.BigEndian.PutUint64(raw[:8], hi)
	binary.BigEndian.PutUint64(raw[8:], lo)
	addr := netip.AddrFrom16(raw)
	if r.cluster.Addr().Is4() {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, r.bits)
}

// slot is the number of the share that an address of the cluster is in.
func (r *cidrRange) slot(addr netip.Addr) int {
	raw := addr.As16()
	hi, lo := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	shift := r.shift()
	v := hi >> max(0, shift-64)
	if shift < 64 {
		v = lo>>shift | hi<<(64-shift)
	}
	return int(v & uint64(len(r.used)-1))
}

// shift is how far a slot's number is from the address's end.
func (r *cidrRange) shift() int { return r.cluster.Addr().BitLen() - r.bits }
