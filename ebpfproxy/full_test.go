package ebpfproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// TestFullTables: what was there serves on, what fits is added, the error says what does not, and when there is room
// the same Sync does the rest.
func TestFullTables(t *testing.T) {
	base := Sizes{Frontends: 64, Backends: 64, Slots: 64, Maglev: 7, Affinity: 8, Datagrams: 8, SourceRanges: 8, NodeAddresses: 2}
	for _, tt := range []struct {
		table string
		sizes func(*Sizes)
		limit int
		more  func(s *server) []Service // more than fits beside the first service
	}{
		{"Frontends", func(s *Sizes) { s.Frontends = 4 }, 4, func(s *server) []Service { return many(6, 1, s) }},
		{"Backends", func(s *Sizes) { s.Backends = 4 }, 4, func(s *server) []Service { return many(6, 1, s) }},
		{"Slots", func(s *Sizes) { s.Slots = 4 }, 4, func(s *server) []Service { return many(6, 1, s) }},
		{"SourceRanges", func(s *Sizes) { s.SourceRanges = 2 }, 2, func(s *server) []Service {
			list := many(1, 1, s)
			for i := range 3 {
				list[0].SourceRanges = append(list[0].SourceRanges, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
			}
			return list
		}},
	} {
		t.Run(tt.table, func(t *testing.T) {
			a := newArena(t)
			sizes := base
			tt.sizes(&sizes)
			p := a.open(Config{Sizes: sizes, Grace: time.Millisecond})
			s := a.serve("127.0.0.2:0")
			first := clusterIP("10.96.0.1:80", TCP, s.backend())
			mustSync(t, p, first)
			list := append([]Service{first}, tt.more(s)...)
			err := p.Sync(t.Context(), list)
			var full *FullError
			if !errors.As(err, &full) || full.Table != tt.table || full.Limit != tt.limit || full.Missing == 0 {
				t.Fatalf("sync of more than fits: %v", err)
			}
			t.Log(err)
			if got := a.mustAsk(first.at()); got != s.addr.String() {
				t.Errorf("what was there leads to %s", got)
			}
			if served := countServed(t, a, list); served < min(tt.limit, len(list)) {
				t.Errorf("%d of %d services are served, though there is room for %d", served, len(list), tt.limit)
			}
			// A service that changes while the table is full still changes.
			other := a.serve("127.0.0.3:0")
			if tt.table != "Backends" {
				list[0].Backends = []Backend{other.backend()}
				if err := p.Sync(t.Context(), list); !errors.As(err, &full) {
					t.Errorf("sync: %v", err)
				}
				if got := a.mustAsk(first.at()); got != other.addr.String() {
					t.Errorf("the changed service leads to %s", got)
				}
			}
			// Room comes: ids rest for a moment before they are given again.
			fits := list[:2]
			fits[1].SourceRanges = nil
			eventually(t, func() bool { return p.Sync(t.Context(), fits) == nil })
			for _, svc := range fits {
				a.mustAsk(svc.at())
			}
			if n := len(p.Stats()); n != 2 {
				t.Errorf("%d services are there", n)
			}
		})
	}
}

func TestFullNodeAddresses(t *testing.T) {
	a := newArena(t)
	sizes := smallSizes
	sizes.NodeAddresses = 2
	p := a.open(Config{Sizes: sizes})
	one, two, three := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	var full *FullError
	if err := p.SetNodeAddresses([]netip.Addr{one, two, three}); !errors.As(err, &full) || full.Missing != 1 {
		t.Errorf("three addresses in room for two: %v", err)
	}
	if err := p.SetNodeAddresses([]netip.Addr{three, two}); err != nil {
		t.Error(err)
	}
}

// TestKernelsOwnLimit: a map that is full before the table thinks so is told of like a full table, half-way put services are
// finished later, and nothing is lost.
func TestKernelsOwnLimit(t *testing.T) {
	r := newRig(t)
	svc := r.maps["petrel_svc"]
	small, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: svc.KeySize(), ValueSize: svc.ValueSize(), MaxEntries: 5, Flags: svc.Flags()})
	must(t, err)
	defer svc.Close()
	r.maps["petrel_svc"] = small
	r.reopen(t)
	var list []Service
	for i := range 4 {
		s := clusterIP(fmt.Sprintf("192.0.2.%d:80", i+1), TCP, Backend{Addr: netip.MustParseAddr("127.0.0.1"), Port: 80})
		s.Frontend.Scope = External // of two keys each
		list = append(list, s)
	}
	var full *FullError
	if err := r.sync(t.Context(), list); !errors.As(err, &full) || full.Missing != 3 {
		t.Errorf("8 keys in a map of 5: %v", err)
	}
	if got := len(r.dump(t)); got != 5 {
		t.Errorf("%d keys are served", got)
	}
	list[2].Backends[0].Port = 81 // the one that is half there changes
	if err := r.sync(t.Context(), list); !errors.As(err, &full) {
		t.Error(err)
	}
	r.now = r.now.Add(2 * rest)
	must(t, r.sync(t.Context(), list[2:]))
	fresh := newRig(t)
	must(t, fresh.sync(t.Context(), list[2:]))
	if got, want := r.dump(t), fresh.dump(t); !slices.Equal(got, want) {
		t.Errorf("the table is %v, a fresh one %v", got, want)
	}
	checkNothingLeft(t, r)
}

