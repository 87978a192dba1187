/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of objects. From REMOVED on nobody can find the object; what remains
 * is to wait until nobody uses it.
 *
 * REAP_1 A segment goes when its `nattch` is 0, and an attachment may be under
 * way: the attacher adds to `nattch` first and looks at `state` afterwards. So
 * the reaper turns 0 into DIPC_REAPED with a CAS. Who then adds finds that bit
 * in what it added to, and takes its own back within the grace. `opens` must
 * become 0 too: modified pages go home after the last detach.
 *
 * REAP_2 Operations of nodes that read `state` before may still land for as
 * long as a chain takes. They hit what nobody looks at until the grace is
 * over.
 */
#include "referee/keys_private.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "runtime/base/log.h"
#include "runtime/protocol/msg.h"
#include "runtime/protocol/pool.h"
#include "runtime/protocol/sem.h"

#define DIPC_REAPED (1ull << 63)
#define TICK_NS     DIPC_SEC

/* ---- removing ----------------------------------------------------------- */

/* Everybody who sleeps in the object's calls ends with EIDRM. Fiber. */
static int object_drain(struct dipc_keys *k, const struct object *obj)
{
	struct dipc_referee *ref = k->ref;
	uint32_t slot = dipc_object_slot(k, obj);
	int ret;

	if (obj->kind == DIPC_KIND_SEM)
		return dipc_sem_remove(ref->fabric, slot);
	ret = dipc_msg_remove(ref->fabric, ref->pool, slot);
	/* the referee sends no messages: it keeps no blocks */
	if (!ret)
		ret = dipc_pool_flush(ref->pool);
	return ret;
}

static uint64_t shm_field(const struct dipc_keys *k, const struct object *obj,
			  size_t field)
{
	return dipc_object_offset(k, obj) +
	       offsetof(struct dipc_arena_object, shm) + field;
}

/* Nobody attached, and no page under way home? Fiber. */
static bool segment_is_unused(struct dipc_keys *k, const struct object *obj)
{
	struct dipc_fabric *f = k->ref->fabric;
	uint64_t old, opens;

	/* see REAP_1; reaped before, and a late attacher may be on it */
	if (dipc_arena_cas(
		    f,
		    shm_field(k, obj, offsetof(struct dipc_arena_shm, nattch)),
		    0, DIPC_REAPED, &old) ||
	    (old && !(old & DIPC_REAPED)))
		return false;
	return !dipc_arena_read(
		       f,
		       shm_field(k, obj,
				 offsetof(struct dipc_arena_shm, opens)),
		       &opens, sizeof(opens)) &&
	       !opens;
}

/* On to GRACE if nothing is in the way. Fiber. */
static void segment_reap(struct dipc_keys *k, struct object *obj)
{
	if (obj->is_busy || obj->state != OBJECT_REMOVED)
		return;
	obj->is_busy = true;
	if (segment_is_unused(k, obj))
		dipc_object_enter(k, obj, OBJECT_GRACE);
	obj->is_busy = false;
}

int dipc_object_remove(struct dipc_keys *k, struct object *obj)
{
	uint32_t slot = dipc_object_slot(k, obj);
	uint64_t old;
	int ret;

	dipc_object_unname(k, obj);
	dipc_object_enter(k, obj, OBJECT_REMOVING);
	/* once in the object's life, so adding the bit sets it */
	ret = dipc_arena_faa(k->ref->fabric, dipc_object_offset(k, obj),
			     DIPC_OBJECT_REMOVED, &old);
	if (ret)
		return ret; /* our own link: the referee is ending */
	if (obj->kind == DIPC_KIND_SHM) {
		dipc_object_enter(k, obj, OBJECT_REMOVED);
		segment_reap(k, obj);
		return 0;
	}
	ret = object_drain(k, obj);
	if (ret)
		dipc_error("slot %u: its waiters could not be told: error %d",
			   slot, -ret);
	dipc_object_enter(k, obj, OBJECT_GRACE);
	return ret;
}

/* ---- after the grace ---------------------------------------------------- */

