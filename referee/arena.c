/* SPDX-License-Identifier: BSD-2-Clause */
#include "referee/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "referee/extent.h"
#include "runtime/base/list.h"
#include "runtime/base/local.h"

#define ALIGN_TABLE 4096ull
#define ALIGN_BODY  64ull

/*
 * How what the tables leave is shared out, in percent. The rest is bodies: a
 * semaphore needs 56 bytes there, its word and two redo entries.
 */
static const struct {
	uint32_t block_size; /* header included */
	uint32_t batch;
	unsigned percent;
} pool_share[DIPC_POOL_CLASSES] = {
	{256, 32, 20},
	{2048, 16, 20},
	{16384, 4, 35},
};

#define SLOTS_MIN 8192u        /* used before any is used again */
#define REST_MIN  (4ull << 20) /* bodies and pools together */

/* What the referee knows of a slot and nobody else needs. */
struct slot {
	struct dipc_list node; /* on arena->free while free */
	uint32_t gen;
	bool is_used;
	enum dipc_kind kind;
	uint64_t body, body_len; /* 0: none */
};

struct dipc_arena {
	uint8_t *base;                  /* borrowed */
	struct dipc_arena_super *super; /* = base */
	struct slot *slots;             /* owned */
	/*
	 * Slots below super->nr_opened have been used before; those free are
	 * listed oldest first, so that identifiers come back late.
	 */
	struct dipc_list free;
	uint32_t nr_listed;
	struct dipc_extents *bodies; /* owned */
};

/* ---- formatting --------------------------------------------------------- */

static uint64_t align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* The tables, in their order. Returns where they end. */
static uint64_t layout_tables(uint32_t nr_slots, struct dipc_arena_super *s)
{
	uint64_t off = ALIGN_TABLE; /* the super block */

	s->nodes_off = off;
	/* by node id: entry 0 is the referee's own */
	off += (DIPC_NODES_MAX + 1) * sizeof(struct dipc_arena_node);
	off = align_up(off, ALIGN_TABLE);
	s->slots_off = off;
	off += (uint64_t)nr_slots * DIPC_OBJECT_STRIDE;
	off = align_up(off, ALIGN_TABLE);
	s->waiters_off = off;
	off += (uint64_t)DIPC_NODES_MAX * DIPC_WAITERS_PER_NODE *
	       sizeof(struct dipc_arena_waiter);
	return align_up(off, ALIGN_TABLE);
}

size_t dipc_arena_min_size(uint32_t nr_slots)
{
	struct dipc_arena_super super;

	return layout_tables(nr_slots, &super) + REST_MIN;
}

static void layout_pools(uint64_t off, uint64_t size,
			 struct dipc_arena_super *s)
{
	uint64_t rest = size - off;
	unsigned i;

	for (i = 0; i < DIPC_POOL_CLASSES; i++) {
		struct dipc_arena_pool *pool = &s->pool[i];
		uint64_t batch_len = (uint64_t)pool_share[i].block_size *
				     pool_share[i].batch;
		uint64_t len = rest * pool_share[i].percent / 100;

		/* whole batches only: what is handed out is never cut off */
		pool->head = 0;
		pool->bump = off;
		pool->end = off + len / batch_len * batch_len;
		pool->block_size = pool_share[i].block_size;
		pool->batch = pool_share[i].batch;
		off = align_up(pool->end, ALIGN_TABLE);
	}
	s->body_off = off;
	s->body_end = size / ALIGN_BODY * ALIGN_BODY;
}

int dipc_arena_format(void *base, size_t size,
		      const struct dipc_arena_format_config *config)
{
	struct dipc_arena_super super = {
		.magic = DIPC_ARENA_MAGIC,
		.version = DIPC_ARENA_VERSION,
		.nr_slots = config->nr_slots,
		.size = size,
		.generation = config->generation,
		.epoch = 1,
		.msgmax = config->msgmax,
		.msgmnb = config->msgmnb,
		.msgmni = config->msgmni,
		.semmsl = config->semmsl,
		.semmns = config->semmns,
		.semopm = config->semopm,
		.semmni = config->semmni,
		.shmmax = config->shmmax,
		.shmall = config->shmall,
		.shmmni = config->shmmni,
	};
	uint64_t tables_end, old_magic;

	if (!config->generation || !config->nr_slots ||
	    config->nr_slots > 1u << DIPC_ID_SLOT_BITS)
		return -EINVAL;
	if (size < dipc_arena_min_size(config->nr_slots))
		return -ENOSPC;
	tables_end = layout_tables(config->nr_slots, &super);
	layout_pools(tables_end, size, &super);
	/* fresh memory is zero, and stays untouched: pages cost time */
	memcpy(&old_magic, base, sizeof(old_magic));
	if (old_magic)
		memset(base, 0, tables_end);
	memcpy(base, &super, sizeof(super));
	return 0;
}

