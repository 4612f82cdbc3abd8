package ebpfproxy

import (
	"errors"
	"maps"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConnectGetsABackend(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	four, six := a.serve("127.0.0.2:0"), a.serve("[::1]:0")
	svc4 := clusterIP("10.96.0.1:80", TCP, four.backend())
	svc6 := clusterIP("[fd00::1]:80", TCP, six.backend())
	mustSync(t, p, svc4, svc6)
	for _, tt := range []struct {
		name string
		svc  Service
		v6   bool
		want *server
	}{
		{"IPv4", svc4, false, four},
		{"IPv4 in its IPv6 form", svc4, true, four},
		{"IPv6", svc6, true, six},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := a.socket(unix.SOCK_STREAM, tt.v6)
			defer s.close()
			if err := s.connect(tt.svc.at()); err != nil {
				t.Fatal(err)
			}
			if got := s.line(); got != tt.want.addr.String() {
				t.Errorf("reached %s, want %s", got, tt.want.addr)
			}
			if got := s.peer(); got != tt.svc.at() {
				t.Errorf("the peer is %s, want the service", got)
			}
		})
	}
}

func TestNoBackendRefusesAtOnce(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	drop := clusterIP("10.96.0.2:80", TCP)
	drop.Drop = true
	mustSync(t, p, clusterIP("10.96.0.1:80", TCP), clusterIP("10.96.0.1:53", UDP), clusterIP("[fd00::1]:80", TCP), drop)
	for _, tt := range []struct {
		to   string
		kind int
		v6   bool
		want unix.Errno
	}{
		{"10.96.0.1:80", unix.SOCK_STREAM, false, unix.ECONNREFUSED},
		{"10.96.0.1:80", unix.SOCK_STREAM, true, unix.ECONNREFUSED},
		{"[fd00::1]:80", unix.SOCK_STREAM, true, unix.ECONNREFUSED},
		{"10.96.0.1:53", unix.SOCK_DGRAM, false, unix.ECONNREFUSED},
		{"10.96.0.2:80", unix.SOCK_STREAM, false, unix.ETIMEDOUT},
		{"10.96.0.1:81", unix.SOCK_STREAM, false, unix.ENETUNREACH}, // not ours
	} {
		s := a.socket(tt.kind, tt.v6)
		defer s.close()
		to := netip.MustParseAddrPort(tt.to)
		if err := s.connect(to); !errors.Is(err, tt.want) {
			t.Errorf("connect to %s: %v, want %v", to, err, tt.want)
		}
		if tt.kind == unix.SOCK_DGRAM {
			if err := s.send(to); !errors.Is(err, tt.want) {
				t.Errorf("send to %s: %v, want %v", to, err, tt.want)
			}
		}
	}
}

func TestNodePortsAnswerOnTheNodesAddresses(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	four, six := a.serve("127.0.0.2:0"), a.serve("[::1]:0")
	both := Service{Frontend: Frontend{Port: 30080, Protocol: TCP, Scope: External},
		Backends: []Backend{four.backend(), six.backend()}}
	only4 := Service{Frontend: Frontend{Addr: netip.IPv4Unspecified(), Port: 30081, Protocol: TCP, Scope: External},
		Backends: []Backend{four.backend()}}
	mustSync(t, p, both, only4)
	nodes := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	if err := p.SetNodeAddresses(nodes); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		to   string
		want *server // nil: nobody is there
	}{
		{"192.0.2.1:30080", four},
		{"[2001:db8::1]:30080", six},
		{"192.0.2.1:30081", four},
		{"[2001:db8::1]:30081", nil},
		{"192.0.2.1:30082", nil},
		{"192.0.2.2:30080", nil},
	} {
		got, err := a.ask(netip.MustParseAddrPort(tt.to))
		switch {
		case tt.want == nil && !errors.Is(err, unix.ENETUNREACH):
			t.Errorf("%s: got %q, %v, want it left alone", tt.to, got, err)
		case tt.want != nil && got != tt.want.addr.String():
			t.Errorf("%s: got %q, %v, want %s", tt.to, got, err, tt.want.addr)
		}
	}
	s := a.socket(unix.SOCK_STREAM, false)
	defer s.close()
	to := netip.MustParseAddrPort("192.0.2.1:30080")
	if err := s.connect(to); err != nil || s.peer() != to {
		t.Errorf("the peer is %s, want %s (%v)", s.peer(), to, err)
	}
	if err := p.SetNodeAddresses(nodes[1:]); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ask(to); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("an address that is the node's no more answers: %v", err)
	}
	// In a family without backends the node port is not refused but left alone; without any backend both refuse.
	both.Backends = nil
	mustSync(t, p, both)
	for _, at := range []string{"192.0.2.1:30080", "[2001:db8::1]:30080"} {
		if err := p.SetNodeAddresses(nodes); err != nil {
			t.Fatal(err)
		}
		if _, err := a.ask(netip.MustParseAddrPort(at)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s without backends: %v, want it refused", at, err)
		}
	}
}

