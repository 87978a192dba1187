/* SPDX-License-Identifier: BSD-2-Clause */
#include "referee/keys_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>

#include "referee/members.h"
#include "referee/usage.h"
#include "runtime/base/log.h"

/* ---- objects ------------------------------------------------------------ */

static const uint8_t object_next[OBJECT_STATES] = {
	[OBJECT_FREE] = 1u << OBJECT_CREATING | 1u << OBJECT_PUBLISHING,
	[OBJECT_CREATING] = 1u << OBJECT_PUBLISHING | 1u << OBJECT_FREE,
	[OBJECT_PUBLISHING] = 1u << OBJECT_LIVE | 1u << OBJECT_FREE,
	[OBJECT_LIVE] = 1u << OBJECT_REMOVING,
	[OBJECT_REMOVING] = 1u << OBJECT_REMOVED | 1u << OBJECT_GRACE,
	[OBJECT_REMOVED] = 1u << OBJECT_GRACE,
	[OBJECT_GRACE] = 1u << OBJECT_FREE,
};

/* Is an object in STATE still one for programs? */
static bool object_counts(enum dipc_kind kind, enum object_state state)
{
	switch (state) {
	case OBJECT_CREATING:
	case OBJECT_PUBLISHING:
	case OBJECT_LIVE:
		return true;
	case OBJECT_REMOVING:
	case OBJECT_REMOVED:
		return kind == DIPC_KIND_SHM;
	case OBJECT_FREE:
	case OBJECT_GRACE:
	case OBJECT_STATES:
		break;
	}
	return false;
}

static void object_count(struct dipc_keys *k, struct object *obj, uint64_t size)
{
	obj->size = size;
	obj->is_counted = true;
	dipc_usage_add(dipc_arena_get_super(k->ref->arena), obj->kind,
		       dipc_object_slot(k, obj), size);
}

static void object_uncount(struct dipc_keys *k, struct object *obj)
{
	struct dipc_arena_super *super = dipc_arena_get_super(k->ref->arena);
	uint32_t top = (uint32_t)super->usage[obj->kind].top;

	obj->is_counted = false;
	while (top && !(k->objects[top - 1].is_counted &&
			k->objects[top - 1].kind == obj->kind))
		top--;
	dipc_usage_sub(super, obj->kind, obj->size, top);
}

void dipc_object_enter(struct dipc_keys *k, struct object *obj,
		       enum object_state state)
{
	if (!(object_next[obj->state] & 1u << state))
		dipc_error("bug: slot %u goes from state %d to %d",
			   dipc_object_slot(k, obj), (int)obj->state,
			   (int)state);
	assert(object_next[obj->state] & 1u << state);
	k->nr_in[obj->state]--;
	k->nr_in[state]++;
	if (obj->is_counted && !object_counts(obj->kind, state))
		object_uncount(k, obj);
	obj->state = state;
	obj->since = dipc_sched_now(k->ref->sched);
	if (state == OBJECT_CREATING || state == OBJECT_REMOVED ||
	    state == OBJECT_GRACE)
		dipc_reaper_need(k);
}

uint32_t dipc_object_slot(const struct dipc_keys *k, const struct object *obj)
{
	return (uint32_t)(obj - k->objects);
}

uint64_t dipc_object_offset(const struct dipc_keys *k, const struct object *obj)
{
	struct dipc_arena_super *super = dipc_arena_get_super(k->ref->arena);

	return super->slots_off +
	       (uint64_t)dipc_object_slot(k, obj) * DIPC_OBJECT_STRIDE;
}

void dipc_object_unname(struct dipc_keys *k, struct object *obj)
{
	if (!obj->key)
		return;
	HASH_DEL(k->table, obj->key);
	free(obj->key);
	obj->key = NULL;
}

void dipc_object_abort(struct dipc_keys *k, struct object *obj)
{
	dipc_object_unname(k, obj);
	dipc_object_enter(k, obj, OBJECT_FREE);
	dipc_arena_free(k->ref->arena, dipc_object_slot(k, obj));
	/* in the order they came: the first that may create does */
	dipc_waitq_wake_all(&obj->created);
}

static struct object *object_find(struct dipc_keys *k, int32_t id)
{
	uint32_t slot;

	if (dipc_arena_find(k->ref->arena, id, &slot))
		return NULL;
	return &k->objects[slot];
}

/* ---- keys --------------------------------------------------------------- */

static struct key *key_find(struct dipc_keys *k, uint32_t kind, int32_t key)
{
	struct key_name name = {kind, key};
	struct key *entry;

	HASH_FIND(hh, k->table, &name, sizeof(name), entry);
	return entry;
}

#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(elt) (is_oom = true)

static int key_add(struct dipc_keys *k, struct object *obj, uint32_t kind,
		   int32_t key)
{
	struct key *entry = calloc(1, sizeof(*entry));
	bool is_oom = false;

	if (!entry)
		return -ENOMEM;
	entry->name.kind = kind;
	entry->name.key = key;
	entry->slot = dipc_object_slot(k, obj);
	HASH_ADD(hh, k->table, name, sizeof(entry->name), entry);
	if (is_oom) {
		free(entry);
		return -ENOMEM;
	}
	obj->key = entry;
	return 0;
}

