//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Policies on the packets of every socket below a control group, and earlier, on connect(), for pods whose sockets are
 * bound to their address.
 *
 * TCP is judged by its first packet alone: what follows belongs to a connection that was allowed, or to none, and then
 * the kernel resets it. Datagrams are judged one by one in the direction that began; the other direction passes as a
 * reply. A node always reaches its own pods and they reach it, as NetworkPolicy demands, and a pod reaches itself. */
#include <linux/if_ether.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include "packet.h"
#include "policy.h"
#include "service.h"

char __license[] SEC("license") = "Dual MIT/GPL";

#define DROP 0
#define PASS 1
#define EACCES 13

/* tell writes what became of a packet. sk is the socket that sends it, where it is known, and cookie its own number: they
 * lead to the service that it asked for. */
inline_fn void tell(struct flow_conf *listener, const struct packet *p, struct bpf_sock *sk, __u64 cookie,
		    __u8 direction, __u8 kind)
{
	struct flow event = {
		.source = p->source,
		.destination = p->destination,
		.source_port = p->source_port,
		.destination_port = p->destination_port,
		.protocol = p->protocol,
		.kind = kind,
		.direction = direction,
	};
	struct sk_orig *asked = sk ? bpf_sk_storage_get(&petrel_sk, sk, 0, 0) : NULL;
	if (asked && asked->backend_port == p->destination_port &&
	    addr_equal(asked->backend_addr, p->destination.word)) {
		addr_copy(event.service.word, asked->addr);
		event.service_port = asked->port;
		event.service_id = asked->svc;
	} else if (cookie) {
		struct udprev_key key = { .cookie = cookie, .port = p->destination_port };
		addr_copy(key.addr, p->destination.word);
		struct udprev *sent = bpf_map_lookup_elem(&petrel_udprev, &key);
		if (sent) {
			addr_copy(event.service.word, sent->addr);
			event.service_port = sent->port;
			event.service_id = sent->svc;
		}
	}
	flow_tell(listener, &event);
}

inline_fn __u8 passed(__u8 direction)
{
	return direction == FLOW_INGRESS ? FLOW_ACCEPT : FLOW_CONNECT;
}

inline_fn struct track_key track_key_of(const struct packet *p, bool ingress)
{
	struct track_key key = {
		.local = ingress ? p->destination : p->source,
		.remote = ingress ? p->source : p->destination,
		.local_port = ingress ? p->destination_port : p->source_port,
		.remote_port = ingress ? p->source_port : p->destination_port,
		.protocol = p->protocol,
	};
	return key;
}

/* admits asks the policies of one local address about one remote one. */
inline_fn bool admits(__u32 subject, const struct packet *p, bool ingress)
{
	if (!subject)
		return true;
	struct peer remote = peer_of(ingress ? &p->source : &p->destination);
	return policy_allows(subject, remote.identity, p->protocol, p->destination_port);
}

inline_fn struct bpf_sock *sender(struct __sk_buff *skb, bool ingress)
{
	struct bpf_sock *sk = ingress ? NULL : skb->sk;
	return sk ? bpf_sk_fullsock(sk) : NULL;
}

inline_fn int settle(struct flow_conf *listener, struct __sk_buff *skb, const struct packet *p, __u32 subject,
		     bool ingress)
{
	__u8 direction = ingress ? FLOW_INGRESS : FLOW_EGRESS;
	bool ok = admits(subject, p, ingress);
	if (subject)
		count_verdict(direction, ok ? COUNT_ALLOWED : COUNT_DENIED);
	if (listener)
		tell(listener, p, sender(skb, ingress), ingress ? 0 : bpf_get_socket_cookie(skb), direction,
		     ok ? passed(direction) : FLOW_DENIED);
	return ok ? PASS : DROP;
}

/* datagram judges what has no connection of its own. */
inline_fn int datagram(struct flow_conf *listener, struct __sk_buff *skb, const struct packet *p, __u32 subject,
		       bool ingress)
{
	__u8 direction = ingress ? FLOW_INGRESS : FLOW_EGRESS;
	struct track_key key = track_key_of(p, ingress);
	__u64 now = bpf_ktime_get_ns();
	struct track *old = bpf_map_lookup_elem(&petrel_track, &key);
	if (old && now - old->seen > TRACK_LIFETIME)
		old = NULL;
	if (old && old->direction != direction) {
		if (now - old->seen > TRACK_RENEWAL)
			old->seen = now;
		if (subject)
			count_verdict(direction, COUNT_REPLY);
		return PASS;
	}
	if (old && admits(subject, p, ingress)) { /* told and counted when it began */
		if (now - old->seen > TRACK_RENEWAL)
			old->seen = now;
		return PASS;
	}
	if (settle(listener, skb, p, subject, ingress) == DROP) {
		if (old)
			bpf_map_delete_elem(&petrel_track, &key);
		return DROP;
	}
	struct track begun = { .seen = now, .direction = direction };
	if (bpf_map_update_elem(&petrel_track, &key, &begun, BPF_ANY))
		count_verdict(direction, COUNT_UNTRACKED);
	return PASS;
}

inline_fn int judge(struct __sk_buff *skb, bool ingress)
{
	struct flow_conf *listener = flow_wanted();
	bool isolates = policy_isolates();
	if (!isolates && !listener)
		return PASS;
	struct packet p = {};
	if (!packet_read(skb, &p) || p.follows)
		return PASS;
	struct endpoint none = {}, *local = NULL;
	if (isolates && !addr16_equal(&p.source, &p.destination)) /* a pod itself, or the node: it has the pod's own address */
		local = bpf_map_lookup_elem(&petrel_endpoint, ingress ? &p.destination : &p.source);
	if (!local) {
		if (!listener)
			return PASS;
		local = &none;
	}
	__u32 subject = ingress ? local->ingress : local->egress;
	if (p.protocol == IPPROTO_TCP)
		return settle(listener, skb, &p, subject, ingress);
	if (p.protocol == IPPROTO_ICMP || p.protocol == IPPROTO_ICMPV6) /* an answer to it follows, and passes */
		return ingress ? PASS : settle(listener, skb, &p, subject, ingress);
	return datagram(listener, skb, &p, subject, ingress);
}

/* What sockets send and hear has been judged above. A packet socket in a pod's namespace goes past that, so that the
 * node's end of a pod's interface is guarded as well: there, what passes is neither counted nor told a second time. */
#define TCX_NEXT -1
#define TCX_DROP 2

inline_fn bool link_local(const struct addr16 *addr)
{
	return (addr->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

inline_fn bool unspecified6(const struct addr16 *addr)
{
	return !(addr->word[0] | addr->word[1] | addr->word[2] | addr->word[3]);
}

/* owns: the pod behind the interface has the packet's source. Neighbours find each other by other addresses too. */
inline_fn bool owns(struct __sk_buff *skb, const struct packet *p)
{
	struct device_key key = { .ifindex = skb->ifindex, .addr = p->source };
	if (bpf_map_lookup_elem(&petrel_device, &key))
		return true;
	return p->protocol == IPPROTO_ICMPV6 && p->follows && (link_local(&p->source) || unspecified6(&p->source));
}

inline_fn bool guard(struct __sk_buff *skb, const struct packet *p, bool ingress)
{
	struct endpoint *local = bpf_map_lookup_elem(&petrel_endpoint, ingress ? &p->destination : &p->source);
	__u32 subject = local ? (ingress ? local->ingress : local->egress) : 0;
	if (p->follows || !subject || addr16_equal(&p->source, &p->destination) || admits(subject, p, ingress))
		return true;
	if (ingress && (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6))
		return true;
	if (p->protocol == IPPROTO_TCP)
		return false;
	struct track_key key = track_key_of(p, ingress);
	struct track *old = bpf_map_lookup_elem(&petrel_track, &key);
	return old && bpf_ktime_get_ns() - old->seen <= TRACK_LIFETIME &&
	       old->direction != (ingress ? FLOW_INGRESS : FLOW_EGRESS);
}

inline_fn int deny(const struct packet *p, __u8 direction, __u32 why)
{
	struct flow_conf *listener = flow_wanted();
	count_verdict(direction, why);
	if (listener)
		tell(listener, p, NULL, 0, direction, FLOW_DENIED);
	return TCX_DROP;
}

SEC("tcx/ingress")
int petrel_frompod(struct __sk_buff *skb)
{
	struct packet p = {};
	if (!packet_read(skb, &p))
		return TCX_NEXT;
	if (!owns(skb, &p))
		return deny(&p, FLOW_EGRESS, COUNT_FORGED);
	if (policy_isolates() && !guard(skb, &p, false))
		return deny(&p, FLOW_EGRESS, COUNT_DENIED);
	return TCX_NEXT;
}

SEC("tcx/egress")
int petrel_topod(struct __sk_buff *skb)
{
	struct packet p = {};
	if (policy_isolates() && packet_read(skb, &p) && !guard(skb, &p, true))
		return deny(&p, FLOW_INGRESS, COUNT_DENIED);
	return TCX_NEXT;
}

SEC("cgroup_skb/ingress")
int petrel_ingress(struct __sk_buff *skb)
{
	return judge(skb, true);
}

SEC("cgroup_skb/egress")
int petrel_egress(struct __sk_buff *skb)
{
	return judge(skb, false);
}

/* is_service: the destination is not what the connection will have. Behind the programs that replace services by their
 * backends it never is. */
inline_fn bool is_service(const struct packet *p)
{
	struct svc_key key = { .port = p->destination_port, .proto = p->protocol, .scope = SCOPE_INTERNAL };
	addr_copy(key.addr, p->destination.word);
	return service_find(&key) != NULL;
}

/* refuse ends a connect() at once that a policy would let run into its timeout. It speaks up only where the source is
 * known, as the socket is bound. */
inline_fn int refuse(struct bpf_sock *sk, struct packet *p)
{
	struct peer remote = peer_of(&p->destination);
	if (!(remote.flags & PEER_REFUSE) || addr16_equal(&p->source, &p->destination) || bpf_get_retval())
		return PASS;
	struct endpoint *from = bpf_map_lookup_elem(&petrel_endpoint, &p->source);
	struct endpoint *to = bpf_map_lookup_elem(&petrel_endpoint, &p->destination);
	__u8 direction = 0;
	if (from && !admits(from->egress, p, false))
		direction = FLOW_EGRESS;
	else if (to && !admits(to->ingress, p, true))
		direction = FLOW_INGRESS;
	if (!direction || is_service(p))
		return PASS;
	count_verdict(direction, COUNT_REFUSED);
	struct flow_conf *listener = flow_wanted();
	if (listener)
		tell(listener, p, sk, 0, direction, FLOW_DENIED);
	bpf_set_retval(-EACCES);
	return DROP;
}

SEC("cgroup/connect4")
int petrel_refuse4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	if (!policy_isolates() || !sk || !sk->src_ip4)
		return PASS;
	struct packet p = {
		.source = addr16_of4(sk->src_ip4),
		.destination = addr16_of4(ctx->user_ip4),
		.source_port = bpf_htons(sk->src_port),
		.destination_port = (__be16)ctx->user_port,
		.protocol = (__u8)ctx->protocol,
	};
	return refuse(sk, &p);
}

SEC("cgroup/connect6")
int petrel_refuse6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	if (!policy_isolates() || !sk)
		return PASS;
	struct packet p = {
		.source = { { sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3] } },
		.destination = { { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] } },
		.source_port = bpf_htons(sk->src_port),
		.destination_port = (__be16)ctx->user_port,
		.protocol = (__u8)ctx->protocol,
	};
	if (unspecified6(&p.source)) /* whose it will be is decided later */
		return PASS;
	return refuse(sk, &p);
}
