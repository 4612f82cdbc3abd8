/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What every program of Petrel starts from: the kernel's user-space headers and nothing of a distribution's vmlinux.h,
 * so that objects can be built again on any machine. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define AF_INET 2
#define AF_INET6 10

/* The verifier keeps pointers apart only when lookups are not merged: each helper is inlined. */
#define inline_fn static __always_inline

/* ADDR_MAPPED is the third word of an IPv4 address in its IPv6 form, ::ffff:a.b.c.d: all tables hold that form. */
#define ADDR_MAPPED bpf_htonl(0xffff)

inline_fn void addr_from4(__be32 to[4], __be32 ip)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = ADDR_MAPPED;
	to[3] = ip;
}

inline_fn void addr_copy(__be32 to[4], const __be32 from[4])
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

inline_fn bool addr_is4(const __be32 a[4])
{
	return a[0] == 0 && a[1] == 0 && a[2] == ADDR_MAPPED;
}

inline_fn bool addr_equal(const __be32 a[4], const __be32 b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}