/* ---- the book ----------------------------------------------------------- */

int dipc_arena_open(void *base, struct dipc_arena **arena_out)
{
	struct dipc_arena *arena = calloc(1, sizeof(*arena));
	uint32_t i, nr;
	int ret = -ENOMEM;

	if (!arena)
		return -ENOMEM;
	arena->base = base;
	arena->super = base;
	dipc_list_init(&arena->free);
	nr = arena->super->nr_slots;
	arena->slots = calloc(nr, sizeof(*arena->slots));
	if (!arena->slots)
		goto err_arena;
	ret = dipc_extents_create(arena->super->body_off,
				  arena->super->body_end, ALIGN_BODY,
				  &arena->bodies);
	if (ret)
		goto err_slots;
	/* identifiers of an earlier start should mean nothing in this one */
	for (i = 0; i < nr; i++)
		arena->slots[i].gen =
			(uint32_t)(arena->super->generation * 61) & 0xfffff;
	*arena_out = arena;
	return 0;

err_slots:
	free(arena->slots);
err_arena:
	free(arena);
	return ret;
}

void dipc_arena_close(struct dipc_arena *arena)
{
	if (!arena)
		return;
	dipc_extents_destroy(arena->bodies);
	free(arena->slots);
	free(arena);
}

struct dipc_arena_super *dipc_arena_get_super(struct dipc_arena *arena)
{
	return arena->super;
}

static void *at(struct dipc_arena *arena, uint64_t off)
{
	return arena->base + off;
}

struct dipc_arena_object *dipc_arena_object_at(struct dipc_arena *arena,
					       uint32_t slot)
{
	return at(arena, arena->super->slots_off +
				 (uint64_t)slot * DIPC_OBJECT_STRIDE);
}

struct dipc_arena_node *dipc_arena_node_at(struct dipc_arena *arena,
					   unsigned node)
{
	return at(arena, arena->super->nodes_off +
				 node * sizeof(struct dipc_arena_node));
}

struct dipc_arena_waiter *dipc_arena_waiter_at(struct dipc_arena *arena,
					       unsigned node, unsigned index)
{
	uint64_t nr = (uint64_t)(node - 1) * DIPC_WAITERS_PER_NODE + index;

	return at(arena, arena->super->waiters_off +
				 nr * sizeof(struct dipc_arena_waiter));
}

/* ---- objects ------------------------------------------------------------ */

static void fill_head(struct dipc_arena_object *obj, int32_t id, uint32_t gen,
		      const struct dipc_arena_owner *owner)
{
	obj->key = owner->key;
	obj->id = id;
	obj->uid = owner->uid;
	obj->gid = owner->gid;
	obj->cuid = owner->uid;
	obj->cgid = owner->gid;
	obj->mode = owner->mode & 0777;
	obj->seq = gen;
	obj->ctime = (uint64_t)owner->wall_s;
	obj->users = 0;
	obj->undoers = 0;
	memset(obj->reserved, 0, sizeof(obj->reserved));
	memset(obj->body, 0, sizeof(obj->body));
}

static uint64_t sem_body_len(uint64_t nr)
{
	return nr * sizeof(uint64_t) +
	       2 * (sizeof(struct dipc_arena_redo) +
		    nr * sizeof(struct dipc_arena_redo_entry));
}

/*
 * Words that no earlier set in this slot had, so that a CAS meant for that set
 * cannot succeed on this one; behind them two redo areas, not valid.
 */
static void fill_sem(struct dipc_arena *arena, const struct slot *s,
		     uint32_t nr, struct dipc_arena_sem *sem)
{
	uint64_t *words = at(arena, s->body);
	struct dipc_arena_redo *redo;
	uint32_t i;

	sem->words = s->body;
	sem->nr = nr;
	sem->redo_area = s->body + (uint64_t)nr * sizeof(*words);
	for (i = 0; i < nr; i++)
		words[i] = dipc_sem_word_initial(s->gen);
	redo = at(arena, sem->redo_area);
	memset(redo, 0, sizeof(*redo));
	redo = at(arena,
		  sem->redo_area + sizeof(*redo) +
			  (uint64_t)nr * sizeof(struct dipc_arena_redo_entry));
	memset(redo, 0, sizeof(*redo));
}

static void fill_kind(struct dipc_arena *arena, const struct slot *s,
		      uint64_t size, const struct dipc_arena_owner *owner,
		      struct dipc_arena_object *obj)
{
	switch (s->kind) {
	case DIPC_KIND_SHM:
		obj->shm.size = size;
		obj->shm.pids = owner->who;
		obj->shm.nr_pages = (uint32_t)((size + 4095) / 4096);
		return;
	case DIPC_KIND_SEM:
		fill_sem(arena, s, (uint32_t)size, &obj->sem);
		return;
	case DIPC_KIND_MSG:
		obj->msg.qbytes = arena->super->msgmnb;
		return;
	case DIPC_KIND_NONE:
		return;
	}
}

