/* SPDX-License-Identifier: BSD-2-Clause */
/* How many objects there may be, and what the arena's first page says. */
#include <errno.h>
#include <sys/ipc.h>

#include "referee/arena.h"
#include "referee/usage.h"
#include "runtime/base/local.h"
#include "tests/unit/referee/cluster.h"

static struct dipc_arena_super *super_of(struct cluster *c)
{
	return dipc_arena_get_super(c->ref->arena);
}

static int make(struct fake *n, uint32_t kind, int32_t key, uint64_t size,
		int32_t *id_out)
{
	struct dipc_lookup_got got = {0};
	int ret = fake_get(n, kind, key, IPC_CREAT, size, &got);

	if (!ret && got.must_create)
		ret = fake_created(n, got.id, 0,
				   (uint32_t)((size + 4095) / 4096));
	*id_out = got.id;
	return ret;
}

/* ---- each kind's limits ------------------------------------------------- */

static void queues(void *arg)
{
	struct cluster *c = arg;
	struct dipc_arena_super *super = super_of(c);
	int32_t first, second, id;
	static struct fake n;

	super->msgmni = 2;
	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(make(&n, DIPC_KIND_MSG, 1, 0, &first), 0);
	assert_int_equal(make(&n, DIPC_KIND_MSG, IPC_PRIVATE, 0, &second), 0);
	assert_int_equal(make(&n, DIPC_KIND_MSG, 3, 0, &id), -ENOSPC);
	assert_int_equal(make(&n, DIPC_KIND_MSG, IPC_PRIVATE, 0, &id), -ENOSPC);
	/* it is there already; and other kinds have their own limits */
	assert_int_equal(make(&n, DIPC_KIND_MSG, 1, 0, &id), 0);
	assert_int_equal(id, first);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 3, 1, &id), 0);
	/* at once, not after the grace */
	assert_int_equal(dipc_lookup_remove(n.lookup, second), 0);
	assert_int_equal(make(&n, DIPC_KIND_MSG, 3, 0, &id), 0);
	fake_leave(&n);
}

static void get__queues_up_to_msgmni(void **state)
{
	cluster_run(*state, queues, *state);
}

static void sets(void *arg)
{
	struct cluster *c = arg;
	struct dipc_arena_super *super = super_of(c);
	static struct fake n;
	int32_t id, last;

	super->semmsl = 100;
	super->semmns = 150;
	super->semmni = 3;
	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 1, 101, &id), -EINVAL);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 1, 0, &id), -EINVAL);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 1, 100, &id), 0);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 2, 51, &id), -ENOSPC);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 2, 49, &id), 0);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 3, 1, &last), 0);
	super->semmns = 1000;
	assert_int_equal(make(&n, DIPC_KIND_SEM, 4, 1, &id), -ENOSPC);
	assert_int_equal(super->usage[DIPC_KIND_SEM].nr, 3);
	assert_int_equal(super->usage[DIPC_KIND_SEM].total, 150);
	assert_int_equal(super->usage[DIPC_KIND_SEM].top,
			 dipc_id_slot(last) + 1);
	fake_leave(&n);
}

static void get__sets_up_to_semmni_and_semmns(void **state)
{
	cluster_run(*state, sets, *state);
}

static void attach(struct fake *n, int32_t id, int64_t delta)
{
	uint64_t off = super_of(n->c)->slots_off +
		       dipc_id_slot(id) * DIPC_OBJECT_STRIDE +
		       offsetof(struct dipc_arena_object, shm.nattch);
	uint64_t old;

	assert_int_equal(dipc_arena_faa(n->fabric, off, (uint64_t)delta, &old),
			 0);
}

