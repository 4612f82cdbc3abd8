/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The ring of flow events. Nothing is written while nobody listens: flow_wanted() is one array lookup and one test.
 *
 * petrel_flowconf and petrel_flows are shared by every object that includes this header: the loader replaces them by
 * name. */
#pragma once

#include "addr16.h"

#define FLOW_BYTES (1 << 20) /* 11,915 events: four times what a listener looks for at once on a busy node */

enum flow_kind { FLOW_CONNECT = 1, FLOW_ACCEPT, FLOW_DENIED, FLOW_REFUSED };
enum flow_direction { FLOW_INGRESS = 1, FLOW_EGRESS };

struct flow {
	__u64 time; /* CLOCK_MONOTONIC */
	__u64 lost; /* events that found no room, since the maps were made */
	struct addr16 source, destination;
	struct addr16 service; /* the address that the client asked for, when that was a service's */
	__be16 source_port, destination_port, service_port;
	__u8 protocol, kind, direction;
	__u8 pad[3];
	__u32 service_id; /* svc.id; 0: none */
};

struct flow_conf {
	__u64 lost;
	__u32 listening; /* 0: nobody */
	__u32 sample;    /* of what passes, one in this many is told; what is denied or refused always is */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FLOW_BYTES);
} petrel_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_conf);
} petrel_flowconf SEC(".maps");

/* flow_wanted answers the configuration when somebody listens, else NULL. */
inline_fn struct flow_conf *flow_wanted(void)
{
	__u32 zero = 0;
	struct flow_conf *conf = bpf_map_lookup_elem(&petrel_flowconf, &zero);
	return conf && conf->listening ? conf : NULL;
}

/* flow_tell writes one event. Its time, its count of lost ones and its padding are filled in here. */
inline_fn void flow_tell(struct flow_conf *conf, const struct flow *what)
{
	bool passed = what->kind == FLOW_CONNECT || what->kind == FLOW_ACCEPT;
	if (passed && conf->sample > 1 && bpf_get_prandom_u32() % conf->sample)
		return;
	struct flow *event = bpf_ringbuf_reserve(&petrel_flows, sizeof *event, 0);
	if (!event) {
		__sync_fetch_and_add(&conf->lost, 1);
		return;
	}
	*event = *what;
	event->time = bpf_ktime_get_ns();
	event->lost = conf->lost;
	/* To wake the listener for each event would cost a connect() more than all the rest: it looks by itself. */
	bool much = bpf_ringbuf_query(&petrel_flows, BPF_RB_AVAIL_DATA) > FLOW_BYTES / 4;
	bpf_ringbuf_submit(event, much ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}
