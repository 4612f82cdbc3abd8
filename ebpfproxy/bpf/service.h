/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* How a frontend is found and one of its backends chosen, the same for sockets and for packets. */
#pragma once

#include "maps.h"

/* service_find answers the service at key, which is a node port's when the address is the node's. It leaves key with
 * the key that was found. */
inline_fn struct svc *service_find(struct svc_key *key)
{
	struct svc *s = bpf_map_lookup_elem(&petrel_svc, key);
	if (s)
		return s;
	if (!bpf_map_lookup_elem(&petrel_node, key->addr))
		return NULL;
	key->addr[3] = 0;
	if (!addr_is4(key->addr)) {
		key->addr[0] = 0;
		key->addr[1] = 0;
		key->addr[2] = 0;
	}
	return bpf_map_lookup_elem(&petrel_svc, key);
}

/* backend_get answers the backend at id if it is still the one that id and gen were noted of. */
inline_fn struct backend *backend_get(__u32 id, __u32 gen)
{
	struct backend *b = bpf_map_lookup_elem(&petrel_backend, &id);
	if (!b || b->gen != gen || b->state == BACKEND_FREE)
		return NULL;
	return b;
}

/* backend_serves: a client that was given this backend before may connect to it once more. */
inline_fn bool backend_serves(const struct svc *s, const struct backend *b)
{
	return b->state == BACKEND_ACTIVE || (b->state == BACKEND_DRAINING && (s->flags & SVC_DRAINING));
}

/* pick_slot answers the backend at position hash of the service's slots. */
inline_fn struct backend *pick_slot(const struct svc *s, __u32 hash, __u32 *id)
{
	if (!s->count)
		return NULL;
	__u32 index = s->base + hash % s->count;
	struct slot *slot = bpf_map_lookup_elem(&petrel_slot, &index);
	if (!slot)
		return NULL;
	struct backend *b = backend_get(slot->backend, slot->gen);
	if (!b || b->svc != s->id) /* the slots are another's by now */
		return NULL;
	*id = slot->backend;
	return b;
}

/* service_pick chooses for a client, with affinity where the service wants it; client->svc is set here. hash decides
 * where no affinity does. */
inline_fn struct backend *service_pick(const struct svc *s, struct aff_key *client, __u32 hash, __u32 *id)
{
	if (!(s->flags & SVC_AFFINITY))
		return pick_slot(s, hash, id);
	client->svc = s->id;
	__u64 now = bpf_ktime_get_ns();
	struct aff *a = bpf_map_lookup_elem(&petrel_aff, client);
	if (a && now - a->last < s->affinity_ms * 1000000ULL) {
		struct backend *b = backend_get(a->backend, a->gen);
		if (b && backend_serves(s, b)) {
			a->last = now;
			*id = a->backend;
			return b;
		}
	}
	struct backend *b = pick_slot(s, hash, id);
	if (b) {
		struct aff fresh = { .last = now, .backend = *id, .gen = b->gen };
		bpf_map_update_elem(&petrel_aff, client, &fresh, BPF_ANY);
	}
	return b;
}

inline_fn struct counters *svc_counters(__u32 id)
{
	return bpf_map_lookup_elem(&petrel_svcstat, &id);
}

inline_fn struct counters *backend_counters(__u32 id)
{
	return bpf_map_lookup_elem(&petrel_bestat, &id);
}

inline_fn void count_connection(__u32 svc, __u32 backend)
{
	struct counters *c = svc_counters(svc);
	if (c)
		__sync_fetch_and_add(&c->connections, 1);
	c = backend_counters(backend);
	if (c)
		__sync_fetch_and_add(&c->connections, 1);
}

inline_fn void count_packet(__u32 svc, __u32 backend, __u32 bytes)
{
	struct counters *c = svc_counters(svc);
	if (c) {
		__sync_fetch_and_add(&c->packets, 1);
		__sync_fetch_and_add(&c->bytes, bytes);
	}
	c = backend_counters(backend);
	if (c) {
		__sync_fetch_and_add(&c->packets, 1);
		__sync_fetch_and_add(&c->bytes, bytes);
	}
}

inline_fn void count_refused(__u32 svc)
{
	struct counters *c = svc_counters(svc);
	if (c)
		__sync_fetch_and_add(&c->refused, 1);
}