// TestLocalhostIsTheNodesOwn: in a network namespace of its own, a program that asks for localhost means itself.
func TestLocalhostIsTheNodesOwn(t *testing.T) {
	for _, inside := range []bool{true, false} {
		a := newArena(t)
		p := a.proxy(Config{})
		open := func() {
			if err := p.Open(t.Context()); err != nil {
				skipUnsupported(t, err)
			}
		}
		if inside {
			a.in(open)
		} else {
			open()
		}
		t.Cleanup(func() { must(t, p.Remove()) })
		four, six := a.serve("127.0.0.2:0"), a.serve("[::1]:0")
		lo4, lo6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
		exact := clusterIP("127.0.0.1:8081", TCP, four.backend())
		mustSync(t, p, exact, Service{Frontend: Frontend{Port: 8080, Protocol: TCP, Scope: External}, Backends: []Backend{four.backend(), six.backend()}},
			Service{Frontend: Frontend{Port: 8080, Protocol: UDP, Scope: External}, Backends: []Backend{four.backend(), six.backend()}},
			clusterIP("10.96.0.1:80", TCP, four.backend()))
		must(t, p.SetNodeAddresses([]netip.Addr{lo4, lo6, netip.MustParseAddr("192.0.2.1")}))
		for at, want := range map[netip.AddrPort]*server{exact.at(): four, netip.AddrPortFrom(lo4, 8080): four, netip.AddrPortFrom(lo6, 8080): six} {
			got, err := a.ask(at)
			switch {
			case inside && got != want.addr.String():
				t.Errorf("%s leads to %q, %v, want %s", at, got, err, want.addr)
			case !inside && !errors.Is(err, unix.ECONNREFUSED): // nobody listens there
				t.Errorf("%s of another namespace leads to %q, %v", at, got, err)
			}
		}
		s := a.socket(unix.SOCK_DGRAM, false)
		defer s.close()
		own := a.serve("127.0.0.1:8080") // the other namespace's own
		must(t, s.send(netip.AddrPortFrom(lo4, 8080)))
		want := four
		if !inside {
			want = own
		}
		if got, _ := s.receive(); got != want.addr.String() {
			t.Errorf("a datagram (inside: %v) reached %s, want %s", inside, got, want.addr)
		}
		for _, at := range []string{"192.0.2.1:8080", "10.96.0.1:80"} { // what is not localhost is the same everywhere
			if got := a.mustAsk(netip.MustParseAddrPort(at)); got != four.addr.String() {
				t.Errorf("%s leads to %s", at, got)
			}
		}
	}
}

// TestScopes: sockets find an external frontend, unless there is an internal one at the same place.
func TestScopes(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	all, local := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	outside := clusterIP("192.0.2.80:80", TCP, local.backend())
	outside.Frontend.Scope = External
	inside := clusterIP("192.0.2.80:80", TCP, all.backend())
	steps := []struct {
		name string
		do   func() error
		want *server
	}{
		{"external alone", func() error { return p.Sync(t.Context(), []Service{outside}) }, local},
		{"internal comes", func() error { return p.Update(t.Context(), []Service{inside}, nil) }, all},
		{"external changes", func() error {
			outside.Drop = true
			return p.Update(t.Context(), []Service{outside}, nil)
		}, all},
		{"internal goes", func() error { return p.Update(t.Context(), nil, []Frontend{inside.Frontend}) }, local},
		{"both", func() error { return p.Sync(t.Context(), []Service{inside, outside}) }, all},
		{"external goes", func() error { return p.Update(t.Context(), nil, []Frontend{outside.Frontend}) }, all},
		{"external alone again", func() error { return p.Sync(t.Context(), []Service{outside}) }, local},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := a.mustAsk(outside.at()); got != s.want.addr.String() {
			t.Errorf("%s: reached %s, want %s", s.name, got, s.want.addr)
		}
	}
	mustSync(t, p)
	if _, err := a.ask(outside.at()); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("a removed service answers: %v", err)
	}
}

