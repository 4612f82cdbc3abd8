package ebpfproxy

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// policyPacket is a packet to be made: of the protocol's usual shape, unless it says otherwise.
type policyPacket struct {
	from, to   string
	protocol   uint8
	fromPort   uint16
	toPort     uint16
	flags      uint8  // of TCP; 0: SYN
	kind       uint8  // of ICMP
	fragment   uint16 // offset in 8 bytes
	extensions []uint8
	short      bool // nothing behind the IP header
	noIP       bool
}

const (
	tcpSYN = 0x02
	tcpACK = 0x10
)

func (p policyPacket) bytes() []byte {
	from, to := netip.MustParseAddr(p.from), netip.MustParseAddr(p.to)
	payload := p.transport()
	frame := make([]byte, 14)
	if from.Is4() {
		binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IP)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, p.protocol
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(payload)))
		binary.BigEndian.PutUint16(ip[6:], p.fragment)
		f, t := from.As4(), to.As4()
		copy(ip[12:], f[:])
		copy(ip[16:], t[:])
		frame = append(frame, ip...)
	} else {
		binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IPV6)
		ip := make([]byte, 40)
		ip[0], ip[7] = 0x60, 64
		f, t := from.As16(), to.As16()
		copy(ip[8:], f[:])
		copy(ip[24:], t[:])
		chain := append(append([]uint8{}, p.extensions...), p.protocol)
		ip[6] = chain[0]
		for i, ext := range p.extensions {
			header := make([]byte, 8)
			header[0] = chain[i+1]
			if ext == unix.IPPROTO_FRAGMENT {
				binary.BigEndian.PutUint16(header[2:], p.fragment<<3)
			}
			ip = append(ip, header...)
		}
		frame = append(frame, ip...)
	}
	if p.noIP {
		binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_ARP)
	}
	return append(frame, payload...)
}

func (p policyPacket) transport() []byte {
	if p.short {
		return nil
	}
	b := make([]byte, 20)
	switch p.protocol {
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		b[0] = p.kind
	default:
		binary.BigEndian.PutUint16(b, p.fromPort)
		binary.BigEndian.PutUint16(b[2:], p.toPort)
		b[12], b[13] = 0x50, p.flags
		if p.flags == 0 {
			b[13] = tcpSYN
		}
	}
	return b
}

func (a *arena) openEnforcer(p *Proxy, sizes PolicySizes) *Enforcer {
	a.t.Helper()
	e, err := NewEnforcer(EnforcerConfig{Proxy: p, Sizes: sizes})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := e.Open(context.Background()); err != nil {
		skipUnsupported(a.t, err)
	}
	a.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			a.t.Error(err)
		}
	})
	return e
}

// testPolicySizes are small; tests that need more say so.
var testPolicySizes = PolicySizes{Peers: 256, Endpoints: 64, Rules: 512, Tracked: 256, Owned: 64}

func runPolicy(t *testing.T, e *Enforcer, program string, p policyPacket) bool {
	t.Helper()
	ret, err := e.collection.Programs[program].Run(&ebpf.RunOptions{Data: p.bytes()})
	if err != nil {
		t.Fatal(err)
	}
	return ret&1 == 1
}

const (
	podIn, podOut, podFree = "10.42.0.1", "10.42.0.2", "10.42.0.3"
	friend, stranger       = "10.42.1.1", "192.0.2.1"
	testHost               = "10.0.0.1"
)

