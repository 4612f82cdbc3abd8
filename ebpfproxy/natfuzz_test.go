package ebpfproxy

import (
	"bytes"
	"net/netip"
	"testing"
)

// FuzzNATPacket: whatever comes, the programs answer with what they may, keep a packet's length, break no checksum of an
// IPv4 header, and let go unchanged what they do not send on.
func FuzzNATPacket(f *testing.F) {
	r := newNATRig(f, NATConfig{})
	both := func(proto Protocol) Service {
		return external(proto, ":30080", remote("10.9.0.20:80"), remote("[fd09::20]:80"))
	}
	if err := r.proxy.Sync(f.Context(), []Service{both(TCP), both(UDP), external(TCP, ":30081", local("10.42.0.5:80"))}); err != nil {
		f.Fatal(err)
	}
	for _, a := range bothFamilies {
		client := a.client + ":5000"
		for _, proto := range []Protocol{TCP, UDP} {
			p := opening(proto, client, a.node+":30080")
			f.Add(p.ip(), false)
			f.Add(answering(proto, a.backend+":80", client).ip(), true)
			typ, code := a.unreachable(true)
			f.Add(icmpError(router[a.name], bare(a.node), typ, code, 1300, answering(proto, a.node+":30080", client).ip()).ip, false)
			p.payload = make([]byte, 64)
			p.options, p.headers = 12, []byte{0, 60}
			p.fragment, p.id, p.cut = true, 9, 40
			f.Add(p.ip(), false)
			p.offset, p.cut = 40, 0
			f.Add(p.ip(), false)
		}
	}
	f.Fuzz(func(t *testing.T, ip []byte, out bool) {
		if len(ip) < 20 || len(ip) > 2000 {
			return
		}
		family := netip.IPv4Unspecified()
		if ip[0]>>4 == 6 {
			family = netip.IPv6Unspecified()
		}
		program := "petrel_nat_in"
		if out {
			program = "petrel_nat_out"
		}
		in := ether(family, r.mac, ip)
		verdict, got, err := r.try(program, in, 0)
		if err != nil {
			return // the kernel runs no program on it
		}
		if verdict != tcNext && verdict != tcShot && verdict != tcRedirect {
			t.Fatalf("verdict %d", int32(verdict))
		}
		if len(got) != len(in) || !bytes.Equal(got[:14], in[:14]) {
			t.Fatalf("%x became %x", in, got)
		}
		if verdict == tcShot && !bytes.Equal(got, in) {
			t.Fatalf("%x was dropped as %x", in, got)
		}
		if family.Is6() || ip[0]>>4 != 4 || ip[0]&15 < 5 || len(ip) < int(ip[0]&15)*4 {
			return
		}
		header := 14 + int(ip[0]&15)*4
		if fold(sum(in[14:header])) == 0xffff && fold(sum(got[14:header])) != 0xffff {
			t.Fatalf("%x became %x", in, got)
		}
	})
}
