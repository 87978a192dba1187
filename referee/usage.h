/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many objects of each kind there are, held against the cluster's limits
 * and shown in the arena's first page (struct dipc_arena_usage). Counted is
 * what the kernel would count: from the creation to IPC_RMID, a segment to its
 * last detach. Plain stores, never parks.
 */
#ifndef DIPC_REFEREE_USAGE_H
#define DIPC_REFEREE_USAGE_H

#include "runtime/protocol/arena.h"

/*
 * May one more object of KIND with SIZE bytes, or semaphores, be made? 0;
 * -EINVAL: no such object could ever be; -ENOSPC: not beside those there are.
 */
int dipc_usage_check(const struct dipc_arena_super *super, enum dipc_kind kind,
		     uint64_t size);
void dipc_usage_add(struct dipc_arena_super *super, enum dipc_kind kind,
		    uint32_t slot, uint64_t size);
/* TOP: no object of KIND is in that slot or above, without this one. */
void dipc_usage_sub(struct dipc_arena_super *super, enum dipc_kind kind,
		    uint64_t size, uint32_t top);

#endif
