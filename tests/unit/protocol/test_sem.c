/* SPDX-License-Identifier: BSD-2-Clause */
/* Semaphore sets: what semop(2) and semctl(2) promise, over several nodes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/protocol/sem_private.h"
#include "tests/support/arena_fixture.h"
#include "tests/support/slow_wire.h"

#define NR_SEMS 8u

static const struct fixture_object objects[] = {
	{.kind = DIPC_KIND_SEM,
	 .uid = 10,
	 .gid = 20,
	 .mode = 0640,
	 .nr = NR_SEMS},
	{.kind = DIPC_KIND_SEM, .mode = 0600, .nr = 300},
	{.kind = DIPC_KIND_MSG, .mode = 0600, .qbytes = 16384},
};

static struct arena_fixture fx;
static struct dipc_sems *sems[FIXTURE_NODES + 1];
static const struct dipc_cred owner = {.pid = 4242, .uid = 10, .gid = 20};
static int32_t id;

static int setup(void **state)
{
	unsigned i;

	(void)state;
	slow_wire_drop();
	arena_fixture_start(&fx, 3, objects, 3);
	for (i = 1; i <= fx.nr_nodes; i++) {
		assert_int_equal(dipc_sems_create(fx.node[i].fabric,
						  fx.node[i].ws, &sems[i]),
				 0);
		fx.node[i].sems = sems[i];
	}
	id = arena_fixture_id(&fx, 0);
	return 0;
}

/* The same cases again, with other nodes' requests coming in between. */
static int setup_slow(void **state)
{
	setup(state);
	slow_wire_start(fx.loop, 12345);
	return 0;
}

static int teardown(void **state)
{
	unsigned i;

	(void)state;
	slow_wire_stop();
	for (i = 1; i <= fx.nr_nodes; i++)
		dipc_sems_destroy(sems[i]);
	arena_fixture_stop(&fx);
	return 0;
}

/* ---- shorthands --------------------------------------------------------- */

static int op1_at(unsigned node, int num, int op, int flags, uint64_t deadline)
{
	struct sembuf sb = {(unsigned short)num, (short)op, (short)flags};

	return dipc_sem_op(sems[node], id, &owner, &sb, 1, deadline, NULL);
}

static int op1(unsigned node, int num, int op, int flags)
{
	return op1_at(node, num, op, flags, DIPC_NEVER);
}

static int get(unsigned node, int num, int cmd)
{
	return dipc_sem_get(sems[node], id, &owner, num, cmd);
}

static void set(unsigned node, int num, int value)
{
	unsigned short v = (unsigned short)value;

	assert_int_equal(dipc_sem_set(sems[node], id, &owner, num, &v, 1), 0);
}

static uint64_t now(void)
{
	return dipc_fabric_now(fx.node[1].fabric);
}

static void pause_ms(unsigned ms)
{
	dipc_fiber_sleep(ms * DIPC_MSEC);
}

/* A call on a fiber of its own, to block and be looked at. */
struct caller {
	unsigned node;
	unsigned nr;
	struct sembuf ops[4];
	uint64_t deadline;
	struct dipc_cancel cancel;
	int ret;
	bool is_done;
	unsigned order; /* when it returned */
};

static unsigned returned;

static void caller_main(void *arg)
{
	struct caller *c = arg;

	c->ret = dipc_sem_op(sems[c->node], id, &owner, c->ops, c->nr,
			     c->deadline, &c->cancel);
	c->is_done = true;
	c->order = ++returned;
}

static void call(struct caller *c, unsigned node, int num, int op)
{
	memset(c, 0, sizeof(*c));
	c->node = node;
	c->nr = 1;
	c->ops[0].sem_num = (unsigned short)num;
	c->ops[0].sem_op = (short)op;
	c->deadline = DIPC_NEVER;
	arena_fixture_spawn(&fx, caller_main, c);
	pause_ms(2);
}

static void call2(struct caller *c, unsigned node, int num, int op, int num2,
		  int op2)
{
	memset(c, 0, sizeof(*c));
	c->node = node;
	c->nr = 2;
	c->ops[0].sem_num = (unsigned short)num;
	c->ops[0].sem_op = (short)op;
	c->ops[1].sem_num = (unsigned short)num2;
	c->ops[1].sem_op = (short)op2;
	c->deadline = DIPC_NEVER;
	arena_fixture_spawn(&fx, caller_main, c);
	pause_ms(2);
}

