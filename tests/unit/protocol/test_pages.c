/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page protocol in a simulated cluster: what a thread reads is at every
 * moment what was written last, whatever the delays; nobody starves; when a
 * node dies its pages are current or lost, never old.
 *
 * test_pages            everything
 * test_pages SEED       the random runs with this seed only
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"
#include "tests/unit/protocol/pages_case.h"

/* ---- cases -------------------------------------------------------------- */

static uint64_t only_seed; /* 0: all */

static void one_run(uint64_t seed, unsigned nr_nodes, unsigned nr_pages,
		    unsigned percent_writes, uint64_t hold_ns)
{
	unsigned i, t;

	sim_cache_pages = seed % 5 == 1 ? nr_pages / 2 + 1 : 0;
	sim_start(seed, nr_nodes, 20 * DIPC_USEC, hold_ns);
	sim_cache_pages = 0;
	if (seed % 4 == 3)
		sim.shm.unit_pages = seed % 8 == 3 ? 4 : 1024;
	for (i = 1; i <= nr_nodes; i++)
		for (t = 0; t < 1 + fake_world_random(MAX_THREADS - 1); t++) {
			struct sim_thread *th =
				add_thread(i, 150, percent_writes, nr_pages);

			th->pause_ns = fake_world_random(2) * 50 * DIPC_USEC;
			th->percent_hints = seed % 2 ? 5 : 0;
			th->is_stream = t == 0 && seed % 4 == 0;
		}
	run_all();
	for (i = 0; i < sim.nr_threads; i++) {
		assert_int_equal(sim.thread[i].done, sim.thread[i].nr_ops);
		assert_int_equal(sim.thread[i].nr_sigbus, 0);
	}
	for (i = 1; i <= nr_nodes; i++)
		assert_int_equal(sim.node[i].nr_released, 1);
	check_home();
	sim_stop();
}

static void random__always_current(void **state)
{
	uint64_t seed;

	(void)state;
	for (seed = 1; seed <= 150; seed++) {
		if (only_seed && seed != only_seed)
			continue;
		one_run(seed, 2 + (unsigned)(seed % 4),
			seed % 3 ? 3 : MAX_PAGES, 5 + (unsigned)(seed % 10) * 9,
			seed % 5 ? 0 : 30 * DIPC_USEC);
	}
}

static void one_page__contended(void **state)
{
	uint64_t seed;

	(void)state;
	for (seed = 1000; seed < 1040; seed++)
		if (!only_seed || seed == only_seed)
			one_run(seed, 5, 1, seed % 2 ? 100 : 40, 0);
}

/* A whole life of the same page, state by state. */
static void step(unsigned thread, bool is_write)
{
	assert_true(thread_access(&sim.thread[thread], 0, is_write));
}

static void single_steps_fiber(void *arg)
{
	unsigned i;

	(void)arg;
	for (i = 1; i <= 3; i++)
		assert_int_equal(dipc_segment_open(sim.node[i].pages, SEGMENT,
						   &sim.shm, &sim.node[i].seg),
				 0);
	step(0, false);
	home_entry_expect(&sim.home, 0, 0, word_bit(1));
	step(1, false);
	home_entry_expect(&sim.home, 0, 0, word_bit(1) | word_bit(2));
	step(2, true);
	assert_int_equal(home_entry(&sim.home, 0).holder, 3);
	assert_false(sim.node[1].pager.is_here[0]);
	step(0, false);
	assert_int_equal(home_entry(&sim.home, 0).holder, 0);
	assert_true(sim.node[3].pager.is_here[0]);
	assert_int_equal(sim.node[3].pager.may_write[0], 0);
	step(2, true); /* an upgrade: nothing is fetched */
	assert_int_equal(dipc_pages_counters(sim.node[3].pages).nr_fills, 1);
	step(1, true);
	assert_false(sim.node[3].pager.is_here[0]);
	assert_int_equal(dipc_pages_counters(sim.node[3].pages).nr_recalled, 2);
	/* MADV_REMOVE: a copy is fetched again, our own page is zeros */
	step(0, false);
	sim.node[1].pager.is_here[0] = false;
	step(0, false);
	step(0, true);
	sim.node[1].pager.is_here[0] = false;
	sim.node[1].pager.may_write[0] = 0;
	sim.truth[0] = 0;
	step(0, true);
	step(1, false);
	for (i = 1; i <= 3; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void single_steps(void **state)
{
	(void)state;
	sim_start(7, 3, 5 * DIPC_USEC, 0);
	add_thread(1, 0, 0, 1);
	add_thread(2, 0, 0, 1);
	add_thread(3, 0, 0, 1);
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), single_steps_fiber, NULL),
		0);
	assert_true(fake_world_run(NULL, NS_LIMIT));
	check_home();
	sim_stop();
}