// programPolicy isolates podIn's ingress and podOut's egress, and their twins' of IPv6: friends may on TCP 80 to 89 and
// on UDP, the group of 10.43.0.0/16 with everything, everyone on TCP 443 and SCTP 9.
func programPolicy() Policy {
	rules := []PolicyRule{
		{Identity: 7, Protocol: TCP, First: 80, Last: 89}, {Identity: 7, Protocol: UDP}, {Identity: 8},
		{Protocol: TCP, First: 443, Last: 443}, {Protocol: SCTP, First: 9, Last: 9},
	}
	return Policy{
		Peers: map[netip.Prefix]Peer{
			netip.MustParsePrefix("10.42.1.0/24"):   {Identity: 7, Refuse: true},
			netip.MustParsePrefix("10.42.1.128/25"): {Refuse: true}, // carved out
			netip.MustParsePrefix("fd42::1:0/112"):  {Identity: 7},
			netip.MustParsePrefix("10.43.0.0/16"):   {Identity: 8},
			netip.MustParsePrefix("10.0.0.1/32"):    {Identity: IdentityHost},
			netip.MustParsePrefix("fd00::1/128"):    {Identity: IdentityHost},
			netip.MustParsePrefix("10.42.0.0/30"):   {Refuse: true},
		},
		Endpoints: map[netip.Addr]Endpoint{
			netip.MustParseAddr(podIn):     {Ingress: 1},
			netip.MustParseAddr(podOut):    {Egress: 2},
			netip.MustParseAddr("fd42::1"): {Ingress: 1},
			netip.MustParseAddr("fd42::2"): {Egress: 2},
			netip.MustParseAddr(podFree):   {},
		},
		Subjects: map[uint32][]PolicyRule{1: rules, 2: rules},
	}
}

