//go:build ignore

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Ends sockets whose backend is no longer there. An iterator walks the sockets of the network namespace it was opened
// in; those that were never given a backend are left alone.
#include "service.h"
#include <bpf/bpf_tracing.h>

char __license[] SEC("license") = "Dual MIT/GPL";

// The fields that are read, for relocation against the running kernel's own types.
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct sock_common {
	volatile unsigned char skc_state;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

struct inet_sock {
	struct sock sk;
} __attribute__((preserve_access_index));

struct udp_sock {
	struct inet_sock inet;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
} __attribute__((preserve_access_index));

#define TCP_LISTEN 10

extern int bpf_sock_destroy(struct sock_common *sk) __ksym;

// lost: the socket was given a backend that is in state end or later, or whose entry is another's by now.
inline_fn bool lost(struct sk_orig *o, __u8 end)
{
	struct backend *b = backend_get(o->backend, o->gen);
	return !b || b->state >= end;
}

SEC("iter/tcp")
int petrel_end_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	if (!sk || sk->skc_state == TCP_LISTEN)
		return 0;
	struct sk_orig *o = bpf_sk_storage_get(&petrel_sk, sk, NULL, 0);
	if (o && lost(o, BACKEND_DEAD))
		bpf_sock_destroy(sk);
	return 0;
}

SEC("iter/udp")
int petrel_end_udp(struct bpf_iter__udp *ctx)
{
	struct udp_sock *sk = ctx->udp_sk;
	if (!sk)
		return 0;
	struct sk_orig *o = bpf_sk_storage_get(&petrel_sk, sk, NULL, 0);
	if (o && lost(o, BACKEND_LEAVING))
		bpf_sock_destroy((struct sock_common *)sk);
	return 0;
}
