/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Changing a packet's ends. Checksums are changed by the difference, never computed anew: that is right for packets
 * whose checksum a device will complete, for those that one has verified, and for the first of many fragments. */
#pragma once

#include "nat_parse.h"

/* nat_fold makes a sum of words one word, as checksums have it. */
inline_fn __u32 nat_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* nat_csum_add applies a difference to a checksum of a packet's own. */
inline_fn __be16 nat_csum_add(__be16 csum, __u32 diff)
{
	__u64 sum = (__u64)(__u16)~csum + diff;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* nat_addr_diff is the difference in the sums of both addresses. IPv4's form within 16 bytes adds the same to both. */
inline_fn __u32 nat_addr_diff(const __be32 src[4], const __be32 dst[4], const struct nat_entry *to)
{
	__u64 sum = 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		sum += (__u32)~src[i];
		sum += (__u32)~dst[i];
		sum += to->src[i];
		sum += to->dst[i];
	}
	return nat_fold(sum);
}

inline_fn __u32 nat_ports_diff(const struct nat_tuple *from, const struct nat_entry *to)
{
	return (__u32)(__u16)~from->sport + (__u16)~from->dport + to->sport + to->dport;
}

/* nat_store_l3 writes addresses and time to live. IPv4's checksum makes up for both. In IPv6 nothing does, or the
 * transport checksum does, in which case bpf_l4_csum_replace has taken it for the change to the packet's sum that it is. */
inline_fn void nat_store_l3(struct __sk_buff *skb, const struct nat_work *w, __u32 diff, __u8 ttl)
{
	const struct nat_entry *to = &w->to;
	if (w->v6) {
		struct {
			__u8 pad[3];
			__u8 ttl;
			__be32 src[4];
			__be32 dst[4];
		} h = { .ttl = ttl };
		addr_copy(h.src, to->src);
		addr_copy(h.dst, to->dst);
		bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &h.ttl, 1 + sizeof(h.src) + sizeof(h.dst),
				    BPF_F_RECOMPUTE_CSUM);
		return;
	}
	/* The time to live is the upper half of its word on the wire, the lower one here. */
	diff = nat_fold((__u64)diff + (__u16)~(__u16)w->ttl + ttl);
	struct {
		__u8 ttl;
		__u8 proto;
		__be16 check;
		__be32 src;
		__be32 dst;
	} h = { .ttl = ttl, .proto = w->key.proto, .check = nat_csum_add(w->check, diff), .src = to->src[3], .dst = to->dst[3] };
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &h, sizeof(h), 0);
}

/* nat_rewrite gives the packet of key the ends of to, and a time to live. */
call_fn void nat_rewrite(struct __sk_buff *skb, const struct nat_work *w, __u8 ttl)
{
	const struct nat_entry *to = &w->to;
	__u32 diff = nat_addr_diff(w->key.src, w->key.dst, to);
	if (w->first) {
		bool udp = w->key.proto == IPPROTO_UDP;
		__u32 csum = w->l4 + (udp ? 6 : 16);
		__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0; /* UDP's 0 stands for none, and stays */
		__be16 ports[2] = { to->sport, to->dport };
		bpf_l4_csum_replace(skb, csum, 0, diff, flags | BPF_F_PSEUDO_HDR);
		bpf_l4_csum_replace(skb, csum, 0, nat_ports_diff(&w->key, to), flags);
		bpf_skb_store_bytes(skb, w->l4, ports, sizeof(ports), 0);
	}
	nat_store_l3(skb, w, diff, ttl);
}

/* nat_rewrite_inner gives the packet within an ICMP error the ends of value, which its sender knows. It answers by how
 * much the sum of what the ICMP checksum covers has changed. Addresses change by A, ports by P. IPv4's header sums up to
 * the same as before; so does a transport header with its checksum and pseudo header, which leaves -A; one without leaves
 * P. */
inline_fn __u32 nat_rewrite_inner(struct __sk_buff *skb, const struct nat_work *w)
{
	const struct nat_entry *to = &w->value;
	__u32 addrs = nat_addr_diff(w->other.src, w->other.dst, to);
	__u64 sum = nat_ports_diff(&w->other, to);
	if (w->inner_has_csum) {
		bool udp = w->other.proto == IPPROTO_UDP;
		__be16 fixed = nat_csum_add(nat_csum_add(w->inner_csum, addrs), sum);
		if (udp && !fixed)
			fixed = 0xffff;
		sum += (__u32)fixed + (__u16)~w->inner_csum;
		bpf_skb_store_bytes(skb, w->inner4 + (udp ? 6 : 16), &fixed, sizeof(fixed), 0);
	}
	__be16 ports[2] = { to->sport, to->dport };
	bpf_skb_store_bytes(skb, w->inner4, ports, sizeof(ports), 0);
	if (w->v6) {
		bpf_skb_store_bytes(skb, w->inner + offsetof(struct ipv6hdr, saddr), to->src, sizeof(to->src) + sizeof(to->dst), 0);
		return nat_fold(sum + addrs);
	}
	__be32 pair[2] = { to->src[3], to->dst[3] };
	bpf_l3_csum_replace(skb, w->inner + offsetof(struct iphdr, check), 0, addrs, 0);
	bpf_skb_store_bytes(skb, w->inner + offsetof(struct iphdr, saddr), pair, sizeof(pair), 0);
	return nat_fold(sum);
}

/* nat_rewrite_error gives an ICMP error the ends of to, and the packet that it quotes those of value. */
call_fn void nat_rewrite_error(struct __sk_buff *skb, const struct nat_work *w, __u8 ttl)
{
	__u32 csum_off = w->l4 + 2;
	__be16 csum;
	if (bpf_skb_load_bytes(skb, csum_off, &csum, sizeof(csum)))
		return;
	csum = nat_csum_add(csum, nat_rewrite_inner(skb, w));
	__u32 diff = nat_addr_diff(w->key.src, w->key.dst, &w->to);
	bpf_skb_store_bytes(skb, csum_off, &csum, sizeof(csum), 0);
	if (w->v6) /* of its pseudo header, told as such: see nat_store_l3 */
		bpf_l4_csum_replace(skb, csum_off, 0, diff, BPF_F_PSEUDO_HDR);
	nat_store_l3(skb, w, diff, ttl);
}
