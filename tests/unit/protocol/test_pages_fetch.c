/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages brought ahead, and given back early, in a simulated cluster. */
#include <errno.h>
#include <string.h>

#include "tests/unit/protocol/pages_case.h"

/* Hints: what they bring is here, what they take is home. */
static void hints_fiber(void *arg)
{
	struct sim_node *n = &sim.node[2];
	const unsigned nr = 140;
	unsigned i;

	(void)arg;
	for (i = 1; i <= 2; i++)
		assert_int_equal(dipc_segment_open(sim.node[i].pages, SEGMENT,
						   &sim.shm, &sim.node[i].seg),
				 0);
	for (i = 0; i < nr; i += 3) /* some are modified elsewhere */
		assert_true(thread_access(&sim.thread[0], i, true));
	assert_int_equal(dipc_pages_fetch(n->seg, MAX_PAGES, 1, false),
			 -EINVAL);
	assert_int_equal(dipc_pages_release(n->seg, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(dipc_pages_fetch(n->seg, 0, nr, false), 0);
	/* together: none was left to be brought by itself */
	assert_int_equal(dipc_pages_counters(n->pages).nr_recalls, 47);
	assert_int_equal(dipc_pages_counters(n->pages).nr_read_misses, 0);
	for (i = 0; i < nr; i++) {
		assert_true(n->pager.is_here[i]);
		assert_int_equal(n->pager.may_write[i], 0);
		home_entry_expect(&sim.home, i, 0,
				  word_bit(2) | (i % 3 ? 0 : word_bit(1)));
	}
	assert_int_equal(dipc_pages_counters(n->pages).nr_faults, 0);
	assert_int_equal(dipc_pages_fetch(n->seg, 10, nr - 10, true), 0);
	for (i = 10; i < nr; i++) {
		assert_int_equal(home_entry(&sim.home, i).holder, 2);
		assert_int_equal(n->pager.may_write[i], 0);
		assert_false(sim.node[1].pager.is_here[i]);
	}
	assert_true(thread_access(&sim.thread[1], 20, true));
	assert_int_equal(dipc_pages_counters(n->pages).nr_faults, 1);
	assert_int_equal(dipc_pages_release(n->seg, 5, nr - 5), 0);
	for (i = 0; i < nr; i++)
		assert_int_equal(n->pager.is_here[i], i < 5);
	for (i = 0; i < nr; i++)
		assert_true(thread_access(&sim.thread[0], i, false));
	for (i = 1; i <= 2; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void hints__fetch_and_release(void **state)
{
	(void)state;
	sim_start(9, 2, 5 * DIPC_USEC, 50 * DIPC_USEC);
	add_thread(1, 0, 0, 1);
	add_thread(2, 0, 0, 1);
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), hints_fiber, NULL), 0);
	assert_true(fake_world_run(NULL, NS_LIMIT));
	check_home();
	sim_stop();
}

static int narrow(void **state)
{
	(void)state;
	max_nodes = DIPC_NODES_MAX;
	return 0;
}

static int wide(void **state)
{
	(void)state;
	max_nodes = 128;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hints__fetch_and_release),
	};

	return cmocka_run_group_tests_name("narrow", tests, narrow, NULL) +
	       cmocka_run_group_tests_name("wide", tests, wide, NULL);
}
