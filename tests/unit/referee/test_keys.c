/* SPDX-License-Identifier: BSD-2-Clause */
/* Who creates a key, who waits for it, and how objects end. */
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>

#include "runtime/base/local.h"
#include "tests/unit/referee/cluster.h"

#define NODES  3
#define ASKERS 20 /* a node */

/* ---- many askers -------------------------------------------------------- */

struct asker {
	struct fake *node;
	uint32_t kind;
	uint32_t flags;
	uint64_t size;
	uint64_t work_ns; /* what a segment's creator needs */
	int fail;         /* the status it then reports */
	int ret;
	bool is_done;
	struct dipc_lookup_got got;
};

static void asker_fiber(void *arg)
{
	struct asker *a = arg;

	a->ret = fake_get(a->node, a->kind, 0x2a, a->flags, a->size, &a->got);
	if (!a->ret && a->got.must_create) {
		dipc_fiber_sleep(a->work_ns);
		a->ret = fake_created(a->node, a->got.id, a->fail, 2);
		if (a->fail)
			a->ret = a->fail;
	}
	a->is_done = true;
}

static void asker_start(struct cluster *c, struct asker *a)
{
	assert_int_equal(dipc_fiber_spawn(c->sched, asker_fiber, a), 0);
}

static void asker_await(const struct asker *a)
{
	while (!a->is_done)
		dipc_fiber_sleep(DIPC_MSEC);
}

static void race(struct cluster *c, uint32_t kind, uint64_t size)
{
	static struct fake n[NODES];
	static struct asker a[NODES * ASKERS];
	unsigned i, nr_new = 0;

	memset(a, 0, sizeof(a));
	for (i = 0; i < NODES; i++)
		assert_int_equal(fake_join(c, 0, &n[i]), 0);
	for (i = 0; i < NODES * ASKERS; i++) {
		a[i].node = &n[i % NODES];
		a[i].kind = kind;
		a[i].flags = IPC_CREAT;
		a[i].size = size;
		a[i].work_ns = 30 * DIPC_MSEC;
		asker_start(c, &a[i]);
	}
	for (i = 0; i < NODES * ASKERS; i++) {
		asker_await(&a[i]);
		assert_int_equal(a[i].ret, 0);
		assert_int_equal(a[i].got.id, a[0].got.id);
		nr_new += a[i].got.is_new;
	}
	assert_int_equal(nr_new, 1);
	for (i = 0; i < NODES; i++)
		fake_leave(&n[i]);
}

static void race_sem(void *arg)
{
	race(arg, DIPC_KIND_SEM, 3);
}

static void race_shm(void *arg)
{
	race(arg, DIPC_KIND_SHM, 8192);
}

static void get__sem_race_has_one_creator(void **state)
{
	cluster_run(*state, race_sem, *state);
}

static void get__shm_race_has_one_creator(void **state)
{
	cluster_run(*state, race_shm, *state);
}

/* ---- the creator's role ------------------------------------------------- */

static void role_passes(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;
	static struct asker first, plain, second;

	assert_int_equal(fake_join(c, 0, &n), 0);
	first = (struct asker){.node = &n,
			       .kind = DIPC_KIND_SHM,
			       .flags = IPC_CREAT,
			       .size = 5000,
			       .work_ns = 50 * DIPC_MSEC,
			       .fail = -ENOMEM};
	plain = first;
	plain.flags = 0;
	second = first;
	second.fail = 0;
	asker_start(c, &first);
	dipc_fiber_sleep(20 * DIPC_MSEC);
	asker_start(c, &plain);
	asker_start(c, &second);
	asker_await(&first);
	asker_await(&plain);
	asker_await(&second);
	assert_int_equal(first.ret, -ENOMEM);
	assert_int_equal(plain.ret, -ENOENT);
	assert_int_equal(second.ret, 0);
	assert_int_equal(second.got.is_new, 1);
	assert_int_not_equal(second.got.id, first.got.id);
	fake_leave(&n);
}

static void created__failure_passes_the_role_on(void **state)
{
	cluster_run(*state, role_passes, *state);
}

static void creator_dies(void *arg)
{
	struct cluster *c = arg;
	static struct fake dying, n;
	static struct asker second;
	struct dipc_lookup_got got;

	assert_int_equal(fake_join(c, 0, &dying), 0);
	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(
		fake_get(&dying, DIPC_KIND_SHM, 0x2a, IPC_CREAT, 5000, &got),
		0);
	assert_int_equal(got.must_create, 1);
	second = (struct asker){.node = &n,
				.kind = DIPC_KIND_SHM,
				.flags = IPC_CREAT,
				.size = 5000};
	asker_start(c, &second);
	dipc_fiber_sleep(20 * DIPC_MSEC);
	assert_false(second.is_done);
	fake_die(&dying);
	asker_await(&second);
	assert_int_equal(second.ret, 0);
	assert_int_equal(second.got.is_new, 1);
	/* a word from the past, about an object that never was */
	assert_int_equal(fake_created(&n, got.id, 0, 2), -EINVAL);
	fake_leave(&n);
}

