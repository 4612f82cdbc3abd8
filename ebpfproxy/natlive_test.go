package ebpfproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// natTown is a client, a node, another node and a container, each in a namespace of its own:
//
//	client 192.0.2.1 -- e0 192.0.2.10 node 10.9.0.10 b0 -- 10.9.0.20 other
//	                                   node p0 -- 10.42.0.5 container
//	                                   node: 10.42.1.0/24 local, as pods of Wasm have it
type natTown struct {
	t                              testing.TB
	client, node, other, container *space
	proxy                          *Proxy
	nat                            *NAT
}

func newNATTown(t testing.TB, cfg Config) *natTown {
	t.Helper()
	w := &natTown{t: t, client: newSpace(t), node: newSpace(t), other: newSpace(t), container: newSpace(t)}
	w.client.wire("c0", w.node, "e0")
	w.other.wire("b1", w.node, "b0")
	w.container.wire("eth0", w.node, "p0")
	w.node.forward()
	w.client.ip(`addr add 192.0.2.1/24 dev c0
		addr add 2001:db8::1/64 dev c0 nodad
		route add default via 192.0.2.10
		route add default via 2001:db8::10`)
	w.node.ip(`addr add 192.0.2.10/24 dev e0
		addr add 2001:db8::10/64 dev e0 nodad
		addr add 10.9.0.10/24 dev b0
		addr add fd09::10/64 dev b0 nodad
		addr add 10.42.0.1/32 dev p0
		addr add fd42::1/128 dev p0 nodad
		route add 10.42.0.5/32 dev p0
		route add fd42::5/128 dev p0
		route add local 10.42.1.0/24 dev lo
		route add local fd42:1::/64 dev lo`)
	w.other.ip(`addr add 10.9.0.20/24 dev b1
		addr add fd09::20/64 dev b1 nodad
		route add default via 10.9.0.10
		route add default via fd09::10`)
	w.container.ip(`addr add 10.42.0.5/32 dev eth0
		addr add fd42::5/128 dev eth0 nodad
		route add 10.42.0.1/32 dev eth0
		route add fd42::1/128 dev eth0
		route add default via 10.42.0.1
		route add default via fd42::1`)
	cfg.CgroupPath = natGroup(t)
	w.open(cfg)
	return w
}

func (w *natTown) open(cfg Config) {
	w.t.Helper()
	w.proxy, w.nat = openNAT(w.t, w.node, cfg, NATConfig{})
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}
	err := errors.Join(w.proxy.SetNodeAddresses(addrs), w.nat.SetAddresses(addrs))
	if err != nil {
		w.t.Fatal(err)
	}
}

// serve sets the services and attaches the programs.
func (w *natTown) serve(services ...Service) {
	w.t.Helper()
	err := w.proxy.Sync(context.Background(), services)
	w.node.do(func() { err = errors.Join(err, w.nat.SetInterfaces([]string{"e0", "b0"})) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// echo answers each client at addr, in that namespace, first with the address that it is seen with and then with what
// it sends.
func (w *natTown) echo(s *space, proto Protocol, addr string) {
	w.t.Helper()
	var stop io.Closer
	var done sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	if proto == TCP {
		l := natListen(s, addr)
		stop = l
		done.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				done.Go(func() {
					// Clients whose way has been taken down cannot say that they leave.
					defer context.AfterFunc(ctx, func() { c.Close() })()
					defer c.Close()
					fmt.Fprintf(c, "%-64s", c.RemoteAddr())
					io.Copy(c, c)
				})
			}
		})
	} else {
		p := natListenPacket(s, addr)
		stop = p
		done.Go(func() {
			b := make([]byte, 1<<16)
			for {
				n, from, err := p.ReadFrom(b)
				if err != nil {
					return
				}
				p.WriteTo(append(fmt.Appendf(nil, "%-64s", from), b[:n]...), from)
			}
		})
	}
	w.t.Cleanup(func() {
		stop.Close()
		end()
		done.Wait()
	})
}

// natAnyIP lets listeners have addresses that are local by a route alone.
var natAnyIP = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) }), err)
}}

