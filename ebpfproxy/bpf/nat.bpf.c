//go:build ignore
/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Traffic from outside: node ports, external addresses and load balancer addresses. petrel_nat_in sees what comes into
 * the node, petrel_nat_out what leaves it, on each of the interfaces that face the network.
 *
 * A client's packet gets its backend's address. A backend on this node sees the client's own address, since its answers
 * pass here in any case; for one on another node the packet gets this node's address too, unless the service is to keep
 * the client's. */

// go types: nat_tuple nat_entry nat_frag_key nat_frag nat_conf
#include "nat_flow.h"
#include "nat_route.h"

char __license[] SEC("license") = "Dual MIT/GPL";

inline_fn struct nat_work *nat_work(__u32 which)
{
	return bpf_map_lookup_elem(&petrel_natwork, &which);
}

inline_fn struct nat_conf *nat_conf(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&petrel_natconf, &zero);
}

/* nat_refuse has the stack turn the packet away: a port 0 of the node's is one that nothing can listen on, so that it
 * answers with a reset or an unreachable, in as many as it sees fit, and petrel_nat_out makes it come from the service. */
call_fn int nat_refuse(struct __sk_buff *skb, struct nat_work *w, const struct nat_conf *conf, __u32 svc)
{
	struct nat_entry *to = &w->to;
	count_refused(svc);
	if (w->rst)
		return TC_ACT_SHOT;
	nat_tell(w, FLOW_REFUSED, svc);
	addr_copy(to->src, w->key.src);
	addr_copy(to->dst, w->key.dst);
	if (!bpf_map_lookup_elem(&petrel_node, w->key.dst))
		addr_copy(to->dst, w->v6 ? conf->addr6 : conf->addr4);
	if (!to->dst[3]) {
		nat_count(NAT_STAT_DROPPED);
		return TC_ACT_SHOT;
	}
	to->sport = w->key.sport;
	to->dport = 0;
	to->kind = NAT_HALF;
	to->state = NAT_RESET;
	to->svc = svc;
	to->last = w->now;
	w->value = *to;
	nat_swap(&w->value, &w->key);
	nat_peer(&w->other, to, w->key.proto);
	if (bpf_map_update_elem(&petrel_nat, &w->other, &w->value, BPF_ANY)) {
		nat_count(NAT_STAT_FULL);
		return TC_ACT_SHOT;
	}
	nat_count(NAT_STAT_REFUSED);
	nat_rewrite(skb, w, w->ttl);
	return NAT_NEXT;
}

inline_fn bool nat_in_range(const struct nat_work *w, const struct svc *s)
{
	struct range_key k = { .prefixlen = 32 + 128, .svc = s->id };
	if (!(s->flags & SVC_SOURCE_RANGES))
		return true;
	addr_copy(k.addr, w->key.src);
	return bpf_map_lookup_elem(&petrel_srcrange, &k) != NULL;
}

/* nat_new opens a connection if the packet is for a service. */
call_fn int nat_new(struct __sk_buff *skb, struct nat_work *w)
{
	struct nat_entry *to = &w->to;
	struct svc_key k = { .port = w->key.dport, .proto = w->key.proto, .scope = SCOPE_EXTERNAL };
	addr_copy(k.addr, w->key.dst);
	struct svc *s = service_find(&k);
	struct nat_conf *conf = nat_conf();
	if (!s || !conf)
		return NAT_NEXT;
	if (!nat_in_range(w, s)) {
		nat_count(NAT_STAT_DENIED);
		count_refused(s->id);
		nat_tell(w, FLOW_DENIED, s->id);
		return TC_ACT_SHOT;
	}
	if (!w->syn)
		return nat_refuse(skb, w, conf, s->id);
	struct aff_key client = { .kind = CLIENT_ADDR };
	addr_copy(client.addr, w->key.src);
	__u32 id = 0;
	struct backend *b = service_pick(s, &client, nat_hash(&w->key), &id);
	if (!b) {
		if (!(s->flags & SVC_DROP))
			return nat_refuse(skb, w, conf, s->id);
		nat_count(NAT_STAT_DROPPED);
		count_refused(s->id);
		nat_tell(w, FLOW_REFUSED, s->id);
		return TC_ACT_SHOT;
	}
	addr_copy(to->dst, b->addr);
	to->dport = b->port;
	to->svc = s->id;
	to->backend = id;
	to->gen = b->gen;
	w->local = b->flags & BACKEND_LOCAL;
	bool keep = w->local || (s->flags & SVC_KEEP_CLIENT);
	if (keep) {
		addr_copy(to->src, w->key.src);
	} else if (!nat_source(skb, w, conf)) {
		nat_count(NAT_STAT_DROPPED);
		return TC_ACT_SHOT;
	}
	switch (nat_open(w, keep, conf)) {
	case NAT_NO_PORT:
		nat_count(NAT_STAT_EXHAUSTED);
		return TC_ACT_SHOT;
	case NAT_NO_ROOM:
		nat_count(NAT_STAT_FULL);
		return TC_ACT_SHOT;
	default:
		break;
	}
	nat_count(NAT_STAT_CONNECTIONS);
	nat_count(NAT_STAT_FORWARDED);
	count_connection(to->svc, id);
	nat_tell(w, FLOW_CONNECT, to->svc);
	count_packet(to->svc, id, skb->len);
	return nat_send(skb, w);
}

