/* SPDX-License-Identifier: BSD-2-Clause */
/* What the format promises to every node. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "referee/arena.h"
#include "referee/extent.h"
#include "runtime/base/local.h"

#define SIZE  (64ull << 20)
#define SLOTS 16u

static const struct dipc_arena_format_config config = {
	.nr_slots = SLOTS,
	.generation = 1700000000,
	.msgmax = 8192,
	.msgmnb = 16384,
	.semmsl = 32000,
	.semopm = 500,
	.shmmax = 1ull << 30,
};

struct fixture {
	uint8_t *base;
	struct dipc_arena *arena;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(x->base != MAP_FAILED);
	assert_int_equal(dipc_arena_format(x->base, SIZE, &config), 0);
	assert_int_equal(dipc_arena_open(x->base, &x->arena), 0);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	dipc_arena_close(x->arena);
	munmap(x->base, SIZE);
	free(x);
	return 0;
}

static void format__regions_do_not_overlap(void **state)
{
	struct fixture *x = *state;
	const struct dipc_arena_super *s = (void *)x->base;
	uint64_t off;
	unsigned i;

	assert_int_equal(s->magic, DIPC_ARENA_MAGIC);
	assert_int_equal(s->version, DIPC_ARENA_VERSION);
	assert_int_equal(s->nr_slots, SLOTS);
	assert_int_equal(s->size, SIZE);
	assert_int_equal(s->generation, config.generation);
	assert_int_equal(s->msgmax, 8192);
	assert_int_equal(s->shmmax, 1ull << 30);
	assert_true(s->nodes_off >= sizeof(*s));
	assert_true(s->slots_off >=
		    s->nodes_off + (DIPC_NODES_MAX + 1) *
					   sizeof(struct dipc_arena_node));
	assert_true(s->waiters_off >=
		    s->slots_off + SLOTS * DIPC_OBJECT_STRIDE);
	off = s->waiters_off + (uint64_t)DIPC_NODES_MAX *
				       DIPC_WAITERS_PER_NODE *
				       sizeof(struct dipc_arena_waiter);
	for (i = 0; i < DIPC_POOL_CLASSES; i++) {
		const struct dipc_arena_pool *p = &s->pool[i];

		assert_true(p->bump >= off);
		assert_int_equal(p->bump % 64, 0);
		assert_true(p->end > p->bump);
		assert_int_equal(
			(p->end - p->bump) % (p->block_size * p->batch), 0);
		assert_int_equal(p->head, 0);
		off = p->end;
	}
	assert_true(s->body_off >= off);
	assert_true(s->body_end > s->body_off && s->body_end <= SIZE);
	/* the largest message fits the largest block */
	assert_true(s->pool[2].block_size >=
		    s->msgmax + sizeof(struct dipc_arena_message));
}

static void format__refuses(void **state)
{
	struct fixture *x = *state;
	struct dipc_arena_format_config bad = config;

	assert_int_equal(dipc_arena_format(x->base,
					   dipc_arena_min_size(SLOTS) - 1,
					   &config),
			 -ENOSPC);
	assert_int_equal(
		dipc_arena_format(x->base, dipc_arena_min_size(SLOTS), &config),
		0);
	bad.nr_slots = 0;
	assert_int_equal(dipc_arena_format(x->base, SIZE, &bad), -EINVAL);
	bad.nr_slots = (1u << DIPC_ID_SLOT_BITS) + 1;
	assert_int_equal(dipc_arena_format(x->base, SIZE, &bad), -EINVAL);
}

static void format__again_forgets_everything(void **state)
{
	struct fixture *x = *state;
	struct dipc_arena_owner owner = {.key = 1};
	uint32_t slot;

	assert_int_equal(
		dipc_arena_new(x->arena, DIPC_KIND_MSG, 0, &owner, &slot), 0);
	dipc_arena_publish_now(x->arena, slot);
	dipc_arena_waiter_at(x->arena, DIPC_NODES_MAX, 1023)->state = 1;
	assert_int_equal(dipc_arena_format(x->base, SIZE, &config), 0);
	assert_int_equal(dipc_arena_object_at(x->arena, slot)->state, 0);
	assert_int_equal(
		dipc_arena_waiter_at(x->arena, DIPC_NODES_MAX, 1023)->state, 0);
}

