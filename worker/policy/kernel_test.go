package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// TestMatrix asks the kernel, with sockets, about every pair of pods, port and protocol under every policy. What is to
// be seen is the oracle's to say. The pods are as Wasm pods in loopback mode: one process, sockets bound to addresses.
func TestMatrix(t *testing.T) {
	r := newRig(t)
	nine := &world{}
	ninePods(nine)
	s := r.serve(nine.addresses())
	for _, scenario := range scenarios {
		t.Run(scenario.name, func(t *testing.T) {
			w := &world{policies: scenario.policies, host: loopbackConfig().Hosts, podRange: loopbackConfig().PodCIDRs}
			ninePods(w)
			rules := compilerOf(t, loopbackConfig(), w).Compile()
			m := matrix{rig: r, servers: s, world: w, name: scenario.name}
			if err := r.enforcer.Sync(context.Background(), rules); err != nil {
				t.Fatal(err)
			}
			r.do(func() { m.connects(t, unix.EACCES); m.datagrams(t) })
			// The same by packets alone, as for pods in a network namespace of their own: connect() hears nothing.
			for prefix, peer := range rules.Peers {
				peer.Refuse = false
				rules.Peers[prefix] = peer
			}
			if err := r.enforcer.Sync(context.Background(), rules); err != nil {
				t.Fatal(err)
			}
			r.do(func() { m.connects(t, unix.EINPROGRESS) })
		})
	}
}

type matrix struct {
	*rig
	servers servers
	world   *world
	name    string
}

// pairs visits every question that a protocol has.
func (m matrix) pairs(protocol corev1.Protocol, ask func(from netip.Addr, to netip.AddrPort, want bool)) {
	addrs := m.world.addresses()
	for _, from := range addrs {
		for _, to := range addrs {
			for _, port := range portsAsked {
				ask(from, netip.AddrPortFrom(to, uint16(port)), m.world.permits(packet{from, to, protocol, port}))
			}
		}
	}
}

// connects wants what is denied to end in refusal, at once; EINPROGRESS: not to end.
func (m matrix) connects(t *testing.T, refusal error) {
	waiting := map[int]string{} // denied ones that must not get through later either
	m.pairs(corev1.ProtocolTCP, func(from netip.Addr, to netip.AddrPort, want bool) {
		fd, err := m.open(unix.SOCK_STREAM, netip.AddrPortFrom(from, 0))
		if err != nil {
			t.Fatal(err)
		}
		err = unix.Connect(fd, sockaddr(to))
		switch {
		case want:
			if err != nil && !errors.Is(err, unix.EINPROGRESS) || !connected(fd, time.Second) {
				t.Errorf("%s → %s: %v", from, to, err)
			}
			m.accept(to)
		case !errors.Is(err, refusal):
			t.Errorf("%s → %s is denied, connect says: %v", from, to, err)
		case errors.Is(err, unix.EINPROGRESS):
			waiting[fd] = fmt.Sprintf("%s → %s", from, to)
			return
		}
		unix.Close(fd)
	})
	for fd, name := range waiting {
		if connected(fd, 0) {
			t.Errorf("%s is denied and got through", name)
		}
		unix.Close(fd)
	}
}

func connected(fd int, within time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, int(within.Milliseconds()))
	if err != nil || n != 1 {
		return false
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil && code == 0
}

func (m matrix) accept(at netip.AddrPort) {
	if fd, _, err := unix.Accept(m.servers[ebpfproxy.TCP][at]); err == nil {
		unix.Close(fd)
	}
}

// datagrams are answered, as one that asks is to get its answer whatever its own policy for others is.
func (m matrix) datagrams(t *testing.T) {
	m.pairs(corev1.ProtocolUDP, func(from netip.Addr, to netip.AddrPort, want bool) {
		fd, err := m.open(unix.SOCK_DGRAM, netip.AddrPortFrom(from, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		server := m.servers[ebpfproxy.UDP][to]
		question := fmt.Sprintf("%s: %s → %s", m.name, from, to)
		sent := unix.Sendto(fd, []byte(question), 0, sockaddr(to))
		heard, client := receive(server, want)
		switch {
		case !want && (sent == nil && heard != "" || sent != nil && !errors.Is(sent, unix.EPERM)):
			t.Errorf("%s is denied; send says %v, the server heard %q", question, sent, heard)
		case want && heard != question:
			t.Errorf("%s; send says %v, the server heard %q", question, sent, heard)
		case want:
			err := unix.Sendto(server, []byte("answer"), 0, client)
			if answer, _ := receive(fd, true); answer != "answer" {
				t.Errorf("%s: send of the answer says %v, heard %q", question, err, answer)
			}
		}
	})
	for at, server := range m.servers[ebpfproxy.UDP] {
		if late, _ := receive(server, false); late != "" {
			t.Errorf("%s heard later: %q", at, late)
		}
	}
}

// receive answers a datagram that is there, or with wait one that comes soon.
func receive(fd int, wait bool) (string, unix.Sockaddr) {
	var b [256]byte
	if wait {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 1000); err != nil || n == 0 {
			return "", nil
		}
	}
	n, from, err := unix.Recvfrom(fd, b[:], 0)
	if err != nil {
		return "", nil
	}
	return string(b[:n]), from
}
