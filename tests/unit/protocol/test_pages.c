/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page protocol in a simulated cluster: what a thread reads is at every
 * moment what was written last, whatever the delays; nobody starves; when a
 * node dies its pages are current or lost, never old.
 *
 * test_pages            everything
 * test_pages SEED       the random runs with this seed only
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"
#include "runtime/protocol/pages_private.h"
#include "tests/support/array_pager.h"
#include "tests/support/fake_fabric.h"
#include "tests/support/home_entry.h"

#define MAX_NODES   5u
#define MAX_THREADS 4u /* a node */
#define MAX_PAGES   ARRAY_PAGER_PAGES
#define SEGMENT     0x40000001
#define NS_LIMIT    (600 * DIPC_SEC)
#define WORDS       ARRAY_PAGER_WORDS

struct sim_node {
	unsigned id;
	struct dipc_fabric *fabric;
	struct dipc_pages *pages;
	struct dipc_segment *seg;
	struct array_pager pager;
	unsigned nr_released;
	unsigned nr_running; /* threads */
};

struct sim_thread {
	struct sim_node *node;
	unsigned who;
	unsigned nr_ops;
	unsigned percent_writes;
	unsigned percent_hints; /* fetch or release instead */
	unsigned nr_pages;      /* uses pages 0..nr_pages-1 */
	uint64_t pause_ns;      /* between operations, at most */
	unsigned done, nr_sigbus;
};

/* The layout of the directory follows from it. */
static unsigned max_nodes;

static struct {
	unsigned nr_nodes;
	struct sim_node node[MAX_NODES + 1];
	struct sim_thread thread[MAX_NODES * MAX_THREADS];
	unsigned nr_threads;
	uint64_t truth[MAX_PAGES]; /* the value written last */
	struct dipc_home *home;
	struct dipc_arena_shm shm;
	uint64_t hold_ns;
	uint64_t seed;
} sim;

/* ---- nodes -------------------------------------------------------------- */

static int on_pager_create(void *arg, struct dipc_segment *seg,
			   struct dipc_pager **pager_out)
{
	struct sim_node *n = arg;

	(void)seg;
	memset(&n->pager, 0, sizeof(n->pager));
	n->pager.base.ops = &array_pager_ops;
	dipc_waitq_init(&n->pager.changed);
	*pager_out = &n->pager.base;
	return 0;
}

static void on_released(void *arg, struct dipc_segment *seg,
			struct dipc_pager *pager)
{
	struct sim_node *n = arg;
	unsigned i;

	assert_ptr_equal(seg, n->seg);
	for (i = 0; i < MAX_PAGES; i++)
		assert_false(array_pager_of(pager)->is_here[i]);
	n->seg = NULL;
	n->nr_released++;
}

static int on_await_fenced(void *arg, unsigned node)
{
	(void)arg;
	if (!fake_node_is_dead(node))
		return -EAGAIN;
	while (fake_world_now() <= fake_node_fenced_at(node))
		dipc_fiber_sleep(DIPC_USEC);
	return 0;
}

static const struct dipc_pages_events pages_events = {
	.pager_create = on_pager_create,
	.released = on_released,
	.await_fenced = on_await_fenced,
};

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct sim_node *n = arg;

	dipc_pages_request(n->pages, in);
}

static void on_lost(void *arg, unsigned node)
{
	struct sim_node *n = arg;

	dipc_pages_lost(n->pages, node);
}

static const struct dipc_fabric_events fabric_events = {
	.request = on_request,
	.lost = on_lost,
};

/* Node 1 is the home. */
static void sim_start(uint64_t seed, unsigned nr_nodes, uint64_t delay_ns,
		      uint64_t hold_ns)
{
	unsigned i;

	memset(&sim, 0, sizeof(sim));
	sim.nr_nodes = nr_nodes;
	sim.hold_ns = hold_ns;
	sim.seed = seed;
	fake_world_start(seed, delay_ns);
	for (i = 1; i <= nr_nodes; i++) {
		struct sim_node *n = &sim.node[i];
		struct dipc_pages_config config = {
			.hold_ns = hold_ns,
			.events = &pages_events,
			.arg = n,
		};

		n->id = i;
		n->fabric = fake_fabric_create(i, &fabric_events, n);
		config.fabric = n->fabric;
		assert_int_equal(dipc_pages_create(&config, &n->pages), 0);
	}
	assert_int_equal(dipc_home_create(sim.node[1].fabric,
					  MAX_PAGES * DIPC_PAGE_SIZE,
					  UINT64_MAX / 4, max_nodes, &sim.home),
			 0);
	sim.shm.size = MAX_PAGES * DIPC_PAGE_SIZE;
	sim.shm.dir_addr = sim.home->dir_addr;
	sim.shm.data_addr = sim.home->data_addr;
	sim.shm.rkey = sim.home->rkey;
	sim.shm.nr_sharer_words = sim.home->nr_sharer_words;
	sim.shm.home = 1;
	sim.shm.nr_pages = MAX_PAGES;
}

