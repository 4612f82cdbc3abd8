package ebpfproxy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

const (
	flagFin = 1
	flagSyn = 2
	flagRst = 4
	flagAck = 16

	protoICMP   = 1
	protoICMPv6 = 58
	protoFrag   = 44
)

// frame is a packet on the wire, as far as tests set or look at it.
type frame struct {
	src, dst netip.AddrPort
	proto    Protocol
	flags    byte
	ttl      byte
	payload  []byte
	options  int    // bytes of IPv4 options
	headers  []byte // protocol numbers of IPv6 extension headers, 8 bytes each
	noCsum   bool   // UDP without a checksum

	fragment bool // and then:
	id       uint32
	offset   int // within the transport segment; a multiple of 8
	cut      int // where this fragment ends; 0: at the segment's end
}

func tcp(src, dst string, flags byte, payload string) frame {
	return frame{src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), proto: TCP, flags: flags, ttl: 64, payload: []byte(payload)}
}

func udp(src, dst string, payload string) frame {
	return frame{src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), proto: UDP, ttl: 64, payload: []byte(payload)}
}

// from is the frame with another source.
func (f frame) from(src string) frame {
	f.src = netip.MustParseAddrPort(src)
	return f
}

// bytes is the frame with its Ethernet header.
func (f frame) bytes(mac []byte) []byte { return ether(f.src.Addr(), mac, f.ip()) }

func ether(a netip.Addr, mac, ip []byte) []byte {
	b := make([]byte, 14, 14+len(ip))
	copy(b, mac)
	copy(b[6:], []byte{2, 0, 0, 0, 0, 9})
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	if a.Is6() {
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
	}
	return append(b, ip...)
}

// ip is the frame from its IP header on.
func (f frame) ip() []byte {
	seg := f.segment()
	if f.fragment {
		end := f.cut
		if end == 0 {
			end = len(seg)
		}
		more := end < len(seg)
		seg = seg[f.offset:end]
		return ipHeader(f, byte(f.proto), seg, more)
	}
	return ipHeader(f, byte(f.proto), seg, false)
}

func ipHeader(f frame, proto byte, body []byte, more bool) []byte {
	src, dst := f.src.Addr(), f.dst.Addr()
	if src.Is4() {
		h := make([]byte, 20+f.options)
		h[0] = 0x40 | byte(len(h)/4)
		for i := 20; i < len(h); i++ {
			h[i] = 1 // no operation
		}
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(body)))
		binary.BigEndian.PutUint16(h[4:], uint16(f.id))
		frag := uint16(f.offset / 8)
		if more {
			frag |= 0x2000
		}
		if !f.fragment {
			frag = 0x4000 // don't
		}
		binary.BigEndian.PutUint16(h[6:], frag)
		h[8], h[9] = f.ttl, proto
		copy(h[12:], src.AsSlice())
		copy(h[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(h[10:], ^fold(sum(h)))
		return append(h, body...)
	}
	next := proto
	var ext []byte
	if f.fragment {
		h := []byte{next, 0, 0, 0, 0, 0, 0, 0}
		off := uint16(f.offset)
		if more {
			off |= 1
		}
		binary.BigEndian.PutUint16(h[2:], off)
		binary.BigEndian.PutUint32(h[4:], f.id)
		ext, next = append(h, ext...), protoFrag
	}
	for i := len(f.headers) - 1; i >= 0; i-- {
		ext = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, ext...) // padding within
		next = f.headers[i]
	}
	h := make([]byte, 40)
	h[0] = 0x60
	binary.BigEndian.PutUint16(h[4:], uint16(len(ext)+len(body)))
	h[6], h[7] = next, f.ttl
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(append(h, ext...), body...)
}

// segment is the transport header and what it carries, with its checksum.
func (f frame) segment() []byte {
	var b []byte
	at := 16
	if f.proto == TCP {
		b = make([]byte, 20)
		binary.BigEndian.PutUint32(b[4:], 1000)
		b[12], b[13] = 5<<4, f.flags
		binary.BigEndian.PutUint16(b[14:], 64000)
	} else {
		b = make([]byte, 8)
		binary.BigEndian.PutUint16(b[4:], uint16(8+len(f.payload)))
		at = 6
	}
	binary.BigEndian.PutUint16(b[0:], f.src.Port())
	binary.BigEndian.PutUint16(b[2:], f.dst.Port())
	b = append(b, f.payload...)
	if !f.noCsum {
		binary.BigEndian.PutUint16(b[at:], ^fold(pseudo(f.src.Addr(), f.dst.Addr(), byte(f.proto), len(b))+sum(b)))
	}
	return b
}

// icmpError is an error of type and code from router about inner, a packet from its IP header on.
func icmpError(router, to string, typ, code byte, mtu uint32, inner []byte) frame6or4 {
	src, dst := netip.MustParseAddr(router), netip.MustParseAddr(to)
	b := make([]byte, 8, 8+len(inner))
	b[0], b[1] = typ, code
	binary.BigEndian.PutUint32(b[4:], mtu)
	b = append(b, inner...)
	f := frame{src: netip.AddrPortFrom(src, 0), dst: netip.AddrPortFrom(dst, 0), ttl: 64}
	proto := byte(protoICMP)
	s := sum(b)
	if src.Is6() {
		proto = protoICMPv6
		s += pseudo(src, dst, proto, len(b))
	}
	binary.BigEndian.PutUint16(b[2:], ^fold(s))
	return frame6or4{src, ipHeader(f, proto, b, false)}
}

