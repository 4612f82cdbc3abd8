package network

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testNode is a machine with a Network at work.
type testNode struct {
	*machine
	*Network
	cfg  Config
	self Node
	stop func()
}

// testLog shows a node's log in the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// newNode makes a node on a machine that has the addresses already. number makes its pod CIDRs.
func newNode(t *testing.T, m *machine, number int, change func(*Config), ips ...string) *testNode {
	t.Helper()
	n := &testNode{machine: m, self: Node{Name: m.name}}
	for _, ip := range ips {
		n.self.IPs = append(n.self.IPs, netip.MustParseAddr(ip))
	}
	n.self.PodCIDRs = []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", number)), netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%d::/64", number)),
	}
	n.cfg = Config{
		Mode: Cluster, NodeName: m.name, NodeIPs: n.self.IPs, Masquerade: true, Netns: m.path(), Dir: t.TempDir(),
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")},
		Logger:       slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})).With("node", m.name),
	}
	if change != nil {
		change(&n.cfg)
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// start opens the network and runs it until stop.
func (n *testNode) start() {
	n.t.Helper()
	var err error
	n.Network, err = New(n.cfg)
	must(n.t, err)
	must(n.t, n.Open(n.t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	network := n.Network
	running.Go(func() { _ = network.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		_ = network.Close()
	})
}

// introduce tells all nodes of one another and waits until each has taken it in.
func introduce(nodes ...*testNode) {
	var all []Node
	for _, n := range nodes {
		all = append(all, n.self)
	}
	for _, n := range nodes {
		n.SetNodes(slices.Clone(all))
	}
	for _, n := range nodes {
		n.settle()
	}
}

// settle waits until a turn that began now has ended without problems.
func (n *testNode) settle() {
	n.t.Helper()
	eventually(n.t, func() error {
		_ = n.turn()
		if p := n.Problems(); len(p) > 0 {
			return fmt.Errorf("problems of %s: %v", n.machine.name, p)
		}
		return nil
	})
}

func eventually(t testing.TB, try func() error) {
	t.Helper()
	deadline := time.Now().Add(8 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// testPod is a place to serve and to dial from: a container's namespace, or a node's with the pod's address to bind.
type testPod struct {
	name string
	at   *machine
	ips  []netip.Addr
	wasm bool
	// patience is how long a connection may take; 0: long enough for a packet to be sent again.
	patience time.Duration
}

const testPort = 8080

// container attaches a container of its own pod.
func (n *testNode) container(name string) *testPod {
	n.t.Helper()
	m := newMachine(n.t, name)
	e, err := n.Attach(n.t.Context(), Attachment{ContainerID: name, Owner: "uid-" + name, Netns: m.path(), IfName: "eth0"})
	must(n.t, err)
	p := &testPod{name: name, at: m, ips: e.Addrs}
	p.serve(n.t)
	return p
}

// wasmPod takes addresses and serves on them from the node's own namespace.
func (n *testNode) wasmPod(name string) *testPod {
	n.t.Helper()
	ips, err := n.Take("uid-" + name)
	must(n.t, err)
	p := &testPod{name: name, at: n.machine, ips: ips, wasm: true}
	p.serve(n.t)
	return p
}

// serve tells each client its address, then how many bytes it sent; datagrams are sent back.
func (p *testPod) serve(t testing.TB) {
	t.Helper()
	for _, ip := range p.ips {
		addr := netip.AddrPortFrom(ip, testPort)
		var l net.Listener
		var u net.PacketConn
		must(t, p.at.in(func() (err error) {
			if l, err = net.Listen("tcp", addr.String()); err != nil {
				return err
			}
			u, err = net.ListenPacket("udp", addr.String())
			return err
		}))
		var serving sync.WaitGroup
		serving.Go(func() { acceptAll(&serving, l) })
		serving.Go(func() { echoAll(u) })
		t.Cleanup(func() {
			l.Close()
			u.Close()
			serving.Wait()
		})
	}
}

func acceptAll(serving *sync.WaitGroup, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
			count, _ := io.Copy(io.Discard, c)
			fmt.Fprintln(c, count)
		})
	}
}

func echoAll(u net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		count, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = u.WriteTo(buf[:count], from)
	}
}

// dial connects from the pod, from its own address.
func (p *testPod) dial(network string, to netip.AddrPort, control func(fd int) error) (net.Conn, error) {
	d := net.Dialer{Timeout: cmp.Or(p.patience, 3*time.Second)}
	if at := slices.IndexFunc(p.ips, func(a netip.Addr) bool { return a.Is4() == to.Addr().Is4() }); p.wasm && at >= 0 {
		if network == "tcp" {
			d.LocalAddr = &net.TCPAddr{IP: net.IP(p.ips[at].AsSlice())}
		} else {
			d.LocalAddr = &net.UDPAddr{IP: net.IP(p.ips[at].AsSlice())}
		}
	}
	if control != nil {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			return joinErr(c.Control(func(fd uintptr) { err = control(int(fd)) }), &err)
		}
	}
	var c net.Conn
	err := p.at.in(func() (err error) { c, err = d.Dial(network, to.String()); return err })
	return c, err
}

func joinErr(err error, inner *error) error {
	if err != nil {
		return err
	}
	return *inner
}

// send transfers bytes to an address and answers the address that the server saw.
func (p *testPod) send(to netip.Addr, count int) (netip.Addr, error) {
	c, err := p.dial("tcp", netip.AddrPortFrom(to, testPort), nil)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s to %s: %w", p.name, to, err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	in := bufio.NewReader(c)
	seen, err := in.ReadString('\n')
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s to %s: %w", p.name, to, err)
	}
	if _, err := c.Write(make([]byte, count)); err != nil {
		return netip.Addr{}, fmt.Errorf("%s to %s: send %d bytes: %w", p.name, to, count, err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return netip.Addr{}, err
	}
	got, err := in.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != fmt.Sprint(count) {
		return netip.Addr{}, fmt.Errorf("%s to %s: %d bytes sent, %q arrived: %w", p.name, to, count, got, err)
	}
	return netip.ParseAddr(strings.TrimSpace(seen))
}

// ping sends a datagram that must not be fragmented, in a packet of the size, and waits for its echo.
func (p *testPod) ping(to netip.Addr, size int) error {
	payload := size - 28
	if to.Is6() {
		payload = size - 48
	}
	c, err := p.dial("udp", netip.AddrPortFrom(to, testPort), func(fd int) error {
		if to.Is6() {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, payload)); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	got, err := c.Read(make([]byte, payload+1))
	if err == nil && got != payload {
		err = fmt.Errorf("%d bytes came back of %d", got, payload)
	}
	return err
}

// allReach has every pod send to every other, and holds that each is seen under its own address.
func allReach(t *testing.T, count int, pods ...*testPod) {
	t.Helper()
	for _, from := range pods {
		for _, to := range pods {
			for i, ip := range to.ips {
				if from == to {
					continue
				}
				seen, err := from.send(ip, count)
				if err != nil {
					t.Error(err)
				} else if seen != from.ips[i] {
					t.Errorf("%s (%s) is %s to %s", from.name, from.ips[i], seen, to.name)
				}
			}
		}
	}
}