/* An unshared page costs one round trip: a chain with CAS and READ. */
static void claim_fiber(void *arg)
{
	struct sim_node *n = &sim.node[2];
	uint64_t since;

	(void)arg;
	assert_int_equal(
		dipc_segment_open(n->pages, SEGMENT, &sim.shm, &n->seg), 0);
	since = fake_world_now();
	step(0, true);
	/* at most: out, two halves of the READ, back */
	assert_true(fake_world_now() - since <= 5 * 5 * DIPC_USEC);
	home_entry_expect(&sim.home, 0, 2, word_bit(2));
	dipc_segment_put(n->seg);
}

static void write_miss__claims(void **state)
{
	(void)state;
	sim_start(3, 2, 5 * DIPC_USEC, 0);
	add_thread(2, 0, 0, 1);
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), claim_fiber, NULL), 0);
	assert_true(fake_world_run(NULL, NS_LIMIT));
	check_home();
	sim_stop();
}

/* Two nodes fight for a page: each does useful work while it has it. */
static void hold_time__both_progress(void **state)
{
	uint64_t since, took;
	unsigned i;

	(void)state;
	sim_start(5, 2, 5 * DIPC_USEC, 200 * DIPC_USEC);
	for (i = 1; i <= 2; i++)
		add_thread(i, 2000, 100, 1)->pause_ns = DIPC_USEC;
	since = fake_world_now();
	run_all();
	took = fake_world_now() - since;
	/* without holding, every write would be a transfer of some 20 us */
	assert_true(took < 4000 * 10 * DIPC_USEC);
	assert_true(dipc_pages_counters(sim.node[1].pages).nr_recalled < 200);
	check_home();
	sim_stop();
}

/* One reader among writers gets through, and one writer among readers. */
static void no_starvation(void **state)
{
	unsigned i;

	(void)state;
	sim_start(11, 5, 5 * DIPC_USEC, 0);
	for (i = 1; i <= 4; i++)
		add_thread(i, 1000, 100, 1);
	add_thread(5, 100, 0, 1);
	run_all();
	check_home();
	sim_stop();
	sim_start(12, 5, 5 * DIPC_USEC, 0);
	for (i = 1; i <= 4; i++)
		add_thread(i, 1000, 0, 1)->pause_ns = 2 * DIPC_USEC;
	add_thread(5, 100, 100, 1);
	run_all();
	check_home();
	sim_stop();
}

/* ---- crashes ------------------------------------------------------------ */

static unsigned crash_victim;
static unsigned nr_crash_sigbus; /* over all seeds */

static void crash_fiber(void *arg)
{
	uint64_t *delay = arg;

	dipc_fiber_sleep(*delay);
	fake_node_crash(crash_victim);
	while (fake_world_now() <= fake_node_fenced_at(crash_victim))
		dipc_fiber_sleep(DIPC_USEC);
	if (crash_victim != 1)
		dipc_homes_evict(sim.node[1].homes, crash_victim);
}

