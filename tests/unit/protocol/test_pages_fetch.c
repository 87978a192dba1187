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

/* A stream costs a fault a window, and nothing that is not used. */
static void stream_fiber(void *arg)
{
	const bool *is_write = arg;
	struct dipc_page_counters c;
	struct sim_node *n = &sim.node[2];
	unsigned i;

	for (i = 1; i <= 2; i++)
		assert_int_equal(dipc_segment_open(sim.node[i].pages, SEGMENT,
						   &sim.shm, &sim.node[i].seg),
				 0);
	for (i = 0; i < MAX_PAGES; i++) {
		/* the second half is modified elsewhere */
		if (!*is_write && i >= MAX_PAGES / 2)
			assert_true(thread_access(&sim.thread[0], i, true));
	}
	for (i = 0; i < MAX_PAGES; i++) {
		assert_true(thread_access(&sim.thread[1], i, *is_write));
		/* long before it gets there it is known where that is */
		if (i == CHUNK_PAGES / 2)
			assert_true(n->seg->chunks[1] &&
				    n->seg->chunks[1]->link);
	}
	/* those that met pages on their way come to little more */
	c = dipc_segment_counters(n->seg);
	assert_true(c.nr_faults < MAX_PAGES / 4);
	assert_true(c.nr_prefetched > MAX_PAGES * 9 / 10);
	assert_true(c.nr_prefetch_useful + 3 * 16 >= c.nr_prefetched);
	assert_int_equal(c.nr_prefetch_wasted, 0);
	/* 16 pages a window: its marker, and a chain or two for the others */
	assert_true(c.nr_doorbells < MAX_PAGES / 2);
	for (i = 1; i <= 2; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void stream__fetched_ahead(void **state)
{
	static const bool is_write[] = {false, true};
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		sim_start(10, 2, 5 * DIPC_USEC, 0);
		add_thread(1, 0, 0, 1);
		add_thread(2, 0, 0, 1);
		assert_int_equal(dipc_fiber_spawn(fake_world_sched(),
						  stream_fiber,
						  (void *)&is_write[i]),
				 0);
		assert_true(fake_world_run(NULL, NS_LIMIT));
		check_home();
		sim_stop();
	}
}

/* No neighbours, no guesses. */
static void random_fiber(void *arg)
{
	struct sim_node *n = &sim.node[2];
	unsigned i;

	(void)arg;
	assert_int_equal(
		dipc_segment_open(n->pages, SEGMENT, &sim.shm, &n->seg), 0);
	for (i = 0; i < MAX_PAGES; i++)
		assert_true(thread_access(&sim.thread[0], i * 7 % MAX_PAGES,
					  i % 2));
	assert_int_equal(dipc_segment_counters(n->seg).nr_prefetched, 0);
	dipc_segment_put(n->seg);
}

static void random__no_guesses(void **state)
{
	(void)state;
	sim_start(10, 2, 5 * DIPC_USEC, 0);
	add_thread(2, 0, 0, 1);
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), random_fiber, NULL), 0);
	assert_true(fake_world_run(NULL, NS_LIMIT));
	check_home();
	sim_stop();
}

/* Pages that were guessed and taken away make the guesses fewer. */
static void wasted_fiber(void *arg)
{
	struct dipc_page_counters c;
	struct sim_node *n = &sim.node[2];
	unsigned i;

	(void)arg;
	for (i = 1; i <= 2; i++)
		assert_int_equal(dipc_segment_open(sim.node[i].pages, SEGMENT,
						   &sim.shm, &sim.node[i].seg),
				 0);
	for (i = 0; i < 40; i++)
		assert_true(thread_access(&sim.thread[1], i, false));
	for (i = MAX_PAGES - 1; i >= 40; i--)
		assert_true(thread_access(&sim.thread[0], i, true));
	c = dipc_segment_counters(n->seg);
	assert_true(c.nr_prefetch_wasted > 0);
	assert_true(c.nr_prefetch_useful + c.nr_prefetch_wasted <=
		    c.nr_prefetched);
	for (i = 1; i <= 2; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void taken_away__is_wasted(void **state)
{
	(void)state;
	sim_start(10, 2, 5 * DIPC_USEC, 0);
	add_thread(1, 0, 0, 1);
	add_thread(2, 0, 0, 1);
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), wasted_fiber, NULL), 0);
	assert_true(fake_world_run(NULL, NS_LIMIT));
	check_home();
	sim_stop();
}