/* Fiber. */
static void object_free(struct dipc_keys *k, struct object *obj)
{
	uint32_t slot = dipc_object_slot(k, obj);
	uint64_t state =
		dipc_arena_state_of(k->ref->arena, slot) | DIPC_OBJECT_REMOVED;
	uint64_t old, homes;
	int ret;

	obj->is_busy = true;
	ret = dipc_arena_cas(k->ref->fabric, dipc_object_offset(k, obj), state,
			     0, &old);
	obj->is_busy = false;
	if (ret)
		return;
	if (old != state) {
		dipc_error("slot %u: state 0x%llx, expected 0x%llx; not reused",
			   slot, (unsigned long long)old,
			   (unsigned long long)state);
		obj->is_busy = true; /* for good */
		return;
	}
	dipc_object_enter(k, obj, OBJECT_FREE);
	/* a home looks for it only when this has moved */
	for (homes = obj->homes; homes; homes &= homes - 1) {
		unsigned home = (unsigned)__builtin_ctzll(homes) + 1;

		dipc_arena_node_at(k->ref->arena, home)->homes_freed++;
	}
	obj->homes = 0;
	obj->kind = DIPC_KIND_NONE;
	dipc_arena_free(k->ref->arena, slot);
	dipc_waitq_wake_all(&k->freed);
}

/* ---- the tick ----------------------------------------------------------- */

static void object_tick(struct dipc_keys *k, struct object *obj)
{
	uint64_t age = dipc_sched_now(k->ref->sched) - obj->since;

	switch (obj->state) {
	case OBJECT_CREATING:
		if (age < DIPC_KEYS_CREATE_NS)
			return;
		dipc_warn("node %u does not finish a segment: given up",
			  obj->node);
		dipc_object_abort(k, obj);
		return;
	case OBJECT_REMOVED:
		segment_reap(k, obj);
		return;
	case OBJECT_GRACE:
		if (age >= DIPC_KEYS_GRACE_NS && !obj->is_busy)
			object_free(k, obj);
		return;
	case OBJECT_FREE:
	case OBJECT_PUBLISHING:
	case OBJECT_LIVE:
	case OBJECT_REMOVING:
	case OBJECT_STATES:
		return;
	}
}

static void tick_fiber(void *arg)
{
	struct dipc_keys *k = arg;
	const struct dipc_arena_super *super =
		dipc_arena_get_super(k->ref->arena);
	uint32_t slot;

	for (slot = 0; slot < super->nr_opened && !k->is_stopping; slot++)
		if (k->objects[slot].state != OBJECT_FREE)
			object_tick(k, &k->objects[slot]);
	k->is_ticking = false;
	if (k->nr_in[OBJECT_CREATING] || k->nr_in[OBJECT_REMOVED] ||
	    k->nr_in[OBJECT_GRACE])
		dipc_reaper_need(k);
}

static void tick(struct dipc_timer *timer)
{
	struct dipc_keys *k = dipc_container_of(timer, struct dipc_keys, tick);

	k->is_ticking = true;
	if (!dipc_fiber_spawn(k->ref->sched, tick_fiber, k))
		return;
	k->is_ticking = false;
	dipc_reaper_need(k);
}

void dipc_reaper_init(struct dipc_keys *k)
{
	dipc_timer_init(&k->tick, tick);
}

void dipc_reaper_need(struct dipc_keys *k)
{
	if (k->is_stopping || k->is_ticking || k->tick.due)
		return;
	dipc_timer_set(k->ref->sched, &k->tick,
		       dipc_sched_now(k->ref->sched) + TICK_NS);
}

struct reap_job {
	struct dipc_keys *keys;
	uint32_t slot;
};

static void reap_fiber(void *arg)
{
	struct reap_job *job = arg;

	segment_reap(job->keys, &job->keys->objects[job->slot]);
	free(job);
}

void dipc_keys_hint_reap(struct dipc_keys *k, uint32_t slot)
{
	struct reap_job *job;

	if (slot >= k->nr_slots || k->is_stopping ||
	    k->objects[slot].state != OBJECT_REMOVED)
		return;
	job = malloc(sizeof(*job));
	if (!job)
		return; /* the tick will come by */
	job->keys = k;
	job->slot = slot;
	if (dipc_fiber_spawn(k->ref->sched, reap_fiber, job))
		free(job);
}
