package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func (a *arena) openSteer(cfg SteerConfig) *Steer {
	a.t.Helper()
	s, err := NewSteer(cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	a.in(func() { err = s.Open(context.Background()) })
	if err != nil {
		skipUnsupported(a.t, err)
	}
	a.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			a.t.Error(err)
		}
	})
	return s
}

// runner is a process' one listening socket: it greets with its name and the address that the client asked for.
type runner struct {
	*net.TCPListener
	name string
	done chan struct{}
}

func (a *arena) runner(name string) *runner {
	a.t.Helper()
	r := &runner{name: name, done: make(chan struct{})}
	var err error
	a.in(func() { r.TCPListener, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}) })
	if err != nil {
		a.t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		for {
			c, err := r.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s\n", r.name, c.LocalAddr())
			c.Close()
		}
	}()
	a.t.Cleanup(r.end)
	return r
}

func (r *runner) end() {
	r.Close()
	<-r.done
}

func steerAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 42, byte(i / 250), byte(1 + i%250)}), uint16(8000+i%3))
}

// TestSteerTenThousand: each of 10,000 addresses is one listener's, and the listener knows which one was asked for.
func TestSteerTenThousand(t *testing.T) {
	const pods = 10_000
	a := newArena(t)
	s := a.openSteer(SteerConfig{Proxy: a.open(Config{})})
	one := a.runner("one")
	began := time.Now()
	for i := range pods {
		if err := s.Listen(steerAddr(i), TCP, one); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d addresses in %s", pods, time.Since(began))
	for i := range pods {
		if got, want := a.mustAsk(steerAddr(i)), "one "+steerAddr(i).String(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if _, err := a.ask(netip.MustParseAddrPort("127.42.0.1:7999")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port that nobody listens on: %v", err)
	}
	stats, err := s.Stats()
	if err != nil || stats.Steered != pods || stats.Absent+stats.Failed != 0 || s.Len() != pods {
		t.Errorf("counted %+v, %v, %d", stats, err, s.Len())
	}
}

// TestSteerHandOver: while addresses move from one listener to the next under load, no connection is refused.
func TestSteerHandOver(t *testing.T) {
	const pods, rounds = 200, 5
	a := newArena(t)
	s := a.openSteer(SteerConfig{Proxy: a.open(Config{})})
	current := a.runner("0")
	for i := range pods {
		if err := s.Listen(steerAddr(i), TCP, current); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	var asked atomic.Int64
	load.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			to := steerAddr(i % pods)
			answer, err := a.ask(to)
			var name, at string
			if _, scanErr := fmt.Sscan(answer, &name, &at); err != nil || scanErr != nil || at != to.String() {
				t.Errorf("%s: %q, %v", to, answer, err)
				return
			}
			asked.Add(1)
		}
	})
	for round := range rounds {
		before := asked.Load()
		next := a.runner(fmt.Sprint(round + 1))
		for i := range pods {
			if err := s.Listen(steerAddr(i), TCP, next); err != nil {
				t.Fatal(err)
			}
		}
		old := current
		current = next
		for deadline := time.Now().Add(60 * time.Second); asked.Load() < before+pods && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		old.end() // as a runner does when nobody waits at its listener any more
	}
	cancel()
	load.Wait()
	if asked.Load() < rounds*pods {
		t.Errorf("only %d connections", asked.Load())
	}
	if len(s.byCookie) != 1 || len(s.cookieOf) != 1 || len(s.uses) != 1 {
		t.Errorf("old listeners are kept: %v", s.uses)
	}
}

// TestSteerAbsent: a listener that was closed refuses, rather than leave its addresses to who listens on all.
func TestSteerAbsent(t *testing.T) {
	a := newArena(t)
	s := a.openSteer(SteerConfig{Proxy: a.open(Config{})})
	pod := netip.MustParseAddrPort("127.42.0.1:8080")
	a.serve("0.0.0.0:8080")
	r := a.runner("one")
	if err := s.Listen(pod, TCP, r); err != nil {
		t.Fatal(err)
	}
	if got := a.mustAsk(pod); got != "one "+pod.String() {
		t.Errorf("got %q", got)
	}
	r.end()
	if _, err := a.ask(pod); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a closed listener: %v", err)
	}
	if err := s.Listen(pod, TCP, a.runner("two")); err != nil {
		t.Fatal(err)
	}
	if got := a.mustAsk(pod); got != "two "+pod.String() {
		t.Errorf("got %q", got)
	}
	for range 2 {
		if err := s.Remove(pod, TCP); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.mustAsk(pod); got != "0.0.0.0:8080" && got != "[::]:8080" {
		t.Errorf("an address that is steered no longer: %q", got)
	}
	stats, err := s.Stats()
	if err != nil || stats != (SteerStats{Steered: 2, Absent: 1}) {
		t.Errorf("counted %+v, %v", stats, err)
	}
}

func TestSteerFamiliesAndDatagrams(t *testing.T) {
	a := newArena(t)
	s := a.openSteer(SteerConfig{Proxy: a.open(Config{})})
	both, four := a.serve("[::]:0"), a.serve("127.0.0.1:0")
	pod4, pod6 := netip.MustParseAddrPort("127.42.0.1:8080"), netip.MustParseAddrPort("[::1]:8080")
	for _, err := range []error{
		s.Listen(pod4, TCP, both.tcp), s.Listen(pod6, TCP, both.tcp), s.Listen(pod4, UDP, four.udp),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a.mustAsk(pod4)
	a.mustAsk(pod6)
	c := a.socket(unix.SOCK_DGRAM, false)
	defer c.close()
	if err := c.send(pod4); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.receive(); got != four.addr.String() {
		t.Errorf("a datagram reached %s", got)
	}
	if err := s.Listen(pod6, TCP, four.tcp); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ask(pod6); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("an IPv4 listener for an IPv6 address: %v", err)
	}
	if stats, err := s.Stats(); err != nil || stats.Failed != 1 {
		t.Errorf("counted %+v, %v", stats, err)
	}
}

// TestSteerTakeOver: between two processes and after, addresses keep their listeners.
func TestSteerTakeOver(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	first := a.openRaw(Config{PinDir: dir})
	s := a.openSteer(SteerConfig{Proxy: first})
	one, pod := a.runner("one"), netip.MustParseAddrPort("127.42.0.1:8080")
	if err := s.Listen(pod, TCP, one); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	if got := a.mustAsk(pod); got != "one "+pod.String() {
		t.Errorf("between two processes: %q", got)
	}
	s = a.openSteer(SteerConfig{Proxy: a.open(Config{PinDir: dir}), Addresses: 1 << 10, Listeners: 64})
	if s.Len() != 1 {
		t.Errorf("%d addresses, want 1", s.Len())
	}
	other := netip.MustParseAddrPort("127.42.0.2:8080")
	if err := s.Listen(other, TCP, one); err != nil {
		t.Fatal(err)
	}
	if len(s.cookieOf) != 1 {
		t.Errorf("the same listener is there %d times", len(s.cookieOf))
	}
	if a.mustAsk(pod) != "one "+pod.String() || a.mustAsk(other) != "one "+other.String() {
		t.Error("an address lost its listener")
	}
	if err := s.Detach(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ask(pod); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after the end: %v", err)
	}
}

// TestSteerSchemaChange: addresses keep their listeners from one version of the tables to the next.
func TestSteerSchemaChange(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	first := a.openRaw(Config{PinDir: dir})
	s := a.openSteer(SteerConfig{Proxy: first})
	one, pod := a.runner("one"), netip.MustParseAddrPort("127.42.0.1:8080")
	pod6 := netip.MustParseAddrPort("[fd42::7]:8443")
	for _, at := range []netip.AddrPort{pod, pod6} {
		if err := s.Listen(at, TCP, one); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	next := a.proxy(Config{PinDir: dir})
	next.schema = schemaVersion + 1
	must(t, next.Open(t.Context()))
	served := func(when string) {
		t.Helper()
		if got := a.mustAsk(pod); got != "one "+pod.String() {
			t.Errorf("%s: %q", when, got)
		}
	}
	served("before the first Sync")
	s = a.openSteer(SteerConfig{Proxy: next})
	served("with both programs there")
	mustSync(t, next)
	served("after the first Sync")
	at := s.Addresses(TCP)
	slices.SortFunc(at, netip.AddrPort.Compare)
	if len(at) != 2 || at[0] != pod || at[1] != pod6 || len(s.Addresses(UDP)) != 0 {
		t.Errorf("steered: %v", at)
	}
	two := a.runner("two")
	if err := s.Listen(pod, TCP, two); err != nil {
		t.Fatal(err)
	}
	if got := a.mustAsk(pod); got != "two "+pod.String() {
		t.Errorf("the new program: %q", got)
	}
	if err := errors.Join(s.Detach(), next.Remove()); err != nil {
		t.Fatal(err)
	}
}

func TestSteerFullAndInvalid(t *testing.T) {
	a := newArena(t)
	s := a.openSteer(SteerConfig{Proxy: a.open(Config{}), Addresses: 2, Listeners: 1})
	one, two := a.runner("one"), a.runner("two")
	for i := range 2 {
		if err := s.Listen(steerAddr(i), TCP, one); err != nil {
			t.Fatal(err)
		}
	}
	var full *FullError
	if err := s.Listen(steerAddr(2), TCP, one); !errors.As(err, &full) || full.Table != "Addresses" {
		t.Errorf("got %v", err)
	}
	if err := s.Listen(steerAddr(0), TCP, two); !errors.As(err, &full) || full.Table != "Listeners" {
		t.Errorf("got %v", err)
	}
	if got := a.mustAsk(steerAddr(0)); got != "one "+steerAddr(0).String() {
		t.Errorf("got %q", got)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, err := range map[string]error{
		"no port":    s.Listen(netip.MustParseAddrPort("127.42.0.1:0"), TCP, one),
		"no address": s.Listen(netip.AddrPort{}, TCP, one),
		"SCTP":       s.Listen(steerAddr(0), SCTP, one),
		"a file":     s.ListenFD(steerAddr(0), TCP, int(file.Fd())),
		"no fd":      s.ListenFD(steerAddr(0), TCP, -1),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, cfg := range []SteerConfig{{}, {Proxy: s.cfg.Proxy, Addresses: -1}, {Proxy: s.cfg.Proxy, Listeners: maxEntries + 1}} {
		if _, err := NewSteer(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	closed := errors.Join(s.Close(), s.Close())
	_, statsErr := s.Stats()
	if closed != nil || !errors.Is(s.Listen(steerAddr(0), TCP, one), ErrClosed) || !errors.Is(s.Remove(steerAddr(0), TCP), ErrClosed) || !errors.Is(statsErr, ErrClosed) {
		t.Error("a closed Steer answers")
	}
}

// TestSteerProgram runs every branch on contexts of its own.
func TestSteerProgram(t *testing.T) {
	a := newArena(t)
	s := a.openSteer(SteerConfig{Proxy: a.open(Config{})})
	one, six := a.runner("one"), a.serve("[::1]:0")
	pod := netip.MustParseAddrPort("127.42.0.1:8080")
	pod6 := netip.MustParseAddrPort("[fd42::1]:8080")
	gone := netip.MustParseAddrPort("127.42.0.2:8080")
	wrong := netip.MustParseAddrPort("127.42.0.3:8080")
	two := a.runner("two")
	for addr, l := range map[netip.AddrPort]*net.TCPListener{pod: one.TCPListener, pod6: six.tcp, gone: two.TCPListener, wrong: six.tcp} {
		if err := s.Listen(addr, TCP, l); err != nil {
			t.Fatal(err)
		}
	}
	two.end()
	for _, tt := range []struct {
		name     string
		to       netip.AddrPort
		protocol Protocol
		verdict  uint32
		found    bool
	}{
		{"steered", pod, TCP, 1, true},
		{"steered, IPv6", pod6, TCP, 1, true},
		{"another port", netip.AddrPortFrom(pod.Addr(), 81), TCP, 1, false},
		{"another protocol", pod, UDP, 1, false},
		{"another address", netip.MustParseAddrPort("127.42.9.9:8080"), TCP, 1, false},
		{"closed", gone, TCP, 0, false},
		{"another family", wrong, TCP, 0, false},
	} {
		ctx := steerContext(tt.to, tt.protocol)
		ret, err := s.collection.Programs["petrel_steer"].Run(&ebpf.RunOptions{Context: ctx, ContextOut: ctx})
		if err != nil {
			t.Fatal(err)
		}
		if ret != tt.verdict || (ctx.Cookie != 0) != tt.found {
			t.Errorf("%s: verdict %d, socket %d", tt.name, ret, ctx.Cookie)
		}
	}
}

// steerLookup is the kernel's struct bpf_sk_lookup.
type steerLookup struct {
	Cookie           uint64
	Family, Protocol uint32
	RemoteIP4        uint32
	RemoteIP6        [4]uint32
	RemotePort, _    uint16
	LocalIP4         uint32
	LocalIP6         [4]uint32
	LocalPort, Ifidx uint32
	_                uint32
}

func steerContext(to netip.AddrPort, protocol Protocol) *steerLookup {
	c := &steerLookup{Protocol: uint32(protocol), LocalPort: uint32(to.Port()), Family: unix.AF_INET6}
	if to.Addr().Is4() {
		c.Family, c.LocalIP4 = unix.AF_INET, words(to.Addr())[3]
	} else {
		c.LocalIP6 = words(to.Addr())
	}
	return c
}
