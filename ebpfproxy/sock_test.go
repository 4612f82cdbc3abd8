package ebpfproxy

import (
	"errors"
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