static void sem__words_and_redo(void **state)
{
	struct fixture *x = *state;
	const struct dipc_arena_super *s = (void *)x->base;
	struct dipc_arena_owner owner = {
		.key = 0x2a, .uid = 1, .gid = 2, .mode = 0100640, .wall_s = 77};
	const struct dipc_arena_object *obj;
	const uint64_t *words;
	const struct dipc_arena_redo *redo;
	uint32_t slot, i;

	assert_int_equal(
		dipc_arena_new(x->arena, DIPC_KIND_SEM, 100, &owner, &slot), 0);
	obj = dipc_arena_object_at(x->arena, slot);
	assert_int_equal(obj->state, 0); /* not to be found yet */
	assert_int_equal(obj->key, 0x2a);
	assert_int_equal(obj->mode, 0640);
	assert_int_equal(obj->cgid, 2);
	assert_int_equal(obj->ctime, 77);
	assert_int_equal(obj->sem.nr, 100);
	assert_int_equal(obj->sem.words % 64, 0);
	assert_true(obj->sem.words >= s->body_off);
	words = (void *)(x->base + obj->sem.words);
	for (i = 0; i < 100; i++) {
		assert_int_equal(words[i] & DIPC_SEM_VALUE, 0);
		assert_int_equal(words[i] >> DIPC_SEM_NODE_SHIFT & 0x3f, 0);
		assert_int_not_equal(words[i], 0);
	}
	redo = (void *)(x->base + obj->sem.redo_area);
	assert_int_equal(redo->lock, 0);
	assert_int_equal(redo->nr, 0);
	assert_true(obj->sem.redo_area >= obj->sem.words + 800);
	dipc_arena_publish_now(x->arena, slot);
	assert_int_equal(obj->state >> 32, DIPC_KIND_SEM);
	assert_int_equal(obj->id, dipc_id_make(slot, (uint32_t)obj->state));
}

static void sem__reused_memory_has_new_stamps(void **state)
{
	struct fixture *x = *state;
	struct dipc_arena_owner owner = {.key = 1};
	uint64_t word = 0;
	uint32_t slot, i;
	int32_t id = -1;

	for (i = 0; i < 3 * SLOTS; i++) {
		const struct dipc_arena_object *obj;

		assert_int_equal(dipc_arena_new(x->arena, DIPC_KIND_SEM, 1,
						&owner, &slot),
				 0);
		obj = dipc_arena_object_at(x->arena, slot);
		assert_int_not_equal(obj->id, id);
		id = obj->id;
		if (slot == 0) {
			uint64_t now =
				*(uint64_t *)(void *)(x->base + obj->sem.words);

			assert_int_not_equal(now, word);
			word = now;
		}
		dipc_arena_free(x->arena, slot);
		assert_int_equal(dipc_arena_find(x->arena, id, &slot), -EINVAL);
	}
}

static void find__only_living_names(void **state)
{
	struct fixture *x = *state;
	struct dipc_arena_owner owner = {.key = 1};
	uint32_t slot, found;
	int32_t id;

	assert_int_equal(
		dipc_arena_new(x->arena, DIPC_KIND_MSG, 0, &owner, &slot), 0);
	id = dipc_arena_id_of(x->arena, slot);
	assert_int_equal(dipc_arena_find(x->arena, id, &found), 0);
	assert_int_equal(found, slot);
	assert_int_equal(dipc_arena_find(x->arena, -1, &found), -EINVAL);
	assert_int_equal(dipc_arena_find(x->arena, id + 1, &found), -EINVAL);
	assert_int_equal(dipc_arena_find(x->arena, INT32_MAX, &found), -EINVAL);
	assert_int_equal(dipc_arena_find(x->arena, (int32_t)slot, &found),
			 -EINVAL); /* without the mark */
}

static void new__full_and_back(void **state)
{
	struct fixture *x = *state;
	struct dipc_arena_owner owner = {.key = 1};
	uint64_t before = dipc_arena_free_bytes(x->arena);
	uint32_t slot, i;

	for (i = 0; i < SLOTS; i++)
		assert_int_equal(dipc_arena_new(x->arena, DIPC_KIND_SEM, 10,
						&owner, &slot),
				 0);
	assert_int_equal(
		dipc_arena_new(x->arena, DIPC_KIND_MSG, 0, &owner, &slot),
		-ENOSPC);
	for (i = 0; i < SLOTS; i++)
		dipc_arena_free(x->arena, i);
	assert_int_equal(dipc_arena_free_slots(x->arena), SLOTS);
	assert_int_equal(dipc_arena_free_bytes(x->arena), before);
}

