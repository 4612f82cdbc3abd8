package ebpfproxy

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// What the programs answer.
const (
	tcNext     = ^uint32(0)
	tcShot     = 2
	tcRedirect = 7
)

// natRig is a node in a namespace of its own: 192.0.2.10 towards clients on c0, 10.9.0.10 towards other nodes on b0,
// where packets are at most 1400 long. No packet leaves: programs are run on frames that tests make.
type natRig struct {
	*space
	proxy *Proxy
	nat   *NAT
	mac   []byte
	index int
	base  NATStats // what was counted before this test
}

func newNATRig(t testing.TB, cfg NATConfig) *natRig {
	t.Helper()
	s := newSpace(t)
	s.ip(`link add c0 type veth peer name c1
		link add b0 mtu 1400 type veth peer name b1
		link set c0 up
		link set c1 up
		link set b0 up
		link set b1 up
		addr add 192.0.2.10/24 dev c0
		addr add 2001:db8::10/64 dev c0 nodad
		addr add 10.9.0.10/24 dev b0
		addr add fd09::10/64 dev b0 nodad
		route add blackhole 10.66.0.0/16`)
	s.forward()
	r := &natRig{space: s}
	r.proxy, r.nat = openNAT(t, s, Config{CgroupPath: natGroup(t)}, cfg)
	c0 := s.link("c0")
	r.mac, r.index = c0.HardwareAddr, c0.Index
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}
	if err := errors.Join(r.proxy.SetNodeAddresses(addrs), r.nat.SetAddresses(addrs)); err != nil {
		t.Fatal(err)
	}
	return r
}

// What openNAT gives a Proxy where it is not to be of the present schema.
var (
	natSchema  int
	natCarried map[int][]string
)

