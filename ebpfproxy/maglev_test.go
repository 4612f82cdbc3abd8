package ebpfproxy

import (
	"net/netip"
	"testing"
)

func TestMaglevIsEvenAndSteady(t *testing.T) {
	const size, n = 1021, 10
	var backends []netip.AddrPort
	for i := range n {
		backends = append(backends, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 42, 0, byte(i)}), 8080))
	}
	before := maglevTable(backends, size)
	share := make([]int, n)
	for _, i := range before {
		share[i]++
	}
	for i, s := range share {
		if s < size/n-1 || s > size/n+2 {
			t.Errorf("backend %d has %d of %d positions", i, s, size)
		}
	}
	lost := 4
	after := maglevTable(append(append([]netip.AddrPort{}, backends[:lost]...), backends[lost+1:]...), size)
	moved := 0
	for at, i := range before {
		now := int(after[at])
		if now >= lost {
			now++
		}
		if int(i) != lost && now != int(i) {
			moved++
		}
	}
	if moved > size/10 {
		t.Errorf("%d of %d positions moved between backends that stayed", moved, size)
	}
}

func TestMaglevOfFewAndMany(t *testing.T) {
	if table := maglevTable(nil, 7); table != nil {
		t.Errorf("of no backend: %v", table)
	}
	for _, n := range []int{1, 3, 7, 20} { // more backends than positions leave some without
		var backends []netip.AddrPort
		for i := range n {
			backends = append(backends, netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i+1)))
		}
		for at, i := range maglevTable(backends, 7) {
			if int(i) >= n {
				t.Errorf("%d backends: position %d names %d", n, at, i)
			}
		}
	}
}

func TestIsPrime(t *testing.T) {
	for n, want := range map[int]bool{-3: false, 0: false, 1: false, 2: false, 3: true, 9: false, 251: true, 1021: true, 1022: false, 65537: true, 65539: true, 65541: false} {
		if isPrime(n) != want {
			t.Errorf("isPrime(%d) is %t", n, !want)
		}
	}
}
