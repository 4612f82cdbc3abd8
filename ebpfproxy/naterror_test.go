package ebpfproxy

import (
	"net/netip"
	"testing"
)

// unreachable answers type and code of an error: a port's, or a packet's that is too large.
func (f family) unreachable(tooLarge bool) (typ, code byte) {
	switch {
	case f.name == "IPv4" && tooLarge:
		return 3, 4
	case f.name == "IPv4":
		return 3, 3
	case tooLarge:
		return 2, 0
	}
	return 1, 4
}

func bare(addr string) string { return netip.MustParseAddrPort(addr + ":0").Addr().String() }

// router is one between the nodes, or between a node and its clients.
var router = map[string]string{"IPv4": "203.0.113.9", "IPv6": "2001:db8:9::9"}

// TestNATErrorsToClient: what the way to a backend, or the backend, has to say about a client's packet reaches the
// client, in the client's terms: one that does not know how large packets may be sends no other.
func TestNATErrorsToClient(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, ":30080", remote(f.backend+":80")))
		client := f.client + ":5000"
		sent := r.in(opening(proto, client, f.node+":30080"), tcRedirect)
		quoted := opening(proto, sent.src.String(), sent.dst.String())
		quoted.payload = []byte("a request that is longer than any that can pass")
		for _, from := range []string{bare(f.backend), router[f.name]} {
			for _, length := range []int{20 + 20 + 8, len(quoted.ip())} {
				typ, code := f.unreachable(true)
				got := r.in(icmpError(from, sent.src.Addr().String(), typ, code, 1300, quoted.ip()[:min(max(length, 48), len(quoted.ip()))]), tcRedirect)
				if got.src.Addr().String() != bare(f.node) || got.dst.Addr().String() != bare(f.client) {
					t.Fatalf("the error goes %s -> %s", got.src.Addr(), got.dst.Addr())
				}
				got.inner.expect(t, client, f.node+":30080")
				if got.body[0] != typ || got.body[6] != 1300>>8 || got.body[7] != 1300&0xff {
					t.Fatalf("the error lost what it says: %x", got.body[:8])
				}
			}
		}
		if s := r.stats(); s.Errors != 4 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestNATErrorsToBackend: the same about an answer, which a router on the client's side could not forward.
func TestNATErrorsToBackend(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, ":30080", remote(f.backend+":80")), external(proto, ":30081", local(f.pod+":8080")))
		client := f.client + ":5000"
		typ, code := f.unreachable(true)

		sent := r.in(opening(proto, client, f.node+":30080"), tcRedirect)
		answer := answering(proto, f.node+":30080", client).ip()
		got := r.in(icmpError(router[f.name], bare(f.node), typ, code, 1300, answer), tcRedirect)
		if got.src.Addr() != sent.src.Addr() || got.dst.Addr().String() != bare(f.backend) {
			t.Fatalf("the error goes %s -> %s", got.src.Addr(), got.dst.Addr())
		}
		got.inner.expect(t, f.backend+":80", sent.src.String())

		r.in(opening(proto, client, f.node+":30081"), tcNext)
		answer = answering(proto, f.node+":30081", client).ip()
		got = r.in(icmpError(router[f.name], bare(f.node), typ, code, 1300, answer), tcNext)
		if got.src.Addr().String() != router[f.name] || got.dst.Addr().String() != bare(f.pod) {
			t.Fatalf("the error goes %s -> %s", got.src.Addr(), got.dst.Addr())
		}
		got.inner.expect(t, f.pod+":8080", client)
	})
}

// TestNATErrorsOfNode: a backend on this node, or this node's own stack, speaks as the service.
func TestNATErrorsOfNode(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, f.external+":80", local(f.pod+":8080")))
		client := f.client + ":5000"
		r.in(opening(proto, client, f.external+":80"), tcNext)
		quoted := opening(proto, client, f.pod+":8080").ip()
		for _, tooLarge := range []bool{false, true} {
			typ, code := f.unreachable(tooLarge)
			for _, from := range []string{bare(f.pod), bare(f.other)} {
				got := r.out(icmpError(from, bare(f.client), typ, code, 0, quoted))
				if got.src.Addr().String() != bare(f.external) {
					t.Fatalf("the error comes from %s", got.src.Addr())
				}
				got.inner.expect(t, client, f.external+":80")
			}
		}
	})
}

