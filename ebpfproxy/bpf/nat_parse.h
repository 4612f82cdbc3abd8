/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Reading a packet: IPv4 with options, IPv6 with extension headers, fragments of both, and ICMP errors. What is cut
 * short or none of this is left to the stack. */
#pragma once

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "nat.h"

enum nat_parsed {
	NAT_OTHER, /* nothing of ours */
	NAT_FLOW,  /* a packet of TCP or UDP: key is set */
	NAT_ERROR, /* an ICMP error: key has the outer addresses, other the inner packet's tuple */
};

/* More extension headers than a sender has a use for: RFC 8200 knows four that come before TCP or UDP, one of them
 * twice. */
#define NAT_EXT_MAX 6

#define NAT_EXT_HOPOPTS 0
#define NAT_EXT_ROUTING 43
#define NAT_EXT_FRAGMENT 44
#define NAT_EXT_DSTOPTS 60

/* Errors of ICMP and, all of them, of ICMPv6 that we know; their headers are 8 bytes. */
#define NAT_ICMP_UNREACHABLE 3
#define NAT_ICMP_TIME_EXCEEDED 11
#define NAT_ICMP_PARAMETER 12
#define NAT_ICMP6_UNREACHABLE 1
#define NAT_ICMP6_PARAMETER 4
#define NAT_ICMP_HEADER 8

/* Reassembly gives up after this long, in Linux and in RFC 8200 (60 s at most): an identification is new then. */
#define NAT_FRAG_TIMEOUT (30 * 1000000000ULL)

#define NAT_IP_OFFSET 0x1fff
#define NAT_IP_MF 0x2000

struct nat_l3 {
	__u32 l4;
	__u32 len;
	__u32 id;
	__be16 check; /* of IPv4 */
	__u8 proto;
	__u8 ttl;
	__u8 fragment; /* one of several */
	__u8 later;    /* and not the first */
};

/* nat_l3_v4 and nat_l3_v6 read the header at off; t gets addresses and protocol. */
call_fn bool nat_l3_v4(struct __sk_buff *skb, __u32 off, struct nat_tuple *t, struct nat_l3 *l3)
{
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return false;
	if (ip.version != 4 || ip.ihl < 5)
		return false;
	addr_from4(t->src, ip.saddr);
	addr_from4(t->dst, ip.daddr);
	__u16 frag = bpf_ntohs(ip.frag_off);
	l3->proto = ip.protocol;
	l3->ttl = ip.ttl;
	l3->check = ip.check;
	l3->l4 = off + ip.ihl * 4;
	l3->len = bpf_ntohs(ip.tot_len);
	l3->id = ip.id;
	l3->fragment = (frag & (NAT_IP_OFFSET | NAT_IP_MF)) != 0;
	l3->later = (frag & NAT_IP_OFFSET) != 0;
	return true;
}

struct nat_ext {
	__u8 next;
	__u8 len;
	__be16 frag;
	__be32 id;
};

call_fn bool nat_l3_v6(struct __sk_buff *skb, __u32 off, struct nat_tuple *t, struct nat_l3 *l3)
{
	struct ipv6hdr ip;
	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return false;
	if (ip.version != 6)
		return false;
	addr_copy(t->src, ip.saddr.in6_u.u6_addr32);
	addr_copy(t->dst, ip.daddr.in6_u.u6_addr32);
	if (addr_is4(t->src) || addr_is4(t->dst))
		return false; /* would pass for IPv4 in the tables; never on a wire (RFC 6890) */
	l3->ttl = ip.hop_limit;
	l3->check = 0;
	l3->len = bpf_ntohs(ip.payload_len) + sizeof(ip);
	l3->id = 0;
	l3->fragment = l3->later = 0;
	__u8 next = ip.nexthdr;
	__u32 at = off + sizeof(ip);
	for (int i = 0; i < NAT_EXT_MAX; i++) {
		if (next != NAT_EXT_HOPOPTS && next != NAT_EXT_ROUTING && next != NAT_EXT_FRAGMENT && next != NAT_EXT_DSTOPTS)
			break;
		struct nat_ext ext;
		if (bpf_skb_load_bytes(skb, at, &ext, sizeof(ext)))
			return false;
		if (next == NAT_EXT_FRAGMENT) {
			l3->fragment = (ext.frag & bpf_htons(0xfff9)) != 0;
			l3->later = (ext.frag & bpf_htons(0xfff8)) != 0;
			l3->id = ext.id;
			at += sizeof(ext);
		} else {
			at += (ext.len + 1) * 8;
		}
		next = ext.next;
		if (l3->later)
			break; /* what follows is the middle of something */
	}
	l3->proto = next;
	l3->l4 = at;
	return true;
}

/* nat_ports_of_fragment keeps a first fragment's ports and finds a later one's. */
call_fn bool nat_ports_of_fragment(struct nat_work *w, const struct nat_l3 *l3)
{
	struct nat_frag_key *k = &w->frag;
	addr_copy(k->src, w->key.src);
	addr_copy(k->dst, w->key.dst);
	k->id = l3->id;
	k->proto = l3->proto;
	k->pad[0] = k->pad[1] = k->pad[2] = 0;
	if (!l3->later) {
		struct nat_frag ports = { .sport = w->key.sport, .dport = w->key.dport, .last = w->now };
		bpf_map_update_elem(&petrel_natfrag, k, &ports, BPF_ANY);
		return true;
	}
	struct nat_frag *f = bpf_map_lookup_elem(&petrel_natfrag, k);
	if (!f || w->now - f->last > NAT_FRAG_TIMEOUT) {
		nat_count(NAT_STAT_FRAG_UNKNOWN);
		return false;
	}
	w->key.sport = f->sport;
	w->key.dport = f->dport;
	return true;
}