static bool never(void)
{
	return false;
}

static void sim_stop(void)
{
	unsigned i;

	/* what is still on its way, of nodes that died for instance */
	fake_world_run(never, NS_LIMIT);
	for (i = 1; i <= sim.nr_nodes; i++)
		dipc_pages_destroy(sim.node[i].pages);
	dipc_home_destroy(sim.home);
	fake_world_stop();
}

/* ---- threads of programs ------------------------------------------------ */

static void fail_at(const struct sim_thread *th, unsigned page,
		    const char *what, uint64_t value)
{
	fail_msg("seed %llu: node %u page %u: %s: %llu, not %llu",
		 (unsigned long long)sim.seed, th->node->id, page, what,
		 (unsigned long long)value,
		 (unsigned long long)sim.truth[page]);
}

/* INV-1: who writes is alone. */
static void check_alone(const struct sim_thread *th, unsigned page)
{
	unsigned i;

	for (i = 1; i <= sim.nr_nodes; i++)
		if (&sim.node[i] != th->node && !fake_node_is_dead(i) &&
		    sim.node[i].pager.is_here[page])
			fail_at(th, page, "written beside a copy at node", i);
}

/* False: SIGBUS. */
static bool thread_access(struct sim_thread *th, unsigned page, bool is_write)
{
	struct array_pager *p = &th->node->pager;
	unsigned bit = 1u << th->who, i;

	while (!p->is_here[page] || (is_write && !(p->may_write[page] & bit))) {
		if (p->is_dead || p->is_lost[page])
			return false;
		(void)dipc_pages_fault(th->node->seg, page, is_write, th->who);
		if (p->is_here[page] &&
		    (!is_write || (p->may_write[page] & bit)))
			break;
		if (p->is_dead || p->is_lost[page])
			return false;
		/* others' wakes come too: the fault is just repeated then,
		   as a thread woken for nothing does */
		(void)dipc_waitq_wait(&p->changed, DIPC_NEVER);
	}
	for (i = 0; i < WORDS; i += WORDS / 8)
		if (p->data[page][i] != sim.truth[page])
			fail_at(th, page, "old or torn", p->data[page][i]);
	if (is_write) {
		check_alone(th, page);
		sim.truth[page]++;
		for (i = 0; i < WORDS; i++)
			p->data[page][i] = sim.truth[page];
	}
	return true;
}

/* Fetch or release a few pages; what they hold the others check. */
static void thread_hint(struct sim_thread *th)
{
	unsigned first = (unsigned)fake_world_random(th->nr_pages);
	unsigned nr = 1 + (unsigned)fake_world_random(th->nr_pages - first);
	struct dipc_segment *seg = th->node->seg;
	int ret;

	switch (fake_world_random(3)) {
	case 0:
		ret = dipc_pages_fetch(seg, first, nr, false);
		break;
	case 1:
		ret = dipc_pages_fetch(seg, first, nr, true);
		break;
	default:
		ret = dipc_pages_release(seg, first, nr);
		break;
	}
	if (ret && !dipc_segment_is_dead(seg) && ret != -EIO)
		fail_msg("seed %llu: hint: error %d",
			 (unsigned long long)sim.seed, -ret);
}

static void thread_fiber(void *arg)
{
	struct sim_thread *th = arg;

	while (th->done < th->nr_ops && !fake_node_is_dead(th->node->id)) {
		unsigned page = (unsigned)fake_world_random(th->nr_pages);
		bool is_write = fake_world_random(100) < th->percent_writes;

		if (fake_world_random(100) < th->percent_hints)
			thread_hint(th);
		else if (!thread_access(th, page, is_write))
			th->nr_sigbus++;
		th->done++;
		if (th->pause_ns)
			dipc_fiber_sleep(fake_world_random(th->pause_ns));
	}
	if (--th->node->nr_running == 0 && th->node->seg)
		dipc_segment_put(th->node->seg);
}

static void open_fiber(void *arg)
{
	struct sim_node *n = arg;
	unsigned i;
	int ret;

	ret = dipc_segment_open(n->pages, SEGMENT, &sim.shm, &n->seg);
	if (ret && (fake_node_is_dead(1) || fake_node_is_dead(n->id)))
		return;
	assert_int_equal(ret, 0);
	for (i = 0; i < sim.nr_threads; i++) {
		if (sim.thread[i].node != n)
			continue;
		n->nr_running++;
		assert_int_equal(dipc_fiber_spawn(fake_world_sched(),
						  thread_fiber, &sim.thread[i]),
				 0);
	}
}

static struct sim_thread *add_thread(unsigned node, unsigned nr_ops,
				     unsigned percent_writes, unsigned nr_pages)
{
	struct sim_thread *th = &sim.thread[sim.nr_threads++];
	unsigned i;

	memset(th, 0, sizeof(*th));
	th->node = &sim.node[node];
	th->nr_ops = nr_ops;
	th->percent_writes = percent_writes;
	th->nr_pages = nr_pages;
	for (i = 0; i < sim.nr_threads - 1; i++)
		if (sim.thread[i].node == th->node)
			th->who++;
	return th;
}

