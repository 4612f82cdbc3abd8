package ebpfproxy

import (
	"net/netip"
	"testing"
	"time"
)

// TestNATMasquerades: a backend on another node gets this node's address, a hop less and a port of the range; its
// answers come from the node port, and nothing is left out of a checksum.
func TestNATMasquerades(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, ":30080", remote(f.backend+":80")))
		for _, client := range []string{f.client + ":5000", f.client + ":5001"} {
			first := opening(proto, client, f.node+":30080")
			got := r.in(first, tcRedirect)
			port := got.src.Port()
			got.expect(t, netip.AddrPortFrom(netip.MustParseAddrPort(f.other+":0").Addr(), port).String(), f.backend+":80")
			if port < defaultNATPortMin || port > defaultNATPortMax || got.ttl != 63 {
				t.Fatalf("source port %d, time to live %d", port, got.ttl)
			}
			answer := frame{src: got.dst, dst: got.src, proto: proto, flags: flagSyn | flagAck, ttl: 64, payload: []byte("answer")}
			r.in(answer, tcRedirect).expect(t, f.node+":30080", client)
			more := first
			more.flags, more.payload = flagAck, []byte("more")
			if again := r.in(more, tcRedirect); again.src != got.src || again.dst != got.dst {
				t.Fatalf("the next packet became %s, the first %s", again, got)
			}
		}
		if s := r.stats(); s.Connections != 2 || s.Forwarded != 4 || s.Replied != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestNATLocal: a backend on this node sees the client, and its answers are changed as they leave.
func TestNATLocal(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, f.external+":80", local(f.pod+":8080")))
		client := f.client + ":5000"
		r.in(opening(proto, client, f.external+":80"), tcNext).expect(t, client, f.pod+":8080")
		r.out(answering(proto, f.pod+":8080", client)).expect(t, f.external+":80", client)
		r.untouched("petrel_nat_out", opening(proto, f.pod+":8081", client))
	})
}

// TestNATKeepsClient: with KeepClientIP another node's backend sees the client too, and its port.
func TestNATKeepsClient(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		s := external(proto, ":30080", remote(f.backend+":80"))
		s.KeepClientIP = true
		second := external(proto, ":30081", remote(f.backend+":80"))
		second.KeepClientIP = true
		r.sync(s, second)
		client := f.client + ":5000"
		r.in(opening(proto, client, f.node+":30080"), tcRedirect).expect(t, client, f.backend+":80")
		r.in(answering(proto, f.backend+":80", client), tcRedirect).expect(t, f.node+":30080", client)
		// The same ends by another way need another port, or answers could not be told apart.
		other := r.in(opening(proto, client, f.node+":30081"), tcRedirect)
		if other.src.Addr().String() != netip.MustParseAddrPort(client).Addr().String() || other.src.Port() == 5000 {
			t.Fatalf("second connection comes from %s", other.src)
		}
		r.in(frame{src: other.dst, dst: other.src, proto: proto, flags: flagAck, ttl: 9}, tcRedirect).expect(t, f.node+":30081", client)
	})
}

// TestNATRefuses: where there is no backend the stack is given a packet for a port that nothing can listen on, and its
// answer comes from the service.
func TestNATRefuses(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, f.external+":80"), external(proto, ":30080"))
		client := f.client + ":5000"
		for _, at := range []string{f.external + ":80", f.node + ":30080"} {
			got := r.in(opening(proto, client, at), tcNext)
			got.expect(t, client, f.node+":0")
			if proto == TCP {
				r.out(tcp(f.node+":0", client, flagRst|flagAck, "")).expect(t, at, client)
				continue
			}
			typ, code := byte(3), byte(3)
			if got.src.Addr().Is6() {
				typ, code = 1, 4
			}
			quoted := udp(client, f.node+":0", "query").ip()
			host := func(s string) string { return netip.MustParseAddrPort(s + ":0").Addr().String() }
			e := r.out(icmpError(host(f.node), host(f.client), typ, code, 0, quoted))
			e.inner.expect(t, client, at)
			if e.src.Addr() != netip.MustParseAddrPort(at).Addr() {
				t.Fatalf("the error comes from %s", e.src.Addr())
			}
		}
		if s := r.stats(); s.Refused != 2 || s.Connections != 0 {
			t.Errorf("stats %+v", s)
		}
		if proto == TCP {
			r.in(tcp(client, f.external+":80", flagRst, ""), tcShot) // a reset is not answered
		}
	})
}

// TestNATRefusesMiddle: a segment of a connection that nobody knows is refused, so that its client need not wait.
func TestNATRefusesMiddle(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")))
	r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagAck, "middle"), tcNext).expect(t, "192.0.2.1:5000", "192.0.2.10:0")
}

