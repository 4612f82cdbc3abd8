package network

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
)

func newPool(t *testing.T, prefix string) *Pool {
	t.Helper()
	p, err := NewPool(netip.MustParsePrefix(prefix))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryHostOnceThenExhausted(t *testing.T) {
	p := newPool(t, "127.42.8.0/23")
	seen := map[netip.Addr]bool{}
	for i := range 508 { // two /24 without their ends
		addr, err := p.Allocate(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if seen[addr] || !p.Prefix().Contains(addr) || addr.As4()[3] == 0 || addr.As4()[3] == 255 {
			t.Fatalf("allocation %d gave %s", i, addr)
		}
		seen[addr] = true
	}
	if addr, err := p.Allocate("one more"); !errors.Is(err, ErrExhausted) {
		t.Fatalf("full pool gave %s, %v", addr, err)
	}
	p.Release("17")
	if _, err := p.Allocate("one more"); err != nil {
		t.Fatal(err)
	}
}

func TestIPv6Pool(t *testing.T) {
	p := newPool(t, "fd42:0:0:1::/64")
	first, err := p.Allocate("a")
	if err != nil || first != netip.MustParseAddr("fd42:0:0:1::2") {
		t.Fatalf("first address %s, %v", first, err)
	}
	small := newPool(t, "fd42::100/120")
	for i := range 254 {
		if _, err := small.Allocate(fmt.Sprint(i)); err != nil {
			t.Fatalf("allocation %d: %v", i, err)
		}
	}
	if addr, err := small.Allocate("one more"); !errors.Is(err, ErrExhausted) {
		t.Fatalf("full pool gave %s, %v", addr, err)
	}
}

func TestSameOwnerSameAddress(t *testing.T) {
	p := newPool(t, "127.42.0.0/16")
	a, _ := p.Allocate("pod")
	b, _ := p.Allocate("pod")
	if a != b || p.Used() != 1 {
		t.Errorf("allocated %s, then %s; %d used", a, b, p.Used())
	}
}

func TestFreedAddressesRestInOrder(t *testing.T) {
	p := newPool(t, "127.42.0.0/24")
	for i := range 10 {
		_, _ = p.Allocate(fmt.Sprint(i))
	}
	for _, owner := range []string{"4", "2", "4", "nobody"} {
		p.Release(owner)
	}
	var order []string
	for i := range 246 {
		addr, err := p.Allocate(fmt.Sprint("later", i))
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, addr.String())
	}
	if order[0] != "127.42.0.11" || order[244] != "127.42.0.5" || order[245] != "127.42.0.3" {
		t.Errorf("first %s, last two %v: freed addresses have to come last, oldest first", order[0], order[244:])
	}
}

func TestReserve(t *testing.T) {
	p := newPool(t, "127.42.0.0/16")
	ahead, behind := netip.MustParseAddr("127.42.0.2"), netip.MustParseAddr("127.42.0.1")
	if err := p.Reserve("adopted", ahead); err != nil {
		t.Fatal(err)
	}
	first, _ := p.Allocate("new")
	second, _ := p.Allocate("newer")
	if first != behind || second == ahead {
		t.Errorf("allocated %s and %s around a reserved %s", first, second, ahead)
	}
	for name, err := range map[string]error{
		"another's":        p.Reserve("thief", ahead),
		"a second address": p.Reserve("adopted", netip.MustParseAddr("127.42.9.9")),
		"a foreign prefix": p.Reserve("stranger", netip.MustParseAddr("10.0.0.1")),
	} {
		if err == nil {
			t.Errorf("reserving %s was allowed", name)
		}
	}
	if err := p.Reserve("adopted", ahead); err != nil {
		t.Errorf("reserving one's own again: %v", err)
	}
	p.Release("adopted")
	if err := p.Reserve("other", ahead); err != nil {
		t.Errorf("reserving a freed address: %v", err)
	}
	if got, err := p.Allocate("adopted"); err != nil || got == ahead {
		t.Errorf("allocated %s, %v: it is reserved", got, err)
	}
}

func TestReleasedAheadOfTheCursorIsGivenOnce(t *testing.T) {
	p := newPool(t, "127.42.0.0/24")
	_ = p.Reserve("a", netip.MustParseAddr("127.42.0.200"))
	p.Release("a")
	seen := map[netip.Addr]bool{}
	for i := range 254 {
		addr, err := p.Allocate(fmt.Sprint(i))
		if err != nil || seen[addr] {
			t.Fatalf("allocation %d gave %s, %v", i, addr, err)
		}
		seen[addr] = true
	}
}

func TestPrefixesThatCannotBeAPool(t *testing.T) {
	for _, prefix := range []netip.Prefix{{}, netip.MustParsePrefix("fd00::/121"), netip.MustParsePrefix("::ffff:1.2.0.0/112"), netip.MustParsePrefix("127.42.0.0/29")} {
		if _, err := NewPool(prefix); err == nil {
			t.Errorf("%s was accepted", prefix)
		}
	}
}

func TestHammer(t *testing.T) {
	p := newPool(t, "127.42.0.0/24")
	var mu sync.Mutex
	owners := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				owner := fmt.Sprintf("%d-%d", w, i)
				addr, err := p.Allocate(owner)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other, taken := owners[addr]; taken {
					t.Errorf("%s belongs to %s and %s", addr, other, owner)
				}
				owners[addr] = owner
				mu.Unlock()
				mu.Lock()
				delete(owners, addr)
				mu.Unlock()
				p.Release(owner)
			}
		})
	}
	wg.Wait()
	if p.Used() != 0 {
		t.Errorf("%d still used", p.Used())
	}
}