/* Twice as many pages as may be here, in order and at random. */
#define CACHE 128u

static unsigned nr_here(const struct sim_node *n)
{
	unsigned i, nr = 0;

	for (i = 0; i < MAX_PAGES; i++)
		nr += n->pager.is_here[i];
	return nr;
}

static void cache_fiber(void *arg)
{
	struct dipc_page_counters c;
	struct sim_thread *th = arg;
	struct sim_node *n = th->node;
	unsigned i, page;

	for (i = 0; i < 8 * CACHE; i++) {
		page = i < 4 * CACHE ? i % (2 * CACHE)
				     : (unsigned)fake_world_random(2 * CACHE);
		if (fake_world_random(3) == 0)
			page = (unsigned)fake_world_random(2 * CACHE);
		assert_true(thread_access(th, page, i % 3 == 0));
		/* a run may come while the oldest go */
		assert_true(nr_here(n) <= CACHE + CACHE / 4);
	}
	c = dipc_segment_counters(n->seg);
	assert_true(c.nr_evicted_clean > 0);
	assert_true(c.nr_evicted_modified > 0);
	dipc_segment_put(n->seg);
}

static void cache_open_fiber(void *arg)
{
	unsigned i;

	(void)arg;
	for (i = 1; i <= 2; i++) {
		assert_int_equal(dipc_segment_open(sim.node[i].pages, SEGMENT,
						   &sim.shm, &sim.node[i].seg),
				 0);
		assert_int_equal(dipc_fiber_spawn(fake_world_sched(),
						  cache_fiber,
						  &sim.thread[i - 1]),
				 0);
	}
}

static void cache__oldest_give_way(void **state)
{
	uint64_t seed;

	(void)state;
	for (seed = 1; seed <= 10; seed++) {
		sim_cache_pages = CACHE;
		sim_start(seed, 2, 5 * DIPC_USEC,
			  seed % 2 ? 0 : 20 * DIPC_USEC);
		sim_cache_pages = 0;
		add_thread(1, 0, 0, 1);
		add_thread(2, 0, 0, 1);
		assert_int_equal(dipc_fiber_spawn(fake_world_sched(),
						  cache_open_fiber, NULL),
				 0);
		assert_true(fake_world_run(NULL, NS_LIMIT));
		check_home();
		sim_stop();
	}
}

/* A miss brings its unit; who else writes in it takes a page only. */
static void unit_fiber(void *arg)
{
	struct sim_node *n = &sim.node[2];
	unsigned i;

	(void)arg;
	for (i = 1; i <= 2; i++)
		assert_int_equal(dipc_segment_open(sim.node[i].pages, SEGMENT,
						   &sim.shm, &sim.node[i].seg),
				 0);
	assert_true(thread_access(&sim.thread[0], 19, true));
	assert_true(thread_access(&sim.thread[1], 20, false));
	dipc_fiber_sleep(DIPC_SEC);
	for (i = 0; i < MAX_PAGES; i++)
		assert_int_equal(n->pager.is_here[i], i / 8 == 2);
	assert_true(thread_access(&sim.thread[0], 17, true));
	for (i = 16; i < 24; i++)
		assert_int_equal(n->pager.is_here[i], i != 17);
	/* to write: what nobody else has */
	assert_true(thread_access(&sim.thread[1], 40, true));
	dipc_fiber_sleep(DIPC_SEC);
	for (i = 40; i < 48; i++)
		assert_true(thread_access(&sim.thread[1], i, true));
	assert_int_equal(dipc_segment_counters(n->seg).nr_read_misses, 1);
	assert_int_equal(dipc_segment_counters(n->seg).nr_write_misses, 1);
	for (i = 1; i <= 2; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void unit__moves_together(void **state)
{
	(void)state;
	sim_start(9, 2, 5 * DIPC_USEC, 0);
	sim.shm.unit_pages = 8;
	add_thread(1, 0, 0, 1);
	add_thread(2, 0, 0, 1);
	assert_int_equal(dipc_fiber_spawn(fake_world_sched(), unit_fiber, NULL),
			 0);
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
		cmocka_unit_test(stream__fetched_ahead),
		cmocka_unit_test(random__no_guesses),
		cmocka_unit_test(taken_away__is_wasted),
		cmocka_unit_test(cache__oldest_give_way),
		cmocka_unit_test(unit__moves_together),
	};

	return cmocka_run_group_tests_name("narrow", tests, narrow, NULL) +
	       cmocka_run_group_tests_name("wide", tests, wide, NULL);
}
