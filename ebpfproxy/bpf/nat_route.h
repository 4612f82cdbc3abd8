/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The way out of a node. A packet for another node goes straight from the interface it came in by to the one it leaves
 * by, with both ends changed. Where that cannot be (too large for the way, its time to live over, no route) the stack is
 * to say so to the sender or to fragment it. For the stack only the destination is changed: a source of the node's own
 * would be refused as it comes in. The source is changed as the packet goes out, and so is what an ICMP error of the
 * stack quotes: HALF entries hold the ends for both, and time out by themselves. */
#pragma once

#include "nat_track.h"

/* BPF_FIB_LOOKUP_SRC of Linux 6.7: not in older headers. Kernels that do not know it refuse it. */
#define NAT_FIB_SRC (1U << 4)

/* nat_way finds the way of a packet from src to to->dst that is len long. flags are bpf_fib_lookup's. */
call_fn bool nat_way(struct __sk_buff *skb, struct nat_work *w, const __be32 src[4], __u32 len, __u32 flags)
{
	struct bpf_fib_lookup *fib = &w->fib;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = skb->ifindex;
	fib->l4_protocol = w->key.proto;
	fib->tot_len = len;
	if (w->v6) {
		fib->family = AF_INET6;
		addr_copy(fib->ipv6_src, src);
		addr_copy(fib->ipv6_dst, w->to.dst);
	} else {
		fib->family = AF_INET;
		fib->ipv4_src = src[3];
		fib->ipv4_dst = w->to.dst[3];
	}
	w->routed = bpf_fib_lookup(skb, fib, sizeof(*fib), BPF_FIB_LOOKUP_SKIP_NEIGH | flags) == BPF_FIB_LKUP_RET_SUCCESS;
	return w->routed;
}

/* nat_source answers in to->src the address that this node would speak to to->dst from. What it learns of the way there
 * is kept if it serves this packet as well. */
call_fn bool nat_source(struct __sk_buff *skb, struct nat_work *w, const struct nat_conf *conf)
{
	bool any = nat_way(skb, w, w->key.src, w->len, NAT_FIB_SRC);
	if (!any) {
		any = nat_way(skb, w, w->key.src, 0, NAT_FIB_SRC);
		w->routed = 0;
		if (!any)
			addr_copy(w->to.src, w->v6 ? conf->addr6 : conf->addr4);
	}
	if (any && w->v6)
		addr_copy(w->to.src, w->fib.ipv6_src);
	else if (any)
		addr_from4(w->to.src, w->fib.ipv4_src);
	return w->to.src[3] != 0;
}

call_fn void nat_half(struct nat_work *w, const struct nat_tuple *key)
{
	struct nat_entry *old = bpf_map_lookup_elem(&petrel_nat, key);
	if (old)
		old->last = w->now;
	else
		bpf_map_update_elem(&petrel_nat, key, &w->value, BPF_NOEXIST);
}

/* nat_through_stack sends the packet up with its destination changed and sees to the rest of it. */
call_fn int nat_through_stack(struct __sk_buff *skb, struct nat_work *w)
{
	struct nat_entry *to = &w->to;
	nat_count(NAT_STAT_STACK);
	if (!addr_equal(to->src, w->key.src) || to->sport != w->key.sport) {
		/* As it will leave, from between to to. */
		w->value = *to;
		w->value.kind = NAT_HALF;
		w->value.last = w->now;
		addr_copy(w->other.src, w->key.src);
		addr_copy(w->other.dst, to->dst);
		w->other.sport = w->key.sport;
		w->other.dport = to->dport;
		w->other.proto = w->key.proto;
		nat_half(w, &w->other);
		/* And the other way round, for errors: from between, swapped, to what came in, swapped. */
		nat_swap(&w->value, &w->key);
		addr_copy(w->other.src, to->dst);
		addr_copy(w->other.dst, w->key.src);
		w->other.sport = to->dport;
		w->other.dport = w->key.sport;
		nat_half(w, &w->other);
		addr_copy(to->src, w->key.src);
		to->sport = w->key.sport;
	}
	if (to->kind == NAT_REPLY && addr_equal(to->dst, w->key.dst))
		return NAT_NEXT;
	nat_rewrite(skb, w, w->ttl);
	return NAT_NEXT;
}

/* nat_redirect sends a packet, which has been rewritten, to where fib says. */
inline_fn int nat_redirect(struct __sk_buff *skb, const struct nat_work *w)
{
	const struct bpf_fib_lookup *fib = &w->fib;
	struct bpf_redir_neigh hop = {};
	if (fib->family == AF_INET6) { /* of the next hop, which may be IPv6 for IPv4 (RFC 8950) */
		hop.nh_family = AF_INET6;
		addr_copy(hop.ipv6_nh, fib->ipv6_dst);
	} else {
		hop.nh_family = AF_INET;
		hop.ipv4_nh = fib->ipv4_dst;
	}
	skb->tc_index = NAT_DONE;
	return bpf_redirect_neigh(fib->ifindex, &hop, sizeof(hop), 0);
}

/* nat_send sends the packet on its way with the ends of to. */
call_fn int nat_send(struct __sk_buff *skb, struct nat_work *w)
{
	if (w->local) {
		nat_rewrite(skb, w, w->ttl);
		return NAT_NEXT;
	}
	if (w->ttl <= 1 || (!w->routed && !nat_way(skb, w, w->to.src, w->len, 0)))
		return nat_through_stack(skb, w);
	nat_rewrite(skb, w, w->ttl - 1);
	return nat_redirect(skb, w);
}

/* nat_send_error sends on an ICMP error. One that cannot go on is left as it is: the stack knows no socket of it. */
call_fn int nat_send_error(struct __sk_buff *skb, struct nat_work *w)
{
	if (w->local) {
		nat_rewrite_error(skb, w, w->ttl);
		return NAT_NEXT;
	}
	if (w->ttl <= 1 || !nat_way(skb, w, w->to.src, w->len, 0))
		return NAT_NEXT;
	nat_rewrite_error(skb, w, w->ttl - 1);
	return nat_redirect(skb, w);
}