/* A walk over all objects goes to nr_opened: it must not be longer than need. */
static void new__uses_no_more_slots_than_needed(void **state)
{
	struct dipc_arena_format_config many = config;
	struct dipc_arena_owner owner = {.key = 1};
	struct fixture *x = *state;
	struct dipc_arena *arena;
	uint32_t slot, last = 0;
	unsigned i;

	many.nr_slots = 32768;
	assert_int_equal(dipc_arena_format(x->base, SIZE, &many), 0);
	assert_int_equal(dipc_arena_open(x->base, &arena), 0);
	for (i = 0; i < 20000; i++) {
		assert_int_equal(
			dipc_arena_new(arena, DIPC_KIND_MSG, 0, &owner, &slot),
			0);
		/* a slot rests while the others are used */
		assert_int_equal(slot, i % 8192);
		dipc_arena_free(arena, slot);
	}
	assert_int_equal(dipc_arena_get_super(arena)->nr_opened, 8192);
	/* with 12,000 in use a third more rest in turn */
	for (i = 0; i < 12000; i++)
		assert_int_equal(
			dipc_arena_new(arena, DIPC_KIND_MSG, 0, &owner, &slot),
			0);
	for (i = 0; i < 40000; i++) {
		assert_int_equal(
			dipc_arena_new(arena, DIPC_KIND_MSG, 0, &owner, &slot),
			0);
		assert_int_not_equal(slot, last);
		dipc_arena_free(arena, slot);
		last = slot;
	}
	assert_in_range(dipc_arena_get_super(arena)->nr_opened, 16000, 18100);
	for (i = dipc_arena_free_slots(arena); i; i--)
		assert_int_equal(
			dipc_arena_new(arena, DIPC_KIND_MSG, 0, &owner, &slot),
			0);
	assert_int_equal(dipc_arena_new(arena, DIPC_KIND_MSG, 0, &owner, &slot),
			 -ENOSPC);
	assert_int_equal(dipc_arena_get_super(arena)->nr_opened, 32768);
	dipc_arena_close(arena);
}

static bool has_room(const uint8_t *owner, unsigned nr, uint64_t need)
{
	uint64_t run = 0;
	unsigned i;

	for (i = 0; i < nr && run < need; i++)
		run = owner[i] ? 0 : run + 1;
	return run == need;
}

/* Random takes and gives against a map of who owns which unit. */
static void extents__never_overlap_and_join_again(void **state)
{
	enum { UNITS = 256, PIECES = 64 };
	static uint8_t owner[UNITS];
	struct dipc_extents *e;
	uint64_t off[PIECES] = {0}, len[PIECES] = {0};
	uint32_t seed = 12345;
	unsigned i, step, p;

	(void)state;
	memset(owner, 0, sizeof(owner));
	assert_int_equal(dipc_extents_create(64, 64 + UNITS * 64, 64, &e), 0);
	for (step = 0; step < 20000; step++) {
		seed = seed * 1103515245 + 12345;
		p = seed >> 16 & (PIECES - 1);
		if (off[p]) {
			dipc_extents_give(e, off[p], len[p]);
			for (i = 0; i < (len[p] + 63) / 64; i++)
				owner[off[p] / 64 - 1 + i] = 0;
			off[p] = 0;
			continue;
		}
		len[p] = (seed >> 8 & 1023) + 1;
		off[p] = dipc_extents_take(e, len[p]);
		assert_int_equal(off[p] != 0,
				 has_room(owner, UNITS, (len[p] + 63) / 64));
		for (i = 0; off[p] && i < (len[p] + 63) / 64; i++) {
			assert_true(off[p] / 64 - 1 + i < UNITS);
			assert_int_equal(owner[off[p] / 64 - 1 + i], 0);
			owner[off[p] / 64 - 1 + i] = 1;
		}
	}
	for (p = 0; p < PIECES; p++)
		if (off[p])
			dipc_extents_give(e, off[p], len[p]);
	assert_int_equal(dipc_extents_free_bytes(e), UNITS * 64);
	assert_int_equal(dipc_extents_take(e, UNITS * 64), 64);
	dipc_extents_destroy(e);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(format__regions_do_not_overlap),
		CASE(format__refuses),
		CASE(format__again_forgets_everything),
		CASE(sem__words_and_redo),
		CASE(sem__reused_memory_has_new_stamps),
		CASE(find__only_living_names),
		CASE(new__full_and_back),
		CASE(new__uses_no_more_slots_than_needed),
		cmocka_unit_test(extents__never_overlap_and_join_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
