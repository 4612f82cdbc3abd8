package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outsider is a machine that knows nothing of pods.
func outsider(t *testing.T, wire *segment) *testPod {
	t.Helper()
	m := newMachine(t, "outside")
	wire.join(m, "eth0", 1500, "192.168.7.200/24", "fd07::200/64")
	p := &testPod{name: "outside", at: m, ips: []netip.Addr{netip.MustParseAddr("192.168.7.200"), netip.MustParseAddr("fd07::200")}}
	p.serve(t)
	return p
}

// TestMasquerade: the world sees the node, and other pods and nodes of the cluster are told apart from it.
func TestMasquerade(t *testing.T) {
	wire := newSegment(t, "wire")
	var nodes []*testNode
	for i := range 2 {
		m := newMachine(t, string(rune('a'+i)))
		wire.join(m, "eth0", 1500, fmt.Sprintf("192.168.7.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
		nodes = append(nodes, newNode(t, m, i+1, nil, fmt.Sprintf("192.168.7.%d", i+1), fmt.Sprintf("fd07::%d", i+1)))
	}
	introduce(nodes...)
	world := outsider(t, wire)
	a, w, b := nodes[0].container("c-a"), nodes[0].wasmPod("w-a"), nodes[1].container("c-b")
	for _, pod := range []*testPod{a, w} {
		for i, ip := range world.ips {
			if seen, err := pod.send(ip, 1<<20); err != nil || seen != nodes[0].self.IPs[i] {
				t.Errorf("%s is %s to the world, want %s: %v", pod.name, seen, nodes[0].self.IPs[i], err)
			}
		}
	}
	allReach(t, 1000, a, w, b)

	// Off: the world has to know the way back itself.
	nodes[0].stop()
	nodes[0].cfg.Masquerade = false
	nodes[0].start()
	introduce(nodes...)
	world.at.route("10.42.1.0/24", "192.168.7.1")
	if seen, err := a.send(world.ips[0], 1000); err != nil || seen != a.ips[0] {
		t.Errorf("without masquerading %s is %s to the world: %v", a.name, seen, err)
	}
}

// TestUnknownPodsAreUnreachable: what no node has is answered at once, and does not leave for the world.
func TestUnknownPodsAreUnreachable(t *testing.T) {
	t.Parallel() // most of it is waiting
	nodes, _ := routed(t, nil)
	a := nodes[0].container("c-a")
	for _, to := range []string{"10.42.77.7", "fd42:0:0:77::7"} {
		_, err := a.dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(to), testPort), nil)
		if err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("dialling %s: %v, want to be told at once", to, err)
		}
	}
}

// TestForgedSources: an address is an identity, so what bears another's goes nowhere, and nothing gets into the tunnel
// but by the tunnel's device.
func TestForgedSources(t *testing.T) {
	nodes, _ := routed(t, nil)
	forger, victim, far := nodes[0].container("forger"), nodes[0].container("victim"), nodes[2].container("far")
	for i, own := range forger.ips {
		// The forger's kernel takes the victim's address for its own.
		forged := netip.PrefixFrom(victim.ips[i], victim.ips[i].BitLen()).String()
		got := listen(t, far, far.ips[i])
		forger.at.addr("eth0", forged)
		datagram(t, forger, victim.ips[i], far.ips[i])
		datagram(t, forger, own, far.ips[i])
		if from := <-got; from != own {
			t.Errorf("a datagram from %s came as %s", own, from)
		}
	}
}