// frame6or4 is a packet from its IP header on.
type frame6or4 struct {
	src netip.Addr
	ip  []byte
}

func (f frame6or4) bytes(mac []byte) []byte { return ether(f.src, mac, f.ip) }

func sum(b []byte) (s uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

func pseudo(src, dst netip.Addr, proto byte, n int) uint32 {
	return sum(src.AsSlice()) + sum(dst.AsSlice()) + uint32(proto) + uint32(n)
}

// seen is what became of a packet.
type seen struct {
	src, dst netip.AddrPort
	proto    byte
	ttl      byte
	flags    byte
	noCsum   bool
	later    bool   // a fragment without ports
	inner    *seen  // of an ICMP error
	body     []byte // from the transport header on
}

func (s seen) String() string {
	text := fmt.Sprintf("%s -> %s proto %d", s.src, s.dst, s.proto)
	if s.inner != nil {
		text += fmt.Sprintf(" about %s", *s.inner)
	}
	return text
}

// read takes a packet apart, from its IP header on, and holds it to its checksums. quoted: within an ICMP error, where
// it may be cut off.
func read(b []byte, quoted bool) (seen, error) {
	var s seen
	var src, dst netip.Addr
	var whole, fragment bool
	if len(b) < 20 {
		return s, fmt.Errorf("%d bytes", len(b))
	}
	if b[0]>>4 == 4 {
		n := int(b[0]&15) * 4
		if got := fold(sum(b[:n])); got != 0xffff {
			return s, fmt.Errorf("checksum of the IPv4 header is off: %#x", got)
		}
		src, _ = netip.AddrFromSlice(b[12:16])
		dst, _ = netip.AddrFromSlice(b[16:20])
		frag := binary.BigEndian.Uint16(b[6:])
		s.later = frag&0x1fff != 0
		whole = frag&0x3fff == 0 && int(binary.BigEndian.Uint16(b[2:])) == len(b)
		fragment = frag&0x3fff != 0
		s.proto, s.ttl = b[9], b[8]
		s.body = b[n:]
	} else {
		src, _ = netip.AddrFromSlice(b[8:24])
		dst, _ = netip.AddrFromSlice(b[24:40])
		s.proto, s.ttl = b[6], b[7]
		whole = int(binary.BigEndian.Uint16(b[4:]))+40 == len(b)
		s.body = b[40:]
		for s.proto == 0 || s.proto == 43 || s.proto == 60 || s.proto == protoFrag {
			if s.proto == protoFrag {
				off := binary.BigEndian.Uint16(s.body[2:])
				fragment = off&0xfff9 != 0
				s.later, whole = off&0xfff8 != 0, whole && off&0xfff9 == 0
			}
			s.proto, s.body = s.body[0], s.body[8:]
			if s.later {
				break
			}
		}
	}
	s.src, s.dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	switch {
	case s.later:
		return s, nil
	case s.proto == protoICMP || s.proto == protoICMPv6:
		check := sum(s.body)
		if s.proto == protoICMPv6 {
			check += pseudo(src, dst, s.proto, len(s.body))
		}
		if got := fold(check); got != 0xffff {
			return s, fmt.Errorf("checksum of the ICMP message is off: %#x", got)
		}
		inner, err := read(s.body[8:], true)
		if err != nil {
			return s, fmt.Errorf("within: %w", err)
		}
		s.inner = &inner
		return s, nil
	}
	s.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(s.body[0:]))
	s.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(s.body[2:]))
	if Protocol(s.proto) == TCP && len(s.body) > 13 {
		s.flags = s.body[13]
	}
	s.noCsum = Protocol(s.proto) == UDP && binary.BigEndian.Uint16(s.body[6:]) == 0
	if s.noCsum || (!whole && (quoted || fragment)) {
		return s, nil
	}
	if got := fold(pseudo(src, dst, s.proto, len(s.body)) + sum(s.body)); got != 0xffff {
		return s, fmt.Errorf("checksum of the segment %s is off: %#x", s, got)
	}
	return s, nil
}

// TestReadFrames holds the tests' own builder and reader against each other.
func TestReadFrames(t *testing.T) {
	for _, f := range []frame{
		tcp("192.0.2.1:1000", "192.0.2.2:80", flagSyn, "odd"),
		udp("192.0.2.1:1000", "192.0.2.2:80", "even"),
		tcp("[2001:db8::1]:1000", "[2001:db8::2]:80", flagSyn, "odd"),
		udp("[2001:db8::1]:1000", "[2001:db8::2]:80", "even"),
	} {
		s, err := read(f.ip(), false)
		if err != nil || s.src != f.src || s.dst != f.dst || s.flags != f.flags {
			t.Errorf("%v became %s: %v", f, s, err)
		}
		broken := f.ip()
		broken[len(broken)-1] ^= 1
		if _, err := read(broken, false); err == nil {
			t.Errorf("%v: a flipped bit goes unseen", f)
		}
	}
}
