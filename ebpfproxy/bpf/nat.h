/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the packet path keeps between packets: who speaks to whom, under which addresses on either side.
 *
 * A connection has two entries. The FORWARD one is keyed by what the client sends and holds what the backend gets; the
 * REPLY one is keyed by what the backend sends and holds what the client gets. Each is found from the other: swap the
 * ends of one's value and it is the other's key. So an entry that an LRU map threw away is made again from the one that
 * is left. HALF entries have no peer; see nat_route.h. */
#pragma once

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include "service.h"

/* A function of its own where one inlined into each of its callers would make the programs several times as long. */
#define call_fn static __attribute__((noinline))

/* NAT_NEXT leaves the packet to the next program and then to the stack. */
#define NAT_NEXT (-1)

/* NAT_DONE in tc_index tells petrel_nat_out that petrel_nat_in has done all there is to do. A number of our own: nothing
 * else looks there since the kernel has no dsmark any more. */
#define NAT_DONE 0x7065

enum nat_kind {
	NAT_FORWARD = 1,
	NAT_REPLY = 2,
	NAT_HALF = 3,
};

enum nat_state {
	NAT_ANSWERED = 1,    /* the backend has answered */
	NAT_FIN_CLIENT = 2,  /* the client has sent its last byte */
	NAT_FIN_BACKEND = 4, /* so has the backend */
	NAT_RESET = 8,       /* either side broke it off, or it was refused */
};

struct nat_tuple {
	__be32 src[4];
	__be32 dst[4];
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

struct nat_entry {
	__be32 src[4];
	__be32 dst[4];
	__be16 sport;
	__be16 dport;
	__u8 kind;
	__u8 state;
	__u16 reserved;
	__u32 svc;
	__u32 backend;
	__u32 gen;
	__u32 reserved2;
	__u64 last;    /* of the kernel's monotonic clock, to a tick */
	__u64 checked; /* when the peer was last seen to be there */
};

/* Fragments after the first carry no ports: they go by what the first one showed. */
struct nat_frag_key {
	__be32 src[4];
	__be32 dst[4];
	__u32 id;
	__u8 proto;
	__u8 pad[3];
};

struct nat_frag {
	__be16 sport;
	__be16 dport;
	__u32 reserved;
	__u64 last;
};

/* Set by Go and changed in place: each field is read by itself. */
struct nat_conf {
	__be32 addr4[4]; /* the node's address of each family, all zero: none */
	__be32 addr6[4];
	__u16 port_min; /* ports of masquerade, both included, in the host's order */
	__u16 port_max;
	__u32 reserved;
};

enum nat_stat {
	NAT_STAT_FORWARDED,    /* packets to a backend */
	NAT_STAT_REPLIED,      /* packets back to a client */
	NAT_STAT_CONNECTIONS,  /* entries made for new connections */
	NAT_STAT_REFUSED,      /* answered with a reset or an unreachable */
	NAT_STAT_DROPPED,      /* dropped: no backend and told to drop, or no address to answer from */
	NAT_STAT_DENIED,       /* dropped: source out of range */
	NAT_STAT_EXHAUSTED,    /* dropped: no port left */
	NAT_STAT_REUSED,       /* a closing connection's port was taken */
	NAT_STAT_FULL,         /* dropped: the map took no entry */
	NAT_STAT_HEALED,       /* entries made again from their peer */
	NAT_STAT_ERRORS,       /* ICMP errors translated */
	NAT_STAT_FRAG_UNKNOWN, /* fragments whose first was not seen; left alone */
	NAT_STAT_STACK,        /* packets that went through the stack instead of straight out */
	NAT_STAT_MALFORMED,    /* too short for what they say they are; left alone */
	NAT_STAT_MAX,
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct nat_tuple);
	__type(value, struct nat_entry);
} petrel_nat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct nat_frag_key);
	__type(value, struct nat_frag);
} petrel_natfrag SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_conf);
} petrel_natconf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NAT_STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} petrel_natstat SEC(".maps");

/* What one run of a program works on. It is too large for the stack of a program. */
struct nat_work {
	struct nat_tuple key;   /* what is on the wire */
	struct nat_entry to;    /* what it is to become */
	struct nat_tuple other; /* the peer's key, or a packet within an ICMP error */
	struct nat_entry value; /* an entry to be written */
	struct nat_frag_key frag;
	struct bpf_fib_lookup fib;
	__u64 now;
	__u32 l4;      /* offset of the transport header */
	__u32 len;     /* of the packet from its IP header on, or of one segment of it */
	__u32 inner;   /* offset of the IP header within an ICMP error */
	__u32 inner4;  /* offset of the transport header within it */
	__u32 probe;   /* where the search for a port begins, and its step */
	__u32 step;
	__u32 range;
	__u64 oldest;  /* when the closing entry that has been silent longest was last used */
	__u16 port;    /* its port, or the one that was found; in the host's order */
	__u16 port_min;
	__be16 inner_csum;
	__be16 check;
	__u8 found;
	__u8 v6;
	__u8 first;    /* the packet holds its transport header */
	__u8 syn;      /* it opens a connection */
	__u8 rst;
	__u8 fin;
	__u8 ttl;
	__u8 local;    /* the backend is on this node */
	__u8 keep;     /* the client's address stays as it is */
	__u8 routed;   /* fib has the way */
	__u8 inner_has_csum;
};

/* One for packets that come in, one for those that go out: the one may begin where the other is at work. Go has no use
 * for the type, and no way to say it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__uint(value_size, sizeof(struct nat_work));
} petrel_natwork SEC(".maps");

call_fn void nat_count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&petrel_natstat, &what);
	if (n)
		(*n)++;
}

/* nat_peer writes to k the key of the entry's peer, or of the entry whose value's ends e's key swapped would be. */
inline_fn void nat_peer(struct nat_tuple *k, const struct nat_entry *e, __u8 proto)
{
	addr_copy(k->src, e->dst);
	addr_copy(k->dst, e->src);
	k->sport = e->dport;
	k->dport = e->sport;
	k->proto = proto;
	k->pad[0] = k->pad[1] = k->pad[2] = 0;
}

/* nat_swap sets the value's ends to those of k, swapped. */
inline_fn void nat_swap(struct nat_entry *v, const struct nat_tuple *k)
{
	addr_copy(v->src, k->dst);
	addr_copy(v->dst, k->src);
	v->sport = k->dport;
	v->dport = k->sport;
}

inline_fn bool nat_closing(const struct nat_entry *e)
{
	__u8 both = NAT_FIN_CLIENT | NAT_FIN_BACKEND;
	return (e->state & NAT_RESET) || (e->state & both) == both;
}
