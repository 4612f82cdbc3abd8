//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* One listening socket for many addresses: what arrives for a pod's address and port goes to the socket of the process
 * that serves the pod. */
#include "addr16.h"

char __license[] SEC("license") = "Dual MIT/GPL";

struct listen_key {
	struct addr16 addr;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

enum steer_count { STEER_DONE, STEER_ABSENT, STEER_FAILED, STEER_COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct listen_key);
	__type(value, __u32);
} petrel_listen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} petrel_lsock SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEER_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} petrel_steered SEC(".maps");

inline_fn void count_steer(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&petrel_steered, &what);
	if (n)
		(*n)++;
}

SEC("sk_lookup")
int petrel_steer(struct bpf_sk_lookup *ctx)
{
	struct listen_key key = { .port = bpf_htons(ctx->local_port), .protocol = (__u8)ctx->protocol };
	__be32 v4 = ctx->local_ip4, v6 = ctx->local_ip6[3];
	barrier_var(v4); /* the context may be read at constant offsets alone: one read of either word is not to be */
	barrier_var(v6);
	if (ctx->family == AF_INET) {
		key.addr = addr16_of4(v4);
	} else {
		key.addr.word[0] = ctx->local_ip6[0];
		key.addr.word[1] = ctx->local_ip6[1];
		key.addr.word[2] = ctx->local_ip6[2];
		key.addr.word[3] = v6;
	}
	__u32 *index = bpf_map_lookup_elem(&petrel_listen, &key);
	if (!index)
		return SK_PASS;
	struct bpf_sock *sk = bpf_map_lookup_elem(&petrel_lsock, index);
	if (!sk) { /* its process has died: refused, and never another's socket that listens on every address */
		count_steer(STEER_ABSENT);
		return SK_DROP;
	}
	long err = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	count_steer(err ? STEER_FAILED : STEER_DONE);
	return err ? SK_DROP : SK_PASS;
}
