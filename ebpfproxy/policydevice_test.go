package ebpfproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// policyPod is a container: a network namespace and a control group of its own, behind an interface of the node's.
type policyPod struct {
	*arena
	device string
	addr   string
}

// ip runs iproute2 inside.
func (a *arena) ip(args string) {
	a.t.Helper()
	var out []byte
	var err error
	a.in(func() { out, err = exec.Command("ip", strings.Fields(args)...).CombinedOutput() })
	if errors.Is(err, exec.ErrNotFound) && os.Getuid() != 0 {
		a.t.Skip("iproute2 is not installed")
	}
	if err != nil {
		a.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// container makes a pod whose namespace is reached by a veth with a route, as containers' are. Its sockets are of the
// node's control group.
func (a *arena) container(n int) *policyPod {
	a.t.Helper()
	inside := &arena{t: a.t, cgroup: a.cgroup, calls: make(chan func())}
	ready := make(chan error)
	go inside.thread(ready)
	if err := <-ready; err != nil {
		skipUnsupported(a.t, err)
	}
	a.t.Cleanup(func() { close(inside.calls) })
	var tid int
	inside.in(func() { tid = unix.Gettid() })
	p := &policyPod{arena: inside, device: fmt.Sprintf("pod%d", n), addr: fmt.Sprintf("10.42.0.%d", n)}
	a.ip(fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/%d/task/%d/ns/net", p.device, os.Getpid(), tid))
	a.ip("link set " + p.device + " up")
	a.ip("addr add 169.254.1.1/32 dev " + p.device)
	a.ip(fmt.Sprintf("route add %s/32 dev %s", p.addr, p.device))
	inside.ip("link set eth0 up")
	inside.ip("addr add " + p.addr + "/32 dev eth0")
	inside.ip("route add 169.254.1.1 dev eth0")
	inside.ip("route add default via 169.254.1.1 dev eth0")
	return p
}

func (a *arena) forwarding() {
	a.t.Helper()
	var err error
	a.in(func() { err = os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	if err != nil {
		a.t.Fatal(err)
	}
}

// containersPolicy lets the second container alone speak with the first, on port 8080 and by datagrams.
func containersPolicy() Policy {
	return Policy{
		Peers: map[netip.Prefix]Peer{
			netip.MustParsePrefix("169.254.1.1/32"): {Identity: IdentityHost},
			netip.MustParsePrefix("10.42.0.2/32"):   {Identity: 2, Refuse: true},
		},
		Endpoints: map[netip.Addr]Endpoint{netip.MustParseAddr("10.42.0.1"): {Ingress: 1, Egress: 1}},
		Subjects:  map[uint32][]PolicyRule{1: {{Identity: 2, Protocol: TCP, First: 8080, Last: 8080}, {Identity: 2, Protocol: UDP}}},
	}
}

// TestPolicyOnContainers: pods with namespaces of their own, whose sockets are bound to nothing when they connect.
func TestPolicyOnContainers(t *testing.T) {
	a := newArena(t)
	a.forwarding()
	pods := []*policyPod{nil, a.container(1), a.container(2), a.container(3)}
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	for _, p := range pods[1:] {
		p.serve(p.addr + ":8080")
		p.serve(p.addr + ":8081")
	}
	a.serve("169.254.1.1:8080")
	check := func(what string) {
		t.Helper()
		for _, tt := range []struct {
			from *arena
			to   string
			want error
		}{
			{pods[2].arena, "10.42.0.1:8080", nil},
			{pods[2].arena, "10.42.0.1:8081", unix.ETIMEDOUT},
			{pods[3].arena, "10.42.0.1:8080", unix.ETIMEDOUT},
			{pods[1].arena, "10.42.0.2:8080", nil},
			{pods[1].arena, "10.42.0.3:8080", unix.ETIMEDOUT},
			{pods[1].arena, "10.42.0.1:8081", nil},
			{pods[1].arena, "169.254.1.1:8080", nil},
			{a, "10.42.0.1:8081", nil},
			{pods[3].arena, "10.42.0.2:8081", nil},
		} {
			if err := tt.from.policyExpect("", tt.to, tt.want); !errors.Is(err, tt.want) {
				t.Errorf("%s: to %s: %v, want %v", what, tt.to, err, tt.want)
			}
		}
		for i, want := range []error{2: nil, 3: unix.EAGAIN} {
			if i < 2 {
				continue
			}
			if err := pods[i].datagram("10.42.0.1:8080", want); !errors.Is(err, want) {
				t.Errorf("%s: datagram of pod %d: %v, want %v", what, i, err, want)
			}
		}
	}
	mustPolicy(t, e, containersPolicy())
	check("sockets")
	before, err := e.Stats()
	if err != nil {
		t.Fatal(err)
	}
	devices := map[string][]netip.Addr{}
	for _, p := range pods[1:] {
		devices[p.device] = []netip.Addr{netip.MustParseAddr(p.addr)}
	}
	a.in(func() { err = e.SetDevices(devices) })
	if err != nil {
		t.Fatal(err)
	}
	check("with guards")
	after, err := e.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if after.Ingress.Allowed-before.Ingress.Allowed != before.Ingress.Allowed || after.Egress.Forged != 0 {
		t.Errorf("guards count what passes once more: %+v, then %+v", before, after)
	}
	// A policy that sockets know nothing of is the guards' alone: as for a packet socket.
	if err := e.unhook(); err != nil {
		t.Fatal(err)
	}
	check("guards alone")
}

// datagram asks with one and waits for the answer.
func (p *policyPod) datagram(to string, want error) error {
	s := p.socket(unix.SOCK_DGRAM, false)
	defer s.close()
	patience := policyPatience
	if want == unix.EAGAIN {
		patience = policyHang
	}
	tv := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	if err := s.send(netip.MustParseAddrPort(to)); err != nil {
		return err
	}
	_, _, err := unix.Recvfrom(s.fd, make([]byte, 64), 0)
	return err
}

// TestPolicyForgedSource: a pod cannot send from an address that is not its own.
func TestPolicyForgedSource(t *testing.T) {
	a := newArena(t)
	a.forwarding()
	one, two := a.container(1), a.container(2)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	server := one.serve(one.addr + ":8080")
	two.ip("addr add 10.42.0.9/32 dev eth0")
	a.ip("route add 10.42.0.9/32 dev " + two.device)
	if err := two.policyAsk("10.42.0.9", server.addr.String()); err != nil {
		t.Fatalf("before the guard: %v", err)
	}
	var err error
	guard := map[string][]netip.Addr{two.device: {netip.MustParseAddr(two.addr)}}
	a.in(func() { err = e.SetDevices(guard) })
	if err != nil {
		t.Fatal(err)
	}
	if err := two.policyExpect("10.42.0.9", server.addr.String(), unix.ETIMEDOUT); !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("a forged source: %v", err)
	}
	if err := two.policyAsk(two.addr, server.addr.String()); err != nil {
		t.Errorf("its own address: %v", err)
	}
	stats, err := e.Stats()
	if err != nil || stats.Egress.Forged == 0 {
		t.Errorf("counted %+v, %v", stats, err)
	}
	guard["nothing"] = nil
	a.in(func() { err = e.SetDevices(guard) })
	if err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("an interface that is not there: %v", err)
	}
	a.in(func() { err = e.SetDevices(nil) })
	if err != nil || len(e.guarded)+len(e.owned.have) != 0 {
		t.Errorf("left: %v, %v, %v", err, e.guarded, e.owned.have)
	}
	if err := two.policyAsk("10.42.0.9", server.addr.String()); err != nil {
		t.Errorf("after the guard: %v", err)
	}
}

// TestPolicyGuardTakeOver: guards outlive the process; those of interfaces that went meanwhile leave nothing.
func TestPolicyGuardTakeOver(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	one, two := a.container(1), a.container(2)
	first := a.openRaw(Config{PinDir: dir})
	e := a.openEnforcer(first, testPolicySizes)
	devices := map[string][]netip.Addr{one.device: {netip.MustParseAddr(one.addr)}, two.device: {netip.MustParseAddr(two.addr)}}
	var err error
	a.in(func() { err = e.SetDevices(devices) })
	if err = errors.Join(err, e.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	a.ip("link del " + two.device)
	second := a.open(Config{PinDir: dir})
	e = a.openEnforcer(second, testPolicySizes)
	delete(devices, two.device)
	a.in(func() { err = e.SetDevices(devices) })
	if err != nil {
		t.Fatal(err)
	}
	links, err := os.ReadDir(second.pins.path(linksDir, ""))
	guards := 0
	for _, l := range links {
		if strings.Contains(l.Name(), "pod_") {
			guards++
		}
	}
	if err != nil || guards != 2 || len(e.owned.have) != 1 {
		t.Errorf("%d guards, %d addresses, %v", guards, len(e.owned.have), err)
	}
	if err := e.Detach(); err != nil {
		t.Fatal(err)
	}
	if e.SetDevices(nil) == nil {
		t.Error("a closed enforcer guards")
	}
}

// TestPolicyGuardPrograms runs the branches that containers' usual traffic does not.
func TestPolicyGuardPrograms(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	const tcp, udp, icmp, icmp6 = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6
	mustPolicy(t, e, programPolicy())
	var lo *net.Interface
	var err error
	a.in(func() { lo, err = net.InterfaceByName("lo") })
	if err != nil {
		t.Fatal(err)
	}
	// Programs under test run as if on the loopback interface of the test's own namespace.
	owners := map[string][]netip.Addr{"lo": {netip.MustParseAddr(podOut), netip.MustParseAddr("fd42::2")}}
	a.in(func() { err = e.SetDevices(owners) })
	if err != nil {
		t.Fatalf("guard %v: %v", lo, err)
	}
	const next, drop = ^uint32(0), 2
	for _, tt := range []struct {
		name, program string
		packet        policyPacket
		want          uint32
	}{
		{"no IP out", "petrel_frompod", policyPacket{from: podOut, to: stranger, protocol: tcp, noIP: true}, next},
		{"allowed", "petrel_frompod", policyPacket{from: podOut, to: friend, protocol: tcp, toPort: 80}, next},
		{"denied", "petrel_frompod", policyPacket{from: podOut, to: stranger, protocol: tcp, toPort: 80}, drop},
		{"forged", "petrel_frompod", policyPacket{from: stranger, to: friend, protocol: tcp, toPort: 80}, drop},
		{"forged ICMP", "petrel_frompod", policyPacket{from: stranger, to: friend, protocol: icmp, kind: 0}, drop},
		{"a segment in between", "petrel_frompod", policyPacket{from: podOut, to: stranger, protocol: tcp, toPort: 80, flags: tcpACK}, next},
		{"a datagram", "petrel_frompod", policyPacket{from: podOut, to: stranger, protocol: udp, toPort: 80}, drop},
		{"echo", "petrel_frompod", policyPacket{from: podOut, to: stranger, protocol: icmp, kind: 8}, drop},
		{"echo's answer", "petrel_frompod", policyPacket{from: podOut, to: stranger, protocol: icmp, kind: 0}, next},
		{"neighbours", "petrel_frompod", policyPacket{from: "fe80::1", to: "ff02::1", protocol: icmp6, kind: 135}, next},
		{"is the address free?", "petrel_frompod", policyPacket{from: "::", to: "ff02::1", protocol: icmp6, kind: 135}, next},
		{"link-local datagram", "petrel_frompod", policyPacket{from: "fe80::1", to: "ff02::1", protocol: udp, toPort: 1}, drop},
		{"another's for neighbours", "petrel_frompod", policyPacket{from: "fd42::9", to: "ff02::1", protocol: icmp6, kind: 135}, drop},
		{"no IP in", "petrel_topod", policyPacket{from: stranger, to: podIn, protocol: tcp, noIP: true}, next},
		{"allowed in", "petrel_topod", policyPacket{from: friend, to: podIn, protocol: tcp, toPort: 80}, next},
		{"denied in", "petrel_topod", policyPacket{from: stranger, to: podIn, protocol: tcp, toPort: 80}, drop},
		{"echo in", "petrel_topod", policyPacket{from: stranger, to: podIn, protocol: icmp, kind: 8}, next},
		{"itself", "petrel_topod", policyPacket{from: podIn, to: podIn, protocol: tcp, toPort: 80}, next},
		{"not isolated", "petrel_topod", policyPacket{from: stranger, to: podFree, protocol: tcp, toPort: 80}, next},
		{"a stranger's datagram", "petrel_topod", policyPacket{from: stranger, to: podIn, protocol: udp, fromPort: 53, toPort: 4000}, drop},
	} {
		if got := a.runGuard(e, tt.program, tt.packet); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, int32(got), int32(tt.want))
		}
	}
	// The answer to what a socket asked passes, and only that.
	runPolicy(t, e, "petrel_egress", policyPacket{from: podIn, to: stranger, protocol: udp, fromPort: 4000, toPort: 53})
	answer := policyPacket{from: stranger, to: podIn, protocol: udp, fromPort: 53, toPort: 4000}
	if got := a.runGuard(e, "petrel_topod", answer); got != next {
		t.Errorf("an answer: %d", int32(got))
	}
	ageTracks(t, e, 121)
	if got := a.runGuard(e, "petrel_topod", answer); got != drop {
		t.Errorf("an answer long after: %d", int32(got))
	}
	mustPolicy(t, e, Policy{})
	if got := a.runGuard(e, "petrel_topod", answer); got != next {
		t.Errorf("without policies: %d", int32(got))
	}
}

func (a *arena) runGuard(e *Enforcer, program string, p policyPacket) uint32 {
	a.t.Helper()
	var got uint32
	var err error
	a.in(func() { got, err = e.collection.Programs[program].Run(&ebpf.RunOptions{Data: p.bytes()}) })
	if err != nil {
		a.t.Fatal(err)
	}
	return got
}
