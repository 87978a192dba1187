/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Message blocks. The arena holds three classes of them, free ones in batches
 * on a stack; a node leases whole batches and hands the blocks out itself.
 * docs/design/msg.md.
 *
 * A lease is good for one connection to the arena: when that is another one,
 * what was leased through the old is forgotten (orphans, see msg.md).
 */
#ifndef DIPC_PROTOCOL_POOL_H
#define DIPC_PROTOCOL_POOL_H

#include "runtime/protocol/fabric.h"

struct dipc_pool; /* what one node has leased */

struct dipc_block {
	uint64_t off; /* in the arena; 0: none */
	uint16_t pool_class;
};

/* The fabric's arena is open. 0, -ENOMEM, -EPROTO (no such pools; logged). */
int dipc_pool_create(struct dipc_fabric *f, struct dipc_pool **pool_out);
/* What is still leased becomes orphans: dipc_pool_flush() first. Takes NULL. */
void dipc_pool_destroy(struct dipc_pool *pool);
/* Give every free block back to the arena. Fiber. 0 or -ENOLINK. */
int dipc_pool_flush(struct dipc_pool *pool);

/*
 * A block with room for LEN bytes of text. Fiber. 0; -EINVAL: longer than any
 * block; -ENOMEM: none left in the arena, logged once; -ENOLINK.
 */
int dipc_pool_get(struct dipc_pool *pool, size_t len,
		  struct dipc_block *block_out);
/*
 * The block at OFF, which no queue names any more. The unlinking write may
 * still be in flight, if it was posted on this fabric's link to the arena.
 */
void dipc_pool_put(struct dipc_pool *pool, uint64_t off);
/* Bytes of text that the block at OFF has room for; 0: there is no such. */
size_t dipc_pool_text_room(const struct dipc_pool *pool, uint64_t off);
/* The longest text of all. */
size_t dipc_pool_text_max(const struct dipc_pool *pool);
/* Blocks at hand, for tests. */
unsigned dipc_pool_nr_free(const struct dipc_pool *pool, unsigned pool_class);

#endif