static void created__death_of_creator_passes_the_role_on(void **state)
{
	cluster_run(*state, creator_dies, *state);
}

static void created_checks(void *arg)
{
	struct cluster *c = arg;
	static struct fake n, other;
	struct dipc_lookup_got got, again;

	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(fake_join(c, 0, &other), 0);
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 1, IPC_CREAT, 8192, &got),
			 0);
	assert_int_equal(object_of(c, got.id)->state, 0);
	assert_int_equal(fake_created(&other, got.id, 0, 2), -EINVAL);
	assert_int_equal(fake_created(&n, got.id, 0, 3), -EINVAL);
	/* nonsense counts as a failure: the key is free again */
	assert_int_equal(fake_get(&other, DIPC_KIND_SHM, 1, 0, 0, &again),
			 -ENOENT);
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 1, IPC_CREAT, 8192, &got),
			 0);
	assert_int_equal(fake_created(&n, got.id, 0, 2), 0);
	assert_int_equal(fake_created(&n, got.id, 0, 2), -EINVAL);
	assert_int_equal(object_of(c, got.id)->shm.home, n.joined.node);
	assert_int_equal(object_of(c, got.id)->shm.nr_pages, 2);
	fake_leave(&n);
	fake_leave(&other);
}

static void created__only_by_the_creator_and_sane(void **state)
{
	cluster_run(*state, created_checks, *state);
}

/* ---- flags and limits --------------------------------------------------- */

static void flags(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;
	struct dipc_lookup_got got, other;

	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(fake_get(&n, DIPC_KIND_MSG, 9, 0, 0, &got), -ENOENT);
	assert_int_equal(fake_get(&n, DIPC_KIND_MSG, 9, IPC_EXCL, 0, &got),
			 -ENOENT);
	assert_int_equal(
		fake_get(&n, DIPC_KIND_MSG, 9, IPC_CREAT | IPC_EXCL, 0, &got),
		0);
	assert_int_equal(
		fake_get(&n, DIPC_KIND_MSG, 9, IPC_CREAT | IPC_EXCL, 0, &other),
		-EEXIST);
	assert_int_equal(fake_get(&n, DIPC_KIND_MSG, 9, IPC_EXCL, 0, &other),
			 0);
	assert_int_equal(other.id, got.id);
	assert_int_equal(other.is_new, 0);
	/* the kinds have name spaces of their own */
	assert_int_equal(fake_get(&n, DIPC_KIND_SEM, 9, 0, 0, &other), -ENOENT);
	/* IPC_PRIVATE is new each time, whatever the flags */
	assert_int_equal(fake_get(&n, DIPC_KIND_MSG, IPC_PRIVATE, 0, 0, &got),
			 0);
	assert_int_equal(fake_get(&n, DIPC_KIND_MSG, IPC_PRIVATE, 0, 0, &other),
			 0);
	assert_int_not_equal(got.id, other.id);
	assert_int_equal(fake_get(&n, 0, 9, IPC_CREAT, 0, &got), -EINVAL);
	assert_int_equal(fake_get(&n, 4, 9, IPC_CREAT, 0, &got), -EINVAL);
	fake_leave(&n);
}

static void get__flags_as_in_System_V(void **state)
{
	cluster_run(*state, flags, *state);
}

static void limits(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;
	struct dipc_lookup_got got;
	unsigned i;

	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 1, IPC_CREAT, 0, &got),
			 -EINVAL);
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 1, IPC_CREAT,
				  c->conf.shmmax + 1, &got),
			 -EINVAL);
	assert_int_equal(fake_get(&n, DIPC_KIND_SEM, 1, IPC_CREAT, 0, &got),
			 -EINVAL);
	assert_int_equal(fake_get(&n, DIPC_KIND_SEM, 1, IPC_CREAT, 32001, &got),
			 -EINVAL);
	/* bodies run out before slots do, and come back */
	for (i = 0; i < 64; i++)
		if (fake_get(&n, DIPC_KIND_SEM, IPC_PRIVATE, 0, 32000, &got))
			break;
	assert_in_range(i, 2, 63);
	assert_int_equal(got.status, -ENOSPC);
	for (; i < 64; i++)
		assert_int_equal(
			fake_get(&n, DIPC_KIND_MSG, IPC_PRIVATE, 0, 0, &got),
			0);
	assert_int_equal(fake_get(&n, DIPC_KIND_MSG, IPC_PRIVATE, 0, 0, &got),
			 -ENOSPC);
	fake_leave(&n);
}

