package ebpfproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNATLive: clients are served over real links, wherever the backend is, in pieces small, large and in fragments,
// and each backend sees who it is to see.
func TestNATLive(t *testing.T) {
	w := newNATTown(t, Config{})
	var services []Service
	for _, f := range bothFamilies {
		for _, proto := range []Protocol{TCP, UDP} {
			for _, c := range natLiveCases {
				services = append(services, c.service(f, proto))
				w.echo(c.in(w), proto, c.to(f))
			}
		}
	}
	w.serve(services...)
	for _, f := range bothFamilies {
		for _, proto := range []Protocol{TCP, UDP} {
			for _, c := range natLiveCases {
				t.Run(fmt.Sprintf("%s/%s/%s", f.name, proto, c.name), func(t *testing.T) {
					size := 4000 // in fragments
					if proto == TCP {
						size = 1 << 20
					}
					for _, n := range []int{10, size} {
						conn, err := w.dial(proto, c.at(f))
						if err != nil {
							t.Fatal(err)
						}
						defer conn.Close()
						saw, err := ask(conn, n)
						if err != nil {
							t.Fatalf("%d bytes: %v", n, err)
						}
						if want := netip.MustParseAddrPort(c.source(f) + ":0").Addr(); saw.Addr().Unmap() != want {
							t.Errorf("the backend saw %s, want %s", saw, want)
						}
					}
				})
			}
		}
	}
	s, err := w.nat.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.FragmentsUnknown != 0 || s.Malformed != 0 || s.Full != 0 || s.Exhausted != 0 || s.Connections != 32 {
		t.Errorf("stats %+v", s)
	}
}

// TestNATLiveRefused: a client of a service without backends hears of it at once, by TCP and by UDP, and so does one
// whose backend's port nobody listens on.
func TestNATLiveRefused(t *testing.T) {
	w := newNATTown(t, Config{})
	var services []Service
	var at []string
	for _, f := range bothFamilies {
		for i, backends := range [][]Backend{nil, {remote(f.backend + ":9")}, {local(f.pod + ":9")}, {local(f.wasm() + ":9")}} {
			for _, host := range []string{f.node, f.external} {
				addr := fmt.Sprintf("%s:%d", host, 31000+i)
				at = append(at, addr)
				services = append(services, external(TCP, addr, backends...), external(UDP, addr, backends...))
			}
		}
	}
	w.serve(services...)
	for _, addr := range at {
		t.Run(addr, func(t *testing.T) {
			if c, err := w.dial(TCP, addr); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("TCP: %v, want a refusal", err)
				if err == nil {
					c.Close()
				}
			}
			c, err := w.dial(UDP, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := ask(c, 10); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("UDP: %v, want a refusal", err)
			}
		})
	}
}

// TestNATLivePathMTU: where a way is narrower than both ends think, on either side of the node, what does not fit is told
// to its sender in the sender's own terms, and goes on in smaller pieces; what may be cut is cut.
func TestNATLivePathMTU(t *testing.T) {
	for _, narrow := range []struct{ name, routes string }{
		{"to the backend", `route add 10.9.0.20/32 dev b0 mtu lock 1300
			route add fd09::20/128 dev b0 mtu lock 1300`},
		{"to the client", `route add 192.0.2.1/32 dev e0 mtu lock 1300
			route add 2001:db8::1/128 dev e0 mtu lock 1300`},
	} {
		t.Run(narrow.name, func(t *testing.T) {
			w := newNATTown(t, Config{})
			w.node.ip(narrow.routes)
			var services []Service
			for _, f := range bothFamilies {
				for _, proto := range []Protocol{TCP, UDP} {
					for _, c := range natLiveCases[:2] {
						services = append(services, c.service(f, proto))
						w.echo(c.in(w), proto, c.to(f))
					}
				}
			}
			w.serve(services...)
			for _, f := range bothFamilies {
				for _, c := range natLiveCases[:2] {
					for _, proto := range []Protocol{TCP, UDP} {
						t.Run(fmt.Sprintf("%s/%s/%s", f.name, proto, c.name), func(t *testing.T) { w.throughNarrow(t, proto, c.at(f)) })
					}
				}
			}
			s, err := w.nat.Stats()
			if err != nil || s.ThroughStack == 0 || s.Errors == 0 {
				t.Errorf("stats %+v, %v", s, err)
			}
		})
	}
}

func (w *natTown) throughNarrow(t *testing.T, proto Protocol, addr string) {
	c, err := w.dial(proto, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if proto == TCP {
		if _, err := ask(c, 1<<20); err != nil {
			t.Error(err)
		}
		return
	}
	// A datagram that was too large is lost; its sender learns how large the next may be.
	deadline := time.Now().Add(60 * time.Second)
	for {
		if err := c.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err = ask(c, 1390); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestNATLiveInterfaces: interfaces that are not there, or come back as others, do not keep those that are from serving.
func TestNATLiveInterfaces(t *testing.T) {
	w := newNATTown(t, Config{PinDir: bpffs(t) + "/petrel"})
	var err error
	w.node.do(func() { err = w.nat.SetInterfaces([]string{"e0", "later", "lo"}) })
	if err == nil || !errors.Is(err, ErrUnsupported) {
		t.Errorf("lo and an interface that is missing: %v", err)
	}
	if n := w.attached(); n != 2 {
		t.Fatalf("%d programs are attached, want 2", n)
	}
	for range 2 { // it comes, and comes again with another index
		w.node.ip(`link add later type veth peer name end
			link set later up`)
		w.node.do(func() { err = w.nat.tend() })
		if index := w.node.link("later").Index; w.nat.attached[index] != "later" || len(w.nat.attached) != 2 {
			t.Fatalf("attached are %v, not %d: %v", w.nat.attached, index, err)
		}
		w.node.ip("link del later")
		w.node.do(func() { err = w.nat.tend() })
		if len(w.nat.attached) != 1 {
			t.Fatalf("attached are %v", w.nat.attached)
		}
	}
}

// TestNATLiveNextHop: the next hop towards a backend may be of the other family.
func TestNATLiveNextHop(t *testing.T) {
	w := newNATTown(t, Config{})
	w.other.ip("addr add 10.77.0.1/32 dev lo")
	w.node.ip("route add 10.77.0.0/16 via inet6 fd09::20 dev b0")
	w.echo(w.other, TCP, "10.77.0.1:80")
	w.serve(external(TCP, ":30080", remote("10.77.0.1:80")))
	c, err := w.dial(TCP, "192.0.2.10:30080")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if saw, err := ask(c, 10); err != nil || saw.Addr() != netip.MustParseAddr("10.9.0.10") {
		t.Errorf("the backend saw %s: %v", saw, err)
	}
}

// TestNATLiveMany: many clients at once, some of whom leave early.
func TestNATLiveMany(t *testing.T) {
	w := newNATTown(t, Config{})
	f, c := bothFamilies[0], natLiveCases[0]
	w.echo(c.in(w), TCP, c.to(f))
	w.serve(c.service(f, TCP))
	var all sync.WaitGroup
	failures := make(chan error, 400)
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				conn, err := w.dial(TCP, c.at(f))
				if err == nil && (i+j)%3 != 0 {
					_, err = ask(conn, 100)
				}
				if conn != nil {
					conn.Close()
				}
				if err != nil {
					failures <- err
				}
			}
		})
	}
	all.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
}
