package ebpfproxy

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAffinity(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	servers := map[string]*server{}
	var backends []Backend
	for range 5 {
		s := a.serve("127.0.0.2:0")
		servers[s.addr.String()] = s
		backends = append(backends, s.backend())
	}
	svc := clusterIP("10.96.0.1:80", TCP, backends...)
	svc.Affinity = time.Hour
	mustSync(t, p, svc)

	first := a.mustAsk(svc.at())
	for range 20 {
		if got := a.mustAsk(svc.at()); got != first {
			t.Fatalf("the client went from %s to %s", first, got)
		}
	}

	// Clients are told apart by the address that their sockets are bound to, as pods' are.
	reached := map[string]bool{}
	for i := range 16 {
		from := "127.0.1." + string('1'+rune(i%8))
		got := a.askFrom(from, svc)
		if again := a.askFrom(from, svc); again != got {
			t.Errorf("client %s went from %s to %s", from, got, again)
		}
		reached[got] = true
	}
	if len(reached) < 2 {
		t.Error("all clients have the same backend")
	}

	// The backend that the client has goes: it gets one of the others and stays there.
	svc.Backends = without(backends, servers[first])
	mustSync(t, p, svc)
	second := a.mustAsk(svc.at())
	if second == first {
		t.Fatalf("reached %s, which is gone", first)
	}
	// A backend that only drains gets no new connection of its clients either …
	svc.Backends = without(backends, servers[first])
	for i := range svc.Backends {
		if svc.Backends[i].addrPort() == servers[second].addr {
			svc.Backends[i].State = Draining
		}
	}
	mustSync(t, p, svc)
	if got := a.mustAsk(svc.at()); got == second || got == first {
		t.Errorf("reached %s, which drains or is gone", got)
	}
	// … unless nothing else is there.
	for i := range svc.Backends {
		svc.Backends[i].State = Draining
	}
	mustSync(t, p, svc)
	third := a.mustAsk(svc.at())
	for range 5 {
		if got := a.mustAsk(svc.at()); got != third {
			t.Errorf("went from %s to %s, though all drain", third, got)
		}
	}
}

func TestAffinityEnds(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	var backends []Backend
	for range 8 {
		backends = append(backends, a.serve("127.0.0.2:0").backend())
	}
	svc := clusterIP("10.96.0.1:80", TCP, backends...)
	svc.Affinity = 20 * time.Millisecond
	mustSync(t, p, svc)
	seen := map[string]bool{}
	for range 12 {
		seen[a.mustAsk(svc.at())] = true
		time.Sleep(25 * time.Millisecond)
	}
	if len(seen) < 2 {
		t.Error("a client comes back to the same backend long after the affinity's end")
	}
}

// TestAffinityIsNotInheritedWithAnID: what is remembered of a backend never leads to the next one with its entry.
func TestAffinityIsNotInheritedWithAnID(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{Sizes: Sizes{Frontends: 8, Backends: 1, Slots: 64, Maglev: 7}, Grace: time.Millisecond})
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	old := clusterIP("10.96.0.1:80", TCP, one.backend())
	old.Affinity = time.Hour
	mustSync(t, p, old)
	a.mustAsk(old.at())
	mustSync(t, p, clusterIP("10.96.0.1:80", TCP)) // keeps the service's id
	eventually(t, func() bool {
		other := clusterIP("10.96.0.2:80", TCP, two.backend())
		return p.Update(t.Context(), []Service{other}, nil) == nil // takes the only backend entry, after its rest
	})
	if got, err := a.ask(old.at()); err == nil {
		t.Errorf("a service without backends led to %s", got)
	}
}

func (a *arena) askFrom(from string, svc Service) string {
	a.t.Helper()
	s := a.socket(unix.SOCK_STREAM, false)
	defer s.close()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		a.t.Fatal(err)
	}
	s.bind(from)
	if err := s.connect(svc.at()); err != nil {
		a.t.Fatal(err)
	}
	return s.line()
}

func without(backends []Backend, s *server) []Backend {
	var rest []Backend
	for _, b := range backends {
		if b.addrPort() != s.addr {
			rest = append(rest, b)
		}
	}
	return rest
}

func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Error("it did not come to pass in a minute")
}

// TestAffinityHoldsWithMaglev: a set of backends that changes moves no client whose backend is still there.
func TestAffinityHoldsWithMaglev(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	var backends []Backend
	for range 6 {
		backends = append(backends, a.serve("127.0.0.2:0").backend())
	}
	svc := clusterIP("10.96.0.1:80", TCP, backends[:2]...)
	svc.Maglev, svc.Affinity = true, time.Hour
	mustSync(t, p, svc)
	before := map[string]string{}
	for _, from := range []string{"127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4", "127.0.1.5", "127.0.1.6"} {
		before[from] = a.askFrom(from, svc)
	}
	svc.Backends = backends
	mustSync(t, p, svc)
	for from, was := range before {
		if got := a.askFrom(from, svc); got != was {
			t.Errorf("client %s went from %s to %s", from, was, got)
		}
	}
}

// TestClientIsTheSameInBothForms: a pod that speaks IPv4 through an IPv6 socket is no other client.
func TestClientIsTheSameInBothForms(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	var backends []Backend
	for range 8 {
		backends = append(backends, a.serve("127.0.0.2:0").backend())
	}
	svc := clusterIP("10.96.0.1:80", TCP, backends...)
	svc.Affinity = time.Hour
	mustSync(t, p, svc)
	for _, from := range []string{"127.0.1.1", "127.0.1.2", "127.0.1.3"} {
		s := a.socket(unix.SOCK_STREAM, true)
		s.bind("::ffff:" + from)
		if err := s.connect(svc.at()); err != nil {
			t.Fatal(err)
		}
		if four, six := a.askFrom(from, svc), s.line(); four != six {
			t.Errorf("client %s reached %s over IPv6 and %s over IPv4", from, six, four)
		}
		s.close()
	}
}
