package service

import (
	"net/netip"
	"testing"
	"time"
)

func TestBalancer(t *testing.T) {
	backend := func(n byte) Backend {
		return Backend{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 42, 0, n}), 80)}
	}
	client := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, n}) }
	now := time.Unix(0, 0)
	b := newBalancer(newLeavers())
	if _, ok := b.pick(client(1), nil, now); ok || !b.empty() {
		t.Error("an empty balancer gave something")
	}
	b.set([]Backend{backend(1), backend(2), backend(3)}, 0)
	count := map[Backend]int{}
	for range 30 {
		got, _ := b.pick(client(1), nil, now)
		count[got]++
	}
	for n := range byte(3) {
		if count[backend(n+1)] != 10 {
			t.Errorf("shares are %v, want 10 each", count)
		}
	}
	if got, ok := b.pick(client(1), []netip.AddrPort{backend(1).Addr, backend(3).Addr}, now); !ok || got != backend(2) {
		t.Errorf("got %v, want the one that was not tried", got)
	}
	if _, ok := b.pick(client(1), []netip.AddrPort{backend(1).Addr, backend(2).Addr, backend(3).Addr}, now); ok {
		t.Error("got one when all were tried")
	}
}

func TestBalancerLeavesOutWhatIsBeingStopped(t *testing.T) {
	one, two := netip.MustParseAddrPort("127.42.0.1:80"), netip.MustParseAddrPort("127.42.0.2:80")
	l := newLeavers()
	b := newBalancer(l)
	b.set([]Backend{{Addr: one}, {Addr: two}}, time.Minute)
	client := netip.MustParseAddr("127.0.0.1")
	now := time.Unix(0, 0)
	first, _ := b.pick(client, nil, now)
	l.set(first.Addr.Addr(), true)
	second, ok := b.pick(client, nil, now)
	if !ok || second == first {
		t.Errorf("picked %v, which leaves, though the client is used to it", second)
	}
	l.set(second.Addr.Addr(), true)
	if got, ok := b.pick(client, nil, now); ok {
		t.Errorf("picked %v when all leave", got)
	}
	l.set(second.Addr.Addr(), false)
	if got, ok := b.pick(client, nil, now); !ok || got != second {
		t.Errorf("picked %v, want the one that is back", got)
	}
}

func TestBalancerAffinity(t *testing.T) {
	backend := func(n byte) Backend {
		return Backend{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 42, 0, n}), 80)}
	}
	now := time.Unix(0, 0)
	b := newBalancer(newLeavers())
	all := []Backend{backend(1), backend(2), backend(3)}
	b.set(all, time.Minute)
	client := netip.MustParseAddr("127.0.0.1")
	first, _ := b.pick(client, nil, now)
	for range 5 {
		now = now.Add(50 * time.Second) // each use renews it
		if got, _ := b.pick(client, nil, now); got != first {
			t.Fatalf("went from %v to %v", first, got)
		}
	}
	other, _ := b.pick(client, []netip.AddrPort{first.Addr}, now)
	if other == first {
		t.Error("stuck to one that was tried")
	}
	if got, _ := b.pick(client, nil, now); got != other {
		t.Error("did not stick to the one that took it")
	}
	b.set([]Backend{first}, time.Minute)
	if got, _ := b.pick(client, nil, now); got != first {
		t.Error("stuck to one that is gone")
	}
	for n := range maxSticky + 10 {
		b.pick(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), nil, now)
	}
	if len(b.sticky) != maxSticky || b.order.Len() != maxSticky {
		t.Errorf("%d clients are remembered, want %d", len(b.sticky), maxSticky)
	}
}
