/* SPDX-License-Identifier: BSD-2-Clause */
/* SEM_UNDO, and what SETVAL and SETALL take off it on every node. */
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

#define NR_SEMS 4u

static const struct fixture_object objects[] = {
	{.kind = DIPC_KIND_SEM, .uid = 10, .mode = 0600, .nr = NR_SEMS},
};

static struct arena_fixture fx;
static struct dipc_sems *sems[FIXTURE_NODES + 1];
static struct dipc_sem_undoer *undoer[FIXTURE_NODES + 1];
static const struct dipc_cred owner = {.pid = 4242, .uid = 10};
static int32_t id;
static bool is_slow;

static int setup(void **state)
{
	unsigned i;

	(void)state;
	is_slow = false;
	slow_wire_drop();
	arena_fixture_start(&fx, 3, objects, 1);
	for (i = 1; i <= fx.nr_nodes; i++) {
		assert_int_equal(dipc_sems_create(fx.node[i].fabric,
						  fx.node[i].ws, &sems[i]),
				 0);
		fx.node[i].sems = sems[i];
		assert_int_equal(
			dipc_sem_undoer_create(sems[i], 100 + i, &undoer[i]),
			0);
	}
	id = arena_fixture_id(&fx, 0);
	return 0;
}

static int setup_slow(void **state)
{
	setup(state);
	is_slow = true;
	slow_wire_start(fx.loop, 4711);
	return 0;
}

static int teardown(void **state)
{
	unsigned i;

	(void)state;
	slow_wire_stop();
	for (i = 1; i <= fx.nr_nodes; i++) {
		dipc_sem_undoer_destroy(undoer[i]);
		dipc_sems_destroy(sems[i]);
	}
	arena_fixture_stop(&fx);
	return 0;
}

/* ---- shorthands --------------------------------------------------------- */