// TestHalfPutService: a process ended between the two keys of an external service. The next one keeps both forms' slots
// until its first Sync has put one for both.
func TestHalfPutService(t *testing.T) {
	r := newRig(t)
	svc := clusterIP("192.0.2.1:80", TCP, Backend{Addr: netip.MustParseAddr("127.0.0.1"), Port: 80})
	svc.Frontend.Scope = External
	must(t, r.sync(t.Context(), []Service{svc}))
	e := r.entries[svc.Frontend]
	other, ok := r.spans.take(1, r.now)
	if !ok {
		t.Fatal("no slot is free")
	}
	r.slots.at[other.base] = r.slots.at[e.span.base]
	value := e.value
	value.Base = other.base
	must(t, r.svc.Put(keyOf(svc.Frontend, Internal), value))
	r.reopen(t)
	e = r.entries[svc.Frontend]
	if !e.dirty || len(e.stale) != 1 || e.stale[0].size != 1 || e.stale[0].base == e.span.base {
		t.Errorf("the entry is %+v", e)
	}
	must(t, r.sync(t.Context(), []Service{svc}))
	fresh := newRig(t)
	must(t, fresh.sync(t.Context(), []Service{svc}))
	if got, want := r.dump(t), fresh.dump(t); !slices.Equal(got, want) {
		t.Errorf("the table is %v, a fresh one %v", got, want)
	}
	checkNothingLeft(t, r)
}

// TestWhatConcernsAllIsToldFirst of several complaints.
func TestWhatConcernsAllIsToldFirst(t *testing.T) {
	r := newRig(t)
	var list []Service
	for i := range modelSizes.Frontends + 1 {
		list = append(list, clusterIP(fmt.Sprintf("10.96.0.%d:80", i+1), TCP))
	}
	list[0].Affinity = -1
	list[1].Frontend.Scope = External
	err := r.sync(t.Context(), list)
	if text := fmt.Sprint(err); !strings.HasPrefix(text, "table Frontends is full at 48") || !errors.Is(err, ErrInvalid) {
		t.Error(text)
	}
}

// TestSlotsWrittenOver: without room for a fresh range a service changes in its own.
func TestSlotsWrittenOver(t *testing.T) {
	a := newArena(t)
	sizes := smallSizes
	sizes.Slots = 2
	p := a.open(Config{Sizes: sizes})
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	mustSync(t, p, clusterIP("10.96.0.1:80", TCP, one.backend(), two.backend()))
	svc := clusterIP("10.96.0.1:80", TCP, two.backend())
	mustSync(t, p, svc)
	for range 10 {
		if got := a.mustAsk(svc.at()); got != two.addr.String() {
			t.Fatalf("reached %s", got)
		}
	}
}