/*
 * As few slots as possible are ever used, so that who walks over all objects
 * need not walk far, but enough that a slot rests for long: a third of them.
 */
static struct slot *slot_take(struct dipc_arena *arena)
{
	struct dipc_arena_super *super = arena->super;
	bool may_open = super->nr_opened < super->nr_slots;

	if (may_open && (super->nr_opened < SLOTS_MIN ||
			 arena->nr_listed < super->nr_opened / 3))
		return &arena->slots[super->nr_opened++];
	arena->nr_listed--;
	return dipc_container_of(dipc_list_pop(&arena->free), struct slot,
				 node);
}

int dipc_arena_new(struct dipc_arena *arena, enum dipc_kind kind, uint64_t size,
		   const struct dipc_arena_owner *owner, uint32_t *slot_out)
{
	struct dipc_arena_object *obj;
	uint64_t body = 0, body_len = 0;
	struct slot *s;
	uint32_t slot;

	if (!dipc_arena_free_slots(arena))
		return -ENOSPC;
	if (kind == DIPC_KIND_SEM) {
		body_len = sem_body_len(size);
		body = dipc_extents_take(arena->bodies, body_len);
		if (!body)
			return -ENOSPC;
	}
	s = slot_take(arena);
	slot = (uint32_t)(s - arena->slots);
	s->is_used = true;
	s->kind = kind;
	s->body = body;
	s->body_len = body_len;
	obj = dipc_arena_object_at(arena, slot);
	fill_head(obj, dipc_id_make(slot, s->gen), s->gen, owner);
	fill_kind(arena, s, size, owner, obj);
	*slot_out = slot;
	return 0;
}

/* A power of two: of "segment" the first that holds it. */
static uint32_t unit_pages(const struct dipc_policy *policy, uint32_t nr_pages)
{
	uint32_t unit = 1;

	if (policy->unit != DIPC_POLICY_UNIT_WHOLE)
		return policy->unit ? 1u << (policy->unit - 1) : 1;
	while (unit < nr_pages && unit < 1u << 31)
		unit <<= 1;
	return unit;
}

void dipc_arena_set_homes(struct dipc_arena *arena, uint32_t slot,
			  uint64_t homes, unsigned home, uint32_t born,
			  const struct dipc_policy *policy)
{
	struct dipc_arena_shm *shm = &dipc_arena_object_at(arena, slot)->shm;

	shm->homes = homes;
	shm->home = home;
	shm->born = born;
	shm->block_chunks = policy->block_chunks ? policy->block_chunks : 1;
	shm->unit_pages = unit_pages(policy, shm->nr_pages);
}

uint64_t dipc_arena_state_of(const struct dipc_arena *arena, uint32_t slot)
{
	const struct slot *s = &arena->slots[slot];

	return (uint64_t)s->kind << 32 | s->gen;
}

void dipc_arena_publish_now(struct dipc_arena *arena, uint32_t slot)
{
	struct dipc_arena_object *obj = dipc_arena_object_at(arena, slot);

	obj->state = dipc_arena_state_of(arena, slot);
}

int32_t dipc_arena_id_of(const struct dipc_arena *arena, uint32_t slot)
{
	return dipc_id_make(slot, arena->slots[slot].gen);
}

int dipc_arena_find(const struct dipc_arena *arena, int32_t id,
		    uint32_t *slot_out)
{
	uint32_t slot = dipc_id_slot(id);

	if (id < 0 || slot >= arena->super->nr_slots ||
	    !arena->slots[slot].is_used || dipc_arena_id_of(arena, slot) != id)
		return -EINVAL;
	*slot_out = slot;
	return 0;
}

void dipc_arena_free(struct dipc_arena *arena, uint32_t slot)
{
	struct slot *s = &arena->slots[slot];

	if (s->body_len)
		dipc_extents_give(arena->bodies, s->body, s->body_len);
	s->body_len = 0;
	s->is_used = false;
	s->kind = DIPC_KIND_NONE;
	s->gen++;
	dipc_list_add_tail(&arena->free, &s->node);
	arena->nr_listed++;
}

uint64_t dipc_arena_free_bytes(const struct dipc_arena *arena)
{
	return dipc_extents_free_bytes(arena->bodies);
}

uint32_t dipc_arena_free_slots(const struct dipc_arena *arena)
{
	return arena->super->nr_slots - (uint32_t)arena->super->nr_opened +
	       arena->nr_listed;
}