// TestNATDrops: what is to be dropped rather than refused, and what cannot be refused for want of an address.
func TestNATDrops(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	drop := external(TCP, ":30080")
	drop.Drop = true
	r.sync(drop, external(TCP, "198.51.100.7:80"))
	r.in(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, ""), tcShot)
	if err := r.nat.SetAddresses(nil); err != nil {
		t.Fatal(err)
	}
	r.in(tcp("192.0.2.1:5000", "198.51.100.7:80", flagSyn, ""), tcShot)
	if s := r.stats(); s.Dropped != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestNATSourceRanges(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		s := external(proto, f.external+":80", local(f.pod+":8080"))
		s.SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/30"), netip.MustParsePrefix("2001:db8::/126")}
		r.sync(s)
		r.in(opening(proto, f.client+":5000", f.external+":80"), tcNext)
		outside := map[string]string{"IPv4": "192.0.2.77:5000", "IPv6": "[2001:db8::77]:5000"}[f.name]
		r.in(opening(proto, outside, f.external+":80"), tcShot)
		if got := r.stats(); got.Denied != 1 {
			t.Errorf("stats %+v", got)
		}
	})
}

// TestNATAffinity: a client's connections go to one backend while its time lasts, others' to others.
func TestNATAffinity(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	var backends []Backend
	for _, a := range []string{"10.9.0.20:80", "10.9.0.21:80", "10.9.0.22:80", "10.9.0.23:80"} {
		backends = append(backends, remote(a))
	}
	s := external(TCP, ":30080", backends...)
	s.Affinity = time.Minute
	r.sync(s)
	hit := map[netip.AddrPort]bool{}
	for client := range 16 {
		var first netip.AddrPort
		for port := range 8 {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + client)}), uint16(5000+port))
			got := r.in(tcp(src.String(), "192.0.2.10:30080", flagSyn, ""), tcRedirect).dst
			if port == 0 {
				first = got
			}
			if got != first {
				t.Fatalf("client %s went to %s and to %s", src.Addr(), first, got)
			}
			hit[got] = true
		}
	}
	if len(hit) < 3 {
		t.Errorf("16 clients went to %d of 4 backends", len(hit))
	}
}

// TestNATSpreads: without affinity connections are spread evenly, by a hash that another node would compute as well.
func TestNATSpreads(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	s := external(TCP, ":30080", remote("10.9.0.20:80"), remote("10.9.0.21:80"), remote("10.9.0.22:80"))
	s.Maglev = true
	r.sync(s)
	choose := func() (all []netip.AddrPort) {
		for i := range 300 {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i%50)}), uint16(5000+i))
			all = append(all, r.in(tcp(src.String(), "192.0.2.10:30080", flagSyn, ""), tcRedirect).dst)
		}
		return all
	}
	first := choose()
	count := map[netip.AddrPort]int{}
	for _, b := range first {
		count[b]++
	}
	for b, n := range count {
		if n < 60 {
			t.Errorf("backend %s got %d of 300", b, n)
		}
	}
	for k := range r.entries() {
		if err := r.table().Delete(&k); err != nil {
			t.Fatal(err)
		}
	}
	for i, b := range choose() {
		if b != first[i] {
			t.Fatalf("connection %d went to %s, then to %s", i, first[i], b)
		}
	}
}

// TestNATLeavesAlone: all that is nothing of ours goes on as it came.
func TestNATLeavesAlone(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")), external(UDP, ":30053", remote("10.9.0.20:53")))
	otherHost := rawBytes(tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, "").bytes([]byte{2, 0, 0, 0, 0, 8}))
	arp := rawBytes(append(append(append([]byte{}, r.mac...), 2, 0, 0, 0, 0, 9, 8, 6), make([]byte, 40)...))
	echo := icmpError("192.0.2.1", "192.0.2.10", 8, 0, 0, []byte("ping ping ping ping ping"))
	mapped := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, "").ip()[20:]
	six := frame{src: netip.MustParseAddrPort("[::ffff:192.0.2.1]:5000"), dst: netip.MustParseAddrPort("[::ffff:192.0.2.10]:30080"), ttl: 64}
	disguised := rawBytes(ether(six.src.Addr(), r.mac, ipHeader(six, byte(TCP), mapped, false)))
	for name, f := range map[string]raw{
		"another port":       tcp("192.0.2.1:5000", "192.0.2.10:30081", flagSyn, ""),
		"another protocol":   udp("192.0.2.1:5000", "192.0.2.10:30080", ""),
		"another address":    tcp("192.0.2.1:5000", "192.0.2.11:30080", flagSyn, ""),
		"another host":       otherHost,
		"ARP":                arp,
		"echo":               echo,
		"mapped addresses":   disguised,
		"a strange error":    icmpError("192.0.2.1", "192.0.2.10", 3, 3, 0, tcp("192.0.2.10:80", "192.0.2.1:5000", flagAck, "").ip()),
		"not for its source": icmpError("192.0.2.1", "192.0.2.10", 3, 3, 0, tcp("192.0.2.11:80", "192.0.2.1:5000", flagAck, "").ip()),
	} {
		t.Run(name, func(t *testing.T) {
			r := r.with(t)
			r.untouched("petrel_nat_in", f)
			if name != "another host" {
				r.untouched("petrel_nat_out", f)
			}
		})
	}
	if n := len(r.entries()); n != 0 {
		t.Errorf("%d entries were made", n)
	}
}