static void segments(void *arg)
{
	struct cluster *c = arg;
	struct dipc_arena_super *super = super_of(c);
	const struct dipc_arena_usage *usage = &super->usage[DIPC_KIND_SHM];
	int32_t first, second, id;
	static struct fake n;

	super->shmmax = 40960;
	super->shmall = 11;
	super->shmmni = 2;
	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(fake_connect(&n), 0);
	assert_int_equal(make(&n, DIPC_KIND_SHM, 1, 0, &id), -EINVAL);
	assert_int_equal(make(&n, DIPC_KIND_SHM, 1, 40961, &id), -EINVAL);
	assert_int_equal(make(&n, DIPC_KIND_SHM, 1, 40960, &first), 0);
	assert_int_equal(make(&n, DIPC_KIND_SHM, 2, 4097, &id), -ENOSPC);
	assert_int_equal(make(&n, DIPC_KIND_SHM, 2, 1, &second), 0);
	assert_int_equal(make(&n, DIPC_KIND_SHM, 3, 1, &id), -ENOSPC);
	assert_int_equal(usage->nr, 2);
	assert_int_equal(usage->total, 11);
	/* removed but attached: it counts until the last detach */
	attach(&n, second, 1);
	assert_int_equal(dipc_lookup_remove(n.lookup, second), 0);
	assert_int_equal(make(&n, DIPC_KIND_SHM, 2, 1, &id), -ENOSPC);
	attach(&n, second, -1);
	dipc_fabric_hint_reap(n.fabric, dipc_id_slot(second));
	assert_true(await_word(c, &usage->nr, UINT64_MAX, 1, 2000));
	assert_int_equal(usage->total, 10);
	assert_int_equal(usage->top, dipc_id_slot(first) + 1);
	/* one whose creator failed does not count */
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 2, IPC_CREAT, 1,
				  &(struct dipc_lookup_got){0}),
			 0);
	assert_int_equal(usage->nr, 2);
	id = object_of(c, dipc_id_make((uint32_t)usage->top - 1, 0))->id;
	assert_int_equal(fake_created(&n, id, -ENOMEM, 1), 0);
	assert_int_equal(usage->nr, 1);
	assert_int_equal(usage->total, 10);
	fake_leave(&n);
}

static void get__segments_up_to_shmmni_and_shmall(void **state)
{
	cluster_run(*state, segments, *state);
}

static void usage__sums_do_not_overflow(void **state)
{
	struct dipc_arena_super super = {
		.shmmax = UINT64_MAX - (1ull << 24),
		.shmall = UINT64_MAX - (1ull << 24),
		.shmmni = 4096,
	};

	(void)state;
	assert_int_equal(dipc_usage_check(&super, DIPC_KIND_SHM, UINT64_MAX),
			 -EINVAL);
	assert_int_equal(dipc_usage_check(&super, DIPC_KIND_SHM, super.shmmax),
			 0);
	super.shmmax = UINT64_MAX;
	super.shmall = UINT64_MAX >> 12;
	assert_int_equal(dipc_usage_check(&super, DIPC_KIND_SHM, UINT64_MAX),
			 -ENOSPC);
}

/* ---- a full arena ------------------------------------------------------- */

#define SLOTS 64 /* of the cluster */

/* What was removed rests for a second; programs must not notice. */
static void full(void *arg)
{
	struct cluster *c = arg;
	static int32_t ids[SLOTS];
	static struct fake n;
	int32_t id;
	unsigned i;

	assert_int_equal(fake_join(c, 0, &n), 0);
	for (i = 0; i < SLOTS; i++)
		assert_int_equal(
			make(&n, DIPC_KIND_MSG, (int32_t)i + 1, 0, &ids[i]), 0);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 1, 1, &id), -ENOSPC);
	for (i = 0; i < SLOTS; i++)
		assert_int_equal(dipc_lookup_remove(n.lookup, ids[i]), 0);
	assert_int_equal(make(&n, DIPC_KIND_SEM, 1, 1, &id), 0);
	assert_int_equal(super_of(c)->usage[DIPC_KIND_MSG].nr, 0);
	assert_int_equal(super_of(c)->usage[DIPC_KIND_MSG].top, 0);
	fake_leave(&n);
}

static void get__waits_for_what_was_just_removed(void **state)
{
	cluster_run(*state, full, *state);
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(get__queues_up_to_msgmni),
		CASE(get__sets_up_to_semmni_and_semmns),
		CASE(get__segments_up_to_shmmni_and_shmall),
		cmocka_unit_test(usage__sums_do_not_overflow),
		CASE(get__waits_for_what_was_just_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
