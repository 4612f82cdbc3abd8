/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The tables that programs of several owners share. Go writes the first section and reads the counters; the programs
 * write the rest. Names keep to the kernel's 15 characters. A changed layout needs a new schema version in schema.go.
 *
 * max_entries here is a placeholder: the loader sets each from Config.Sizes. */
#pragma once

#include "petrel.h"

/* ---- services and backends ------------------------------------------------------------------------------------- */

enum svc_scope {
	SCOPE_INTERNAL = 0, /* what sockets of this node ask for */
	SCOPE_EXTERNAL = 1, /* what packets from outside ask for */
};

enum svc_flags {
	SVC_AFFINITY = 1,      /* a client stays with its backend for affinity_ms after its last connection */
	SVC_MAGLEV = 2,        /* the slots are a Maglev table: pick by the client's hash rather than at random */
	SVC_DROP = 4,          /* without a slot: drop rather than refuse */
	SVC_SOURCE_RANGES = 8, /* packets only from what petrel_srcrange holds */
	SVC_KEEP_CLIENT = 16,  /* DNAT without SNAT */
	SVC_DRAINING = 32,     /* no backend is active: the slots are those that drain */
};

/* A node port has the unspecified address of its family: 0.0.0.0 in its IPv6 form, or ::. */
struct svc_key {
	__be32 addr[4];
	__be16 port;
	__u8 proto;
	__u8 scope;
};

/* The slots of a service are [base, base+count) of petrel_slot. They are never rewritten in place: a change writes a new
 * range and then replaces this value, which the kernel does atomically. count 0: there is no backend. */
struct svc {
	__u32 id;
	__u32 base;
	__u32 count;
	__u32 affinity_ms;
	__u32 flags;
	__u32 reserved;
};

/* A slot whose gen is not its backend's is older than that backend: treat it as none. */
struct slot {
	__u32 backend;
	__u32 gen;
};

enum backend_state {
	BACKEND_FREE = 0,
	BACKEND_ACTIVE = 1,
	BACKEND_DRAINING = 2, /* keeps its clients, gets new ones only when no backend is active */
	BACKEND_UNREADY = 3,  /* keeps what is open, gets nothing new */
	BACKEND_LEAVING = 4,  /* gone from its service: datagram sockets are ended, streams live for the grace */
	BACKEND_DEAD = 5,     /* streams are ended as well */
};

enum backend_flags {
	BACKEND_LOCAL = 1, /* on this node */
};

/* An entry belongs to one service. gen changes each time the entry is given to another backend. */
struct backend {
	__be32 addr[4];
	__be16 port;
	__u8 state;
	__u8 flags;
	__u32 gen;
	__u32 svc;
	__u32 reserved;
};

struct counters {
	__u64 connections; /* TCP connects, first datagrams of a client */
	__u64 packets;     /* datagrams sent unconnected, packets forwarded */
	__u64 bytes;       /* of packets forwarded */
	__u64 refused;     /* turned away: no backend, or a source out of range */
};

struct addr_key {
	__be32 addr[4];
};

struct range_key {
	__u32 prefixlen; /* 32 for svc, 96 for IPv4 in its IPv6 form, and the prefix's own */
	__u32 svc;
	__be32 addr[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct svc_key);
	__type(value, struct svc);
} petrel_svc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot);
} petrel_slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct backend);
} petrel_backend SEC(".maps");

/* By svc.id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} petrel_svcstat SEC(".maps");

/* By the backend's index. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} petrel_bestat SEC(".maps");

/* The node's own addresses: those that node ports answer on. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct addr_key);
	__type(value, __u32);
} petrel_node SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct range_key);
	__type(value, __u32);
} petrel_srcrange SEC(".maps");

/* ---- what programs remember of clients ------------------------------------------------------------------------- */

enum client_kind {
	CLIENT_ADDR = 0,  /* addr is an address */
	CLIENT_NETNS = 1, /* addr[0..1] is the cookie of the network namespace of a socket without an address */
};

struct aff_key {
	__be32 addr[4];
	__u32 svc;
	__u32 kind;
};

struct aff {
	__u64 last; /* of bpf_ktime_get_ns */
	__u32 backend;
	__u32 gen;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct aff_key);
	__type(value, struct aff);
} petrel_aff SEC(".maps");

/* What a connected socket asked for and what it got. It goes with the socket, so nothing of it can leak. */
struct sk_orig {
	__be32 addr[4]; /* the frontend */
	__be32 backend_addr[4];
	__be16 port;
	__be16 backend_port;
	__u32 svc;
	__u32 backend;
	__u32 gen;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sk_orig);
} petrel_sk SEC(".maps");

/* A datagram socket that is not connected keeps its backend as long as the backend is there … */
struct udpfwd_key {
	__u64 cookie;
	__u32 svc;
	__u32 reserved;
};

struct udpfwd {
	__u32 backend;
	__u32 gen;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct udpfwd_key);
	__type(value, struct udpfwd);
} petrel_udpfwd SEC(".maps");

/* … and sees answers come from the frontend. */
struct udprev_key {
	__u64 cookie;
	__be32 addr[4];
	__be16 port;
	__u16 reserved[3];
};

struct udprev {
	__be32 addr[4];
	__be16 port;
	__u16 reserved;
	__u32 svc;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct udprev_key);
	__type(value, struct udprev);
} petrel_udprev SEC(".maps");