/* ---- creating ----------------------------------------------------------- */

/*
 * Show the object in the arena; then whoever waited for its key finds it.
 * Fiber. On failure it is gone.
 */
static int object_publish(struct dipc_keys *k, struct object *obj)
{
	struct dipc_referee *ref = k->ref;
	uint64_t state =
		dipc_arena_state_of(ref->arena, dipc_object_slot(k, obj));
	uint64_t old;
	int ret;

	dipc_object_enter(k, obj, OBJECT_PUBLISHING);
	/* `state` is atomic: even here a CPU store could be lost */
	ret = dipc_arena_cas(ref->fabric, dipc_object_offset(k, obj), 0, state,
			     &old);
	if (!ret && old) {
		dipc_error("slot %u was not free: state 0x%llx",
			   dipc_object_slot(k, obj), (unsigned long long)old);
		ret = -EIO;
	}
	if (ret) {
		dipc_object_abort(k, obj);
		return ret;
	}
	dipc_object_enter(k, obj, OBJECT_LIVE);
	dipc_waitq_wake_all(&obj->created);
	return 0;
}

/* Who is home is decided here and now: whoever is in the cluster. */
static void object_place(struct dipc_keys *k, struct object *obj,
			 const struct dipc_policy *policy)
{
	const struct dipc_members *members = k->ref->members;

	obj->born = dipc_members_incarnation(members);
	obj->homes = 1ull << (obj->node - 1);
	if (policy->homes == DIPC_POLICY_SPREAD)
		obj->homes |= dipc_members_alive(members, obj->born);
	dipc_arena_set_homes(k->ref->arena, dipc_object_slot(k, obj),
			     obj->homes, obj->node, obj->born, policy);
}

/*
 * -EAGAIN: there is no room, but there will be when what was removed just now
 * has rested. Fiber.
 */
static int get_create(struct dipc_keys *k, unsigned node, uint32_t incarnation,
		      const struct dipc_lookup_get *get,
		      struct dipc_lookup_got *got)
{
	struct dipc_referee *ref = k->ref;
	enum dipc_kind kind = (enum dipc_kind)get->kind;
	struct dipc_arena_owner owner = {
		.key = get->key,
		.uid = get->uid,
		.gid = get->gid,
		.who = dipc_who(node, get->pid),
		.mode = get->flags & 0777,
		.wall_s = dipc_fabric_wall(ref->fabric),
	};
	struct object *obj;
	uint32_t slot;
	int ret;

	ret = dipc_usage_check(dipc_arena_get_super(ref->arena), kind,
			       get->size);
	if (ret)
		return ret;
	/* no page of it need ever be touched: less is never refused */
	if (kind == DIPC_KIND_SHM && get->size >= DIPC_SHM_SIZE_MAX)
		return -ENOMEM;
	ret = dipc_arena_new(ref->arena, kind, get->size, &owner, &slot);
	if (ret)
		return ret == -ENOSPC && k->nr_in[OBJECT_GRACE] ? -EAGAIN : ret;
	obj = &k->objects[slot];
	obj->kind = kind;
	obj->node = node;
	obj->incarnation = incarnation;
	if (kind == DIPC_KIND_SHM)
		object_place(k, obj, &get->policy);
	object_count(k, obj, get->size);
	if (get->key != IPC_PRIVATE) {
		ret = key_add(k, obj, get->kind, get->key);
		if (ret) {
			object_uncount(k, obj);
			dipc_arena_free(ref->arena, slot);
			return ret;
		}
	}
	got->id = dipc_arena_id_of(ref->arena, slot);
	got->is_new = 1;
	got->must_create = kind == DIPC_KIND_SHM;
	dipc_debug("node %u creates kind %u key 0x%x id %d", node, get->kind,
		   (unsigned)get->key, got->id);
	if (kind != DIPC_KIND_SHM)
		return object_publish(k, obj);
	dipc_object_enter(k, obj, OBJECT_CREATING);
	return 0;
}

/* ---- requests ----------------------------------------------------------- */

int dipc_keys_get(struct dipc_keys *k, unsigned node, uint32_t incarnation,
		  const struct dipc_lookup_get *get,
		  struct dipc_lookup_got *got)
{
	struct dipc_arena_super *super = dipc_arena_get_super(k->ref->arena);
	bool may_create = get->flags & IPC_CREAT;
	uint64_t patience = 0;
	struct object *obj;
	struct key *key;
	int ret;

