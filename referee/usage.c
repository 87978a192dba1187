/* SPDX-License-Identifier: BSD-2-Clause */
#include "referee/usage.h"

#include <errno.h>
#include <stdatomic.h>

/* What SIZE bytes, or semaphores, count as in `total`. */
static uint64_t units(enum dipc_kind kind, uint64_t size)
{
	switch (kind) {
	case DIPC_KIND_SHM:
		return size / 4096 + (size % 4096 != 0);
	case DIPC_KIND_SEM:
		return size;
	case DIPC_KIND_MSG:
	case DIPC_KIND_NONE:
		break;
	}
	return 0;
}

int dipc_usage_check(const struct dipc_arena_super *super, enum dipc_kind kind,
		     uint64_t size)
{
	const struct dipc_arena_usage *usage = &super->usage[kind];
	uint64_t max_nr = super->msgmni, max_total = UINT64_MAX;

	if (kind == DIPC_KIND_SHM) {
		if (!size || size > super->shmmax)
			return -EINVAL;
		max_nr = super->shmmni;
		max_total = super->shmall;
	} else if (kind == DIPC_KIND_SEM) {
		if (!size || size > super->semmsl)
			return -EINVAL;
		max_nr = super->semmni;
		max_total = super->semmns;
	}
	if (usage->nr >= max_nr || usage->total + units(kind, size) > max_total)
		return -ENOSPC;
	return 0;
}

/*
 * USAGE_1 relaxed: nothing else is read by them, and nodes, whose READs come
 * at any time, take each word by itself.
 */
static void show(uint64_t *word, uint64_t value)
{
	atomic_store_explicit((_Atomic uint64_t *)word, value,
			      memory_order_relaxed);
}

void dipc_usage_add(struct dipc_arena_super *super, enum dipc_kind kind,
		    uint32_t slot, uint64_t size)
{
	struct dipc_arena_usage *usage = &super->usage[kind];

	show(&usage->nr, usage->nr + 1);
	show(&usage->total, usage->total + units(kind, size));
	if (usage->top <= slot)
		show(&usage->top, (uint64_t)slot + 1);
}

void dipc_usage_sub(struct dipc_arena_super *super, enum dipc_kind kind,
		    uint64_t size, uint32_t top)
{
	struct dipc_arena_usage *usage = &super->usage[kind];

	show(&usage->nr, usage->nr - 1);
	show(&usage->total, usage->total - units(kind, size));
	show(&usage->top, top);
}
