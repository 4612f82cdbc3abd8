package ebpfproxy

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// policyPods are at 127.42.0.0/16, as Wasm pods in loopback mode; a is to be isolated.
const (
	policyA, policyB = "127.42.0.1", "127.42.0.2"
	policyAt         = ":8080"
)

// isolateA lets B alone speak with A, on one port.
func isolateA() Policy {
	return Policy{
		Peers: map[netip.Prefix]Peer{
			netip.MustParsePrefix("127.0.0.0/8"):   {Identity: IdentityHost},
			netip.MustParsePrefix("127.42.0.0/16"): {Refuse: true},
			netip.MustParsePrefix("127.42.0.2/32"): {Identity: 2, Refuse: true},
			netip.MustParsePrefix("10.42.0.0/16"):  {Refuse: true},
			netip.MustParsePrefix("fd42::/64"):     {Refuse: true},
		},
		Endpoints: map[netip.Addr]Endpoint{netip.MustParseAddr(policyA): {Ingress: 1, Egress: 1}},
		Subjects:  map[uint32][]PolicyRule{1: {{Identity: 2, Protocol: TCP, First: 8080, Last: 8080}, {Identity: 2, Protocol: UDP}}},
	}
}

func mustPolicy(t testing.TB, e *Enforcer, p Policy) {
	t.Helper()
	if err := e.Sync(context.Background(), p); err != nil {
		t.Fatal(err)
	}
}

// Hanging is told from being slow by how long it takes: long where an answer is expected, short where none is.
const policyPatience, policyHang = 2 * time.Second, 40 * time.Millisecond

// policyAsk connects from an address, and answers how that ended.
func (a *arena) policyAsk(from, to string) error {
	a.t.Helper()
	return a.policyAskFor(from, to, policyPatience)
}

// policyExpect is policyAsk where the end is known that there should be; a connection that hangs is ETIMEDOUT.
func (a *arena) policyExpect(from, to string, want error) error {
	a.t.Helper()
	if want == unix.ETIMEDOUT {
		return a.policyAskFor(from, to, policyHang)
	}
	return a.policyAskFor(from, to, policyPatience)
}

func (a *arena) policyAskFor(from, to string, patience time.Duration) error {
	a.t.Helper()
	at := netip.MustParseAddrPort(to)
	s := a.socket(unix.SOCK_STREAM, at.Addr().Is6())
	defer s.close()
	if from != "" {
		s.bind(from)
	}
	tv := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		a.t.Fatal(err)
	}
	err := s.connect(at)
	if errors.Is(err, unix.EINPROGRESS) {
		return unix.ETIMEDOUT
	}
	return err
}

