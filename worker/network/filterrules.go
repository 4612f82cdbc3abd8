package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// compose lists the table's rules.
//
//	prerouting:  what comes from a container bears an address of that container, or goes no further;
//	             containers do not speak VXLAN to nodes, which would take the packets for another node's
//	output:      Wasm pods, whose sockets are this machine's own, do not either
//	input:       VXLAN comes from nodes alone
//	postrouting: what leaves for the world bears this node's address
func (b *builder) compose() {
	pre := b.chain("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, filterPriority)
	b.add(pre, fromContainer(), family(false), match(true, linkLocal6), verdict(expr.VerdictAccept))
	b.add(pre, fromContainer(), foreignSource(), verdict(expr.VerdictDrop))
	for _, is4 := range []bool{true, false} {
		if nodes := b.set(setName("nodes", is4), b.nodes, is4); nodes != nil {
			b.add(pre, fromContainer(), b.tunnelled(is4), lookup(load(false, is4), nodes, false), verdict(expr.VerdictDrop))
		}
	}
	b.composeOutput()
	b.composeInput()
	if b.masquerade {
		b.composeMasquerade()
	}
}

func (b *builder) composeOutput() {
	var out *nftables.Chain
	for _, own := range b.own {
		is4 := own.Addr().Is4()
		nodes := b.sets[setName("nodes", is4)]
		if nodes == nil {
			continue
		}
		if out == nil {
			out = b.chain("output", nftables.ChainTypeFilter, nftables.ChainHookOutput, filterPriority)
		}
		b.add(out, family(is4), match(true, own), b.tunnelled(is4), lookup(load(false, is4), nodes, false), verdict(expr.VerdictDrop))
	}
}

// composeInput keeps strangers out of the tunnel: VXLAN itself takes packets from everybody, with whatever they bear as
// source within. Nodes send from the addresses that they are known by.
func (b *builder) composeInput() {
	is4 := b.outer.Is4()
	nodes := b.sets[setName("nodes", is4)]
	if nodes == nil {
		return
	}
	in := b.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, filterPriority)
	b.add(in, b.tunnelled(is4), lookup(load(true, is4), nodes, true), verdict(expr.VerdictDrop))
}

// composeMasquerade lets the kernel pick any port: counting up, as it does by default, has two connections that begin
// at once take the same one.
func (b *builder) composeMasquerade() {
	post := b.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
	for _, is4 := range []bool{true, false} {
		inside := b.set(setName("inside", is4), b.inside, is4)
		for _, own := range b.own {
			if own.Addr().Is4() != is4 || inside == nil {
				continue
			}
			b.add(post, family(is4), match(true, own), lookup(load(false, is4), inside, true), notLoopback(), []expr.Any{&expr.Masq{FullyRandom: true}})
		}
	}
}

func setName(of string, is4 bool) string {
	if is4 {
		return of + "4"
	}
	return of + "6"
}

// fromContainer matches packets that come in by a container's link.
func fromContainer() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(vethPrefix)},
	}
}

// notLoopback matches packets that leave the machine.
func notLoopback() []expr.Any {
	name := append([]byte("lo"), make([]byte, unix.IFNAMSIZ-2)...)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
	}
}

// foreignSource matches packets whose source is not reached by the link that they came in by.
func foreignSource() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagSADDR: true, FlagIIF: true, ResultOIF: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0, 0, 0}},
	}
}

func family(is4 bool) []expr.Any {
	proto := byte(unix.NFPROTO_IPV6)
	if is4 {
		proto = unix.NFPROTO_IPV4
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// load puts the source or the destination into register 1.
func load(source, is4 bool) *expr.Payload {
	p := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16}
	switch {
	case is4 && source:
		p.Offset, p.Len = 12, 4
	case is4:
		p.Offset, p.Len = 16, 4
	case source:
		p.Offset = 8
	}
	return p
}

// match matches a source or a destination of a prefix.
func match(source bool, p netip.Prefix) []expr.Any {
	is4 := p.Addr().Is4()
	bytes := uint32(p.Addr().BitLen() / 8)
	mask, _ := netip.AddrFromSlice(ipNet(p).Mask)
	return []expr.Any{
		load(source, is4),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: bytes, Mask: mask.AsSlice(), Xor: make([]byte, bytes)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// lookup matches an address that is in a set, or not in it.
func lookup(address *expr.Payload, set *nftables.Set, not bool) []expr.Any {
	return []expr.Any{address, &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: not}}
}

// tunnelled matches UDP to the tunnel's port.
func (b *builder) tunnelled(is4 bool) []expr.Any {
	return append(family(is4),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(uint16(b.tunnelPort))},
	)
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }
