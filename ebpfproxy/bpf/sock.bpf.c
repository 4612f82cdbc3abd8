//go:build ignore

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Socket load balancing: a connect() or sendto() to a service is given a backend before a packet exists, and the
// socket is shown the service wherever it asks for its peer.
//
// go types: svc_key svc slot backend counters addr_key range_key aff_key aff sk_orig udpfwd_key udpfwd udprev_key udprev
#include "flow.h"
#include "service.h"

char __license[] SEC("license") = "Dual MIT/GPL";

#define IPPROTO_MPTCP_ 262 /* of newer headers */
#define ECONNREFUSED 111
#define ETIMEDOUT 110

enum verdict {
	DENY = 0,
	ALLOW = 1,
};

/* petrel_home is the cookie of the node's own network namespace; 0 where it is not known. */
const volatile __u64 petrel_home = 0;

// A destination, or a source, in the tables' form.
struct endpoint {
	__be32 addr[4];
	__be16 port;
};

// is_loopback has no branch for each word of the address: the verifier would follow everything after it for each of them.
inline_fn bool is_loopback(const __be32 a[4])
{
	__u32 not4 = a[0] | a[1] | (a[2] ^ ADDR_MAPPED) | ((a[3] & bpf_htonl(0xff000000)) ^ bpf_htonl(0x7f000000));
	__u32 not6 = a[0] | a[1] | a[2] | (a[3] ^ bpf_htonl(1));
	return !not4 || !not6;
}

// is_elsewhere: the localhost of another network namespace than the node's is that namespace's own, and never a port of
// the node's.
inline_fn bool is_elsewhere(struct bpf_sock_addr *ctx, const struct endpoint *dst)
{
	return petrel_home && bpf_get_netns_cookie(ctx) != petrel_home && is_loopback(dst->addr);
}

inline_fn __u8 protocol_of(const struct bpf_sock_addr *ctx)
{
	return ctx->protocol == IPPROTO_MPTCP_ ? IPPROTO_TCP : (__u8)ctx->protocol;
}

// client_of says who asks. A socket bound to an address is its pod's; others share their network namespace with their
// pod alone, or are the node's own.
inline_fn void client_of(struct bpf_sock_addr *ctx, struct aff_key *client)
{
	struct bpf_sock *sk = ctx->sk;
	if (sk && sk->family == AF_INET && sk->src_ip4) {
		addr_from4(client->addr, sk->src_ip4);
		return;
	}
	if (sk && sk->family == AF_INET6) {
		client->addr[0] = sk->src_ip6[0];
		client->addr[1] = sk->src_ip6[1];
		client->addr[2] = sk->src_ip6[2];
		client->addr[3] = sk->src_ip6[3];
		if (client->addr[0] || client->addr[1] || client->addr[2] || client->addr[3])
			return;
	}
	__u64 cookie = bpf_get_netns_cookie(ctx);
	client->kind = CLIENT_NETNS;
	client->addr[0] = (__u32)cookie;
	client->addr[1] = (__u32)(cookie >> 32);
}

// client_hash is FNV-1a over the client, so that Maglev gives a client the same backend on each node.
inline_fn __u32 client_hash(const struct aff_key *client)
{
	__u32 h = 2166136261u;
	for (int i = 0; i < 4; i++) {
		h ^= client->addr[i];
		h *= 16777619u;
		h ^= h >> 15;
	}
	return h;
}

// RETRIES of a choice that failed though there are backends: between two of its lookups the table was changed, and this
// program was kept waiting so long that what it had read is another's.
#define RETRIES 3

// choose answers one of the backends of the service at key, and the service in *svc, NULL when there is none.
inline_fn struct backend *choose(struct bpf_sock_addr *ctx, struct svc_key *key, struct svc **svc, __u32 *id)
{
	for (int i = 0; i < RETRIES; i++) {
		struct svc *s = service_find(key);
		*svc = s;
		if (!s)
			return NULL;
		struct aff_key client = {};
		if (s->flags & (SVC_AFFINITY | SVC_MAGLEV))
			client_of(ctx, &client);
		__u32 hash = s->flags & SVC_MAGLEV ? client_hash(&client) : bpf_get_prandom_u32();
		struct backend *b = service_pick(s, &client, hash, id);
		if (b || !s->count)
			return b;
	}
	return NULL;
}

inline_fn void tell_refused(struct bpf_sock_addr *ctx, const struct svc *s, const struct endpoint *dst)
{
	struct flow_conf *listener = flow_wanted();
	if (!listener)
		return;
	struct flow event = {
		.destination_port = dst->port,
		.service_port = dst->port,
		.protocol = protocol_of(ctx),
		.kind = FLOW_REFUSED,
		.direction = FLOW_EGRESS,
		.service_id = s->id,
	};
	addr_copy(event.destination.word, dst->addr);
	addr_copy(event.service.word, dst->addr);
	struct aff_key client = {};
	client_of(ctx, &client);
	if (client.kind == CLIENT_ADDR) {
		addr_copy(event.source.word, client.addr);
		if (ctx->sk)
			event.source_port = bpf_htons(ctx->sk->src_port);
	} else if (addr_is4(dst->addr)) {
		addr_from4(event.source.word, 0); // not bound yet
	}
	flow_tell(listener, &event);
}

inline_fn enum verdict refuse(struct bpf_sock_addr *ctx, const struct svc *s, const struct endpoint *dst)
{
	count_refused(s->id);
	tell_refused(ctx, s, dst);
	bpf_set_retval(s->flags & SVC_DROP ? -ETIMEDOUT : -ECONNREFUSED);
	return DENY;
}

// forget: the socket speaks to no service any more.
inline_fn void forget(struct bpf_sock_addr *ctx)
{
	if (ctx->sk && bpf_sk_storage_get(&petrel_sk, ctx->sk, NULL, 0))
		bpf_sk_storage_delete(&petrel_sk, ctx->sk);
}

// connect_to replaces dst by a backend when it is a service's.
inline_fn enum verdict connect_to(struct bpf_sock_addr *ctx, struct endpoint *dst)
{
	struct svc_key key = { .port = dst->port, .proto = protocol_of(ctx), .scope = SCOPE_INTERNAL };
	addr_copy(key.addr, dst->addr);
	if (is_elsewhere(ctx, dst)) {
		forget(ctx);
		return ALLOW;
	}
	struct svc *s;
	__u32 id = 0;
	struct backend *b = choose(ctx, &key, &s, &id);
	if (!s) {
		forget(ctx);
		return ALLOW;
	}
	if (!b)
		return refuse(ctx, s, dst);
	struct sk_orig *o = NULL;
	if (ctx->sk)
		o = bpf_sk_storage_get(&petrel_sk, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (o) {
		addr_copy(o->addr, dst->addr);
		addr_copy(o->backend_addr, b->addr);
		o->port = dst->port;
		o->backend_port = b->port;
		o->svc = s->id;
		o->backend = id;
		o->gen = b->gen;
	}
	addr_copy(dst->addr, b->addr);
	dst->port = b->port;
	count_connection(s->id, id);
	return ALLOW;
}

// keep_datagrams answers the backend that this socket's datagrams to the service went to before.
inline_fn struct backend *keep_datagrams(const struct udpfwd_key *key, __u32 *id)
{
	struct udpfwd *f = bpf_map_lookup_elem(&petrel_udpfwd, key);
	if (!f)
		return NULL;
	struct backend *b = backend_get(f->backend, f->gen);
	if (!b || b->state > BACKEND_UNREADY)
		return NULL;
	*id = f->backend;
	return b;
}

// send_to replaces dst, the destination of one datagram.
inline_fn enum verdict send_to(struct bpf_sock_addr *ctx, struct endpoint *dst)
{
	struct svc_key key = { .port = dst->port, .proto = protocol_of(ctx), .scope = SCOPE_INTERNAL };
	addr_copy(key.addr, dst->addr);
	if (is_elsewhere(ctx, dst))
		return ALLOW;
	struct svc *s = service_find(&key);
	if (!s)
		return ALLOW;
	struct udpfwd_key fkey = { .cookie = bpf_get_socket_cookie(ctx), .svc = s->id };
	__u32 id = 0;
	struct backend *b = keep_datagrams(&fkey, &id);
	if (!b) {
		b = choose(ctx, &key, &s, &id);
		if (!s)
			return ALLOW; // it was removed just now
		if (!b)
			return refuse(ctx, s, dst);
		struct udpfwd f = { .backend = id, .gen = b->gen };
		bpf_map_update_elem(&petrel_udpfwd, &fkey, &f, BPF_ANY);
		count_connection(s->id, id);
	}
	struct udprev_key rkey = { .cookie = fkey.cookie, .port = b->port };
	addr_copy(rkey.addr, b->addr);
	struct udprev r = { .port = dst->port, .svc = s->id };
	addr_copy(r.addr, dst->addr);
	struct udprev *old = bpf_map_lookup_elem(&petrel_udprev, &rkey);
	if (!old || old->port != r.port || !addr_equal(old->addr, r.addr))
		bpf_map_update_elem(&petrel_udprev, &rkey, &r, BPF_ANY);
	addr_copy(dst->addr, b->addr);
	dst->port = b->port;
	count_packet(s->id, id, 0);
	return ALLOW;
}

inline_fn struct sk_orig *connected_to(struct bpf_sock_addr *ctx, const struct endpoint *src)
{
	struct sk_orig *o = ctx->sk ? bpf_sk_storage_get(&petrel_sk, ctx->sk, NULL, 0) : NULL;
	if (o && o->backend_port == src->port && addr_equal(o->backend_addr, src->addr))
		return o;
	return NULL;
}

// peer_of shows the service instead of the backend that the socket is connected to.
inline_fn bool peer_of(struct bpf_sock_addr *ctx, struct endpoint *src)
{
	struct sk_orig *o = connected_to(ctx, src);
	if (!o)
		return false;
	addr_copy(src->addr, o->addr);
	src->port = o->port;
	return true;
}

// received_from does so for the source of a datagram.
inline_fn bool received_from(struct bpf_sock_addr *ctx, struct endpoint *src)
{
	if (peer_of(ctx, src))
		return true;
	struct udprev_key key = { .cookie = bpf_get_socket_cookie(ctx), .port = src->port };
	addr_copy(key.addr, src->addr);
	struct udprev *r = bpf_map_lookup_elem(&petrel_udprev, &key);
	if (!r)
		return false;
	addr_copy(src->addr, r->addr);
	src->port = r->port;
	return true;
}

inline_fn void read4(struct bpf_sock_addr *ctx, struct endpoint *e)
{
	addr_from4(e->addr, ctx->user_ip4);
	e->port = (__be16)ctx->user_port;
}

inline_fn void write4(struct bpf_sock_addr *ctx, const struct endpoint *e)
{
	ctx->user_ip4 = e->addr[3];
	ctx->user_port = e->port;
}

inline_fn void read6(struct bpf_sock_addr *ctx, struct endpoint *e)
{
	e->addr[0] = ctx->user_ip6[0];
	e->addr[1] = ctx->user_ip6[1];
	e->addr[2] = ctx->user_ip6[2];
	e->addr[3] = ctx->user_ip6[3];
	e->port = (__be16)ctx->user_port;
}

inline_fn void write6(struct bpf_sock_addr *ctx, const struct endpoint *e)
{
	ctx->user_ip6[0] = e->addr[0];
	ctx->user_ip6[1] = e->addr[1];
	ctx->user_ip6[2] = e->addr[2];
	ctx->user_ip6[3] = e->addr[3];
	ctx->user_port = e->port;
}

SEC("cgroup/connect4")
int petrel_connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint dst;
	read4(ctx, &dst);
	if (connect_to(ctx, &dst) == DENY)
		return DENY;
	write4(ctx, &dst);
	return ALLOW;
}

SEC("cgroup/connect6")
int petrel_connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint dst;
	read6(ctx, &dst);
	if (connect_to(ctx, &dst) == DENY)
		return DENY;
	write6(ctx, &dst);
	return ALLOW;
}

SEC("cgroup/sendmsg4")
int petrel_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint dst;
	read4(ctx, &dst);
	if (send_to(ctx, &dst) == DENY)
		return DENY;
	write4(ctx, &dst);
	return ALLOW;
}

SEC("cgroup/sendmsg6")
int petrel_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint dst;
	read6(ctx, &dst);
	if (send_to(ctx, &dst) == DENY)
		return DENY;
	write6(ctx, &dst);
	return ALLOW;
}

SEC("cgroup/recvmsg4")
int petrel_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint src;
	read4(ctx, &src);
	if (received_from(ctx, &src))
		write4(ctx, &src);
	return ALLOW;
}

SEC("cgroup/recvmsg6")
int petrel_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint src;
	read6(ctx, &src);
	if (received_from(ctx, &src))
		write6(ctx, &src);
	return ALLOW;
}

SEC("cgroup/getpeername4")
int petrel_getpeer4(struct bpf_sock_addr *ctx)
{
	struct endpoint src;
	read4(ctx, &src);
	if (peer_of(ctx, &src))
		write4(ctx, &src);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int petrel_getpeer6(struct bpf_sock_addr *ctx)
{
	struct endpoint src;
	read6(ctx, &src);
	if (peer_of(ctx, &src))
		write6(ctx, &src);
	return ALLOW;
}