/* nat_l4 reads the transport header of TCP (ports to flags) or UDP (ports alone are asked of it). */
call_fn bool nat_l4(struct __sk_buff *skb, struct nat_work *w, struct nat_l3 *l3)
{
	__be16 ports[2];
	if (bpf_skb_load_bytes(skb, l3->l4, ports, sizeof(ports)))
		return false;
	w->key.sport = ports[0];
	w->key.dport = ports[1];
	w->first = 1;
	__u32 header = 8;
	if (l3->proto == IPPROTO_TCP) {
		__u8 off_flags[2];
		if (bpf_skb_load_bytes(skb, l3->l4 + 12, off_flags, sizeof(off_flags)))
			return false;
		__u8 flags = off_flags[1];
		header = (off_flags[0] >> 4) * 4;
		w->fin = flags & 1;
		w->rst = (flags >> 2) & 1;
		w->syn = (flags & 0x17) == 0x02; /* of FIN, SYN, RST and ACK */
		if (bpf_skb_load_bytes(skb, l3->l4 + 16, ports, 2))
			return false; /* without room for a checksum it is no segment */
	} else {
		if (bpf_skb_load_bytes(skb, l3->l4 + 6, ports, 2))
			return false;
		w->syn = 1;
	}
	/* What matters of an aggregate is how large its segments are. */
	if (skb->gso_size)
		l3->len = l3->l4 - ETH_HLEN + header + skb->gso_size;
	return true;
}

/* nat_inner reads the packet within an ICMP error: eight bytes of its transport header are all that must be there. */
call_fn bool nat_inner(struct __sk_buff *skb, struct nat_work *w)
{
	struct nat_l3 l3;
	bool ok = w->v6 ? nat_l3_v6(skb, w->inner, &w->other, &l3) : nat_l3_v4(skb, w->inner, &w->other, &l3);
	if (!ok || l3.later || (l3.proto != IPPROTO_TCP && l3.proto != IPPROTO_UDP))
		return false;
	__be16 head[4];
	if (bpf_skb_load_bytes(skb, l3.l4, head, sizeof(head)))
		return false;
	w->other.sport = head[0];
	w->other.dport = head[1];
	w->other.proto = l3.proto;
	w->inner4 = l3.l4;
	w->inner_has_csum = 0;
	if (l3.proto == IPPROTO_UDP) {
		w->inner_csum = head[3];
		w->inner_has_csum = head[3] != 0;
	} else if (!bpf_skb_load_bytes(skb, l3.l4 + 16, &w->inner_csum, 2)) {
		w->inner_has_csum = 1;
	}
	return true;
}

inline_fn bool nat_is_error(struct __sk_buff *skb, const struct nat_l3 *l3, bool v6)
{
	__u8 type;
	if (l3->later || bpf_skb_load_bytes(skb, l3->l4, &type, 1))
		return false;
	if (v6)
		return l3->proto == IPPROTO_ICMPV6 && type >= NAT_ICMP6_UNREACHABLE && type <= NAT_ICMP6_PARAMETER;
	return l3->proto == IPPROTO_ICMP &&
	       (type == NAT_ICMP_UNREACHABLE || type == NAT_ICMP_TIME_EXCEEDED || type == NAT_ICMP_PARAMETER);
}

/* nat_parse reads the packet into w. */
call_fn int nat_parse(struct __sk_buff *skb, struct nat_work *w)
{
	struct nat_l3 l3;
	bool ok;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		w->v6 = 0;
		ok = nat_l3_v4(skb, ETH_HLEN, &w->key, &l3);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		w->v6 = 1;
		ok = nat_l3_v6(skb, ETH_HLEN, &w->key, &l3);
	} else {
		return NAT_OTHER;
	}
	if (!ok) {
		nat_count(NAT_STAT_MALFORMED);
		return NAT_OTHER;
	}
	w->now = bpf_ktime_get_coarse_ns(); /* of the last tick: a fraction of the price */
	w->key.proto = l3.proto;
	w->key.pad[0] = w->key.pad[1] = w->key.pad[2] = 0;
	w->other.pad[0] = w->other.pad[1] = w->other.pad[2] = 0;
	w->first = w->syn = w->fin = w->rst = w->local = w->routed = 0;
	w->ttl = l3.ttl;
	w->check = l3.check;
	w->l4 = l3.l4;
	if (l3.proto != IPPROTO_TCP && l3.proto != IPPROTO_UDP) {
		w->len = l3.len;
		if (!nat_is_error(skb, &l3, w->v6))
			return NAT_OTHER;
		w->inner = l3.l4 + NAT_ICMP_HEADER;
		if (nat_inner(skb, w))
			return NAT_ERROR;
		nat_count(NAT_STAT_MALFORMED);
		return NAT_OTHER;
	}
	if (!l3.later && !nat_l4(skb, w, &l3)) {
		nat_count(NAT_STAT_MALFORMED);
		return NAT_OTHER;
	}
	w->len = l3.len;
	if (l3.later && l3.proto == IPPROTO_UDP)
		w->syn = 1;
	if (l3.fragment && !nat_ports_of_fragment(w, &l3))
		return NAT_OTHER;
	return NAT_FLOW;
}