static int op_undo(unsigned node, int num, int op, int flags)
{
	struct sembuf sb = {(unsigned short)num, (short)op, (short)flags};

	return dipc_sem_op_undo(sems[node], id, &owner, undoer[node], &sb, 1,
				DIPC_NEVER, NULL);
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

static void end(unsigned node)
{
	assert_int_equal(dipc_sem_undoer_run(undoer[node]), 0);
	assert_true(dipc_sem_undoer_is_empty(undoer[node]));
}

static void pause_ms(unsigned ms)
{
	dipc_fiber_sleep(ms * DIPC_MSEC);
}

static uint64_t undoers(void)
{
	uint64_t mask = 0;

	assert_int_equal(
		dipc_arena_read(
			fx.referee.fabric,
			dipc_object_off(fx.super, 0) +
				offsetof(struct dipc_arena_object, undoers),
			&mask, sizeof(mask)),
		0);
	return mask;
}

/* A call with SEM_UNDO on a fiber of its own. */
struct caller {
	unsigned node;
	int op;
	int ret;
	bool is_done;
};

static void caller_main(void *arg)
{
	struct caller *c = arg;

	c->ret = op_undo(c->node, 0, c->op, SEM_UNDO);
	c->is_done = true;
}

static void call(struct caller *c, unsigned node, int op)
{
	*c = (struct caller){.node = node, .op = op};
	arena_fixture_spawn(&fx, caller_main, c);
	pause_ms(5);
	assert_false(c->is_done);
}

static void await(const struct caller *c, int ret)
{
	unsigned i;

	for (i = 0; i < 3000 && !c->is_done; i++)
		pause_ms(1);
	assert_true(c->is_done);
	assert_int_equal(c->ret, ret);
}

#define CASE(name)                                                             \
	static void name##_main(void *arg);                                    \
	static void name(void **state)                                         \
	{                                                                      \
		(void)state;                                                   \
		arena_fixture_run(&fx, name##_main, NULL);                     \
	}                                                                      \
	static void name##_main(void *arg __attribute__((unused)))

/* ---- giving back -------------------------------------------------------- */

CASE(end__gives_back)
{
	struct sembuf two[] = {{1, 5, SEM_UNDO}, {2, 7, 0}};

	set(1, 0, 10);
	assert_int_equal(op_undo(1, 0, -4, SEM_UNDO), 0);
	assert_int_equal(op_undo(1, 0, 1, SEM_UNDO), 0);
	assert_int_equal(op_undo(1, 0, 1, 0), 0);
	assert_int_equal(dipc_sem_op_undo(sems[1], id, &owner, undoer[1], two,
					  2, DIPC_NEVER, NULL),
			 0);
	assert_true(dipc_sem_undoer_holds(undoer[1], id));
	assert_true(dipc_sem_undoer_has_others(undoer[1]) == false);
	assert_int_equal(undoers(), 1 << 1);
	assert_int_equal(op_undo(2, 3, 1, 0), 0);
	end(1);
	assert_int_equal(get(2, 0, GETVAL), 11);
	assert_int_equal(get(2, 1, GETVAL), 0);
	assert_int_equal(get(2, 2, GETVAL), 7);
	/* whose adjustment was not 0 has changed it */
	assert_int_equal(get(2, 0, GETPID), 101);
	assert_int_equal(get(2, 1, GETPID), 101);
	assert_int_equal(get(2, 2, GETPID), 4242);
	assert_int_equal(undoers(), 0);
}

CASE(end__holds_within_the_range)
{
	assert_int_equal(op_undo(1, 0, 5, SEM_UNDO), 0);
	assert_int_equal(op_undo(2, 0, -3, 0), 0);
	end(1);
	assert_int_equal(get(2, 0, GETVAL), 0);
}

CASE(range__is_that_of_adjustments)
{
	struct caller c;

	assert_int_equal(op_undo(1, 0, 20000, SEM_UNDO), 0);
	assert_int_equal(op_undo(1, 0, -20000, 0), 0);
	assert_int_equal(op_undo(1, 0, 20000, SEM_UNDO), -ERANGE);
	assert_int_equal(get(1, 0, GETVAL), 0);
	/* -32768 is the lowest, 32767 the highest */
	assert_int_equal(op_undo(1, 0, 12768, SEM_UNDO), 0);
	assert_int_equal(op_undo(1, 0, 1, SEM_UNDO), -ERANGE);
	set(1, 0, 32767);
	assert_int_equal(op_undo(1, 0, -32767, SEM_UNDO), 0);
	/* the value comes first, then the adjustment: so this one blocks */
	assert_int_equal(op_undo(1, 0, -1, SEM_UNDO | IPC_NOWAIT), -EAGAIN);
	call(&c, 1, -1);
	assert_int_equal(op_undo(2, 0, 1, 0), 0);
	await(&c, -ERANGE);
	assert_int_equal(get(3, 0, GETVAL), 1);
	assert_int_equal(op_undo(1, 0, -1, 0), 0);
}

/* ---- clearing ----------------------------------------------------------- */

CASE(setval__clears_on_all_nodes)
{
	unsigned short all[NR_SEMS] = {3, 3, 3, 3};

	assert_int_equal(op_undo(1, 0, 5, SEM_UNDO), 0);
	assert_int_equal(op_undo(1, 1, 6, SEM_UNDO), 0);
	assert_int_equal(op_undo(2, 0, 7, SEM_UNDO), 0);
	assert_int_equal(op_undo(3, 0, 8, SEM_UNDO), 0);
	assert_int_equal(undoers(), 1 << 1 | 1 << 2 | 1 << 3);
	set(3, 0, 100);
	/* node 1 has something left on semaphore 1 */
	pause_ms(1);
	assert_int_equal(undoers(), 1 << 1);
	end(2);
	end(3);
	assert_int_equal(get(1, 0, GETVAL), 100);
	assert_int_equal(dipc_sem_set(sems[2], id, &owner, -1, all, NR_SEMS),
			 0);
	end(1);
	assert_int_equal(get(1, 0, GETVAL), 3);
	assert_int_equal(get(1, 1, GETVAL), 3);
	/* and on from there */
	assert_int_equal(op_undo(2, 0, 7, SEM_UNDO), 0);
	end(2);
	assert_int_equal(get(1, 0, GETVAL), 3);
}

CASE(setval__keeps_who_it_wakes)
{
	struct caller c;

	call(&c, 1, -1);
	set(2, 0, 1);
	await(&c, 0);
	end(1);
	assert_int_equal(get(2, 0, GETVAL), 1);
}

CASE(setval__keeps_who_sleeps_through_it)
{
	struct caller c;

	call(&c, 1, -2);
	set(2, 0, 1);
	assert_int_equal(op_undo(3, 0, 1, 0), 0);
	await(&c, 0);
	end(1);
	assert_int_equal(get(2, 0, GETVAL), 2);
}

/* Done by another node, and cleared, before its own node knows. */
CASE(setval__clears_what_is_done_unseen)
{
	struct caller c;

	fx.node[1].is_deaf = true;
	call(&c, 1, -1);
	assert_int_equal(op_undo(2, 0, 1, 0), 0);
	set(3, 0, 5);
	assert_false(c.is_done);
	await(&c, 0);
	end(1);
	assert_int_equal(get(2, 0, GETVAL), 5);
}

static struct dipc_transport *transport(unsigned node)
{
	return dipc_fabric_transport(fx.node[node].fabric);
}

/* Done by a CAS whose answer is not here yet when the clearing is. */
CASE(setval__clears_what_is_done_and_not_told)
{
	struct caller c = {.node = 1, .op = 3};

	assert_int_equal(op_undo(1, 0, 1, SEM_UNDO), 0);
	slow_wire_stall(transport(1));
	arena_fixture_spawn(&fx, caller_main, &c);
	while (get(2, 0, GETVAL) != 4)
		pause_ms(1);
	assert_false(c.is_done);
	set(2, 0, 70);
	slow_wire_stall(NULL);
	await(&c, 0);
	end(1);
	assert_int_equal(get(2, 0, GETVAL), 70);
	/* nor is it forgotten when SETVAL comes first */
	slow_wire_stall(transport(1));
	set(2, 0, 80);
	c = (struct caller){.node = 1, .op = 3};
	arena_fixture_spawn(&fx, caller_main, &c);
	pause_ms(5);
	slow_wire_stall(NULL);
	await(&c, 0);
	assert_int_equal(get(2, 0, GETVAL), 83);
	end(1);
	assert_int_equal(get(2, 0, GETVAL), 80);
}

CASE(removal__is_heard_of)
{
	assert_int_equal(op_undo(1, 0, 5, SEM_UNDO), 0);
	assert_int_equal(op_undo(2, 0, 5, SEM_UNDO), 0);
	arena_fixture_remove(&fx, 0);
	assert_int_equal(dipc_sem_remove(fx.referee.fabric, 0), 0);
	dipc_sems_removed(sems[1], id, undoers());
	assert_true(dipc_sem_undoer_is_empty(undoer[1]));
	assert_true(dipc_sem_undoer_is_empty(undoer[2]));
	end(1);
}

/* ---- a node that dies --------------------------------------------------- */

struct setter {
	unsigned node;
	bool is_done;
};

static void setter_main(void *arg)
{
	struct setter *s = arg;

	set(s->node, 0, 50);
	s->is_done = true;
}

CASE(setval__waits_for_the_verdict)
{
	struct dipc_arena_node *table =
		(void *)(fx.arena->base + fx.super->nodes_off);
	struct setter s = {.node = 1};
	unsigned i;

	assert_int_equal(op_undo(3, 0, 5, SEM_UNDO), 0);
	/* cut off from node 1, but a member still */
	dipc_fabric_fence(fx.node[1].fabric, 3, 1);
	arena_fixture_spawn(&fx, setter_main, &s);
	pause_ms(60);
	assert_false(s.is_done);
	assert_int_equal(get(2, 0, GETVAL), 5);
	table[3].state = (uint64_t)DIPC_NODE_DEAD << 32 | 1;
	for (i = 0; i < 1000 && !s.is_done; i++)
		pause_ms(1);
	assert_true(s.is_done);
	assert_int_equal(get(2, 0, GETVAL), 50);
	assert_int_equal(dipc_sem_drop_node(fx.referee.fabric, 0, 3), 0);
	assert_int_equal(undoers(), 0);
}

/* ---- all at once -------------------------------------------------------- */

#define ROUNDS 300u
#define BASE   1000

static unsigned nr_left;

static void worker_main(void *arg)
{
	unsigned node = *(unsigned *)arg, i, seed = 77 * node;
	struct sembuf two[] = {{1, 1, SEM_UNDO}, {0, 1, SEM_UNDO}};
	int ret;

	for (i = 0; i < ROUNDS; i++) {
		unsigned what = (unsigned)rand_r(&seed) % 8;

		if (what == 0)
			ret = dipc_sem_op_undo(sems[node], id, &owner,
					       undoer[node], two, 2, DIPC_NEVER,
					       NULL);
		else if (what < 5)
			ret = op_undo(node, 0, 1, SEM_UNDO);
		else if (what == 5) /* often one that another lets go on */
			ret = op_undo(node, 2, -1, SEM_UNDO);
		else
			ret = op_undo(node, 2, 1, SEM_UNDO);
		assert_int_equal(ret, 0);
		if (i % 8 == 0)
			dipc_fiber_sleep(50 * DIPC_USEC);
	}
	nr_left--;
}

/* Nobody is to be left waiting for semaphore 2. */
static void feeder_main(void *arg)
{
	(void)arg;
	while (nr_left) {
		assert_int_equal(op_undo(2, 2, 1, SEM_UNDO), 0);
		pause_ms(2);
	}
}

/* Now this node, now that is not told for a while what it has done. */
static void staller_main(void *arg)
{
	unsigned node = 0;

	(void)arg;
	while (nr_left) {
		slow_wire_stall(transport(1 + node++ % 3));
		dipc_fiber_sleep(200 * DIPC_USEC);
		slow_wire_stall(NULL);
		dipc_fiber_sleep(200 * DIPC_USEC);
	}
}

/*
 * Whatever is done after the last SETVAL is given back in the end, and nothing
 * that was done before: so all values are then what was set.
 */
CASE(together__nothing_is_lost)
{
	static unsigned node[6] = {1, 2, 3, 1, 2, 3};
	unsigned i, round = 0;

	nr_left = 6;
	set(1, 0, BASE);
	set(1, 1, BASE);
	set(1, 2, 0);
	for (i = 0; i < 6; i++)
		arena_fixture_spawn(&fx, worker_main, &node[i]);
	arena_fixture_spawn(&fx, feeder_main, NULL);
	if (is_slow)
		arena_fixture_spawn(&fx, staller_main, NULL);
	while (nr_left) {
		unsigned by = 1 + round % 3;

		set(by, 0, BASE);
		if (round % 3 == 0)
			set(by, 1, BASE);
		if (round % 5 == 0)
			set(by, 2, 2);
		round++;
		dipc_fiber_sleep(100 * DIPC_USEC);
	}
	pause_ms(5); /* the feeder's last */
	assert_true(round > 2);
	/* so that what is given back is not held at 0 on the way */
	for (i = 1; i <= 3; i++)
		assert_int_equal(op_undo(i, 2, 5000, 0), 0);
	for (i = 1; i <= 3; i++)
		end(i);
	assert_int_equal(get(1, 0, GETVAL), BASE);
	assert_int_equal(get(1, 1, GETVAL), BASE);
	assert_int_equal(get(1, 2, GETVAL), 15002);
	assert_int_equal(undoers(), 0);
}

int main(void)
{
#define T(name, with) cmocka_unit_test_setup_teardown(name, with, teardown)
#define CASES(with)                                                            \
	T(end__gives_back, with), T(end__holds_within_the_range, with),        \
		T(range__is_that_of_adjustments, with),                        \
		T(setval__clears_on_all_nodes, with),                          \
		T(setval__keeps_who_it_wakes, with),                           \
		T(setval__keeps_who_sleeps_through_it, with),                  \
		T(setval__clears_what_is_done_unseen, with),                   \
		T(removal__is_heard_of, with),                                 \
		T(setval__waits_for_the_verdict, with),                        \
		T(together__nothing_is_lost, with)
	const struct CMUnitTest tests[] = {
		CASES(setup),
		CASES(setup_slow),
		T(setval__clears_what_is_done_and_not_told, setup_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