// TestPolicyPrograms runs every branch of the programs on packets.
func TestPolicyPrograms(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	const tcp, udp, sctp, icmp, icmp6 = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6

	stray := policyPacket{from: stranger, to: podIn, protocol: tcp, toPort: 80}
	if !runPolicy(t, e, "petrel_ingress", stray) {
		t.Fatal("a packet was dropped before there was a policy")
	}
	if err := e.Sync(context.Background(), programPolicy()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		packet policyPacket // of the ingress direction; the other is asked the same with the pod that is isolated there
		want   bool
	}{
		{"a friend on an allowed port", policyPacket{from: friend, protocol: tcp, toPort: 80}, true},
		{"the last port of the range", policyPacket{from: friend, protocol: tcp, toPort: 89}, true},
		{"the port behind it", policyPacket{from: friend, protocol: tcp, toPort: 90}, false},
		{"the port before it", policyPacket{from: friend, protocol: tcp, toPort: 79}, false},
		{"another protocol's port", policyPacket{from: friend, protocol: sctp, toPort: 80}, false},
		{"every port of a protocol", policyPacket{from: friend, protocol: udp, toPort: 12345}, true},
		{"every protocol", policyPacket{from: "10.43.1.1", protocol: 47}, true},
		{"every port", policyPacket{from: "10.43.1.1", protocol: tcp, toPort: 1}, true},
		{"carved out of friends", policyPacket{from: "10.42.1.200", protocol: tcp, toPort: 80}, false},
		{"a stranger", policyPacket{from: stranger, protocol: tcp, toPort: 80}, false},
		{"a stranger's datagram", policyPacket{from: stranger, protocol: udp, toPort: 80}, false},
		{"a stranger where everyone may", policyPacket{from: stranger, protocol: tcp, toPort: 443}, true},
		{"a friend where everyone may", policyPacket{from: friend, protocol: tcp, toPort: 443}, true},
		{"SCTP where everyone may", policyPacket{from: stranger, protocol: sctp, toPort: 9}, true},
		{"another protocol", policyPacket{from: stranger, protocol: 47}, false},
		{"the host", policyPacket{from: testHost, protocol: tcp, toPort: 80}, true},
		{"the host's datagram", policyPacket{from: testHost, protocol: udp, toPort: 80}, true},
		{"SYN and ACK", policyPacket{from: stranger, protocol: tcp, toPort: 80, flags: tcpSYN | tcpACK}, true},
		{"ACK", policyPacket{from: stranger, protocol: tcp, toPort: 80, flags: tcpACK}, true},
		{"RST", policyPacket{from: stranger, protocol: tcp, toPort: 80, flags: 0x04}, true},
		{"SYN with more", policyPacket{from: stranger, protocol: tcp, toPort: 80, flags: tcpSYN | 0xc8}, false},
		{"a later fragment", policyPacket{from: friend, protocol: tcp, toPort: 80, fragment: 3}, false},
		{"a later fragment where everything may", policyPacket{from: "10.43.1.1", protocol: tcp, toPort: 80, fragment: 3}, true},
		{"no TCP header", policyPacket{from: friend, protocol: tcp, short: true}, false},
		{"no UDP header", policyPacket{from: friend, protocol: udp, short: true}, false},
		{"no ICMP header", policyPacket{from: stranger, protocol: icmp, short: true}, true},
		{"an ICMP error", policyPacket{from: stranger, protocol: icmp, kind: 3}, true},
		{"an echo's answer", policyPacket{from: stranger, protocol: icmp, kind: 0}, true},
		{"no IP", policyPacket{from: stranger, protocol: tcp, noIP: true}, true},
		{"IPv6", policyPacket{from: "fd42::1:5", protocol: tcp, toPort: 80}, true},
		{"IPv6, another port", policyPacket{from: "fd42::1:5", protocol: tcp, toPort: 90}, false},
		{"IPv6, a stranger", policyPacket{from: "2001:db8::1", protocol: tcp, toPort: 80}, false},
		{"IPv6, the host", policyPacket{from: "fd00::1", protocol: tcp, toPort: 80}, true},
		{"IPv6 behind extensions", policyPacket{from: "fd42::1:5", protocol: tcp, toPort: 80, extensions: []uint8{0, 60, 43}}, true},
		{"IPv6 behind extensions, another port", policyPacket{from: "fd42::1:5", protocol: tcp, toPort: 90, extensions: []uint8{0, 60, 43}}, false},
		{"IPv6 behind too many extensions", policyPacket{from: "fd42::1:5", protocol: tcp, toPort: 80, extensions: []uint8{0, 60, 60, 60, 60, 60, 60}}, false},
		{"IPv6, first fragment", policyPacket{from: "fd42::1:5", protocol: tcp, toPort: 80, extensions: []uint8{44}}, true},
		{"IPv6, later fragment", policyPacket{from: "fd42::1:5", protocol: tcp, toPort: 80, extensions: []uint8{44}, fragment: 3}, false},
		{"IPv6, neighbours", policyPacket{from: "2001:db8::1", protocol: icmp6, kind: 135}, true},
		{"IPv6, cut off in the extensions", policyPacket{from: "fd42::1:5", protocol: 0, short: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, out := tt.packet, tt.packet
			free := podFree
			in.to, out.from, out.to = podIn, podOut, tt.packet.from
			if netip.MustParseAddr(tt.packet.from).Is6() {
				in.to, out.from, free = "fd42::1", "fd42::2", "fd42::3"
			}
			if got := runPolicy(t, e, "petrel_ingress", in); got != tt.want {
				t.Errorf("ingress passes: %t, want %t", got, tt.want)
			}
			if got := runPolicy(t, e, "petrel_egress", out); got != tt.want {
				t.Errorf("egress passes: %t, want %t", got, tt.want)
			}
			// The other direction of each is not isolated, nor is anyone else.
			in.to, out.from = free, free
			if !runPolicy(t, e, "petrel_ingress", in) || !runPolicy(t, e, "petrel_egress", out) {
				t.Error("dropped of a pod that no policy isolates")
			}
		})
	}
	for _, tt := range []struct {
		name    string
		program string
		packet  policyPacket
		want    bool
	}{
		{"a pod to itself", "petrel_ingress", policyPacket{from: podIn, to: podIn, protocol: tcp, toPort: 1}, true},
		{"echo in", "petrel_ingress", policyPacket{from: stranger, to: podIn, protocol: icmp, kind: 8}, true},
		{"echo out", "petrel_egress", policyPacket{from: podOut, to: stranger, protocol: icmp, kind: 8}, false},
		{"echo out where everything may", "petrel_egress", policyPacket{from: podOut, to: "10.43.1.1", protocol: icmp, kind: 8}, true},
		{"echo out, IPv6", "petrel_egress", policyPacket{from: "fd42::2", to: "2001:db8::1", protocol: icmp6, kind: 128}, false},
		{"egress of the one isolated on ingress", "petrel_egress", policyPacket{from: podIn, to: stranger, protocol: tcp, toPort: 1}, true},
		{"ingress of the one isolated on egress", "petrel_ingress", policyPacket{from: stranger, to: podOut, protocol: tcp, toPort: 1}, true},
	} {
		if got := runPolicy(t, e, tt.program, tt.packet); got != tt.want {
			t.Errorf("%s: passes: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestPolicyReplies: a datagram passes as an answer as long as it is one.
func TestPolicyReplies(t *testing.T) {
	a := newArena(t)
	e := a.openEnforcer(a.open(Config{}), testPolicySizes)
	policy := programPolicy()
	if err := e.Sync(context.Background(), policy); err != nil {
		t.Fatal(err)
	}
	ask := policyPacket{from: podIn, to: stranger, protocol: unix.IPPROTO_UDP, fromPort: 4000, toPort: 53}
	answer := policyPacket{from: stranger, to: podIn, protocol: unix.IPPROTO_UDP, fromPort: 53, toPort: 4000}
	if runPolicy(t, e, "petrel_ingress", answer) {
		t.Error("an answer passed without a question")
	}
	if !runPolicy(t, e, "petrel_egress", ask) || !runPolicy(t, e, "petrel_ingress", answer) {
		t.Error("question or answer was dropped")
	}
	other := answer
	other.fromPort = 54
	if runPolicy(t, e, "petrel_ingress", other) {
		t.Error("an answer from another port passed")
	}
	ageTracks(t, e, 60)
	if !runPolicy(t, e, "petrel_ingress", answer) { // and this renews it
		t.Error("an answer after a minute was dropped")
	}
	ageTracks(t, e, 100)
	if !runPolicy(t, e, "petrel_egress", ask) { // and so does this
		t.Error("a second question was dropped")
	}
	ageTracks(t, e, 100)
	if !runPolicy(t, e, "petrel_ingress", answer) {
		t.Error("the answer to a second question was dropped")
	}
	ageTracks(t, e, 121)
	if runPolicy(t, e, "petrel_ingress", answer) {
		t.Error("an answer passed long after the question")
	}
	// What began with the pod's own question is still its own to ask, until its policy says otherwise.
	question := policyPacket{from: podOut, to: friend, protocol: unix.IPPROTO_UDP, fromPort: 4000, toPort: 53}
	for range 2 {
		if !runPolicy(t, e, "petrel_egress", question) {
			t.Error("an allowed question was dropped")
		}
	}
	policy.Subjects[2] = nil
	if err := e.Sync(context.Background(), policy); err != nil {
		t.Fatal(err)
	}
	if runPolicy(t, e, "petrel_egress", question) {
		t.Error("a question passed that is allowed no longer")
	}
	stats, err := e.Stats()
	if err != nil {
		t.Fatal(err)
	}
	want := PolicyStats{Ingress: VerdictCounts{Denied: 3, Replies: 3}, Egress: VerdictCounts{Allowed: 1, Denied: 1}}
	if stats != want {
		t.Errorf("counted %+v, want %+v", stats, want)
	}
}

// ageTracks has all datagram flows begin so many seconds earlier.
func ageTracks(t *testing.T, e *Enforcer, seconds uint64) {
	t.Helper()
	m := e.collection.Maps[mapTrack]
	entries := m.Iterate()
	var key, value []byte
	for entries.Next(&key, &value) {
		seen := binary.NativeEndian.Uint64(value) - seconds*1e9
		binary.NativeEndian.PutUint64(value, seen)
		if err := m.Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
}
