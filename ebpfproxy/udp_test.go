package ebpfproxy

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDatagramsSeeTheServiceAsTheirPeer(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	four, six := a.serve("127.0.0.2:0"), a.serve("[::1]:0")
	svc4 := clusterIP("10.96.0.1:53", UDP, four.backend())
	svc6 := clusterIP("[fd00::1]:53", UDP, six.backend())
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
		t.Run("not connected, "+tt.name, func(t *testing.T) {
			s := a.socket(unix.SOCK_DGRAM, tt.v6)
			defer s.close()
			for range 2 {
				if err := s.send(tt.svc.at()); err != nil {
					t.Fatal(err)
				}
				got, from := s.receive()
				if got != tt.want.addr.String() || from != tt.svc.at() {
					t.Errorf("server %s answered as %s, want %s as %s", got, from, tt.want.addr, tt.svc.at())
				}
			}
		})
		t.Run("connected, "+tt.name, func(t *testing.T) {
			s := a.socket(unix.SOCK_DGRAM, tt.v6)
			defer s.close()
			if err := s.connect(tt.svc.at()); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(s.fd, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			got, from := s.receive()
			if got != tt.want.addr.String() || from != tt.svc.at() || s.peer() != tt.svc.at() {
				t.Errorf("server %s answered as %s to a socket connected to %s", got, from, s.peer())
			}
		})
	}
}

func TestDatagramsOfOneSocketStayTogether(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	var backends []Backend
	for range 4 {
		backends = append(backends, a.serve("127.0.0.2:0").backend())
	}
	svc := clusterIP("10.96.0.1:53", UDP, backends...)
	mustSync(t, p, svc)
	seen := map[string]bool{}
	for range 24 {
		s := a.socket(unix.SOCK_DGRAM, false)
		first := exchange(t, s, svc.at())
		seen[first] = true
		for range 3 {
			if got := exchange(t, s, svc.at()); got != first {
				t.Fatalf("a socket went from %s to %s", first, got)
			}
		}
		s.close()
	}
	if len(seen) < 2 {
		t.Error("all sockets have the same backend")
	}
	stats := p.Stats()[0]
	if stats.Connections != 24 || stats.Packets != 24*4 {
		t.Errorf("%d connections and %d packets are counted, want 24 and 96", stats.Connections, stats.Packets)
	}
}

// TestDatagramsLeaveALostBackend: a socket that is not connected goes on with another backend.
func TestDatagramsLeaveALostBackend(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	mustSync(t, p, clusterIP("10.96.0.1:53", UDP, one.backend()))
	s := a.socket(unix.SOCK_DGRAM, false)
	defer s.close()
	to := netip.MustParseAddrPort("10.96.0.1:53")
	if got := exchange(t, s, to); got != one.addr.String() {
		t.Fatalf("reached %s", got)
	}
	draining := one.backend()
	draining.State = Draining
	mustSync(t, p, clusterIP("10.96.0.1:53", UDP, draining, two.backend()))
	if got := exchange(t, s, to); got != one.addr.String() {
		t.Errorf("reached %s while %s drains", got, one.addr)
	}
	mustSync(t, p, clusterIP("10.96.0.1:53", UDP, two.backend()))
	if got := exchange(t, s, to); got != two.addr.String() {
		t.Errorf("reached %s, which is gone", got)
	}
}

// TestConnectElsewhereForgetsTheService: a datagram socket may be connected again and again.
func TestConnectElsewhereForgetsTheService(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	svc := clusterIP("10.96.0.1:53", UDP, one.backend())
	mustSync(t, p, svc)
	s := a.socket(unix.SOCK_DGRAM, false)
	defer s.close()
	for _, to := range []netip.AddrPort{svc.at(), two.addr, svc.at(), one.addr} {
		if err := s.connect(to); err != nil {
			t.Fatal(err)
		}
		if got := s.peer(); got != to {
			t.Errorf("connected to %s, the peer is %s", to, got)
		}
	}
}

func exchange(t *testing.T, s *sock, to netip.AddrPort) string {
	t.Helper()
	if err := s.send(to); err != nil {
		t.Fatal(err)
	}
	got, from := s.receive()
	if from != to {
		t.Errorf("sent to %s, the answer is from %s", to, from)
	}
	return got
}