// TestPodsDoNotSpeakVXLAN: a pod that could would put packets with any source into other nodes' tunnels. Node b has
// another port here, so that the test can listen where a's tunnel sends.
func TestPodsDoNotSpeakVXLAN(t *testing.T) {
	const port, other = 5790, 5791
	nodes, _ := routed(t, func(c *Config) {
		if c.NodeName == "a" {
			c.VXLANPort = port
		}
	})
	b := &testPod{name: "b", at: nodes[1].machine}
	a := &testPod{name: "node a", at: nodes[0].machine, ips: nodes[0].self.IPs}
	pods := []*testPod{nodes[0].container("c-a"), nodes[0].wasmPod("w-a"), a}
	for i, to := range nodes[1].self.IPs {
		for _, from := range pods {
			guarded, open := listenPort(t, b, to, port), listenPort(t, b, to, other)
			sendTo(t, from, from.ips[i], netip.AddrPortFrom(to, port))
			sendTo(t, from, from.ips[i], netip.AddrPortFrom(to, other))
			if seen := <-open; !seen.IsValid() {
				t.Errorf("nothing of %s arrives at %s", from.name, to)
			}
			if from == a { // as the tunnel's own packets are
				if seen := <-guarded; !seen.IsValid() {
					t.Errorf("the node itself does not reach the tunnel's port at %s", to)
				}
				continue
			}
			select {
			case seen := <-guarded:
				t.Errorf("a datagram of %s reached the tunnel's port at %s as %s", from.name, to, seen)
			case <-time.After(20 * time.Millisecond): // the later one is here already
			}
		}
	}
}

func listen(t *testing.T, at *testPod, ip netip.Addr) <-chan netip.Addr {
	return listenPort(t, at, ip, 9999)
}

// listenPort tells the source of the first datagram.
func listenPort(t *testing.T, at *testPod, ip netip.Addr, port uint16) <-chan netip.Addr {
	t.Helper()
	var u net.PacketConn
	must(t, at.at.in(func() (err error) {
		reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}}
		u, err = reuse.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(ip, port).String())
		return err
	}))
	t.Cleanup(func() { u.Close() })
	_ = u.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make(chan netip.Addr, 1)
	go func() {
		defer u.Close()
		_, from, err := u.ReadFrom(make([]byte, 100))
		if err == nil {
			got <- from.(*net.UDPAddr).AddrPort().Addr().Unmap()
		}
		close(got)
	}()
	return got
}

func datagram(t *testing.T, p *testPod, from, to netip.Addr) {
	t.Helper()
	sendTo(t, p, from, netip.AddrPortFrom(to, 9999))
}

func sendTo(t *testing.T, p *testPod, from netip.Addr, to netip.AddrPort) {
	t.Helper()
	must(t, p.at.in(func() error {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err = c.Write([]byte("hello")); errors.Is(err, unix.EPERM) {
			return nil // a filter on the way out tells it so
		}
		return err
	}))
}

// TestStrangersDoNotGetIntoTheTunnel sends a packet to a pod, wrapped as a node would, from a machine that is no node.
func TestStrangersDoNotGetIntoTheTunnel(t *testing.T) {
	nodes, router := routed(t, nil)
	a, c := nodes[0], nodes[2]
	pod, friend := c.container("c-c"), a.container("c-a")
	frame := func(payload string) []byte {
		from, to := friend.ips[0].As4(), pod.ips[0].As4()
		udp := append([]byte{0x27, 0x0f, 0x27, 0x0f, 0, byte(8 + len(payload)), 0, 0}, payload...) // without checksum
		ip := append([]byte{0x45, 0, 0, byte(20 + len(udp)), 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}, append(from[:], to[:]...)...)
		sum := uint32(0)
		for i := 0; i < len(ip); i += 2 {
			sum += uint32(ip[i])<<8 | uint32(ip[i+1])
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		ip[10], ip[11] = byte(^sum>>8), byte(^sum)
		vni := uint32(DefaultVXLANID)
		head := []byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}
		ether := append(append(append([]byte{}, tunnelMAC("c")...), tunnelMAC("a")...), 8, 0)
		return append(append(append(head, ether...), ip...), udp...)
	}
	send := func(from *machine, ip netip.Addr, payload string) {
		must(t, from.in(func() error {
			conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.self.IPs[0], DefaultVXLANPort)))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write(frame(payload))
			return err
		}))
	}
	var u net.PacketConn
	must(t, pod.at.in(func() (err error) {
		u, err = net.ListenPacket("udp", netip.AddrPortFrom(pod.ips[0], 9999).String())
		return err
	}))
	defer u.Close()
	send(router, netip.MustParseAddr("192.168.8.254"), "stranger")
	send(a.machine, a.self.IPs[0], "node")
	_ = u.SetReadDeadline(time.Now().Add(60 * time.Second))
	buf := make([]byte, 100)
	n, _, err := u.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "node" {
		t.Errorf("the first to arrive is %q, %v; want the node's", buf[:n], err)
	}
}
