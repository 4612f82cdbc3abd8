/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Addresses of both families in one shape: 16 bytes in network order, IPv4 mapped to ::ffff:a.b.c.d, so that the maps
 * and the code that reads them exist once. */
#pragma once

#include "petrel.h"

struct addr16 {
	__be32 word[4];
};

inline_fn struct addr16 addr16_of4(__be32 v4)
{
	struct addr16 a = { .word = { 0, 0, ADDR_MAPPED, v4 } };
	return a;
}

inline_fn bool addr16_equal(const struct addr16 *a, const struct addr16 *b)
{
	return addr_equal(a->word, b->word);
}
