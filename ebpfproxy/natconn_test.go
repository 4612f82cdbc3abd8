package ebpfproxy

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// TestNATFragments: fragments without ports go with their first one, whichever way they go.
func TestNATFragments(t *testing.T) {
	rig := newNATRig(t, NATConfig{})
	for _, f := range bothFamilies {
		t.Run(f.name, func(t *testing.T) {
			r := rig.of(t)
			r.sync(external(UDP, ":30053", remote(f.backend+":53")), external(UDP, ":30054", local(f.pod+":53")))
			for _, c := range []struct {
				at      string
				verdict uint32
				out     func(raw) seen
			}{
				{":30053", tcRedirect, func(p raw) seen { return r.in(p, tcRedirect) }},
				{":30054", tcNext, r.out},
			} {
				p := udp(f.client+":5000", f.node+c.at, string(make([]byte, 2000)))
				p.fragment, p.id, p.cut = true, 77, 1000
				later := p
				later.offset, later.cut = 1000, 0
				other := later
				other.id++
				r.untouched("petrel_nat_in", other) // its first was never seen
				sent := r.in(p, c.verdict)
				got := r.in(later, c.verdict)
				if got.src.Addr() != sent.src.Addr() || got.dst.Addr() != sent.dst.Addr() || !got.later {
					t.Fatalf("the first goes %s, the second %s", sent, got)
				}
				answer := p
				answer.src, answer.dst, answer.id = sent.dst, sent.src, 78
				second := answer
				second.offset, second.cut = 1000, 0
				c.out(answer).expect(t, f.node+c.at, f.client+":5000")
				if got := c.out(second); got.src.Addr().String() != bare(f.node) || got.dst.Addr().String() != bare(f.client) {
					t.Fatalf("the answer's second goes %s", got)
				}
			}
			if s := r.stats(); s.FragmentsUnknown != 2 || s.Connections != 2 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// TestNATFragmentsForgotten: an identification comes again after a while, of another datagram.
func TestNATFragmentsForgotten(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30053", remote("10.9.0.20:53")))
	p := udp("192.0.2.1:5000", "192.0.2.10:30053", string(make([]byte, 2000)))
	p.fragment, p.id, p.cut = true, 77, 1000
	r.in(p, tcRedirect)
	frags := r.nat.programs.Maps["petrel_natfrag"]
	var k bpf.NatNatFragKey
	var v bpf.NatNatFrag
	for it := frags.Iterate(); it.Next(&k, &v); {
		v.Last -= uint64(31 * time.Second)
		if err := frags.Put(&k, &v); err != nil {
			t.Fatal(err)
		}
	}
	p.offset, p.cut = 1000, 0
	r.untouched("petrel_nat_in", p)
}

// TestNATAtomicFragment: a fragment header on what is no fragment changes nothing.
func TestNATAtomicFragment(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30053", remote("[fd09::20]:53")))
	p := udp("[2001:db8::1]:5000", "[2001:db8::10]:30053", "query")
	p.fragment = true
	r.in(p, tcRedirect).expect(t, r.in(p, tcRedirect).src.String(), "[fd09::20]:53")
	if s := r.stats(); s.FragmentsUnknown != 0 || s.Connections != 1 {
		t.Errorf("stats %+v", s)
	}
}

// fill opens connections until all ports of a range of 16 are taken, and answers the clients' ends and the nodes'.
func (r *natRig) fill(proto Protocol) (clients []string, nodes []netip.AddrPort) {
	r.t.Helper()
	for i := range 16 {
		clients = append(clients, fmt.Sprintf("192.0.2.1:%d", 5000+i))
		nodes = append(nodes, r.in(opening(proto, clients[i], "192.0.2.10:30080"), tcRedirect).src)
	}
	return clients, nodes
}

// TestNATExhaustion: when each port towards a backend is taken a new connection is dropped and told of, while others go
// on, towards another backend too; and one that closes makes room at once.
func TestNATExhaustion(t *testing.T) {
	rig := newNATRig(t, NATConfig{PortMin: 2000, PortMax: 2015})
	for _, proto := range []Protocol{TCP, UDP} {
		t.Run(proto.String(), func(t *testing.T) {
			r := rig.of(t)
			r.sync(external(proto, ":30080", remote("10.9.0.20:80")), external(proto, ":30081", remote("10.9.0.21:80")))
			clients, nodes := r.fill(proto)
			taken := map[uint16]bool{}
			for _, n := range nodes {
				taken[n.Port()] = true
			}
			if len(taken) != 16 {
				t.Fatalf("16 connections got %d ports", len(taken))
			}
			r.in(opening(proto, "192.0.2.1:6000", "192.0.2.10:30080"), tcShot)
			if s := r.stats(); s.Exhausted != 1 {
				t.Fatalf("stats %+v", s)
			}
			r.in(opening(proto, clients[0], "192.0.2.10:30080"), tcRedirect)
			r.in(opening(proto, "192.0.2.1:6000", "192.0.2.10:30081"), tcRedirect)
			if proto == UDP {
				return
			}
			r.in(tcp(clients[3], "192.0.2.10:30080", flagFin|flagAck, ""), tcRedirect)
			r.in(opening(proto, "192.0.2.1:6000", "192.0.2.10:30080"), tcShot) // one half is still open
			r.in(frame{src: nodes[3], dst: nodes[3], proto: TCP, flags: flagFin | flagAck, ttl: 64}.from("10.9.0.20:80"), tcRedirect)
			r.in(opening(proto, "192.0.2.1:6000", "192.0.2.10:30080"), tcRedirect).expect(t, nodes[3].String(), "10.9.0.20:80")
			// What comes late for the one that closed must not reach the one that has its port now.
			r.in(tcp(clients[3], "192.0.2.10:30080", flagAck, ""), tcNext).expect(t, clients[3], "192.0.2.10:0")
			if s := r.stats(); s.Reused != 1 || s.Exhausted != 2 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// TestNATReset: a reset from either side closes at once.
func TestNATReset(t *testing.T) {
	r := newNATRig(t, NATConfig{PortMin: 2000, PortMax: 2015})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")))
	clients, nodes := r.fill(TCP)
	r.in(tcp(clients[0], "192.0.2.10:30080", flagRst, ""), tcRedirect)
	r.in(tcp("10.9.0.20:80", nodes[1].String(), flagRst, ""), tcRedirect)
	for i := range 2 {
		r.in(tcp(fmt.Sprintf("192.0.2.1:%d", 6000+i), "192.0.2.10:30080", flagSyn, ""), tcRedirect)
	}
	r.in(tcp("192.0.2.1:6003", "192.0.2.10:30080", flagSyn, ""), tcShot)
}

// TestNATReopens: a client that closed may come again from the same port, and is given a backend anew.
func TestNATReopens(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")))
	syn := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, "")
	first := r.in(syn, tcRedirect)
	if again := r.in(syn, tcRedirect); again.src != first.src {
		t.Fatal("a repeated opening made another connection")
	}
	r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagRst, ""), tcRedirect)
	r.sync(external(TCP, ":30080", remote("10.9.0.21:80")))
	if second := r.in(syn, tcRedirect); second.dst.String() != "10.9.0.21:80" {
		t.Fatalf("the second connection went to %s", second.dst)
	}
}

// TestNATBackendGone: datagrams to a backend that left go to another at once; a stream lives for the grace and is then
// refused, so that its client need not wait.
func TestNATBackendGone(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.proxy.cfg.Grace = 300 * time.Millisecond
	both := func(backend string) []Service {
		return []Service{external(TCP, ":30080", remote(backend+":80")), external(UDP, ":30080", remote(backend+":80"))}
	}
	r.sync(both("10.9.0.20")...)
	syn, query := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, ""), udp("192.0.2.1:5000", "192.0.2.10:30080", "query")
	r.in(syn, tcRedirect)
	r.in(query, tcRedirect)
	r.sync(both("10.9.0.21")...)
	if got := r.in(query, tcRedirect); got.dst.String() != "10.9.0.21:80" {
		t.Errorf("a datagram went to %s", got.dst)
	}
	ack := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagAck, "more")
	if got := r.in(ack, tcRedirect); got.dst.String() != "10.9.0.20:80" {
		t.Errorf("a segment within the grace went to %s", got.dst)
	}
	deadline := time.Now().Add(60 * time.Second)
	for {
		_, out := r.run("petrel_nat_in", ack)
		got, err := read(out[14:], false)
		if err != nil {
			t.Fatal(err)
		}
		if got.dst.String() == "192.0.2.10:0" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the grace a segment goes to %s", got.dst)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := r.in(syn, tcRedirect); got.dst.String() != "10.9.0.21:80" {
		t.Errorf("a new connection went to %s", got.dst)
	}
}

// TestNATSweepGone: connections to a backend that is gone are forgotten soon, whatever their time.
func TestNATSweepGone(t *testing.T) {
	r := newNATRig(t, NATConfig{Timeouts: NATTimeouts{Stream: time.Hour, Closing: time.Second}})
	r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
	sent := r.in(udp("192.0.2.1:5000", "192.0.2.10:30080", "query"), tcRedirect)
	r.in(udp("10.9.0.20:80", sent.src.String(), "answer"), tcRedirect)
	r.sweepAfter(2 * time.Second)
	if n := len(r.entries()); n != 2 {
		t.Fatalf("%d entries while the backend is there", n)
	}
	r.sync(external(UDP, ":30080", remote("10.9.0.21:80")))
	r.sweepAfter(2 * time.Second)
	if n := len(r.entries()); n != 0 {
		t.Fatalf("%d entries are left", n)
	}
}

// TestNATBackendOfOldTables: after the tables have begun anew the same number may be another backend.
func TestNATBackendOfOldTables(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
	query := udp("192.0.2.1:5000", "192.0.2.10:30080", "query")
	r.in(query, tcRedirect)
	for k, e := range r.entries() {
		if e.Kind == natForward {
			e.Dst = natAddr(netip.MustParseAddr("10.9.0.99"))
			if err := r.table().Put(&k, &e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := r.in(query, tcRedirect); got.dst.String() != "10.9.0.20:80" {
		t.Errorf("a datagram went to %s", got.dst)
	}
}

// TestNATUnready: a backend that is to get nothing new keeps its stream, but not a client's next one.
func TestNATUnready(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")))
	syn := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, "")
	r.in(syn, tcRedirect)
	unready := remote("10.9.0.20:80")
	unready.State = Unready
	r.sync(external(TCP, ":30080", unready, remote("10.9.0.21:80")))
	if got := r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagAck, "more"), tcRedirect); got.dst.String() != "10.9.0.20:80" {
		t.Errorf("a segment went to %s", got.dst)
	}
	if got := r.in(syn, tcRedirect); got.dst.String() != "10.9.0.21:80" {
		t.Errorf("a new connection went to %s", got.dst)
	}
}

// TestNATHeals: an entry that the table threw away is made again from its peer.
func TestNATHeals(t *testing.T) {
	for _, kind := range []uint8{natForward, natReply} {
		r := newNATRig(t, NATConfig{})
		r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
		query := udp("192.0.2.1:5000", "192.0.2.10:30080", "query")
		sent := r.in(query, tcRedirect)
		answer := udp("10.9.0.20:80", sent.src.String(), "answer")
		r.in(answer, tcRedirect)
		for k, e := range r.entries() {
			if e.Kind == kind {
				if err := r.table().Delete(&k); err != nil {
					t.Fatal(err)
				}
				continue
			}
			e.Checked -= uint64(2 * time.Second)
			if err := r.table().Put(&k, &e); err != nil {
				t.Fatal(err)
			}
		}
		if kind == natForward {
			r.in(answer, tcRedirect)
		} else {
			r.in(query, tcRedirect)
		}
		r.in(answer, tcRedirect).expect(t, "192.0.2.10:30080", "192.0.2.1:5000")
		r.in(query, tcRedirect).expect(t, sent.src.String(), "10.9.0.20:80")
		if s := r.stats(); s.Healed != 1 || s.Connections != 1 {
			t.Errorf("stats %+v", s)
		}
	}
}

// TestNATStolen: a connection whose other half belongs to another by now is no connection.
func TestNATStolen(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
	query := udp("192.0.2.1:5000", "192.0.2.10:30080", "query")
	sent := r.in(query, tcRedirect)
	for k, e := range r.entries() {
		if e.Kind == natReply {
			e.Dport = swap16(7777)
		}
		e.Checked -= uint64(2 * time.Second)
		if err := r.table().Put(&k, &e); err != nil {
			t.Fatal(err)
		}
	}
	if again := r.in(query, tcRedirect); again.src == sent.src {
		t.Error("two connections have the same ends")
	}
}

// TestNATSweep: each kind of entry goes after its own time, a pair only as a whole.
func TestNATSweep(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")), external(UDP, ":30080", remote("10.9.0.20:80")), external(TCP, ":30081"))
	opened := r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, ""), tcRedirect)
	r.in(tcp("10.9.0.20:80", opened.src.String(), flagSyn|flagAck, ""), tcRedirect)
	r.in(tcp("192.0.2.1:5001", "192.0.2.10:30080", flagSyn, ""), tcRedirect)
	r.in(tcp("192.0.2.1:5002", "192.0.2.10:30080", flagSyn, ""), tcRedirect)
	r.in(tcp("192.0.2.1:5002", "192.0.2.10:30080", flagRst, ""), tcRedirect)
	asked := r.in(udp("192.0.2.1:5003", "192.0.2.10:30080", "query"), tcRedirect)
	r.in(udp("10.9.0.20:80", asked.src.String(), "answer"), tcRedirect)
	r.in(udp("192.0.2.1:5004", "192.0.2.10:30080", "query"), tcRedirect)
	r.in(tcp("192.0.2.1:5005", "192.0.2.10:30081", flagSyn, ""), tcNext)
	left := func(after time.Duration, want int) {
		t.Helper()
		r.sweepAfter(after)
		if got := len(r.entries()); got != want {
			t.Fatalf("after %s %d entries are left, want %d", after, got, want)
		}
	}
	left(0, 11)
	left(11*time.Second, 9)  // without the one that was reset
	left(31*time.Second, 6)  // without the datagram that was not answered, and the refusal
	left(61*time.Second, 4)  // without the opening
	left(121*time.Second, 2) // without the datagrams
	for k, e := range r.entries() {
		if e.Kind == natForward {
			e.Last += uint64(time.Minute)
			if err := r.table().Put(&k, &e); err != nil {
				t.Fatal(err)
			}
		}
	}
	left(6*time.Hour+30*time.Second, 2) // one half was used
	left(6*time.Hour+2*time.Minute, 0)
}

// TestNATSweepLoneEntries: an entry whose peer is lost, or another's, goes by itself.
func TestNATSweepLoneEntries(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
	r.in(udp("192.0.2.1:5000", "192.0.2.10:30080", "query"), tcRedirect)
	r.in(udp("192.0.2.1:5001", "192.0.2.10:30080", "query"), tcRedirect)
	first := true
	for _, k := range sortedKeys(r.entries(), natReply) {
		e := r.entries()[k]
		if first {
			if err := r.table().Delete(&k); err != nil {
				t.Fatal(err)
			}
		} else {
			e.Dport = swap16(7777)
			if err := r.table().Put(&k, &e); err != nil {
				t.Fatal(err)
			}
		}
		first = false
	}
	r.sweepAfter(time.Minute)
	if n := len(r.entries()); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// TestNATSweepPutsBack: an entry that was used between being seen and being deleted stays.
func TestNATSweepPutsBack(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
	r.in(udp("192.0.2.1:5000", "192.0.2.10:30080", "query"), tcRedirect)
	for k, e := range r.entries() {
		stale := e
		stale.Last--
		if err := remove(r.table(), &k, &stale); err != nil {
			t.Fatal(err)
		}
		if got := r.entries()[k]; got != e {
			t.Fatalf("entry is %+v, was %+v", got, e)
		}
	}
}

// TestNATFull: a table that is too small forgets what is oldest and serves on.
func TestNATFull(t *testing.T) {
	r := newNATRig(t, NATConfig{Connections: 64})
	r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
	for i := range 1000 {
		sent := r.in(udp(fmt.Sprintf("192.0.2.1:%d", 5000+i), "192.0.2.10:30080", "query"), tcRedirect)
		r.in(udp("10.9.0.20:80", sent.src.String(), "answer"), tcRedirect).expect(t, "192.0.2.10:30080", fmt.Sprintf("192.0.2.1:%d", 5000+i))
	}
	if n := len(r.entries()); n > 128 {
		t.Errorf("%d entries in a table of 128", n)
	}
}

// TestNATTells: what went wrong in the kernel is said once, with how often it did.
func TestNATTells(t *testing.T) {
	var log bytes.Buffer
	r := newNATRig(t, NATConfig{PortMin: 2000, PortMax: 2015, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	r.sync(external(UDP, ":30080", remote("10.9.0.20:80")))
	r.fill(UDP)
	if err := r.nat.tend(); err != nil || log.Len() > 0 {
		t.Fatalf("%v, said %s", err, log.String())
	}
	for range 3 {
		r.in(udp("192.0.2.1:6000", "192.0.2.10:30080", "query"), tcShot)
	}
	for range 2 {
		if err := r.nat.tend(); err != nil {
			t.Fatal(err)
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "connections=3 ports=16") {
			t.Fatalf("said %q", got)
		}
	}
}

// TestNATTakesPortAlone: taking the port of a connection that is over leaves its client's next one alone.
func TestNATTakesPortAlone(t *testing.T) {
	r := newNATRig(t, NATConfig{PortMin: 2000, PortMax: 2015})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")))
	clients, nodes := r.fill(TCP)
	r.in(tcp("10.9.0.20:80", nodes[0].String(), flagRst, ""), tcRedirect)
	// As if the client's entry had been lost, and it had come again and got another port.
	for k, e := range r.entries() {
		if e.Kind == natForward && k.Sport == swap16(netip.MustParseAddrPort(clients[0]).Port()) {
			e.Sport = swap16(2999)
			if err := r.table().Put(&k, &e); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.in(tcp("192.0.2.1:6000", "192.0.2.10:30080", flagSyn, ""), tcRedirect).expect(t, nodes[0].String(), "10.9.0.20:80")
	r.in(tcp(clients[0], "192.0.2.10:30080", flagAck, ""), tcRedirect).expect(t, "10.9.0.10:2999", "10.9.0.20:80")
}
