/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Events about clients from outside, for whoever listens. */
#pragma once

#include "flow.h"
#include "nat.h"

/* nat_tell tells what became of a client's packet: connected to to, or turned away at the frontend. */
call_fn void nat_tell(const struct nat_work *w, __u8 kind, __u32 svc)
{
	struct flow_conf *listener = flow_wanted();
	if (!listener)
		return;
	struct flow event = {
		.source_port = w->key.sport,
		.destination_port = w->key.dport,
		.service_port = w->key.dport,
		.protocol = w->key.proto,
		.kind = kind,
		.direction = FLOW_INGRESS,
		.service_id = svc,
	};
	addr_copy(event.source.word, w->key.src);
	addr_copy(event.destination.word, w->key.dst);
	addr_copy(event.service.word, w->key.dst);
	if (kind == FLOW_CONNECT) {
		addr_copy(event.destination.word, w->to.dst);
		event.destination_port = w->to.dport;
	}
	flow_tell(listener, &event);
}