static void get__limits(void **state)
{
	cluster_run(*state, limits, *state);
}

/* ---- removing ----------------------------------------------------------- */

static void removes(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;
	struct dipc_lookup_got got, next;
	const struct dipc_arena_object *obj;

	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(fake_connect(&n), 0);
	assert_int_equal(fake_get(&n, DIPC_KIND_SEM, 5, IPC_CREAT, 4, &got), 0);
	obj = object_of(c, got.id);
	assert_int_equal(obj->id, got.id);
	assert_int_equal(obj->key, 5);
	assert_int_equal(obj->sem.nr, 4);
	assert_int_equal(obj->mode, 0600);
	assert_int_equal(obj->cuid, 1000);
	assert_int_equal(dipc_lookup_remove(n.lookup, got.id ^ 1), -EINVAL);
	assert_int_equal(dipc_lookup_remove(n.lookup, -1), -EINVAL);
	assert_int_equal(dipc_lookup_remove(n.lookup, got.id), 0);
	assert_true(obj->state & DIPC_OBJECT_REMOVED);
	assert_int_equal(dipc_lookup_remove(n.lookup, got.id), -EIDRM);
	assert_int_equal(fake_get(&n, DIPC_KIND_SEM, 5, 0, 0, &next), -ENOENT);
	assert_int_equal(fake_get(&n, DIPC_KIND_SEM, 5, IPC_CREAT, 4, &next),
			 0);
	assert_int_not_equal(next.id, got.id);
	/* after the grace the slot is free, and the old name means nothing */
	assert_true(await_word(c, &obj->state, UINT64_MAX, 0, 5000));
	assert_int_equal(dipc_lookup_remove(n.lookup, got.id), -EINVAL);
	/* queues too */
	assert_int_equal(fake_get(&n, DIPC_KIND_MSG, 5, IPC_CREAT, 0, &got), 0);
	assert_int_equal(dipc_lookup_remove(n.lookup, got.id), 0);
	fake_leave(&n);
}

static void remove__frees_key_then_slot(void **state)
{
	cluster_run(*state, removes, *state);
}

static uint64_t nattch_off(struct cluster *c, int32_t id)
{
	return dipc_arena_get_super(c->ref->arena)->slots_off +
	       dipc_id_slot(id) * DIPC_OBJECT_STRIDE +
	       offsetof(struct dipc_arena_object, shm) +
	       offsetof(struct dipc_arena_shm, nattch);
}

static void removes_attached(void *arg)
{
	struct cluster *c = arg;
	static struct fake n;
	struct dipc_lookup_got got;
	const struct dipc_arena_object *obj;
	uint64_t old;

	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(fake_connect(&n), 0);
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 5, IPC_CREAT, 4096, &got),
			 0);
	assert_int_equal(fake_created(&n, got.id, 0, 1), 0);
	obj = object_of(c, got.id);
	assert_int_equal(
		dipc_arena_faa(n.fabric, nattch_off(c, got.id), 1, &old), 0);
	assert_int_equal(dipc_lookup_remove(n.lookup, got.id), 0);
	assert_int_equal(dipc_lookup_remove(n.lookup, got.id), 0);
	dipc_fiber_sleep(2500 * DIPC_MSEC);
	assert_true(obj->state & DIPC_OBJECT_REMOVED);
	assert_int_equal(obj->shm.nattch, 1);
	assert_int_equal(dipc_arena_faa(n.fabric, nattch_off(c, got.id),
					UINT64_MAX, &old),
			 0);
	dipc_fabric_hint_reap(n.fabric, dipc_id_slot(got.id));
	assert_true(
		await_word(c, &obj->shm.nattch, 1ull << 63, 1ull << 63, 200));
	assert_true(await_word(c, &obj->state, UINT64_MAX, 0, 5000));
	fake_leave(&n);
}

static void remove__segment_waits_for_the_last_detach(void **state)
{
	cluster_run(*state, removes_attached, *state);
}