	if (get->kind < DIPC_KIND_SHM || get->kind > DIPC_KIND_MSG)
		return -EINVAL;
	if (!dipc_policy_is_sane(&get->policy))
		return -EINVAL;
	/* as the kernel: whether or not the set exists */
	if (get->kind == DIPC_KIND_SEM && get->size > super->semmsl)
		return -EINVAL;
	for (;;) {
		/* an asker that died while it waited must not create */
		if (k->is_stopping ||
		    !dipc_members_is_alive(k->ref->members, node, incarnation))
			return -ENOLINK;
		key = get->key == IPC_PRIVATE
			      ? NULL
			      : key_find(k, get->kind, get->key);
		if (!key && get->key != IPC_PRIVATE && !may_create)
			return -ENOENT;
		if (!key) {
			ret = get_create(k, node, incarnation, get, got);
			if (ret != -EAGAIN)
				return ret;
			if (!patience)
				patience = dipc_sched_now(k->ref->sched) +
					   DIPC_KEYS_ROOM_NS;
			if (dipc_waitq_wait(&k->freed, patience))
				return -ENOSPC;
			continue;
		}
		obj = &k->objects[key->slot];
		if (obj->state == OBJECT_LIVE)
			break;
		/* its creator has until the tick ends CREATING */
		(void)dipc_waitq_wait(&obj->created, DIPC_NEVER);
	}
	if (may_create && get->flags & IPC_EXCL)
		return -EEXIST;
	got->id = dipc_arena_id_of(k->ref->arena, key->slot);
	return 0;
}

static bool created_is_sane(struct dipc_keys *k, const struct object *obj,
			    const struct dipc_lookup_created *created)
{
	uint32_t slot = dipc_object_slot(k, obj);
	uint64_t size = dipc_arena_object_at(k->ref->arena, slot)->shm.size;

	return created->nr_pages == (size + 4095) / 4096;
}

int dipc_keys_created(struct dipc_keys *k, unsigned node, uint32_t incarnation,
		      const struct dipc_lookup_created *created)
{
	struct object *obj = object_find(k, created->id);
	int ret;

	if (!obj || obj->state != OBJECT_CREATING || obj->node != node ||
	    obj->incarnation != incarnation)
		return -EINVAL; /* too late, or never its business */
	if (created->status || !created_is_sane(k, obj, created)) {
		dipc_object_abort(k, obj);
		return created->status ? 0 : -EINVAL;
	}
	ret = object_publish(k, obj);
	/* a home died before it was live: nobody else looks again */
	if (!ret && obj->state == OBJECT_LIVE &&
	    obj->homes & ~dipc_members_alive(k->ref->members, obj->born))
		(void)dipc_object_remove(k, obj);
	return ret;
}

int dipc_keys_remove(struct dipc_keys *k, int32_t id)
{
	struct object *obj = object_find(k, id);

	if (!obj)
		return -EINVAL;
	switch (obj->state) {
	case OBJECT_FREE:
	case OBJECT_CREATING:
	case OBJECT_PUBLISHING:
		return -EINVAL;
	case OBJECT_LIVE:
		return dipc_object_remove(k, obj);
	case OBJECT_REMOVED:
		return 0; /* as the kernel: a segment may be removed again */
	case OBJECT_REMOVING:
	case OBJECT_GRACE:
	case OBJECT_STATES:
		break;
	}
	return -EIDRM;
}

void dipc_keys_node_gone(struct dipc_keys *k, unsigned node,
			 uint32_t incarnation)
{
	uint32_t slot;

	for (slot = 0; slot < k->nr_slots; slot++) {
		struct object *obj = &k->objects[slot];

		if (obj->kind != DIPC_KIND_SHM)
			continue;
		if (obj->state == OBJECT_CREATING && obj->node == node &&
		    obj->incarnation == incarnation) {
			dipc_object_abort(k, obj);
		} else if (obj->state == OBJECT_LIVE &&
			   obj->homes & 1ull << (node - 1) &&
			   incarnation <= obj->born) {
			dipc_warn("segment %d is lost with a home, node %u",
				  dipc_arena_id_of(k->ref->arena, slot), node);
			(void)dipc_object_remove(k, obj);
		}
	}
}

/* ---- life --------------------------------------------------------------- */

int dipc_keys_create(struct dipc_referee *ref, struct dipc_keys **keys_out)
{
	struct dipc_keys *k = calloc(1, sizeof(*k));
	uint32_t slot;

	if (!k)
		return -ENOMEM;
	k->ref = ref;
	k->nr_slots = dipc_arena_get_super(ref->arena)->nr_slots;
	k->objects = calloc(k->nr_slots, sizeof(*k->objects));
	if (!k->objects) {
		free(k);
		return -ENOMEM;
	}
	for (slot = 0; slot < k->nr_slots; slot++)
		dipc_waitq_init(&k->objects[slot].created);
	k->nr_in[OBJECT_FREE] = k->nr_slots;
	dipc_waitq_init(&k->freed);
	dipc_reaper_init(k);
	*keys_out = k;
	return 0;
}

void dipc_keys_stop(struct dipc_keys *k)
{
	uint32_t slot;

	k->is_stopping = true;
	dipc_timer_cancel(&k->tick);
	dipc_waitq_wake_all(&k->freed);
	for (slot = 0; slot < k->nr_slots; slot++)
		dipc_waitq_wake_all(&k->objects[slot].created);
}

void dipc_keys_destroy(struct dipc_keys *k)
{
	struct key *key, *tmp;

	if (!k)
		return;
	dipc_timer_cancel(&k->tick);
	HASH_ITER(hh, k->table, key, tmp)
	{
		HASH_DEL(k->table, key);
		free(key);
	}
	free(k->objects);
	free(k);
}
