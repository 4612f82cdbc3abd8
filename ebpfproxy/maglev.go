package ebpfproxy

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
)

// maglevTable answers for each of size positions the index of a backend. size is a prime. Each backend gets its share of
// positions to within a few, and one that comes or goes moves few of the others: see "Maglev: A Fast and Reliable Software
// Network Load Balancer" (Eisenbud et al., 2016), section 3.4. The table depends on the backends' addresses alone, so that
// all nodes make the same; backends are in order and without repeats.
func maglevTable(backends []netip.AddrPort, size int) []uint32 {
	if len(backends) == 0 {
		return nil
	}
	type walk struct{ at, skip uint32 }
	m := uint32(size)
	walks := make([]walk, len(backends))
	for i, b := range backends {
		h := maglevHash(b)
		walks[i] = walk{at: uint32(h>>32) % m, skip: uint32(h)%(m-1) + 1}
	}
	const free = ^uint32(0)
	table := make([]uint32, size)
	for i := range table {
		table[i] = free
	}
	for filled, i := 0, 0; filled < size; filled, i = filled+1, (i+1)%len(walks) {
		w := &walks[i]
		for table[w.at] != free {
			w.at = (w.at + w.skip) % m
		}
		table[w.at] = uint32(i)
	}
	return table
}

func maglevHash(b netip.AddrPort) uint64 {
	addr := b.Addr().As16()
	h := fnv.New64a()
	h.Write(addr[:])
	h.Write(binary.BigEndian.AppendUint16(nil, b.Port()))
	// FNV's last bytes reach only some bits: mix them into all.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// isPrime: sizes are small, and this runs once.
func isPrime(n int) bool {
	if n < 3 || n%2 == 0 {
		return false // 2 has no skips to choose from
	}
	for d := 3; d*d <= n; d += 2 {
		if n%d == 0 {
			return false
		}
	}
	return true
}