/* nat_forward sends on a packet of a connection that is there already, unless it or its backend is at its end. */
inline_fn int nat_forward(struct __sk_buff *skb, struct nat_work *w, struct nat_entry *e)
{
	bool tcp = w->key.proto == IPPROTO_TCP;
	struct backend *b = backend_get(e->backend, e->gen);
	if (b && (b->state == BACKEND_DEAD || (!tcp && b->state == BACKEND_LEAVING)))
		b = NULL;
	if (b && (b->port != e->dport || !addr_equal(b->addr, e->dst)))
		b = NULL; /* the tables have begun anew since */
	bool again = tcp && w->syn && (nat_closing(e) || (b && b->state > BACKEND_DRAINING));
	__u8 seen = (w->fin ? NAT_FIN_CLIENT : 0) | (w->rst ? NAT_RESET : 0);
	if (!b || again || !nat_touch(w, e, seen)) {
		nat_forget(w, e);
		return nat_new(skb, w);
	}
	w->to = *e;
	w->local = b->flags & BACKEND_LOCAL;
	nat_count(NAT_STAT_FORWARDED);
	count_packet(e->svc, e->backend, skb->len);
	return nat_send(skb, w);
}

/* nat_answer notes that a backend has answered under entry e. */
call_fn bool nat_answer(struct __sk_buff *skb, struct nat_work *w, struct nat_entry *e)
{
	__u8 seen = NAT_ANSWERED | (w->fin ? NAT_FIN_BACKEND : 0) | (w->rst ? NAT_RESET : 0);
	if (!nat_touch(w, e, seen))
		return false;
	w->to = *e;
	nat_count(NAT_STAT_REPLIED);
	if (e->kind == NAT_REPLY)
		count_packet(e->svc, e->backend, skb->len);
	return true;
}

/* nat_error_ends finds the connection that an ICMP error speaks of. The error travels as an answer to the packet it
 * quotes would, so it gets the ends of such an answer: only a router's own address, where the answer keeps its source,
 * stays. */
inline_fn struct nat_entry *nat_error_ends(struct nat_work *w)
{
	struct nat_tuple k;
	if (!addr_equal(w->key.dst, w->other.src))
		return NULL; /* not for who has sent the packet: forged */
	addr_copy(k.src, w->other.dst);
	addr_copy(k.dst, w->other.src);
	k.sport = w->other.dport;
	k.dport = w->other.sport;
	k.proto = w->other.proto;
	k.pad[0] = k.pad[1] = k.pad[2] = 0;
	struct nat_entry *e = bpf_map_lookup_elem(&petrel_nat, &k);
	if (!e)
		return NULL;
	w->to = *e;
	addr_copy(w->value.src, e->dst);
	addr_copy(w->value.dst, e->src);
	w->value.sport = e->dport;
	w->value.dport = e->sport;
	if (addr_equal(e->src, k.src))
		addr_copy(w->to.src, w->key.src);
	return e;
}

SEC("tcx/ingress") int petrel_nat_in(struct __sk_buff *skb)
{
	struct nat_work *w = nat_work(0);
	if (skb->tc_index == NAT_DONE)
		skb->tc_index = 0; /* another node's, by a link that keeps it */
	if (!w || skb->pkt_type != 0 || skb->vlan_present)
		return NAT_NEXT; /* for another host, or for an interface on top of this one */
	int what = nat_parse(skb, w);
	if (what == NAT_OTHER)
		return NAT_NEXT;
	if (what == NAT_ERROR) {
		struct nat_entry *e = nat_error_ends(w);
		if (!e || e->kind == NAT_HALF)
			return NAT_NEXT;
		struct backend *b = e->kind == NAT_FORWARD ? backend_get(e->backend, e->gen) : NULL;
		w->local = b && (b->flags & BACKEND_LOCAL);
		nat_count(NAT_STAT_ERRORS);
		return nat_send_error(skb, w);
	}
	struct nat_entry *e = bpf_map_lookup_elem(&petrel_nat, &w->key);
	if (!e || e->kind == NAT_HALF)
		return nat_new(skb, w);
	if (e->kind == NAT_FORWARD)
		return nat_forward(skb, w, e);
	if (!nat_answer(skb, w, e))
		return NAT_NEXT;
	return nat_send(skb, w);
}

SEC("tcx/egress") int petrel_nat_out(struct __sk_buff *skb)
{
	struct nat_work *w = nat_work(1);
	if (skb->tc_index == NAT_DONE) {
		skb->tc_index = 0;
		return NAT_NEXT;
	}
	if (!w || skb->vlan_present)
		return NAT_NEXT;
	int what = nat_parse(skb, w);
	if (what == NAT_OTHER)
		return NAT_NEXT;
	if (what == NAT_ERROR) {
		struct nat_entry *e = nat_error_ends(w);
		if (!e || e->kind == NAT_FORWARD)
			return NAT_NEXT;
		nat_count(NAT_STAT_ERRORS);
		nat_rewrite_error(skb, w, w->ttl);
		return NAT_NEXT;
	}
	struct nat_entry *e = bpf_map_lookup_elem(&petrel_nat, &w->key);
	if (!e || e->kind == NAT_FORWARD || !nat_answer(skb, w, e))
		return NAT_NEXT;
	nat_rewrite(skb, w, w->ttl);
	return NAT_NEXT;
}
