/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Connections: finding them, keeping both of their entries alive, opening new ones, finding ports for them. */
#pragma once

#include "nat_rewrite.h"

#define NAT_EEXIST (-17)

/* How often a used entry makes sure that its peer is there and stays used: both entries of a pair in use are then
 * young to the LRU map, whichever way the data flows. */
#define NAT_CHECK_INTERVAL 1000000000ULL

/* How many ports are tried. With 90 of 100 in use one try in 700,000 misses all the free ones. */
#define NAT_PORT_TRIES 128

/* nat_touch notes that entry e, keyed by key, was used and what was seen, in both entries of the connection. It answers
 * false when another connection has taken what the peer was: e is void. */
call_fn bool nat_touch(struct nat_work *w, struct nat_entry *e, __u8 seen)
{
	e->last = w->now;
	bool news = (e->state & seen) != seen;
	if (e->kind == NAT_HALF || (!news && w->now - e->checked < NAT_CHECK_INTERVAL))
		return true;
	e->state |= seen;
	e->checked = w->now;
	nat_peer(&w->other, e, w->key.proto);
	struct nat_entry *peer = bpf_map_lookup_elem(&petrel_nat, &w->other);
	if (peer) {
		if (!addr_equal(peer->dst, w->key.src) || peer->dport != w->key.sport)
			return false;
		if (news)
			peer->state |= seen;
		return true;
	}
	w->value = *e;
	w->value.kind = e->kind == NAT_FORWARD ? NAT_REPLY : NAT_FORWARD;
	nat_swap(&w->value, &w->key);
	if (!bpf_map_update_elem(&petrel_nat, &w->other, &w->value, BPF_NOEXIST))
		nat_count(NAT_STAT_HEALED);
	return true;
}

/* nat_forget takes away both entries of a connection whose FORWARD entry is e, keyed by key. */
call_fn void nat_forget(struct nat_work *w, const struct nat_entry *e)
{
	nat_peer(&w->other, e, w->key.proto);
	struct nat_entry *peer = bpf_map_lookup_elem(&petrel_nat, &w->other);
	if (peer && addr_equal(peer->dst, w->key.src) && peer->dport == w->key.sport)
		bpf_map_delete_elem(&petrel_nat, &w->other);
	bpf_map_delete_elem(&petrel_nat, &w->key);
}

/* nat_hash is the same for each packet of a connection, on each node. */
inline_fn __u32 nat_hash(const struct nat_tuple *k)
{
	__u64 h = 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		h = (h ^ k->src[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
		h = (h ^ k->dst[i]) * 0xbf58476d1ce4e5b9ULL;
		h ^= h >> 29;
	}
	h = (h ^ ((__u64)k->sport << 32 | (__u64)k->dport << 8 | k->proto)) * 0x94d049bb133111ebULL;
	return h >> 32;
}

/* bpf_loop hands on what is on the stack alone. */
struct nat_search {
	struct nat_work *w;
};

/* nat_try_port tries one port for the REPLY entry that is ready in other and value. */
static long nat_try_port(__u64 i, struct nat_search *search)
{
	struct nat_work *w = search->w;
	__u32 range = w->range;
	if (!range)
		return 1;
	__u16 port = w->port_min + (w->probe + (__u32)i * w->step) % range;
	if (i == 0 && w->keep) /* the client's own port is the best where its address is kept */
		port = bpf_ntohs(w->key.sport);
	w->other.dport = bpf_htons(port);
	if (bpf_map_update_elem(&petrel_nat, &w->other, &w->value, BPF_NOEXIST) == 0) {
		w->port = port;
		w->found = 1;
		return 1;
	}
	struct nat_entry *old = bpf_map_lookup_elem(&petrel_nat, &w->other);
	if (!old)
		return 0;
	/* What is left of an earlier connection between the same two ends is ours. */
	bool own = addr_equal(old->dst, w->key.src) && old->dport == w->key.sport && addr_equal(old->src, w->key.dst) &&
		   old->sport == w->key.dport;
	if ((own || nat_closing(old) || old->kind == NAT_HALF) && old->last <= w->oldest) {
		w->oldest = own ? 0 : old->last;
		w->port = port;
	}
	return own;
}

/* nat_take_port takes the port of the closing connection that nat_try_port found. Its FORWARD entry goes: what still
 * came under it would end up in the new connection. */
call_fn bool nat_take_port(struct nat_work *w)
{
	w->other.dport = bpf_htons(w->port);
	struct nat_entry *old = bpf_map_lookup_elem(&petrel_nat, &w->other);
	if (old && old->kind == NAT_REPLY) {
		struct nat_tuple stale;
		nat_peer(&stale, old, w->key.proto);
		struct nat_entry *peer = bpf_map_lookup_elem(&petrel_nat, &stale);
		/* Its client may have come again since, by another port. */
		if (peer && peer->sport == w->other.dport && addr_equal(peer->src, w->other.dst))
			bpf_map_delete_elem(&petrel_nat, &stale);
	}
	return bpf_map_update_elem(&petrel_nat, &w->other, &w->value, BPF_ANY) == 0;
}

enum nat_opened {
	NAT_OPENED,
	NAT_NO_PORT,
	NAT_NO_ROOM,
};

/* nat_open makes both entries of a new connection whose FORWARD entry is to, all but its source port. keep: the client's
 * address stays, and its port if that can be. */
call_fn int nat_open(struct nat_work *w, bool keep, const struct nat_conf *conf)
{
	struct nat_entry *to = &w->to;
	to->kind = NAT_FORWARD;
	to->state = 0;
	to->reserved = 0;
	to->reserved2 = 0;
	to->last = to->checked = w->now;
	to->sport = 0;
	w->value = *to;
	w->value.kind = NAT_REPLY;
	nat_swap(&w->value, &w->key);
	nat_peer(&w->other, to, w->key.proto);

	w->port_min = conf->port_min;
	w->range = conf->port_max >= conf->port_min ? conf->port_max - conf->port_min + 1 : 0;
	/* Products stay below 2^32, so that a small range is covered without a jump. */
	w->probe = bpf_get_prandom_u32() & 0xffffff;
	w->step = w->range > NAT_PORT_TRIES ? (bpf_get_prandom_u32() & 0xffff) | 1 : 1;
	w->oldest = ~0ULL;
	w->found = 0;
	w->keep = keep;
	struct nat_search search = { w };
	bpf_loop(NAT_PORT_TRIES, nat_try_port, &search, 0);
	if (!w->found) {
		if (w->oldest == ~0ULL)
			return NAT_NO_PORT;
		if (!nat_take_port(w))
			return NAT_NO_ROOM;
		if (w->oldest)
			nat_count(NAT_STAT_REUSED);
	}
	to->sport = bpf_htons(w->port);
	if (bpf_map_update_elem(&petrel_nat, &w->key, to, BPF_ANY)) {
		nat_peer(&w->other, to, w->key.proto);
		bpf_map_delete_elem(&petrel_nat, &w->other);
		return NAT_NO_ROOM;
	}
	return NAT_OPENED;
}