func TestPolicyOnConnections(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	for _, addr := range []string{policyA, policyB, "127.42.0.3"} {
		a.serve(addr + policyAt)
	}
	a.serve(policyA + ":8081")
	a.serve("127.0.0.1:8080")
	mustPolicy(t, e, isolateA())
	for _, tt := range []struct {
		name, from, to string
		want           error
	}{
		{"allowed", policyB, policyA + ":8080", nil},
		{"another port", policyB, policyA + ":8081", unix.EACCES},
		{"a stranger among pods", "127.42.0.3", policyA + ":8080", unix.EACCES},
		{"allowed out", policyA, policyB + ":8080", nil},
		{"another pod", policyA, "127.42.0.3:8080", unix.EACCES},
		{"itself", policyA, policyA + ":8081", nil},
		{"the host's probe", "127.0.0.1", policyA + ":8081", nil},
		{"a socket that is not bound", "", policyA + ":8081", nil}, // its source is the host's
		{"to the host", policyA, "127.0.0.1:8080", nil},
		{"pods that no policy isolates", policyB, "127.42.0.3:8080", nil},
	} {
		if err := a.policyExpect(tt.from, tt.to, tt.want); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	// Where nobody is to be refused the packets are judged, and there is no answer.
	policy := isolateA()
	for prefix, peer := range policy.Peers {
		peer.Refuse = false
		policy.Peers[prefix] = peer
	}
	mustPolicy(t, e, policy)
	for _, tt := range []struct {
		name, from, to string
		want           error
	}{
		{"allowed", policyB, policyA + ":8080", nil},
		{"in", policyB, policyA + ":8081", unix.ETIMEDOUT},
		{"out", policyA, "127.42.0.3:8080", unix.ETIMEDOUT},
		{"the host's probe", "127.0.0.1", policyA + ":8081", nil},
	} {
		if err := a.policyExpect(tt.from, tt.to, tt.want); !errors.Is(err, tt.want) {
			t.Errorf("packets, %s: %v, want %v", tt.name, err, tt.want)
		}
	}
	stats, err := e.Stats()
	if err != nil || stats.Ingress.Refused != 2 || stats.Egress.Refused != 1 || stats.Ingress.Denied == 0 || stats.Egress.Denied == 0 {
		t.Errorf("counted %+v, %v", stats, err)
	}
}

func TestPolicyOnIPv6(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	a.serve("[::1]:8080")
	// ::1 is a pod here, to have an IPv6 address that is there; a pod always reaches itself, so the other side is mapped.
	p := isolateA()
	p.Endpoints[netip.MustParseAddr("::1")] = Endpoint{Egress: 1}
	mustPolicy(t, e, p)
	if err := a.policyAsk("::1", "[::1]:8080"); err != nil {
		t.Errorf("itself: %v", err)
	}
	if err := a.policyAsk("::1", "[fd42::1]:8080"); !errors.Is(err, unix.EACCES) {
		t.Errorf("another pod: %v", err)
	}
	p.Endpoints[netip.MustParseAddr("::1")] = Endpoint{Ingress: 1}
	p.Peers[netip.MustParsePrefix("::1/128")] = Peer{Identity: 7, Refuse: true}
	mustPolicy(t, e, p)
	if err := a.policyAsk("", "[::1]:8080"); err != nil {
		t.Errorf("a socket that is not bound, whose source is not known yet: %v", err)
	}
	a.serve(policyA + ":8081")
	s := a.socket(unix.SOCK_STREAM, true)
	defer s.close()
	s.bind("127.42.0.3")
	if err := s.connect(netip.MustParseAddrPort(policyA + ":8081")); !errors.Is(err, unix.EACCES) {
		t.Errorf("IPv4 in its IPv6 form: %v", err)
	}
}

func TestPolicyOnDatagrams(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	at := netip.MustParseAddrPort
	for _, addr := range []string{policyA, policyB, "127.42.0.3"} {
		a.serve(addr + policyAt)
	}
	mustPolicy(t, e, isolateA())
	for _, tt := range []struct {
		name, from, to string
		want           error
	}{
		{"in", policyB, policyA, nil},
		{"out", policyA, policyB, nil},
		{"a stranger", "127.42.0.3", policyA, unix.EAGAIN},
		{"to a stranger", policyA, "127.42.0.3", unix.EPERM},
		{"among others", policyB, "127.42.0.3", nil},
	} {
		s := a.socket(unix.SOCK_DGRAM, false)
		s.bind(tt.from)
		patience := policyPatience
		if tt.want == unix.EAGAIN {
			patience = policyHang
		}
		tv := unix.NsecToTimeval(int64(patience))
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			t.Fatal(err)
		}
		err := s.send(at(tt.to + policyAt))
		if err == nil {
			_, _, err = unix.Recvfrom(s.fd, make([]byte, 64), 0)
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		s.close()
	}
}

// TestPolicyBehindAService: what is judged is the backend, and never the service's address.
func TestPolicyBehindAService(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	e := a.openEnforcer(p, testPolicySizes)
	b, stranger := a.serve(policyB+policyAt), a.serve("127.42.0.3"+policyAt)
	mustPolicy(t, e, isolateA())
	mustSync(t, p, clusterIP("127.43.0.1:80", TCP, b.backend()), clusterIP("127.43.0.2:80", TCP, stranger.backend()))
	if err := a.policyAsk(policyA, "127.43.0.1:80"); err != nil {
		t.Errorf("to an allowed backend: %v", err)
	}
	if err := a.policyAsk(policyA, "127.43.0.2:80"); !errors.Is(err, unix.EACCES) {
		t.Errorf("to a backend that is not allowed: %v", err)
	}
	mustSync(t, p, clusterIP("127.43.0.1:80", TCP))
	if err := a.policyAsk(policyA, "127.43.0.1:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("to no backend: %v", err)
	}
}

// TestPolicyRefusesNoService: a connect() to a service that has not got its backend yet is left to what comes after.
func TestPolicyRefusesNoService(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	e := a.openEnforcer(p, testPolicySizes)
	policy := isolateA()
	policy.Peers[netip.MustParsePrefix("0.0.0.0/0")] = Peer{Refuse: true}
	mustPolicy(t, e, policy)
	mustSync(t, p, clusterIP("10.96.0.1:80", TCP, Backend{Addr: netip.MustParseAddr("10.42.0.3"), Port: 80}))
	if err := p.release("petrel_connect4"); err != nil { // as if it ran after the policies' program
		t.Fatal(err)
	}
	if err := a.policyAsk(policyA, "10.96.0.1:80"); err == nil || errors.Is(err, unix.EACCES) {
		t.Errorf("a service: %v", err)
	}
	if err := a.policyAsk(policyA, "10.96.0.2:80"); !errors.Is(err, unix.EACCES) {
		t.Errorf("no service: %v", err)
	}
}

// TestPolicyChanges: each change takes effect at once, and an end of policies ends all of them.
func TestPolicyChanges(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	a.serve(policyA + policyAt)
	ask := func(want error) {
		t.Helper()
		if err := a.policyAsk("127.42.0.3", policyA+policyAt); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	ask(nil)
	policy := isolateA()
	mustPolicy(t, e, policy)
	ask(unix.EACCES)
	policy.Peers[netip.MustParsePrefix("127.42.0.3/32")] = Peer{Identity: 2, Refuse: true}
	mustPolicy(t, e, policy)
	ask(nil)
	policy.Subjects[1] = policy.Subjects[1][1:]
	mustPolicy(t, e, policy)
	ask(unix.EACCES)
	policy.Subjects[1] = append(policy.Subjects[1], PolicyRule{})
	mustPolicy(t, e, policy)
	ask(nil)
	delete(policy.Subjects, 1)
	if err := e.Sync(context.Background(), policy); err == nil {
		t.Error("a subject that is missing was accepted")
	}
	mustPolicy(t, e, isolateA())
	ask(unix.EACCES)
	mustPolicy(t, e, Policy{})
	ask(nil)
	if n := len(e.peers.have) + len(e.endpoints.have) + len(e.allow.have); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	mustPolicy(t, e, isolateA())
	ask(unix.EACCES)
	if err := e.Detach(); err != nil {
		t.Fatal(err)
	}
	ask(nil)
	if err := e.Sync(context.Background(), Policy{}); !errors.Is(err, ErrClosed) {
		t.Errorf("sync after the end: %v", err)
	}
}

// TestPolicyTakeOver: the next process finds the policy in force, and its own numbers do not mean what the old ones did.
func TestPolicyTakeOver(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	a.serve(policyA + policyAt)
	first := a.openRaw(Config{PinDir: dir})
	e := a.openEnforcer(first, testPolicySizes)
	mustPolicy(t, e, isolateA())
	if err := errors.Join(e.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	if err := a.policyAsk("127.42.0.3", policyA+policyAt); !errors.Is(err, unix.EACCES) {
		t.Errorf("between two processes: %v", err)
	}
	second := a.open(Config{PinDir: dir})
	larger := testPolicySizes
	larger.Rules *= 2
	e = a.openEnforcer(second, larger)
	if err := a.policyAsk("127.42.0.3", policyA+policyAt); !errors.Is(err, unix.EACCES) {
		t.Errorf("before the first sync: %v", err)
	}
	if err := a.policyAsk(policyB, policyA+policyAt); err != nil {
		t.Errorf("before the first sync, allowed: %v", err)
	}
	policy := isolateA()
	policy.Peers[netip.MustParsePrefix("127.42.0.2/32")] = Peer{Refuse: true}
	policy.Peers[netip.MustParsePrefix("127.42.0.3/32")] = Peer{Identity: 2, Refuse: true}
	for key := range mapsOf(policy, e.base).allow {
		if _, was := e.allow.have[key]; was {
			t.Errorf("%+v has the same numbers as an old rule", key)
		}
	}
	mustPolicy(t, e, policy)
	if err := a.policyAsk("127.42.0.3", policyA+policyAt); err != nil {
		t.Errorf("allowed now: %v", err)
	}
	if err := a.policyAsk(policyB, policyA+policyAt); !errors.Is(err, unix.EACCES) {
		t.Errorf("denied now: %v", err)
	}
	if want := mapsOf(policy, e.base); len(e.allow.have) != len(want.allow) {
		t.Errorf("%d rules, want %d", len(e.allow.have), len(want.allow))
	}
}

// TestPolicyNewSchema: the programs of another version enforce what they know until the first Sync of this one.
func TestPolicyNewSchema(t *testing.T) {
	for name, next := range map[string]Policy{"isolated still": isolateA(), "not any more": {}} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			dir := bpffs(t)
			a.serve(policyA + policyAt)
			ask := func(when string, want error) {
				t.Helper()
				if err := a.policyAsk("127.42.0.3", policyA+policyAt); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", when, err, want)
				}
			}
			first := a.openRaw(Config{PinDir: dir})
			e := a.openEnforcer(first, testPolicySizes)
			mustPolicy(t, e, isolateA())
			if err := errors.Join(e.Close(), first.Close()); err != nil {
				t.Fatal(err)
			}
			second := a.proxy(Config{PinDir: dir})
			second.schema = schemaVersion + 1
			if err := second.Open(context.Background()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := second.Remove(); err != nil {
					t.Error(err)
				}
			})
			e = a.openEnforcer(second, testPolicySizes)
			ask("before the first sync", unix.EACCES)
			mustSync(t, second)
			ask("when services are there", unix.EACCES)
			mustPolicy(t, e, next)
			var want error
			if len(next.Endpoints) > 0 {
				want = unix.EACCES
			}
			ask("after the first sync", want)
			if e.othersServe() {
				t.Error("programs of the other version are left")
			}
			mustPolicy(t, e, Policy{})
			ask("without policies", nil)
		})
	}
}

