/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who may speak to whom: maps and the one question that all hooks ask of them.
 *
 * An address is somebody's by petrel_ipcache: the longest prefix gives an identity, the number of a group that no
 * policy tells apart. A local pod is somebody's subject by petrel_endpoint: a number of a set of rules a direction, 0
 * where no policy isolates it. petrel_allow holds the rules: {subject, identity, protocol, port}, cut off at any bit,
 * so that a prefix of the key is a range of ports, every port, or every protocol. */
#pragma once

#include "addr16.h"
#include "flow.h"

#define IDENTITY_ANY 0  /* whom no rule names; rules for everyone are kept under it */
#define IDENTITY_HOST 1 /* this node: always allowed */

#define PEER_REFUSE 1 /* a connect() that is denied is to fail at once */

struct peer_key {
	__u32 prefixlen;
	struct addr16 addr;
};

struct peer {
	__u32 identity;
	__u32 flags;
};

struct endpoint {
	__u32 ingress, egress; /* subjects; 0: not isolated */
};

struct allow_key {
	__u32 prefixlen;
	__u32 subject, identity;
	__u8 protocol;
	__u8 port[2]; /* network order: ranges are prefixes */
	__u8 pad;
};

#define ALLOW_BITS 88

struct track_key {
	struct addr16 local, remote;
	__be16 local_port, remote_port;
	__u8 protocol;
	__u8 pad[3];
};

struct track {
	__u64 seen;
	__u32 direction; /* of the packet that began it */
	__u32 pad;
};

/* A reply without a request for this long is a packet of its own. The longest of the defaults of Linux' conntrack for
 * datagrams; protocols over UDP that stay silent for longer send keepalives for the routers on their way. */
#define TRACK_LIFETIME (120ULL * 1000000000ULL)
/* An entry is written at most so often: several processors would fight over its cache line. */
#define TRACK_RENEWAL (1ULL * 1000000000ULL)

/* An address that a pod's interface may send from. */
struct device_key {
	__u32 ifindex;
	struct addr16 addr;
};

struct policy_conf {
	__u32 isolated; /* endpoints that a policy isolates; 0: there is nothing to ask */
	__u32 pad;
};

enum verdict_count { COUNT_ALLOWED, COUNT_DENIED, COUNT_REPLY, COUNT_REFUSED, COUNT_UNTRACKED, COUNT_FORGED, COUNT_VERDICTS };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct peer_key);
	__type(value, struct peer);
} petrel_ipcache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct addr16);
	__type(value, struct endpoint);
} petrel_endpoint SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct allow_key);
	__type(value, __u32);
} petrel_allow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct track_key);
	__type(value, struct track);
} petrel_track SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct device_key);
	__type(value, __u32);
} petrel_device SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy_conf);
} petrel_polconf SEC(".maps");

/* by direction - 1, then verdict_count */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * COUNT_VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} petrel_verdicts SEC(".maps");

inline_fn void count_verdict(__u32 direction, __u32 what)
{
	__u32 i = (direction - 1) * COUNT_VERDICTS + what;
	__u64 *n = bpf_map_lookup_elem(&petrel_verdicts, &i);
	if (n)
		(*n)++;
}

inline_fn bool policy_isolates(void)
{
	__u32 zero = 0;
	struct policy_conf *conf = bpf_map_lookup_elem(&petrel_polconf, &zero);
	return conf && conf->isolated;
}

inline_fn struct peer peer_of(const struct addr16 *addr)
{
	struct peer_key key = { .prefixlen = 128, .addr = *addr };
	struct peer none = {};
	struct peer *p = bpf_map_lookup_elem(&petrel_ipcache, &key);
	return p ? *p : none;
}

/* policy_allows asks whether the rules of a subject let it speak with a peer of that identity. */
inline_fn bool policy_allows(__u32 subject, __u32 identity, __u8 protocol, __be16 port)
{
	struct allow_key key = {
		.prefixlen = ALLOW_BITS,
		.subject = subject,
		.identity = identity,
		.protocol = protocol,
		.port = { bpf_ntohs(port) >> 8, bpf_ntohs(port) & 0xff },
	};
	if (identity == IDENTITY_HOST)
		return true;
	if (bpf_map_lookup_elem(&petrel_allow, &key))
		return true;
	if (identity == IDENTITY_ANY)
		return false;
	key.identity = IDENTITY_ANY;
	return bpf_map_lookup_elem(&petrel_allow, &key) != NULL;
}