func natListen(s *space, addr string) (l net.Listener) {
	s.t.Helper()
	var err error
	s.do(func() { l, err = natAnyIP.Listen(context.Background(), "tcp", addr) })
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func natListenPacket(s *space, addr string) (p net.PacketConn) {
	s.t.Helper()
	var err error
	s.do(func() { p, err = natAnyIP.ListenPacket(context.Background(), "udp", addr) })
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// dial connects from the client.
func (w *natTown) dial(proto Protocol, addr string) (c net.Conn, err error) {
	network := "tcp"
	if proto == UDP {
		network = "udp"
	}
	w.client.do(func() { c, err = net.DialTimeout(network, addr, 5*time.Second) })
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(10 * time.Second))
}

// ask sends size bytes, expects them back and answers the address that the server saw.
func ask(c net.Conn, size int) (netip.AddrPort, error) {
	_, datagrams := c.(*net.UDPConn)
	sent := bytes.Repeat([]byte("petrel"), size/6+1)[:size]
	got := make([]byte, 64+size)
	if datagrams {
		if _, err := c.Write(sent); err != nil {
			return netip.AddrPort{}, err
		}
		n, err := c.Read(got)
		if err != nil {
			return netip.AddrPort{}, err
		}
		got = got[:n]
	} else {
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(sent)
			wrote <- err
		}()
		if _, err := io.ReadFull(c, got); err != nil {
			return netip.AddrPort{}, err
		}
		if err := <-wrote; err != nil {
			return netip.AddrPort{}, err
		}
	}
	if !bytes.Equal(got[64:], sent) {
		return netip.AddrPort{}, fmt.Errorf("%d bytes came back of %d", len(got)-64, size)
	}
	return netip.ParseAddrPort(string(bytes.TrimSpace(got[:64])))
}

// natLiveCases are where a backend can be and what it is to see.
type natLiveCase struct {
	name   string
	at     func(family) string // the service
	to     func(family) string // the backend
	in     func(*natTown) *space
	local  bool
	keep   bool
	source func(family) string // the address that the backend sees
}

var natLiveCases = []natLiveCase{
	{"another node", func(f family) string { return f.node + ":30080" }, func(f family) string { return f.backend + ":80" },
		func(w *natTown) *space { return w.other }, false, false, func(f family) string { return f.other }},
	{"another node, client kept", func(f family) string { return f.node + ":30081" }, func(f family) string { return f.backend + ":81" },
		func(w *natTown) *space { return w.other }, false, true, func(f family) string { return f.client }},
	{"container", func(f family) string { return f.external + ":80" }, func(f family) string { return f.pod + ":8080" },
		func(w *natTown) *space { return w.container }, true, false, func(f family) string { return f.client }},
	{"pod on the node", func(f family) string { return f.external + ":81" }, func(f family) string { return f.wasm() + ":8080" },
		func(w *natTown) *space { return w.node }, true, false, func(f family) string { return f.client }},
}

// wasm is a pod's address that is local to the node.
func (f family) wasm() string {
	if f.name == "IPv4" {
		return "10.42.1.5"
	}
	return "[fd42:1::5]"
}

func (c natLiveCase) service(f family, proto Protocol) Service {
	b := remote(c.to(f))
	b.Local = c.local
	s := external(proto, c.at(f), b)
	s.KeepClientIP = c.keep
	return s
}

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
	deadline := time.Now().Add(8 * time.Second)
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