static void one_crash(uint64_t seed, unsigned victim)
{
	uint64_t delay;
	unsigned i, sigbus = 0;

	sim_start(seed, 4, 20 * DIPC_USEC, 0);
	sim.shm.unit_pages = seed % 3 ? 1 : 4;
	for (i = 1; i <= 4; i++) {
		add_thread(i, 100, 50, 4)->pause_ns = 20 * DIPC_USEC;
		add_thread(i, 100, 20, 4)->percent_hints = seed % 2 * 10;
	}
	delay = fake_world_random(4 * DIPC_MSEC);
	crash_victim = victim;
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), crash_fiber, &delay), 0);
	run_all();
	for (i = 0; i < sim.nr_threads; i++) {
		struct sim_thread *th = &sim.thread[i];

		if (th->node->id != victim && victim != 1)
			assert_int_equal(th->done, th->nr_ops);
		sigbus += th->nr_sigbus;
	}
	/* who dies early, or has no page to itself, takes nothing along */
	nr_crash_sigbus += sigbus;
	for (i = 0; i < 4 && victim != 1; i++)
		home_entry_expect_clear(&sim.home, sim.seed, i, true);
	sim_stop();
}

static void crash__current_or_lost(void **state)
{
	uint64_t seed;

	(void)state;
	/* errors are expected here: pages are lost */
	for (seed = 2000; seed < 2200; seed++)
		if (!only_seed || seed == only_seed)
			one_crash(seed, 2 + (unsigned)(seed % 3));
	assert_true(only_seed || nr_crash_sigbus > 0);
}

static void home_crash__sigbus_everywhere(void **state)
{
	uint64_t seed;

	(void)state;
	for (seed = 3000; seed < 3030; seed++)
		if (!only_seed || seed == only_seed)
			one_crash(seed, 1);
}

static void no_memory_fiber(void *arg)
{
	struct sim_node *n = &sim.node[2];

	(void)arg;
	assert_int_equal(
		dipc_segment_open(n->pages, SEGMENT, &sim.shm, &n->seg), 0);
	n->pager.must_fail = true;
	assert_false(thread_access(&sim.thread[0], 0, false));
	assert_true(dipc_segment_is_dead(n->seg));
	dipc_segment_put(n->seg);
}

static void install_fails__sigbus(void **state)
{
	(void)state;
	sim_start(4, 2, 5 * DIPC_USEC, 0);
	add_thread(2, 0, 0, 1);
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), no_memory_fiber, NULL), 0);
	assert_true(fake_world_run(NULL, NS_LIMIT));
	sim_stop();
}

/* ---- life and limits ---------------------------------------------------- */

static void reopen_fiber(void *arg)
{
	struct sim_node *n = &sim.node[2];
	struct dipc_segment *again;
	unsigned i;

	(void)arg;
	for (i = 0; i < 3; i++) {
		assert_int_equal(
			dipc_segment_open(n->pages, SEGMENT, &sim.shm, &n->seg),
			0);
		assert_int_equal(
			dipc_segment_open(n->pages, SEGMENT, &sim.shm, &again),
			0);
		assert_ptr_equal(n->seg, again);
		step(0, true);
		dipc_segment_put(again);
		dipc_segment_put(n->seg); /* the next open waits for it */
	}
	assert_int_equal(
		dipc_segment_open(n->pages, SEGMENT, &sim.shm, &n->seg), 0);
	step(0, true);
	dipc_pages_stop(n->pages);
	home_entry_expect_clear(&sim.home, sim.seed, 0,
				false); /* it went home before the kill */
	assert_false(thread_access(&sim.thread[0], 0, false));
	dipc_segment_put(n->seg);
	dipc_pages_drain(n->pages);
	assert_int_equal(n->nr_released, 4);
}

static void open_close_stop(void **state)
{
	(void)state;
	sim_start(6, 2, 5 * DIPC_USEC, 0);
	add_thread(2, 0, 0, 1);
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), reopen_fiber, NULL), 0);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_steps),
		cmocka_unit_test(write_miss__claims),
		cmocka_unit_test(open_close_stop),
		cmocka_unit_test(install_fails__sigbus),
		cmocka_unit_test(hold_time__both_progress),
		cmocka_unit_test(no_starvation),
		cmocka_unit_test(random__always_current),
		cmocka_unit_test(one_page__contended),
		cmocka_unit_test(crash__current_or_lost),
		cmocka_unit_test(home_crash__sigbus_everywhere),
	};

	if (argc > 1)
		only_seed = strtoull(argv[1], NULL, 0);
	return cmocka_run_group_tests_name("narrow", tests, narrow, NULL) +
	       cmocka_run_group_tests_name("wide", tests, wide, NULL);
}