static void run_all(void)
{
	unsigned i;

	for (i = 1; i <= sim.nr_nodes; i++)
		assert_int_equal(dipc_fiber_spawn(fake_world_sched(),
						  open_fiber, &sim.node[i]),
				 0);
	if (!fake_world_run(NULL, NS_LIMIT))
		fail_msg("seed %llu: stuck, %u fibers",
			 (unsigned long long)sim.seed,
			 dipc_sched_alive(fake_world_sched()));
}

/* After everyone gave everything back: no traces, and the truth at home. */
static void check_home(void)
{
	uint64_t *data;
	unsigned i;

	for (i = 0; i < MAX_PAGES; i++) {
		home_entry_expect_clear(sim.home, sim.seed, i, false);
		data = (uint64_t *)(void *)(sim.home->region->base +
					    (sim.home->data_addr -
					     sim.home->dir_addr) +
					    (size_t)i * DIPC_PAGE_SIZE);
		assert_int_equal(data[0], sim.truth[i]);
		assert_int_equal(data[WORDS - 1], sim.truth[i]);
	}
}

/* ---- cases -------------------------------------------------------------- */

static uint64_t only_seed; /* 0: all */

static void one_run(uint64_t seed, unsigned nr_nodes, unsigned nr_pages,
		    unsigned percent_writes, uint64_t hold_ns)
{
	unsigned i, t;

	sim_start(seed, nr_nodes, 20 * DIPC_USEC, hold_ns);
	for (i = 1; i <= nr_nodes; i++)
		for (t = 0; t < 1 + fake_world_random(MAX_THREADS - 1); t++) {
			struct sim_thread *th =
				add_thread(i, 150, percent_writes, nr_pages);

			th->pause_ns = fake_world_random(2) * 50 * DIPC_USEC;
			th->percent_hints = seed % 2 ? 5 : 0;
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
	home_entry_expect(sim.home, 0, 0, word_bit(1));
	step(1, false);
	home_entry_expect(sim.home, 0, 0, word_bit(1) | word_bit(2));
	step(2, true);
	assert_int_equal(home_entry(sim.home, 0).holder, 3);
	assert_false(sim.node[1].pager.is_here[0]);
	step(0, false);
	assert_int_equal(home_entry(sim.home, 0).holder, 0);
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
	home_entry_expect(sim.home, 0, 2, word_bit(2));
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
	for (i = 0; i < nr; i++) {
		assert_true(n->pager.is_here[i]);
		assert_int_equal(n->pager.may_write[i], 0);
		home_entry_expect(sim.home, i, 0,
				  word_bit(2) | (i % 3 ? 0 : word_bit(1)));
	}
	assert_int_equal(dipc_pages_counters(n->pages).nr_faults, 0);
	assert_int_equal(dipc_pages_fetch(n->seg, 10, nr - 10, true), 0);
	for (i = 10; i < nr; i++) {
		assert_int_equal(home_entry(sim.home, i).holder, 2);
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
		assert_int_equal(dipc_home_evict(sim.home, crash_victim), 0);
}

static void one_crash(uint64_t seed, unsigned victim)
{
	uint64_t delay;
	unsigned i, sigbus = 0;

	sim_start(seed, 4, 20 * DIPC_USEC, 0);
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
		home_entry_expect_clear(sim.home, sim.seed, i, true);
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
	home_entry_expect_clear(sim.home, sim.seed, 0,
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

static void home_create__refuses_cleanly(void **state)
{
	struct dipc_home *home = NULL;
	struct dipc_fabric *f;
	unsigned before = dipc_log_count();

	(void)state;
	sim_start(1, 1, 5 * DIPC_USEC, 0);
	f = sim.node[1].fabric;
	assert_int_equal(dipc_home_create(f, 0, 1000, 1, &home), -EINVAL);
	assert_int_equal(dipc_home_create(f, 1ull << 62, 1ull << 34, 1, &home),
			 -ENOMEM);
	assert_int_equal(
		dipc_home_create(f, UINT64_MAX, UINT64_MAX, 1024, &home),
		-ENOMEM);
	assert_int_equal(dipc_home_create(f, 1, 1 << 20, 1025, &home), -EINVAL);
	assert_null(home);
	assert_int_equal(dipc_log_count(), before + 2);
	assert_int_equal(dipc_home_create(f, 1, 1 << 20, max_nodes, &home), 0);
	assert_int_equal(home->nr_pages, 1);
	dipc_home_destroy(home);
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
		cmocka_unit_test(hints__fetch_and_release),
		cmocka_unit_test(open_close_stop),
		cmocka_unit_test(home_create__refuses_cleanly),
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