// TestNATLiveRestart: connections live on while the process that set the programs up ends, while none runs, and when the
// next takes over; and when it is told to remove everything, nothing is left.
func TestNATLiveRestart(t *testing.T) {
	cfg := Config{PinDir: bpffs(t) + "/petrel"}
	w := newNATTown(t, cfg)
	cfg.CgroupPath = w.proxy.cfg.CgroupPath
	f := bothFamilies[0]
	var services []Service
	for _, proto := range []Protocol{TCP, UDP} {
		for _, c := range natLiveCases {
			services = append(services, c.service(f, proto))
			w.echo(c.in(w), proto, c.to(f))
		}
	}
	w.serve(services...)
	var open []net.Conn
	for _, proto := range []Protocol{TCP, UDP} {
		for _, c := range natLiveCases {
			conn, err := w.dial(proto, c.at(f))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := ask(conn, 10); err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
	}
	still := func(when string) {
		t.Helper()
		for _, c := range open {
			if err := again(c); err != nil {
				t.Errorf("%s: %s: %v", when, c.RemoteAddr(), err)
			}
			fresh, err := w.dial(TCP, natLiveCases[0].at(f))
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			fresh.Close()
		}
	}
	for range 2 {
		if err := errors.Join(w.nat.Close(), w.proxy.Close()); err != nil {
			t.Fatal(err)
		}
		still("while no process runs")
		w.open(cfg)
		still("after opening")
		w.serve(services...)
		still("after attaching")
	}
	if n := w.attached(); n != 4 {
		t.Errorf("%d programs are attached, want 4", n)
	}
	w.node.do(func() {
		if err := w.nat.SetInterfaces([]string{"e0"}); err != nil {
			t.Error(err)
		}
	})
	if n := w.attached(); n != 2 {
		t.Errorf("%d programs are attached, want 2", n)
	}
	if err := errors.Join(w.nat.Close(), w.proxy.Remove()); err != nil {
		t.Fatal(err)
	}
	if n := w.attached(); n != 0 {
		t.Errorf("%d programs are left", n)
	}
}

// TestNATLiveUpgrade: connections and programs are taken over from a version whose tables are the same, and from one
// whose tables are not the programs, so that new connections are served at any time.
func TestNATLiveUpgrade(t *testing.T) {
	f, c := bothFamilies[0], natLiveCases[0]
	same := append(slices.Clone(tableMaps), "petrel_nat", "petrel_natfrag", "petrel_natconf", "petrel_natstat", "petrel_node")
	for name, carried := range map[string][]string{"the same tables": same, "other tables": nil} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{PinDir: bpffs(t) + "/petrel"}
			w := newNATTown(t, cfg)
			cfg.CgroupPath = w.proxy.cfg.CgroupPath
			w.echo(c.in(w), TCP, c.to(f))
			w.serve(c.service(f, TCP))
			conn, err := w.dial(TCP, c.at(f))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := ask(conn, 10); err != nil {
				t.Fatal(err)
			}
			w.node.do(func() { err = w.nat.SetInterfaces([]string{"e0", "b0", "p0"}) })
			if err := errors.Join(err, w.nat.Close(), w.proxy.Close()); err != nil {
				t.Fatal(err)
			}
			natSchema, natCarried = schemaVersion+1, map[int][]string{schemaVersion: carried}
			defer func() { natSchema, natCarried = 0, nil }()
			fresh := func(when string) {
				t.Helper()
				c, err := w.dial(TCP, c.at(f))
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				c.Close()
			}
			fresh("while no process runs")
			w.open(cfg)
			fresh("after opening")
			w.serve(c.service(f, TCP))
			fresh("after attaching")
			if err := again(conn); err != nil && carried != nil {
				t.Error(err)
			}
			if n := w.attached(); n != 4 {
				t.Errorf("%d programs are attached, want 4", n)
			}
			if err := errors.Join(w.nat.Close(), w.proxy.Remove()); err != nil {
				t.Fatal(err)
			}
			if n := w.attached(); n != 0 {
				t.Errorf("%d programs are left", n)
			}
		})
	}
}

// again asks once more on a connection that has been asked: a stream shows its client's address only once.
func again(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, ok := c.(*net.UDPConn); ok {
		_, err := ask(c, 10)
		return err
	}
	if _, err := c.Write([]byte("again")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

// attached counts the programs on the node's interfaces.
func (w *natTown) attached() (n int) {
	w.t.Helper()
	for _, name := range []string{"e0", "b0", "p0"} {
		index := w.node.link(name).Index
		for _, hook := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			w.node.do(func() {
				r, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: hook})
				if err != nil {
					w.t.Error(err)
					return
				}
				n += len(r.Programs)
			})
		}
	}
	return n
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