static void home_dies(void *arg)
{
	struct cluster *c = arg;
	static struct fake home, n;
	struct dipc_lookup_got got, next;

	assert_int_equal(fake_join(c, 0, &home), 0);
	assert_int_equal(fake_join(c, 0, &n), 0);
	assert_int_equal(
		fake_get(&home, DIPC_KIND_SHM, 5, IPC_CREAT, 4096, &got), 0);
	assert_int_equal(fake_created(&home, got.id, 0, 1), 0);
	fake_die(&home);
	assert_true(await_word(c, &object_of(c, got.id)->state,
			       DIPC_OBJECT_REMOVED, DIPC_OBJECT_REMOVED, 2000));
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 5, 0, 0, &next), -ENOENT);
	assert_int_equal(fake_get(&n, DIPC_KIND_SHM, 5, IPC_CREAT, 4096, &next),
			 0);
	assert_int_equal(next.must_create, 1);
	fake_leave(&n);
}

static void node_gone__its_segments_go(void **state)
{
	cluster_run(*state, home_dies, *state);
}

/* ---- homes -------------------------------------------------------------- */

static int get_spread(struct fake *n, int32_t key, uint8_t unit,
		      struct dipc_lookup_got *got)
{
	struct dipc_lookup_get get = {
		.kind = DIPC_KIND_SHM,
		.key = key,
		.flags = IPC_CREAT | 0600,
		.size = 5 * 4096,
		.policy = {.homes = DIPC_POLICY_SPREAD,
			   .unit = unit,
			   .block_chunks = 7},
	};
	int ret;

	memset(got, 0, sizeof(*got));
	ret = dipc_lookup_get(n->lookup, &get, got);
	return ret ? ret : got->status;
}

/* All that are in, the creator first; the segment goes with any of them. */
static void spread(void *arg)
{
	struct cluster *c = arg;
	static struct fake n[NODES], again;
	struct dipc_lookup_got got, late;
	const struct dipc_arena_object *obj;
	uint64_t freed[NODES];
	unsigned i, bits = 0;

	for (i = 0; i < NODES; i++) {
		assert_int_equal(fake_join(c, 0, &n[i]), 0);
		bits |= 1u << (n[i].joined.node - 1);
		freed[i] = dipc_arena_node_at(c->ref->arena, n[i].joined.node)
				   ->homes_freed;
	}
	assert_int_equal(get_spread(&n[1], 7, 11, &got), -EINVAL);
	assert_int_equal(get_spread(&n[1], 7, DIPC_POLICY_UNIT_WHOLE, &got), 0);
	assert_int_equal(fake_created(&n[1], got.id, 0, 5), 0);
	obj = object_of(c, got.id);
	assert_int_equal(obj->shm.homes, bits);
	assert_int_equal(obj->shm.home, n[1].joined.node);
	assert_int_equal(obj->shm.block_chunks, 7);
	assert_int_equal(obj->shm.unit_pages, 8);
	assert_int_equal(obj->shm.born, n[2].joined.incarnation);
	/* who joins later, and goes, has no part in it */
	assert_int_equal(fake_join(c, 0, &again), 0);
	assert_true(again.joined.incarnation > obj->shm.born);
	fake_leave(&again);
	/* a home dies between the two words of a creator */
	assert_int_equal(get_spread(&n[1], 8, 5, &late), 0);
	assert_true(!(obj->state & DIPC_OBJECT_REMOVED));
	fake_leave(&n[2]);
	assert_true(await_word(c, &obj->state, DIPC_OBJECT_REMOVED,
			       DIPC_OBJECT_REMOVED, 2000));
	assert_int_equal(fake_created(&n[1], late.id, 0, 5), 0);
	assert_true(object_of(c, late.id)->state & DIPC_OBJECT_REMOVED);
	assert_int_equal(object_of(c, late.id)->shm.unit_pages, 16);
	/* each home is told that there is something to free */
	assert_true(await_word(c, &obj->state, UINT64_MAX, 0, 5000));
	for (i = 0; i < NODES; i++)
		assert_true(dipc_arena_node_at(c->ref->arena, n[i].joined.node)
				    ->homes_freed > freed[i]);
	fake_leave(&n[0]);
	fake_leave(&n[1]);
}

static void get__spread_over_who_is_in(void **state)
{
	cluster_run(*state, spread, *state);
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(get__sem_race_has_one_creator),
		CASE(get__shm_race_has_one_creator),
		CASE(created__failure_passes_the_role_on),
		CASE(created__death_of_creator_passes_the_role_on),
		CASE(created__only_by_the_creator_and_sane),
		CASE(get__flags_as_in_System_V),
		CASE(get__limits),
		CASE(remove__frees_key_then_slot),
		CASE(remove__segment_waits_for_the_last_detach),
		CASE(node_gone__its_segments_go),
		CASE(get__spread_over_who_is_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