func TestInvalidServicesKeepNobodyElseOut(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	s := a.serve("127.0.0.2:0")
	good := clusterIP("10.96.0.1:80", TCP, s.backend())
	mustSync(t, p, good)
	for name, spoil := range map[string]func(*Service){
		"protocol":        func(s *Service) { s.Frontend.Protocol = 1 },
		"port":            func(s *Service) { s.Frontend.Port = 0 },
		"scope":           func(s *Service) { s.Frontend.Scope = 7 },
		"zone":            func(s *Service) { s.Frontend.Addr = netip.MustParseAddr("fe80::1%eth0"); s.Backends = nil },
		"affinity":        func(s *Service) { s.Affinity = -1 },
		"affinity's size": func(s *Service) { s.Affinity = 1 << 62 },
		"family":          func(s *Service) { s.Backends = []Backend{{Addr: netip.IPv6Loopback(), Port: 1}} },
		"no backend port": func(s *Service) { s.Backends = []Backend{{Addr: netip.MustParseAddr("127.0.0.1")}} },
		"backend nowhere": func(s *Service) { s.Backends = []Backend{{Addr: netip.IPv4Unspecified(), Port: 1}} },
		"backend zero":    func(s *Service) { s.Backends = []Backend{{Port: 1}} },
		"backend state":   func(s *Service) { s.Backends = []Backend{{Addr: s.Backends[0].Addr, Port: 1, State: 9}} },
		"source range":    func(s *Service) { s.SourceRanges = []netip.Prefix{{}} },
		"too many":        func(s *Service) { s.Backends = make([]Backend, maxBackends+1) },
		"same frontend":   func(s *Service) { s.Frontend = good.Frontend },
	} {
		bad := clusterIP("10.96.0.2:80", TCP, s.backend())
		spoil(&bad)
		if err := p.Sync(t.Context(), []Service{good, bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if got := a.mustAsk(good.at()); got != s.addr.String() {
			t.Errorf("%s: the good one leads to %s", name, got)
		}
		if name == "same frontend" {
			continue
		}
		if err := p.Update(t.Context(), []Service{bad}, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("update, %s: %v", name, err)
		}
	}
	// A service whose new form is invalid keeps its old one.
	bad := good
	bad.Affinity = -1
	if err := p.Sync(t.Context(), []Service{bad}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	a.mustAsk(good.at())
}

// many answers n services of k backends each; all lead to s, on as many ports as there are backends.
func many(n, k int, s *server) []Service {
	var list []Service
	for i := range n {
		svc := clusterIP(fmt.Sprintf("10.97.%d.%d:80", i>>8, i&255), TCP)
		for j := range k {
			b := s.backend()
			b.Port += uint16(j)
			svc.Backends = append(svc.Backends, b)
		}
		list = append(list, svc)
	}
	return list
}

func countServed(t *testing.T, a *arena, list []Service) (n int) {
	t.Helper()
	for _, svc := range list {
		switch _, err := a.ask(svc.at()); {
		case err == nil:
			n++
		case !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.ECONNREFUSED):
			t.Fatal(err)
		}
	}
	return n
}

// TestWhatIsStaleIsNotFollowed: a slot that a program reads too late leads to nobody rather than to another's backend.
func TestWhatIsStaleIsNotFollowed(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	svc, other := clusterIP("10.96.0.1:80", TCP, one.backend()), clusterIP("10.96.0.2:80", TCP, two.backend())
	mustSync(t, p, svc, other)
	p.mu.Lock()
	slot := &p.slots.at[p.entries[svc.Frontend].span.base]
	own, others := *slot, p.slots.at[p.entries[other.Frontend].span.base]
	p.mu.Unlock()
	older := own
	older.Gen--
	beyond := own
	beyond.Backend = 1 << 30
	for name, stale := range map[string]bpf.SockSlot{"another service's": others, "an older backend's": older, "nobody's": {}, "beyond the table": beyond} {
		*slot = stale
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			s := a.socket(kind, false)
			if err := s.connect(svc.at()); kind == unix.SOCK_STREAM && !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: %v, want it refused", name, err)
			}
			s.close()
		}
	}
	*slot = own
	a.mustAsk(svc.at())
}

// TestForgottenClients: a table of clients that is too small forgets the oldest; they are served all the same.
func TestForgottenClients(t *testing.T) {
	a := newArena(t)
	sizes := smallSizes
	sizes.Affinity, sizes.Datagrams = 1, 1
	p := a.open(Config{Sizes: sizes})
	s := a.serve("127.0.0.2:0")
	svc, names := clusterIP("10.96.0.1:80", TCP, s.backend()), clusterIP("10.96.0.1:53", UDP, s.backend())
	svc.Affinity = time.Hour
	mustSync(t, p, svc, names)
	for i := range 64 {
		if got := a.askFrom(netip.AddrFrom4([4]byte{127, 0, 2, byte(i + 1)}).String(), svc); got != s.addr.String() {
			t.Fatalf("reached %s", got)
		}
		d := a.socket(unix.SOCK_DGRAM, false)
		exchange(t, d, names.at())
		d.close()
	}
}
