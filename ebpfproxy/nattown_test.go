package ebpfproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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