static void await(const struct caller *c, int ret)
{
	uint64_t end = now() + 3 * DIPC_SEC;

	while (!c->is_done && now() < end)
		pause_ms(1);
	assert_true(c->is_done);
	assert_int_equal(c->ret, ret);
}

/* Lock free, list empty, no bit left over on words that were used since. */
static void check_quiet(void)
{
	const struct dipc_arena_object *obj;

	pause_ms(1);
	obj = arena_fixture_object(&fx, 0);
	assert_int_equal(obj->lock, 0);
	assert_int_equal(obj->sem.first, 0);
	assert_int_equal(obj->sem.last, 0);
	assert_int_equal(obj->sem.nr_waiters, 0);
	assert_int_equal(obj->sem.nr_complex, 0);
}

static uint64_t word_of(unsigned num)
{
	const uint64_t *words =
		(const void *)(fx.arena->base +
			       arena_fixture_object(&fx, 0)->sem.words);

	return words[num];
}

#define CASE(name)                                                             \
	static void name##_fiber(void *arg);                                   \
	static void name(void **state)                                         \
	{                                                                      \
		(void)state;                                                   \
		arena_fixture_run(&fx, name##_fiber, NULL);                    \
	}                                                                      \
	static void name##_fiber(void *arg __attribute__((unused)))

/* ---- cases -------------------------------------------------------------- */

CASE(semop__uncontended_is_one_atomic)
{
	const struct dipc_fabric_counters *c =
		dipc_fabric_counters(fx.node[1].fabric);
	struct dipc_fabric_counters before;
	unsigned i;

	assert_int_equal(op1(1, 0, 1, 0), 0); /* looks at set and word */
	before = *c;
	for (i = 0; i < 10; i++) {
		assert_int_equal(op1(1, 0, -1, 0), 0);
		assert_int_equal(op1(1, 0, 1, 0), 0);
	}
	assert_int_equal(c->nr_atomics - before.nr_atomics, 20);
	assert_int_equal(c->nr_reads - before.nr_reads, 0);
	assert_true(c->nr_writes - before.nr_writes <= 1); /* otime */

	/* changed by another node: one more */
	assert_int_equal(op1(2, 0, 1, 0), 0);
	before = *c;
	assert_int_equal(op1(1, 0, -1, 0), 0);
	assert_int_equal(c->nr_atomics - before.nr_atomics, 2);
	assert_int_equal(get(1, 0, GETVAL), 1);
}

CASE(semop__several_is_two_round_trips)
{
	struct sembuf up[2] = {{0, 1, 0}, {1, 1, 0}};
	const struct dipc_fabric_counters *c =
		dipc_fabric_counters(fx.node[1].fabric);
	uint64_t before;

	assert_int_equal(
		dipc_sem_op(sems[1], id, &owner, up, 2, DIPC_NEVER, NULL), 0);
	before = c->nr_chains;
	assert_int_equal(
		dipc_sem_op(sems[1], id, &owner, up, 2, DIPC_NEVER, NULL), 0);
	assert_true(c->nr_chains - before <= 3); /* one may be otime */
	assert_int_equal(get(2, 0, GETVAL), 2);
	assert_int_equal(get(2, 1, GETVAL), 2);
	check_quiet();
}

CASE(semop__errors)
{
	struct dipc_cred other = {.pid = 1, .uid = 99, .gid = 99};
	struct dipc_cred group = {.pid = 1, .uid = 99, .gid = 20};
	struct sembuf many[600] = {{0, 0, 0}};
	struct sembuf sb = {0, 1, 0};

	assert_int_equal(dipc_sem_op(sems[1], id, &owner, &sb, 0, 0, NULL),
			 -EINVAL);
	assert_int_equal(dipc_sem_op(sems[1], id, &owner, many, 501, 0, NULL),
			 -E2BIG);
	assert_int_equal(op1(1, NR_SEMS, 1, 0), -EFBIG);
	assert_int_equal(
		dipc_sem_op(sems[1], id + 1000, &owner, &sb, 1, 0, NULL),
		-EINVAL);
	/* a queue is no set, and another generation is another object */
	assert_int_equal(dipc_sem_op(sems[1], arena_fixture_id(&fx, 2), &owner,
				     &sb, 1, 0, NULL),
			 -EINVAL);
	assert_int_equal(dipc_sem_op(sems[1], dipc_id_make(0, 4), &owner, &sb,
				     1, 0, NULL),
			 -EINVAL);
	assert_int_equal(dipc_sem_op(sems[1], id, &other, &sb, 1, 0, NULL),
			 -EACCES);
	/* the group may read: wait for zero, but not alter */
	assert_int_equal(dipc_sem_op(sems[1], id, &group, &sb, 1, 0, NULL),
			 -EACCES);
	sb.sem_op = 0;
	assert_int_equal(dipc_sem_op(sems[1], id, &group, &sb, 1, 0, NULL), 0);
	assert_int_equal(dipc_sem_op(sems[1], id, &other, &sb, 1, 0, NULL),
			 -EACCES);
	other.has_ipc_owner = true;
	assert_int_equal(dipc_sem_op(sems[1], id, &other, &sb, 1, 0, NULL), 0);

	assert_int_equal(op1(1, 0, -1, IPC_NOWAIT), -EAGAIN);
	assert_int_equal(op1(1, 0, 32767, 0), 0);
	assert_int_equal(op1(2, 0, 1, 0), -ERANGE);
	assert_int_equal(op1(2, 0, 0, IPC_NOWAIT), -EAGAIN);
	assert_int_equal(get(1, 0, GETVAL), 32767);
	check_quiet();
}

CASE(semop__several_are_all_or_nothing)
{
	struct sembuf ops[3] = {{0, 1, 0}, {1, -1, IPC_NOWAIT}, {2, 1, 0}};
	struct sembuf same[3] = {{3, 2, 0}, {3, -1, 0}, {3, -1, 0}};
	struct sembuf range[2] = {{0, 5, 0}, {4, 32767, 0}};

	assert_int_equal(
		dipc_sem_op(sems[1], id, &owner, ops, 3, DIPC_NEVER, NULL),
		-EAGAIN);
	assert_int_equal(get(2, 0, GETVAL), 0);
	assert_int_equal(get(2, 2, GETVAL), 0);
	assert_int_equal(get(2, 0, GETPID), 0);
	set(2, 1, 1);
	assert_int_equal(
		dipc_sem_op(sems[1], id, &owner, ops, 3, DIPC_NEVER, NULL), 0);
	assert_int_equal(get(2, 0, GETVAL), 1);
	assert_int_equal(get(2, 1, GETVAL), 0);
	assert_int_equal(get(2, 2, GETVAL), 1);
	assert_int_equal(get(2, 2, GETPID), 4242);
	/* the same one several times, in order */
	assert_int_equal(
		dipc_sem_op(sems[1], id, &owner, same, 3, DIPC_NEVER, NULL), 0);
	assert_int_equal(get(2, 3, GETVAL), 0);
	set(1, 4, 1);
	assert_int_equal(
		dipc_sem_op(sems[1], id, &owner, range, 2, DIPC_NEVER, NULL),
		-ERANGE);
	assert_int_equal(get(2, 0, GETVAL), 1);
	check_quiet();
}

/*
 * A node moves units between two semaphores with pairs of operations, another
 * takes snapshots, a third makes single ones: the sum must always be right.
 */
static bool mover_must_stop;

static void mover_main(void *arg)
{
	struct caller *c = arg;
	struct sembuf there[2] = {{0, -1, 0}, {1, 1, 0}};
	struct sembuf back[2] = {{1, -1, 0}, {0, 1, 0}};

	while (!mover_must_stop) {
		c->ret |= dipc_sem_op(sems[c->node], id, &owner, there, 2,
				      DIPC_NEVER, NULL);
		dipc_fiber_yield();
		c->ret |= dipc_sem_op(sems[c->node], id, &owner, back, 2,
				      DIPC_NEVER, NULL);
		dipc_fiber_yield();
	}
	c->is_done = true;
}

CASE(semop__snapshots_are_consistent)
{
	struct caller movers[3] = {{.node = 1}, {.node = 2}, {.node = 1}};
	unsigned short values[NR_SEMS];
	unsigned i, nr;

	mover_must_stop = false;
	set(3, 0, 2);
	for (i = 0; i < 3; i++)
		arena_fixture_spawn(&fx, mover_main, &movers[i]);
	for (i = 0; i < 300; i++) {
		assert_int_equal(dipc_sem_get_all(sems[3], id, &owner, values,
						  NR_SEMS, &nr),
				 0);
		assert_int_equal(nr, NR_SEMS);
		assert_int_equal(values[0] + values[1], 2);
		dipc_fiber_yield();
	}
	mover_must_stop = true;
	for (i = 0; i < 3; i++)
		await(&movers[i], 0);
	check_quiet();
}

CASE(semop__blocks_until_possible)
{
	struct caller c, z;

	call(&c, 2, 0, -2);
	assert_false(c.is_done);
	assert_int_equal(get(1, 0, GETNCNT), 1);
	assert_int_equal(get(1, 0, GETZCNT), 0);
	assert_int_equal(op1(1, 0, 1, 0), 0);
	pause_ms(2);
	assert_false(c.is_done);
	assert_int_equal(op1(3, 0, 2, 0), 0);
	await(&c, 0);
	assert_int_equal(get(1, 0, GETVAL), 1);

	/* wait for zero */
	call(&z, 3, 0, 0);
	assert_false(z.is_done);
	assert_int_equal(get(2, 0, GETZCNT), 1);
	assert_int_equal(get(2, 0, GETNCNT), 0);
	assert_int_equal(op1(1, 0, -1, 0), 0);
	await(&z, 0);
	assert_int_equal(get(1, 0, GETVAL), 0);
	check_quiet();
	/* nobody waits: the fast path is open again */
	assert_int_equal(word_of(0) & SEM_BUSY, 0);
}

CASE(semop__wakes_in_order)
{
	struct caller c[6];
	unsigned i;

	returned = 0;
	for (i = 0; i < 6; i++)
		call(&c[i], 1 + i % 3, 0, -1);
	assert_int_equal(get(1, 0, GETNCNT), 6);
	for (i = 0; i < 6; i++) {
		assert_int_equal(op1(1 + (i + 1) % 3, 0, 1, 0), 0);
		await(&c[i], 0);
		assert_int_equal(c[i].order, i + 1);
	}
	/* a smaller one overtakes what is not possible, as on Linux */
	call(&c[0], 1, 0, -3);
	call(&c[1], 2, 0, -1);
	assert_int_equal(op1(3, 0, 1, 0), 0);
	await(&c[1], 0);
	assert_false(c[0].is_done);
	assert_int_equal(op1(3, 0, 3, 0), 0);
	await(&c[0], 0);
	/* one V for three */
	for (i = 0; i < 3; i++)
		call(&c[i], 1 + i, 0, -1);
	assert_int_equal(op1(3, 0, 3, 0), 0);
	for (i = 0; i < 3; i++)
		await(&c[i], 0);
	assert_int_equal(get(1, 0, GETVAL), 0);
	check_quiet();
}

CASE(semop__completions_cascade)
{
	struct caller a, b, c;

	/* a needs 0, gives 1; b needs 1, gives 2 twice; c needs 2 at zero */
	call2(&a, 1, 0, -1, 1, 1);
	call2(&b, 2, 1, -1, 2, 2);
	call2(&c, 3, 2, -2, 1, 0);
	assert_int_equal(get(1, 1, GETNCNT), 1);
	assert_int_equal(op1(1, 0, 1, 0), 0);
	await(&a, 0);
	await(&b, 0);
	await(&c, 0);
	assert_int_equal(get(1, 0, GETVAL), 0);
	assert_int_equal(get(1, 1, GETVAL), 0);
	assert_int_equal(get(1, 2, GETVAL), 0);
	check_quiet();
}

CASE(semop__waiter_can_fail)
{
	struct caller c;

	/* blocks on 0; once that is possible, 1 overflows */
	set(1, 1, 32767);
	call2(&c, 2, 0, -1, 1, 1);
	assert_false(c.is_done);
	assert_int_equal(op1(3, 0, 1, 0), 0);
	await(&c, -ERANGE);
	assert_int_equal(get(1, 0, GETVAL), 1);
	check_quiet();
}

CASE(semop__timeout)
{
	struct caller c[3];
	uint64_t start = now();

	assert_int_equal(op1_at(1, 0, -1, 0, start + 20 * DIPC_MSEC), -EAGAIN);
	assert_true(now() - start >= 20 * DIPC_MSEC);
	assert_true(now() - start < 900 * DIPC_MSEC);
	assert_int_equal(op1_at(1, 0, -1, 0, 0), -EAGAIN);
	check_quiet();

	/* out of the middle of the list */
	call(&c[0], 1, 0, -1);
	memset(&c[1], 0, sizeof(c[1]));
	c[1] = c[0];
	c[1].node = 2;
	c[1].deadline = now() + 20 * DIPC_MSEC;
	c[1].is_done = false;
	memset(&c[1].cancel, 0, sizeof(c[1].cancel));
	arena_fixture_spawn(&fx, caller_main, &c[1]);
	pause_ms(2);
	call(&c[2], 3, 0, -1);
	await(&c[1], -EAGAIN);
	assert_int_equal(get(1, 0, GETNCNT), 2);
	assert_int_equal(op1(1, 0, 2, 0), 0);
	await(&c[0], 0);
	await(&c[2], 0);
	check_quiet();
}

CASE(semop__cancel)
{
	struct caller c;

	call(&c, 2, 0, -1);
	dipc_cancel_set(&c.cancel);
	await(&c, -EINTR);
	check_quiet();
	assert_int_equal(op1(1, 0, 1, 0), 0);
	assert_int_equal(get(2, 0, GETVAL), 1);

	/* completed first: the result stands */
	assert_int_equal(op1(1, 0, -1, 0), 0);
	fx.node[2].is_deaf = true;
	call(&c, 2, 0, -1);
	assert_int_equal(op1(1, 0, 1, 0), 0);
	dipc_cancel_set(&c.cancel);
	await(&c, 0);
	assert_int_equal(get(1, 0, GETVAL), 0);
	check_quiet();
}

CASE(semop__lost_wakeup_costs_a_second)
{
	struct caller c;

	fx.node[2].is_deaf = true;
	call(&c, 2, 0, -1);
	assert_int_equal(op1(1, 0, 1, 0), 0);
	await(&c, 0);
	check_quiet();
}

CASE(semop__many_operations_block)
{
	int32_t big = arena_fixture_id(&fx, 1);
	struct dipc_cred root = {.pid = 7};
	unsigned short values[300];
	static struct sembuf ops[300];
	unsigned i, nr;

	/* more than one record holds, and only the last is not possible */
	for (i = 0; i < 300; i++) {
		ops[i] = (struct sembuf){(unsigned short)i, -1, 0};
		values[i] = i < 299 ? 2 : 0;
	}
	assert_int_equal(dipc_sem_set(sems[2], big, &root, -1, values, 300), 0);
	assert_int_equal(dipc_sem_op(sems[1], big, &root, ops, 300,
				     now() + 20 * DIPC_MSEC, NULL),
			 -EAGAIN);
	values[299] = 2;
	assert_int_equal(dipc_sem_set(sems[2], big, &root, -1, values, 300), 0);
	assert_int_equal(
		dipc_sem_op(sems[1], big, &root, ops, 300, DIPC_NEVER, NULL),
		0);
	assert_int_equal(
		dipc_sem_get_all(sems[3], big, &root, values, 300, &nr), 0);
	for (i = 0; i < 300; i++)
		assert_int_equal(values[i], 1);
}

static void many_main(void *arg)
{
	struct caller *c = arg;
	struct dipc_cred root = {.pid = 7};
	struct sembuf ops[200];
	unsigned i;

	for (i = 0; i < 200; i++)
		ops[i] = (struct sembuf){(unsigned short)i, -1, 0};
	c->ret = dipc_sem_op(sems[c->node], id, &root, ops, 200, DIPC_NEVER,
			     NULL);
	c->is_done = true;
}

CASE(semop__many_operations_are_completed)
{
	struct caller c = {.node = 2};
	struct dipc_cred root = {.pid = 7};
	unsigned short values[300];
	unsigned i, nr;

	id = arena_fixture_id(&fx, 1);
	arena_fixture_spawn(&fx, many_main, &c);
	pause_ms(5);
	for (i = 0; i < 300; i++)
		values[i] = i < 200;
	assert_int_equal(dipc_sem_set(sems[1], id, &root, -1, values, 300), 0);
	await(&c, 0);
	assert_int_equal(dipc_sem_get_all(sems[3], id, &root, values, 300, &nr),
			 0);
	for (i = 0; i < 300; i++)
		assert_int_equal(values[i], 0);
}

CASE(semctl__set_wakes)
{
	unsigned short all[NR_SEMS] = {1, 1, 0, 0, 5}, big[NR_SEMS] = {0};
	struct caller c[3];
	unsigned nr = 0;

	call(&c[0], 1, 0, -1);
	call2(&c[1], 2, 0, -1, 1, -1);
	call(&c[2], 3, 4, -5);
	assert_int_equal(dipc_sem_set(sems[1], id, &owner, -1, all, NR_SEMS),
			 0);
	await(&c[0], 0);
	await(&c[2], 0);
	assert_false(c[1].is_done);
	set(3, 0, 1);
	await(&c[1], 0);
	assert_int_equal(
		dipc_sem_get_all(sems[2], id, &owner, big, NR_SEMS, &nr), 0);
	assert_int_equal(nr, NR_SEMS);
	assert_int_equal(big[0] + big[1] + big[4], 0);
	assert_int_equal(get(1, 7, GETPID), 4242);
	assert_true(arena_fixture_object(&fx, 0)->ctime > 0);
	check_quiet();

	assert_int_equal(dipc_sem_get_all(sems[2], id, &owner, big, 3, &nr),
			 -E2BIG);
	big[2] = 32768;
	assert_int_equal(dipc_sem_set(sems[1], id, &owner, -1, big, NR_SEMS),
			 -ERANGE);
	assert_int_equal(dipc_sem_set(sems[1], id, &owner, 2, &big[2], 1),
			 -ERANGE);
	assert_int_equal(dipc_sem_set(sems[1], id, &owner, NR_SEMS, big, 1),
			 -EINVAL);
	assert_int_equal(get(1, NR_SEMS, GETVAL), -EINVAL);
	assert_int_equal(get(1, -1, GETVAL), -EINVAL);
}

CASE(undo__is_clamped_and_wakes)
{
	struct dipc_sem_adj adj[3] = {{0, 1}, {1, -5}, {2, 32767}};
	struct caller c;

	set(1, 1, 3);
	set(1, 2, 10);
	call(&c, 2, 0, -1);
	assert_int_equal(dipc_sem_undo(sems[1], id, 77, adj, 3), 0);
	await(&c, 0);
	assert_int_equal(get(1, 0, GETVAL), 0);
	assert_int_equal(get(1, 1, GETVAL), 0);
	assert_int_equal(get(1, 2, GETVAL), 32767);
	assert_int_equal(get(1, 1, GETPID), 77);
	check_quiet();
}

CASE(remove__ends_everything)
{
	struct caller c[4];
	unsigned i;

	set(2, 5, 1);
	assert_int_equal(op1(1, 5, 1, 0), 0); /* cached on 1, and by 2 */
	assert_int_equal(op1(2, 5, 1, 0), 0);
	for (i = 0; i < 3; i++)
		call(&c[i], 1 + i, (int)i, -1);
	call2(&c[3], 1, 5, -9, 6, 0);
	arena_fixture_remove(&fx, 0);
	assert_int_equal(dipc_sem_remove(fx.referee.fabric, 0), 0);
	for (i = 0; i < 4; i++)
		await(&c[i], -EIDRM);
	check_quiet();
	/* new calls, with words cached or not: as for an id that never was */
	assert_int_equal(op1(1, 5, 1, 0), -EINVAL);
	assert_int_equal(op1(2, 5, 1, 0), -EINVAL);
	assert_int_equal(op1(3, 5, 1, IPC_NOWAIT), -EINVAL);
	assert_int_equal(get(1, 5, GETVAL), -EINVAL);
	assert_int_equal(sem_word_value(word_of(5)), 3);
	assert_int_equal(op1(2, 5, 1, 0), -EINVAL);
}

CASE(remove__meets_a_timeout)
{
	struct caller c;

	/* cancelled, but not yet out of the list when the remover comes */
	memset(&c, 0, sizeof(c));
	call(&c, 1, 0, -1);
	arena_fixture_remove(&fx, 0);
	dipc_cancel_set(&c.cancel);
	assert_int_equal(dipc_sem_remove(fx.referee.fabric, 0), 0);
	pause_ms(5);
	assert_true(c.is_done);
	assert_true(c.ret == -EINTR || c.ret == -EIDRM);
	check_quiet();
}

CASE(permission__change_is_seen)
{
	struct dipc_stat st = {.uid = 11, .gid = 21, .mode = 0060};
	struct dipc_cred other = {.pid = 5, .uid = 12, .gid = 21};

	assert_int_equal(op1(1, 0, 1, 0), 0);
	assert_int_equal(op1(2, 0, 1, 0), 0);
	assert_int_equal(dipc_object_set(fx.node[1].fabric, id, DIPC_KIND_SEM,
					 &owner, &st),
			 0);
	assert_int_equal(dipc_sems_changed(sems[1], id), 0);
	assert_int_equal(op1(1, 0, 1, 0), -EACCES);
	assert_int_equal(op1(2, 0, 1, 0), -EACCES);
	assert_int_equal(dipc_object_set(fx.node[1].fabric, id, DIPC_KIND_SEM,
					 &other, &st),
			 -EPERM);
}

/* ---- together ----------------------------------------------------------- */

#define WORKERS 8u
#define ROUNDS  1500u

static struct {
	unsigned inside, most, count, nr_left;
	unsigned failed;
} shared;

static void worker_main(void *arg)
{
	unsigned node = (unsigned)(uintptr_t)arg;
	unsigned i;

	for (i = 0; i < ROUNDS; i++) {
		if (op1(node, 0, -1, 0))
			shared.failed++;
		if (++shared.inside > shared.most)
			shared.most = shared.inside;
		if (i % 4 == 0)
			dipc_fiber_yield();
		shared.count++;
		shared.inside--;
		if (op1(node, 0, 1, 0))
			shared.failed++;
		if (i % 8 == 0)
			dipc_fiber_yield();
	}
	shared.nr_left--;
}

static void exclude(unsigned nr_nodes)
{
	unsigned i;

	memset(&shared, 0, sizeof(shared));
	shared.nr_left = WORKERS;
	set(1, 0, 1);
	for (i = 0; i < WORKERS; i++)
		arena_fixture_spawn(&fx, worker_main,
				    (void *)(uintptr_t)(1 + i % nr_nodes));
	while (shared.nr_left)
		pause_ms(1);
	assert_int_equal(shared.failed, 0);
	assert_int_equal(shared.most, 1);
	assert_int_equal(shared.count, WORKERS * ROUNDS);
	assert_int_equal(get(3, 0, GETVAL), 1);
	check_quiet();
}

CASE(together__mutual_exclusion)
{
	exclude(2);
}

CASE(together__three_nodes)
{
	exclude(3);
}

int main(void)
{
#define T(test)                                                                \
	cmocka_unit_test_setup_teardown(test, setup, teardown),                \
	{                                                                      \
#test "__slow_wire", test, setup_slow, teardown, NULL          \
	}
	const struct CMUnitTest tests[] = {
		T(semop__uncontended_is_one_atomic),
		T(semop__several_is_two_round_trips),
		T(semop__errors),
		T(semop__several_are_all_or_nothing),
		T(semop__snapshots_are_consistent),
		T(semop__blocks_until_possible),
		T(semop__wakes_in_order),
		T(semop__completions_cascade),
		T(semop__waiter_can_fail),
		T(semop__timeout),
		T(semop__cancel),
		T(semop__lost_wakeup_costs_a_second),
		T(semop__many_operations_block),
		T(semop__many_operations_are_completed),
		T(semctl__set_wakes),
		T(undo__is_clamped_and_wakes),
		T(remove__ends_everything),
		T(remove__meets_a_timeout),
		T(permission__change_is_seen),
		T(together__mutual_exclusion),
		T(together__three_nodes),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
