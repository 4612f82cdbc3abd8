/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Changing a packet's ends. Checksums are changed by the difference, never computed anew: that is right for packets
 * whose checksum a device will complete, for those that one has verified, and for the first of many fragments. */
#pragma once

#include "nat_parse.h"

/* BPF_F_IPV6 of Linux 6.16, not in older headers: without it the sum that a device gave for a whole packet is changed
 * once too often. Kernels that do not know it refuse it. */
#define NAT_F_IPV6 (1ULL << 7)

#define NAT_ADDRS 32 /* bytes of both addresses of a tuple or entry */

/* nat_addr_diff is the difference in the sums of both addresses. IPv4's form within 16 bytes adds the same to both. */
inline_fn __s64 nat_addr_diff(const __be32 from[4], const __be32 to[4])
{
	return bpf_csum_diff((__be32 *)from, NAT_ADDRS, (__be32 *)to, NAT_ADDRS, 0);
}

/* nat_l4_addrs applies a difference in addresses to the transport checksum at off. */
inline_fn void nat_l4_addrs(struct __sk_buff *skb, __u32 off, __s64 diff, __u64 flags, bool v6)
{
	flags |= BPF_F_PSEUDO_HDR;
	if (v6 && !bpf_l4_csum_replace(skb, off, 0, diff, flags | NAT_F_IPV6))
		return;
	bpf_l4_csum_replace(skb, off, 0, diff, flags);
}

/* nat_store_addrs writes the addresses of the IP header at off. balanced: a checksum changes along with them, so the
 * sum over the whole packet stays as it is. */
inline_fn void nat_store_addrs(struct __sk_buff *skb, __u32 off, const struct nat_entry *to, __s64 diff, bool v6, bool balanced)
{
	__u64 flags = balanced ? 0 : BPF_F_RECOMPUTE_CSUM;
	if (v6) {
		bpf_skb_store_bytes(skb, off + offsetof(struct ipv6hdr, saddr), to->src, NAT_ADDRS, flags);
		return;
	}
	__be32 addrs[2] = { to->src[3], to->dst[3] };
	bpf_l3_csum_replace(skb, off + offsetof(struct iphdr, check), 0, diff, 0);
	bpf_skb_store_bytes(skb, off + offsetof(struct iphdr, saddr), addrs, sizeof(addrs), 0);
}

/* nat_rewrite gives the packet of key the ends of to. */
call_fn void nat_rewrite(struct __sk_buff *skb, const struct nat_work *w)
{
	const struct nat_entry *to = &w->to;
	__s64 diff = nat_addr_diff(w->key.src, to->src);
	if (w->first) {
		bool udp = w->key.proto == IPPROTO_UDP;
		__u32 csum = w->l4 + (udp ? 6 : 16);
		__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0; /* UDP's 0 stands for none, and stays */
		nat_l4_addrs(skb, csum, diff, flags, w->v6);
		__be16 ports[4] = { w->key.sport, w->key.dport, to->sport, to->dport };
		if (ports[0] != ports[2])
			bpf_l4_csum_replace(skb, csum, ports[0], ports[2], flags | 2);
		if (ports[1] != ports[3])
			bpf_l4_csum_replace(skb, csum, ports[1], ports[3], flags | 2);
		bpf_skb_store_bytes(skb, w->l4, &ports[2], 4, 0);
	}
	nat_store_addrs(skb, ETH_HLEN, to, diff, w->v6, w->first);
}

/* nat_hop takes one off the packet's time to live, as a router does. */
inline_fn void nat_hop(struct __sk_buff *skb, const struct nat_work *w)
{
	__u8 ttl = w->ttl - 1;
	if (w->v6) {
		bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &ttl, 1, BPF_F_RECOMPUTE_CSUM);
		return;
	}
	/* The time to live is the upper half of its word on the wire, the lower one here. */
	bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), w->ttl, ttl, 2);
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &ttl, 1, 0);
}

/* nat_csum_add applies a difference to a checksum of a packet's own. */
inline_fn __be16 nat_csum_add(__be16 csum, __s64 diff)
{
	__u64 sum = (__u16)~csum;
	sum += (__u32)diff;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

inline_fn __s64 nat_ports_diff(const struct nat_tuple *from, const struct nat_entry *to)
{
	return bpf_csum_diff((__be32 *)&from->sport, 4, (__be32 *)&to->sport, 4, 0);
}

/* nat_rewrite_error gives an ICMP error about the packet of other the ends of to, and to that packet the ends that its
 * sender knows: those of to swapped, which value holds. */
call_fn void nat_rewrite_error(struct __sk_buff *skb, const struct nat_work *w)
{
	const struct nat_entry *inner = &w->value;
	__s64 addrs = nat_addr_diff(w->other.src, inner->src);
	__s64 ports = nat_ports_diff(&w->other, inner);

	/* Within: addresses change by A, ports by P. IPv4's header sums up to the same as before; so does a transport
	 * header with its checksum and pseudo header, which leaves -A; one without leaves P. */
	__u32 csum_off = w->l4 + 2;
	__be16 csum;
	if (bpf_skb_load_bytes(skb, csum_off, &csum, 2))
		return;
	if (w->v6)
		csum = nat_csum_add(csum, addrs);
	if (w->inner_has_csum) {
		__be16 fixed = nat_csum_add(nat_csum_add(w->inner_csum, addrs), ports);
		if (w->other.proto == IPPROTO_UDP && !fixed)
			fixed = 0xffff;
		csum = nat_csum_add(csum, ports);
		csum = nat_csum_add(csum, (__u32)fixed + (__u16)~w->inner_csum);
		bpf_skb_store_bytes(skb, w->inner4 + (w->other.proto == IPPROTO_UDP ? 6 : 16), &fixed, 2, 0);
	} else {
		csum = nat_csum_add(csum, ports);
	}
	__be16 pair[2] = { inner->sport, inner->dport };
	bpf_skb_store_bytes(skb, w->inner4, pair, sizeof(pair), 0);
	nat_store_addrs(skb, w->inner, inner, addrs, w->v6, true);

	__s64 outer = nat_addr_diff(w->key.src, w->to.src);
	if (w->v6)
		csum = nat_csum_add(csum, outer);
	bpf_skb_store_bytes(skb, csum_off, &csum, 2, 0);
	nat_store_addrs(skb, ETH_HLEN, &w->to, outer, w->v6, true);
}
