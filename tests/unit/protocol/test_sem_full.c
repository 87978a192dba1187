/* SPDX-License-Identifier: BSD-2-Clause */
/* All records of a node are asleep: what is possible must go on all the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/arena_fixture.h"
#include "tests/support/slow_wire.h"

static const struct fixture_object objects[] = {
	{.kind = DIPC_KIND_SEM, .mode = 0600, .nr = 4},
};

static struct arena_fixture fx;
static struct dipc_sems *sems[FIXTURE_NODES + 1];
static const struct dipc_cred root = {.pid = 1};
static int32_t id;

static int setup(void **state)
{
	unsigned i;

	(void)state;
	slow_wire_drop();
	arena_fixture_start(&fx, 2, objects, 1);
	for (i = 1; i <= fx.nr_nodes; i++) {
		assert_int_equal(dipc_sems_create(fx.node[i].fabric,
						  fx.node[i].ws, &sems[i]),
				 0);
		fx.node[i].sems = sems[i];
	}
	id = arena_fixture_id(&fx, 0);
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

static int op(unsigned node, struct sembuf *ops, unsigned nr, uint64_t deadline)
{
	return dipc_sem_op(sems[node], id, &root, ops, nr, deadline, NULL);
}

static uint64_t now(void)
{
	return dipc_fabric_now(fx.node[1].fabric);
}

static struct dipc_waiter taken[DIPC_WAITERS_PER_NODE];

static void take_all(void)
{
	unsigned i;

	for (i = 0; i < DIPC_WAITERS_PER_NODE; i++)
		assert_int_equal(
			dipc_waiter_get(fx.node[1].ws, 0, NULL, &taken[i]), 0);
}

static void put_all(void)
{
	unsigned i;

	for (i = 0; i < DIPC_WAITERS_PER_NODE; i++)
		dipc_waiter_put(&taken[i]);
}

struct caller {
	int ret;
	bool is_done;
	uint64_t ended;
};

static void call_down(void *arg)
{
	struct caller *c = arg;
	struct sembuf down = {0, -1, 0};

	c->ret = op(1, &down, 1, DIPC_NEVER);
	c->ended = now();
	c->is_done = true;
}

static void full(void *arg)
{
	struct sembuf pair[2] = {{0, 1, 0}, {1, 1, 0}}, up = {0, 1, 0};
	struct sembuf swap[2] = {{0, -1, 0}, {1, -1, 0}};
	struct caller c = {0};
	uint64_t begin;

	(void)arg;
	take_all();
	/* possible at once, though it could have had to sleep */
	assert_int_equal(op(1, pair, 2, DIPC_NEVER), 0);
	assert_int_equal(op(1, swap, 2, DIPC_NEVER), 0);
	/* it has nothing to sleep on, and yet keeps its time */
	begin = now();
	assert_int_equal(op(1, swap, 2, begin + 50 * DIPC_MSEC), -EAGAIN);
	assert_in_range(now() - begin, 50 * DIPC_MSEC, 900 * DIPC_MSEC);
	/* and sees within a second what another node made possible */
	arena_fixture_spawn(&fx, call_down, &c);
	dipc_fiber_sleep(100 * DIPC_MSEC);
	assert_false(c.is_done);
	begin = now();
	assert_int_equal(op(2, &up, 1, DIPC_NEVER), 0);
	while (!c.is_done)
		dipc_fiber_sleep(10 * DIPC_MSEC);
	assert_int_equal(c.ret, 0);
	assert_in_range(c.ended - begin, 0, 5 * DIPC_SEC);
	put_all();
	assert_int_equal(dipc_sem_get(sems[1], id, &root, 0, GETVAL), 0);
}

static void op__goes_on_without_a_record(void **state)
{
	(void)state;
	arena_fixture_run(&fx, full, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(op__goes_on_without_a_record,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