// TestPolicyFull: what fits is enforced and what does not is told, and denied rather than allowed.
func TestPolicyFull(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), PolicySizes{Peers: 8, Endpoints: 2, Rules: 4, Tracked: 16})
	a.serve(policyA + policyAt)
	for _, tt := range []struct {
		table string
		grow  func(*Policy)
	}{
		{"Rules", func(p *Policy) {
			for i := range 8 {
				p.Subjects[1] = append(p.Subjects[1], PolicyRule{Identity: Identity(100 + i)})
			}
		}},
		{"Peers", func(p *Policy) {
			for i := range 16 {
				p.Peers[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 9, byte(i)}), 32)] = Peer{Identity: 9}
			}
		}},
		{"Endpoints", func(p *Policy) {
			for i := range 4 {
				p.Endpoints[netip.AddrFrom4([4]byte{10, 9, 9, byte(i)})] = Endpoint{Ingress: 1}
			}
		}},
	} {
		policy := isolateA()
		tt.grow(&policy)
		var full *FullError
		if err := e.Sync(context.Background(), policy); !errors.As(err, &full) || full.Table != tt.table || full.Missing == 0 {
			t.Errorf("%s: got %v", tt.table, err)
		}
		mustPolicy(t, e, isolateA())
		if err := a.policyAsk("127.42.0.3", policyA+policyAt); !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: after the table had room again: %v", tt.table, err)
		}
		if err := a.policyAsk(policyB, policyA+policyAt); err != nil {
			t.Errorf("%s: after the table had room again, allowed: %v", tt.table, err)
		}
	}
}
