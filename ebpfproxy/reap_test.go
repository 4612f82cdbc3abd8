package ebpfproxy

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected answers a socket that is connected to to and was answered.
func (a *arena) connected(kind int, to netip.AddrPort) *sock {
	a.t.Helper()
	s := a.socket(kind, to.Addr().Is6())
	a.t.Cleanup(s.close)
	if err := s.connect(to); err != nil {
		a.t.Fatal(err)
	}
	if kind == unix.SOCK_STREAM {
		s.line()
	}
	return s
}

// ended answers whether the socket was ended from outside.
func (s *sock) ended() bool {
	var b [8]byte
	_, _, err := unix.Recvfrom(s.fd, b[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return errors.Is(err, unix.ECONNABORTED)
}

// TestSocketsToALostBackendAreEnded, and no others.
func TestSocketsToALostBackendAreEnded(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{Grace: 200 * time.Millisecond})
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	six := a.serve("[::1]:0")
	table := func(b ...Backend) []Service {
		return []Service{clusterIP("10.96.0.1:80", TCP, b...), clusterIP("10.96.0.1:80", UDP, b...),
			clusterIP("[fd00::1]:80", UDP, six.backend())}
	}
	mustSync(t, p, table(one.backend())...)
	to := netip.MustParseAddrPort("10.96.0.1:80")
	stream, datagrams := a.connected(unix.SOCK_STREAM, to), a.connected(unix.SOCK_DGRAM, to)
	direct, directDatagrams := a.connected(unix.SOCK_STREAM, one.addr), a.connected(unix.SOCK_DGRAM, one.addr)
	other := a.connected(unix.SOCK_DGRAM, netip.MustParseAddrPort("[fd00::1]:80"))

	for _, state := range []BackendState{Draining, Unready} {
		b := one.backend()
		b.State = state
		mustSync(t, p, table(b, two.backend())...)
		time.Sleep(4 * gather)
		if stream.ended() || datagrams.ended() {
			t.Fatalf("sockets were ended though their backend is in state %d", state)
		}
	}
	left := time.Now()
	mustSync(t, p, table(two.backend())...)
	eventually(t, datagrams.ended)
	if time.Since(left) < 150*time.Millisecond && stream.ended() {
		t.Error("the stream was ended before its grace")
	}
	eventually(t, stream.ended)
	if d := time.Since(left); d < 200*time.Millisecond {
		t.Errorf("the stream was ended after %s, before its grace", d)
	}
	for name, s := range map[string]*sock{"stream": direct, "datagrams": directDatagrams, "another service": other} {
		if s.ended() {
			t.Errorf("%s: a socket that no lost backend was given to was ended", name)
		}
	}
	mustSync(t, p, table(two.backend())[:2]...)
	eventually(t, other.ended)
	eventually(t, func() bool { p.mu.RLock(); defer p.mu.RUnlock(); return len(p.leavers) == 0 })
}

// TestStreamsLiveWhileTheirBackendServesElsewhere, as when a service gets another port; datagram sockets find out at once.
func TestStreamsLiveWhileTheirBackendServesElsewhere(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{Grace: 50 * time.Millisecond})
	s := a.serve("127.0.0.2:0")
	svc, names, other := clusterIP("10.96.0.1:80", TCP, s.backend()), clusterIP("10.96.0.1:80", UDP, s.backend()), clusterIP("10.96.0.1:81", TCP, s.backend())
	mustSync(t, p, svc, names, other)
	stream, datagrams := a.connected(unix.SOCK_STREAM, svc.at()), a.connected(unix.SOCK_DGRAM, svc.at())
	mustSync(t, p, other)
	eventually(t, datagrams.ended)
	time.Sleep(250 * time.Millisecond)
	if stream.ended() {
		t.Error("a stream was ended though its backend serves another service")
	}
	mustSync(t, p)
	eventually(t, stream.ended)
	eventually(t, func() bool { p.mu.RLock(); defer p.mu.RUnlock(); return len(p.leavers) == 0 && len(p.alive) == 0 })
}

// TestBackendThatComesBackKeepsItsStreams, as when a pod's address is taken away and given again within the grace.
func TestBackendThatComesBackKeepsItsStreams(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{Grace: 2 * time.Second})
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	svc := clusterIP("10.96.0.1:80", TCP, one.backend())
	mustSync(t, p, svc)
	s := a.connected(unix.SOCK_STREAM, svc.at())
	mustSync(t, p, clusterIP("10.96.0.1:80", TCP, two.backend()))
	mustSync(t, p, svc)
	time.Sleep(2300 * time.Millisecond)
	if s.ended() {
		t.Error("a stream to a backend that came back was ended")
	}
}

// TestSocketsInOtherNamespacesAreEnded: a container's sockets are in a namespace of its own.
func TestSocketsInOtherNamespacesAreEnded(t *testing.T) {
	a, b := newArena(t), newArena(t)
	inside := make(chan error, 1)
	b.in(func() { // b's thread joins a's cgroup and keeps its namespace
		inside <- os.WriteFile(filepath.Join(a.cgroup, "cgroup.threads"), []byte(strconv.Itoa(unix.Gettid())), 0)
	})
	if err := <-inside; err != nil {
		t.Fatal(err)
	}
	p := a.open(Config{})
	server := b.serve("127.0.0.2:0")
	svc := clusterIP("10.96.0.1:53", UDP, server.backend())
	mustSync(t, p, svc)
	s := b.connected(unix.SOCK_DGRAM, svc.at())
	mustSync(t, p)
	eventually(t, s.ended)
}

// TestUnseenThreadsEnd: a pass leaves no thread in a namespace of another.
func TestUnseenThreadsEnd(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := p.walk(UDP); err != nil {
			t.Fatal(err)
		}
	}
	strange := func() (n int) {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, th := range threads {
			ns, err := os.Readlink("/proc/self/task/" + th.Name() + "/ns/net")
			if err == nil && ns != own {
				n++
			}
		}
		return n
	}
	eventually(t, func() bool { return strange() == 1 }) // the arena's own
	runtime.KeepAlive(a)
}

// TestLingeringIsBounded: streams of backends that serve elsewhere are kept only while there is room to keep them.
func TestLingeringIsBounded(t *testing.T) {
	a := newArena(t)
	sizes := smallSizes
	sizes.Backends = 16
	p := a.open(Config{Sizes: sizes, Grace: 20 * time.Millisecond})
	s := a.serve("127.0.0.2:0")
	stay := clusterIP("10.96.0.1:80", TCP, s.backend())
	table := append(many(10, 1, s), stay)
	mustSync(t, p, table...)
	stream := a.connected(unix.SOCK_STREAM, table[0].at())
	mustSync(t, p, stay)
	eventually(t, func() bool { p.mu.RLock(); defer p.mu.RUnlock(); return p.backendIDs.used() < 8 })
	if stream.ended() {
		return // it was among those that had to make room
	}
	mustSync(t, p)
	eventually(t, stream.ended)
}