// openNAT opens both halves; sizes that are not given are small.
func openNAT(t testing.TB, s *space, cfg Config, natCfg NATConfig) (*Proxy, *NAT) {
	t.Helper()
	if cfg.Sizes == (Sizes{}) {
		cfg.Sizes = Sizes{Frontends: 256, Backends: 1024, Slots: 8192, Affinity: 1024, Datagrams: 256, SourceRanges: 256, NodeAddresses: 64}
	}
	if _, bench := t.(*testing.B); !bench && natCfg.Connections == 0 {
		natCfg.Connections = 4096
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if natSchema != 0 {
		p.schema, p.carried = natSchema, natCarried
	}
	n, err := NewNAT(p, natCfg)
	if err != nil {
		t.Fatal(err)
	}
	s.do(func() { err = errors.Join(p.Open(context.Background()), n.Open(context.Background())) })
	t.Cleanup(func() {
		if err := errors.Join(n.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		skipUnsupported(t, err)
	}
	return p, n
}

func (r *natRig) sync(services ...Service) {
	r.t.Helper()
	if err := r.proxy.Sync(context.Background(), services); err != nil {
		r.t.Fatal(err)
	}
}

// external is a service at addr, or on a node port when that begins with a colon, with the backends given.
func external(proto Protocol, addr string, backends ...Backend) Service {
	f := Frontend{Protocol: proto, Scope: External}
	if addr[0] == ':' {
		f.Port = netip.MustParseAddrPort("0.0.0.0" + addr).Port()
	} else {
		ap := netip.MustParseAddrPort(addr)
		f.Addr, f.Port = ap.Addr(), ap.Port()
	}
	return Service{Frontend: f, Name: "test/" + addr, Backends: backends}
}

func remote(addr string) Backend {
	ap := netip.MustParseAddrPort(addr)
	return Backend{Addr: ap.Addr(), Port: ap.Port(), Name: "test/" + addr}
}

func local(addr string) Backend {
	b := remote(addr)
	b.Local = true
	return b
}

// skb is the part of the kernel's struct __sk_buff that a test may set.
type skb struct {
	_       [40]byte // up to ifindex
	Ifindex uint32
	_       [120]byte // up to gso_segs
	GSOSegs uint32
	_       [8]byte
	GSOSize uint32
	_       [12]byte
}

type raw interface{ bytes(mac []byte) []byte }

type rawBytes []byte

func (b rawBytes) bytes([]byte) []byte { return b }

// run gives a program a packet and answers its verdict and the packet as it left it.
func (r *natRig) run(program string, f raw) (verdict uint32, out []byte) {
	r.t.Helper()
	return r.runSegments(program, f, 0)
}

// runSegments gives a program an aggregate of segments of a size.
func (r *natRig) runSegments(program string, f raw, size uint32) (verdict uint32, out []byte) {
	r.t.Helper()
	verdict, out, err := r.try(program, f.bytes(r.mac), size)
	if err != nil {
		r.t.Fatalf("run %s: %v", program, err)
	}
	return verdict, out
}

func (r *natRig) try(program string, in []byte, size uint32) (verdict uint32, out []byte, err error) {
	ctx := skb{Ifindex: uint32(r.index), GSOSize: size}
	if size > 0 {
		ctx.GSOSegs = (uint32(len(in)) + size - 1) / size
	}
	opts := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: ctx, Repeat: 1}
	entered := r.enter(func() { verdict, err = r.nat.programs.Programs[program].Run(opts) })
	return verdict, opts.DataOut, errors.Join(entered, err)
}

// in runs the incoming program, which must answer verdict, and reads what it made of the packet.
func (r *natRig) in(f raw, verdict uint32) seen {
	r.t.Helper()
	return r.pass("petrel_nat_in", f, verdict)
}

func (r *natRig) out(f raw) seen {
	r.t.Helper()
	return r.pass("petrel_nat_out", f, tcNext)
}

func (r *natRig) pass(program string, f raw, verdict uint32) seen {
	r.t.Helper()
	got, out := r.run(program, f)
	if got != verdict {
		r.t.Fatalf("%s answers %d, want %d", program, int32(got), int32(verdict))
	}
	if verdict == tcShot {
		return seen{}
	}
	s, err := read(out[14:], false)
	if err != nil {
		r.t.Fatalf("%s: %v", program, err)
	}
	return s
}

// untouched: the program leaves the packet as it is.
func (r *natRig) untouched(program string, f raw) {
	r.t.Helper()
	verdict, out := r.run(program, f)
	if verdict != tcNext || !bytes.Equal(out, f.bytes(r.mac)) {
		r.t.Fatalf("%s answers %d and made %x of %x", program, int32(verdict), out, f.bytes(r.mac))
	}
}

func (r *natRig) stats() NATStats {
	r.t.Helper()
	now, err := r.nat.Stats()
	if err != nil {
		r.t.Fatal(err)
	}
	return since(now, r.base)
}

// since is what now counts more than base.
func since(now, base NATStats) NATStats {
	n, b := reflect.ValueOf(&now).Elem(), reflect.ValueOf(base)
	for i := range n.NumField() {
		if f := n.Field(i); f.CanUint() {
			f.SetUint(f.Uint() - b.Field(i).Uint())
		}
	}
	return now
}

// of is the rig for a part of a test: with an empty table and counters at zero.
func (r *natRig) of(t *testing.T) *natRig {
	t.Helper()
	part := r.with(t)
	for k := range part.entries() {
		if err := part.table().Delete(&k); err != nil {
			t.Fatal(err)
		}
	}
	part.sync()
	part.base = NATStats{}
	part.base = part.stats()
	return part
}

// with is the rig for a subtest.
func (r *natRig) with(t *testing.T) *natRig {
	part := *r
	part.space = &space{t: t, fd: r.fd, origin: r.origin}
	return &part
}

// entries reads the whole table.
func (r *natRig) entries() map[bpf.NatNatTuple]bpf.NatNatEntry {
	r.t.Helper()
	all := map[bpf.NatNatTuple]bpf.NatNatEntry{}
	var k bpf.NatNatTuple
	var v bpf.NatNatEntry
	it := r.table().Iterate()
	for it.Next(&k, &v) {
		all[k] = v
	}
	if err := it.Err(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// sweepAfter sweeps as if it were later.
func (r *natRig) sweepAfter(d time.Duration) {
	r.t.Helper()
	now, err := kernelNow()
	if err == nil {
		r.nat.mu.Lock()
		err = r.nat.sweep(now + uint64(d))
		r.nat.mu.Unlock()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *natRig) table() *ebpf.Map { return r.nat.programs.Maps["petrel_nat"] }

// expect compares both ends of a packet.
func (s seen) expect(t *testing.T, src, dst string) {
	t.Helper()
	if s.src.String() != src || s.dst.String() != dst {
		t.Fatalf("packet is %s, want %s -> %s", s, src, dst)
	}
}

// family is a set of addresses that a test runs with.
type family struct {
	name                                                  string
	client, node, other, backend, backend2, pod, external string
}

var bothFamilies = []family{
	{"IPv4", "192.0.2.1", "192.0.2.10", "10.9.0.10", "10.9.0.20", "10.9.0.21", "10.42.0.5", "198.51.100.7"},
	{"IPv6", "[2001:db8::1]", "[2001:db8::10]", "[fd09::10]", "[fd09::20]", "[fd09::21]", "[fd42::5]", "[2001:db8:1::7]"},
}

// eachFamily runs a test for each family and protocol.
func eachFamily(t *testing.T, test func(t *testing.T, r *natRig, f family, proto Protocol)) {
	t.Helper()
	r := newNATRig(t, NATConfig{})
	for _, f := range bothFamilies {
		for _, proto := range []Protocol{TCP, UDP} {
			t.Run(f.name+"/"+proto.String(), func(t *testing.T) {
				test(t, r.of(t), f, proto)
			})
		}
	}
}

// opening is a packet that opens a connection.
func opening(proto Protocol, src, dst string) frame {
	if proto == TCP {
		return tcp(src, dst, flagSyn, "")
	}
	return udp(src, dst, "query")
}

// answering is a packet that answers one.
func answering(proto Protocol, src, dst string) frame {
	if proto == TCP {
		return tcp(src, dst, flagSyn|flagAck, "")
	}
	return udp(src, dst, "answer")
}

func sortedKeys(all map[bpf.NatNatTuple]bpf.NatNatEntry, kind uint8) (keys []bpf.NatNatTuple) {
	for k, e := range all {
		if e.Kind == kind {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b bpf.NatNatTuple) int { return int(a.Dport) - int(b.Dport) })
	return keys
}
