/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order matters. First the locks: what their holder had decided is
 * finished or forgotten, and others go on. Then the sleepers, whose records
 * are linked in queues that only a lock's holder may touch.
 */
#include "referee/recover.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/local.h"
#include "runtime/base/log.h"
#include "runtime/protocol/msg.h"
#include "runtime/protocol/sem.h"

/* Of a lock word, see object.h. */
#define LOCK_NODE(word)        ((unsigned)((word) >> 56))
#define LOCK_INCARNATION(word) ((uint32_t)((word) >> 32) & 0xffffffu)
#define WAITER_STATUS(word)    ((unsigned)((word)&0xffu))

/* A word others change by atomics: looked at here, never stored to. */
static uint64_t peek(const uint64_t *at)
{
	return atomic_load_explicit((const _Atomic uint64_t *)at,
				    memory_order_acquire);
}

static enum dipc_kind kind_of(const struct dipc_arena_object *obj)
{
	return (enum dipc_kind)((peek(&obj->state) & ~DIPC_OBJECT_REMOVED) >>
				32);
}

/* Nothing hangs on the lock of a segment, or of a slot now free. Fiber. */
static int lock_drop(struct dipc_referee *ref, uint32_t slot, uint64_t word)
{
	uint64_t at = dipc_arena_get_super(ref->arena)->slots_off +
		      (uint64_t)slot * DIPC_OBJECT_STRIDE +
		      offsetof(struct dipc_arena_object, lock);
	uint64_t old;

	return dipc_arena_cas(ref->fabric, at, word, 0, &old);
}

static int recover_lock(struct dipc_referee *ref, uint32_t slot, uint64_t word)
{
	struct dipc_arena_object *obj = dipc_arena_object_at(ref->arena, slot);

	switch (kind_of(obj)) {
	case DIPC_KIND_SEM:
		return dipc_sem_recover(ref->fabric, slot);
	case DIPC_KIND_MSG:
		return dipc_msg_recover(ref->fabric, slot);
	case DIPC_KIND_SHM:
	case DIPC_KIND_NONE:
		break;
	}
	return lock_drop(ref, slot, word);
}

static void recover_locks(struct dipc_referee *ref, unsigned node,
			  uint32_t incarnation)
{
	uint32_t nr = (uint32_t)dipc_arena_get_super(ref->arena)->nr_opened;
	uint32_t slot;
	int ret;

	for (slot = 0; slot < nr; slot++) {
		uint64_t word =
			peek(&dipc_arena_object_at(ref->arena, slot)->lock);

		if (!word || LOCK_NODE(word) != node ||
		    LOCK_INCARNATION(word) != (incarnation & 0xffffffu))
			continue;
		ret = recover_lock(ref, slot, word);
		if (ret)
			dipc_error("slot %u: lock of node %u not recovered: %s",
				   slot, node, strerror(-ret));
		else
			dipc_info("slot %u: lock of node %u taken back", slot,
				  node);
	}
}

static void evict_from(struct dipc_referee *ref, uint32_t slot, unsigned node)
{
	struct dipc_arena_object *obj = dipc_arena_object_at(ref->arena, slot);
	int ret = 0;

	switch (kind_of(obj)) {
	case DIPC_KIND_SEM:
		ret = dipc_sem_evict(ref->fabric, slot, node);
		break;
	case DIPC_KIND_MSG:
		ret = dipc_msg_evict(ref->fabric, slot, node);
		break;
	case DIPC_KIND_SHM:
	case DIPC_KIND_NONE:
		return;
	}
	if (ret)
		dipc_error("slot %u: waiters of node %u not taken out: %s",
			   slot, node, strerror(-ret));
}

/* The objects the node's records name; each once. */
static void recover_waiters(struct dipc_referee *ref, unsigned node)
{
	uint32_t nr = (uint32_t)dipc_arena_get_super(ref->arena)->nr_opened;
	bool *is_named = calloc(nr, sizeof(*is_named));
	uint32_t i, slot;

	for (i = 0; is_named && i < DIPC_WAITERS_PER_NODE; i++) {
		struct dipc_arena_waiter *w =
			dipc_arena_waiter_at(ref->arena, node, i);

		if (WAITER_STATUS(peek(&w->state)) != DIPC_WAITER_FREE &&
		    dipc_id_slot(w->id) < nr)
			is_named[dipc_id_slot(w->id)] = true;
	}
	/* without memory to remember: all of them */
	for (slot = 0; slot < nr; slot++)
		if (!is_named || is_named[slot])
			evict_from(ref, slot, node);
	free(is_named);
}

/* Nobody is to ask it any more about sets that it used. */
static void recover_masks(struct dipc_referee *ref, unsigned node)
{
	uint32_t nr = (uint32_t)dipc_arena_get_super(ref->arena)->nr_opened;
	uint32_t slot;

	for (slot = 0; slot < nr; slot++) {
		struct dipc_arena_object *obj =
			dipc_arena_object_at(ref->arena, slot);

		if (kind_of(obj) != DIPC_KIND_SEM ||
		    !((peek(&obj->users) | peek(&obj->undoers)) & 1ull << node))
			continue;
		if (dipc_sem_drop_node(ref->fabric, slot, node))
			dipc_warn("slot %u: node %u is still among its users",
				  slot, node);
	}
}

void dipc_recover_node(struct dipc_referee *ref, unsigned node,
		       uint32_t incarnation)
{
	recover_locks(ref, node, incarnation);
	recover_waiters(ref, node);
	recover_masks(ref, node);
}