// TestStates: who gets new clients.
func TestStates(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	one, two, three := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0"), a.serve("127.0.0.4:0")
	in := func(s *server, state BackendState) Backend {
		b := s.backend()
		b.State = state
		return b
	}
	for _, tt := range []struct {
		name     string
		backends []Backend
		want     []*server
	}{
		{"active before all", []Backend{in(one, Active), in(two, Draining), in(three, Unready)}, []*server{one}},
		{"draining where none is active", []Backend{in(one, Draining), in(two, Draining), in(three, Unready)}, []*server{one, two}},
		{"unready never", []Backend{in(one, Unready), in(two, Unready)}, nil},
		{"all active", []Backend{in(one, Active), in(two, Active), in(three, Active)}, []*server{one, two, three}},
		{"listed twice", []Backend{in(one, Draining), in(one, Active), in(two, Draining)}, []*server{one}},
	} {
		svc := clusterIP("10.96.0.1:80", TCP, tt.backends...)
		mustSync(t, p, svc)
		want, got := map[string]bool{}, map[string]bool{}
		for _, s := range tt.want {
			want[s.addr.String()] = true
		}
		for range 40 {
			if name, err := a.ask(svc.at()); err == nil {
				got[name] = true
			} else if !errors.Is(err, unix.ECONNREFUSED) {
				t.Fatal(err)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: reached %v, want %v", tt.name, got, want)
		}
	}
}

// TestHairpin: a backend that connects to its own service may be given itself.
func TestHairpin(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	s := a.serve("127.0.0.2:0")
	svc := clusterIP("10.96.0.1:80", TCP, s.backend())
	mustSync(t, p, svc)
	if got := a.askFrom("127.0.0.2", svc); got != s.addr.String() {
		t.Errorf("reached %s", got)
	}
}

// TestMaglevGivesAClientTheSameBackend, and one backend's end moves no client of another.
func TestMaglevGivesAClientTheSameBackend(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	var backends []Backend
	for range 4 {
		backends = append(backends, a.serve("127.0.0.2:0").backend())
	}
	svc := clusterIP("10.96.0.1:80", TCP, backends...)
	svc.Maglev = true
	mustSync(t, p, svc)
	before := map[string]string{}
	reached := map[string]int{}
	for i := range 24 {
		from := netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}).String()
		before[from] = a.askFrom(from, svc)
		reached[before[from]]++
		if got := a.askFrom(from, svc); got != before[from] {
			t.Errorf("client %s went from %s to %s", from, before[from], got)
		}
	}
	if len(reached) < 3 {
		t.Errorf("24 clients reached %v", reached)
	}
	lost := backends[0]
	svc.Backends = backends[1:]
	mustSync(t, p, svc)
	moved := 0
	for from, was := range before {
		got := a.askFrom(from, svc)
		if got == lost.addrPort().String() {
			t.Errorf("client %s reached the lost backend", from)
		}
		if was != lost.addrPort().String() && got != was {
			moved++
		}
	}
	if moved > len(before)/3 {
		t.Errorf("%d of %d clients moved between backends that stayed", moved, len(before))
	}
}

func TestCounters(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	s := a.serve("127.0.0.2:0")
	svc, none := clusterIP("10.96.0.1:80", TCP, s.backend()), clusterIP("10.96.0.2:80", TCP)
	mustSync(t, p, svc, none)
	for range 3 {
		a.mustAsk(svc.at())
	}
	for range 2 {
		if _, err := a.ask(none.at()); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	for _, st := range p.Stats() {
		switch st.Frontend.Addr {
		case svc.Frontend.Addr:
			if st.Connections != 3 || st.Refused != 0 || len(st.Backends) != 1 || st.Backends[0].Connections != 3 || st.Name != svc.Name {
				t.Errorf("the service counts %+v", st)
			}
			if st.Backends[0].Name != s.backend().Name || st.Backends[0].Addr != s.addr {
				t.Errorf("the backend is %+v", st.Backends[0])
			}
		case none.Frontend.Addr:
			if st.Connections != 0 || st.Refused != 2 {
				t.Errorf("the service without backends counts %+v", st)
			}
		}
	}
	mustSync(t, p)
	mustSync(t, p, svc)
	if st := p.Stats(); len(st) != 1 || st[0].Connections != 0 {
		t.Errorf("a new service counts %+v", st)
	}
}