// TestNATCutShort: a packet that ends anywhere within its headers is left alone, or is what it seems to be.
func TestNATCutShort(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80"), remote("[fd09::20]:80")), external(UDP, ":30053", remote("10.9.0.20:53"), remote("[fd09::20]:53")))
	options := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, "")
	options.options = 40
	extended := udp("[2001:db8::1]:5000", "[2001:db8::10]:30053", "")
	extended.headers = []byte{0, 60, 43}
	for name, c := range map[string]struct {
		f           raw
		from, whole int // from which length on it may be taken
	}{
		"TCP":          {tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, ""), 14 + 20, 14 + 20 + 18},
		"TCP, options": {options, 14 + 20, 14 + 60 + 18},
		"UDP":          {udp("192.0.2.1:5000", "192.0.2.10:30053", ""), 14 + 20, 14 + 20 + 8},
		"UDP, headers": {extended, 14 + 40, 14 + 40 + 24 + 8},
		"error":        {icmpError("192.0.2.1", "192.0.2.10", 3, 3, 0, tcp("192.0.2.10:30080", "192.0.2.1:5000", flagAck, "").ip()), 14 + 20, 14 + 20 + 8 + 20 + 8},
	} {
		t.Run(name, func(t *testing.T) {
			r := r.with(t)
			b := c.f.bytes(r.mac)
			// The kernel runs no program on a frame without its IP header.
			for n := c.from; n < c.whole; n++ {
				r.untouched("petrel_nat_in", rawBytes(b[:n]))
				r.untouched("petrel_nat_out", rawBytes(b[:n]))
			}
		})
	}
	if n := len(r.entries()); n != 0 {
		t.Errorf("%d entries were made", n)
	}
	if s := r.stats(); s.Malformed == 0 {
		t.Error("none was counted")
	}
}

// TestNATGarbage: what lies about its lengths and kinds is taken for nothing, or for a packet.
func TestNATGarbage(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(TCP, ":30080", remote("10.9.0.20:80")))
	good := tcp("192.0.2.1:5000", "192.0.2.10:30080", flagSyn, "").bytes(r.mac)
	change := func(at int, to byte) rawBytes {
		b := append(rawBytes{}, good...)
		b[at] = to
		return b
	}
	r.untouched("petrel_nat_in", change(14, 0x44)) // header too short for itself
	r.untouched("petrel_nat_in", change(14, 0x65)) // another version
	six := tcp("[2001:db8::1]:5000", "[2001:db8::10]:30080", flagSyn, "")
	six.headers = []byte{60, 60, 60, 60, 60, 60, 60}
	r.untouched("petrel_nat_in", six) // more headers than anyone sends
	b := six.bytes(r.mac)
	b[14] = 0x40
	r.untouched("petrel_nat_in", rawBytes(b))
	long := tcp("[2001:db8::1]:5000", "[2001:db8::10]:30080", flagSyn, "")
	long.headers = []byte{60}
	b = long.bytes(r.mac)
	b[14+40+1] = 255 // a header that ends behind the packet
	r.untouched("petrel_nat_in", rawBytes(b))
}

// TestNATOptions: IPv4 options and IPv6 extension headers stay where they are.
func TestNATOptions(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *natRig, f family, proto Protocol) {
		r.sync(external(proto, ":30080", remote(f.backend+":80")))
		p := opening(proto, f.client+":5000", f.node+":30080")
		p.options = 8
		p.headers = []byte{0, 60}
		if got := r.in(p, tcRedirect); got.dst.String() != f.backend+":80" {
			t.Fatalf("packet is %s", got)
		}
	})
}

// TestNATNoChecksum: UDP's checksum of 0 says that there is none, and none is made up.
func TestNATNoChecksum(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	r.sync(external(UDP, ":30053", remote("10.9.0.20:53")))
	p := udp("192.0.2.1:5000", "192.0.2.10:30053", "query")
	p.noCsum = true
	if got := r.in(p, tcRedirect); !got.noCsum {
		t.Error("a checksum was made up")
	}
}

// swap16 is a port in the network's order.
func swap16(p uint16) uint16 { return p<<8 | p>>8 }