// TestNATErrorUnroutable: an error that cannot go on is left to the stack.
func TestNATErrorUnroutable(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30053", remote("10.9.0.20:53")))
	sent := r.in(udp("192.0.2.1:5000", "192.0.2.10:30053", "query"), tcRedirect)
	e := icmpError("10.9.0.20", "10.9.0.10", 3, 3, 0, udp(sent.src.String(), sent.dst.String(), "query").ip())
	b := e.bytes(r.mac)
	b[14+8] = 1 // its time is over
	b[14+10], b[14+11] = 0, 0
	check := ^fold(sum(b[14:34]))
	b[14+10], b[14+11] = byte(check>>8), byte(check)
	r.untouched("petrel_nat_in", rawBytes(b))
}

// TestNATThroughStack: a packet that cannot go straight on is given to the stack with the client's own address, so that
// the stack's errors find the client; what it sends on gets its last change as it leaves.
func TestNATThroughStack(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, ":30080", remote(f.backend+":80")))
		client := f.client + ":5000"
		sent := r.in(opening(proto, client, f.node+":30080"), tcRedirect)
		large := opening(proto, client, f.node+":30080")
		large.flags = flagAck
		large.payload = make([]byte, 1390) // with its headers more than 1400
		expired := large
		expired.payload, expired.ttl = nil, 1
		for name, p := range map[string]frame{"large": large, "expired": expired} {
			got := r.in(p, tcNext)
			got.expect(t, client, f.backend+":80")
			if got.ttl != p.ttl {
				t.Fatalf("%s: the stack is to see the time to live that came", name)
			}
		}
		// Sent on in fragments, or in time, by the stack:
		half := large
		half.dst = netip.MustParseAddrPort(f.backend + ":80")
		r.out(half).expect(t, sent.src.String(), f.backend+":80")
		// Or turned down by it:
		typ, code := f.unreachable(true)
		got := r.out(icmpError(bare(f.node), bare(f.client), typ, code, 1400, half.ip()[:68]))
		got.inner.expect(t, client, f.node+":30080")

		// The way back: an answer whose time is over is the backend's to hear of.
		answer := answering(proto, f.backend+":80", sent.src.String())
		answer.ttl = 1
		r.in(answer, tcNext).expect(t, f.backend+":80", client)
		back := answering(proto, f.backend+":80", client)
		r.out(back).expect(t, f.node+":30080", client)
		got = r.out(icmpError(bare(f.other), bare(f.backend), typ, code, 1400, back.ip()))
		got.inner.expect(t, f.backend+":80", sent.src.String())
		if s := r.stats(); s.ThroughStack != 3 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestNATNoRoute: without a way to the backend the stack is to say so.
func TestNATNoRoute(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.66.0.1:80")))
	r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, ""), tcNext).expect(t, "192.0.2.1:5000", "10.66.0.1:80")
	if err := r.nat.SetAddresses(nil); err != nil {
		t.Fatal(err)
	}
	r.in(tcp("192.0.2.1:5001", "192.0.2.10:30080", flagSyn, ""), tcShot) // nor an address to speak from
}

// TestNATKeptThroughStack: where the client's address is kept the stack is given the packet as it is to be.
func TestNATKeptThroughStack(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	s := external(TCP, ":30080", remote("10.9.0.20:80"))
	s.KeepClientIP = true
	r.sync(s)
	p := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, "")
	p.ttl = 1
	r.in(p, tcNext).expect(t, "192.0.2.1:5000", "10.9.0.20:80")
	back := tcp("10.9.0.20:80", "192.0.2.1:5000", flagSyn|flagAck, "")
	back.ttl = 1
	r.untouched("petrel_nat_in", back) // and an answer as it came
	r.out(tcp("10.9.0.20:80", "192.0.2.1:5000", flagSyn|flagAck, "")).expect(t, "192.0.2.10:30080", "192.0.2.1:5000")
}

// TestNATAggregates: of an aggregate of segments, each must fit, not the whole.
func TestNATAggregates(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")))
	r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, ""), tcRedirect)
	large := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagAck, string(make([]byte, 3000)))
	if verdict, _ := r.runSegments("petrel_nat_in", large, 1300); verdict != tcRedirect {
		t.Errorf("segments of 1300 bytes: %d", int32(verdict))
	}
	if verdict, _ := r.runSegments("petrel_nat_in", large, 1390); verdict != tcNext {
		t.Errorf("segments of 1390 bytes: %d", int32(verdict))
	}
}
