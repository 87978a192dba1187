/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one access costs, exactly: doorbells, operations, bytes and requests,
 * as the counters of the page protocol say. One step at a time in a simulated
 * cluster; node 1 is the home.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "runtime/protocol/homes.h"
#include "runtime/protocol/pages_private.h"
#include "tests/support/array_pager.h"
#include "tests/support/fake_fabric.h"

#define NODES   10u
#define SEGMENT 0x40000001
#define HOLD_NS (300 * DIPC_USEC)

static struct node {
	unsigned id;
	struct dipc_pages *pages;
	struct dipc_homes *homes; /* of node 1 */
	struct dipc_segment *seg;
	struct array_pager pager;
} nodes[NODES + 1];

/* ---- a cluster ---------------------------------------------------------- */

static int on_pager_create(void *arg, struct dipc_segment *seg,
			   struct dipc_pager **pager_out)
{
	struct node *n = arg;

	(void)seg;
	memset(&n->pager, 0, sizeof(n->pager));
	n->pager.base.ops = &array_pager_ops;
	dipc_waitq_init(&n->pager.changed);
	*pager_out = &n->pager.base;
	return 0;
}

static const struct dipc_pages_events pages_events = {
	.pager_create = on_pager_create,
};

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct node *n = arg;

	if (in->request.type == DIPC_REQ_CHUNK)
		dipc_homes_request(nodes[1].homes, in);
	else if (in->request.type == DIPC_REQ_FORGET)
		dipc_homes_forget(nodes[1].homes, in);
	else
		dipc_pages_request(n->pages, in);
}

static const struct dipc_fabric_events fabric_events = {.request = on_request};

/* Run BODY with a segment open on NR_NODES nodes. */
static void with_cluster(unsigned nr_nodes, uint64_t hold_ns,
			 void (*body)(void *arg))
{
	struct dipc_arena_shm shm = {.size = ARRAY_PAGER_PAGES * DIPC_PAGE_SIZE,
				     .home = 1,
				     .homes = 1,
				     .block_chunks = 1,
				     .unit_pages = 1,
				     .nr_pages = ARRAY_PAGER_PAGES};
	struct dipc_pages_config config = {.hold_ns = hold_ns,
					   .events = &pages_events};
	struct dipc_homes_config homes_config = {0};
	unsigned i;

	fake_world_start(1, 5 * DIPC_USEC);
	for (i = 1; i <= nr_nodes; i++) {
		nodes[i].id = i;
		config.arg = &nodes[i];
		config.fabric =
			fake_fabric_create(i, &fabric_events, &nodes[i]);
		assert_int_equal(dipc_pages_create(&config, &nodes[i].pages),
				 0);
		if (i > 1)
			continue;
		homes_config.fabric = config.fabric;
		assert_int_equal(
			dipc_homes_create(&homes_config, &nodes[1].homes), 0);
		assert_int_equal(dipc_homes_add(nodes[1].homes, SEGMENT, &shm),
				 0);
	}
	assert_int_equal(dipc_fiber_spawn(fake_world_sched(), body, &shm), 0);
	assert_true(fake_world_run(NULL, 60 * DIPC_SEC));
	for (i = 1; i <= nr_nodes; i++)
		dipc_pages_destroy(nodes[i].pages);
	dipc_homes_destroy(nodes[1].homes);
	fake_world_stop();
}

static void open_all(unsigned nr_nodes, const struct dipc_arena_shm *shm)
{
	unsigned i;

	for (i = 1; i <= nr_nodes; i++)
		assert_int_equal(dipc_segment_open(nodes[i].pages, SEGMENT, shm,
						   &nodes[i].seg),
				 0);
}

static void close_all(unsigned nr_nodes)
{
	unsigned i;

	for (i = 1; i <= nr_nodes; i++)
		dipc_segment_put(nodes[i].seg);
}

/* An access of NODE; what it counted. */
static struct dipc_page_counters step(unsigned node, uint64_t page,
				      bool is_write)
{
	struct dipc_page_counters c, before;
	struct node *n = &nodes[node];

	before = dipc_segment_counters(n->seg);
	while (is_write ? !n->pager.may_write[page] : !n->pager.is_here[page]) {
		assert_int_equal(dipc_pages_fault(n->seg, page, is_write, 0),
				 0);
		if (dipc_waitq_wait(&n->pager.changed,
				    fake_world_now() + DIPC_SEC))
			fail_msg("node %u hangs", node);
	}
	c = dipc_segment_counters(n->seg);
#define X(name, words) c.name -= before.name;
	DIPC_PAGE_COUNTERS(X)
#undef X
	return c;
}

#define EXPECT(c, field, value) assert_int_equal((c).field, value)

static void expect_wire(const struct dipc_page_counters *c, unsigned doorbells,
			unsigned ops, unsigned pages_in, unsigned pages_out)
{
	assert_int_equal(c->nr_doorbells, doorbells);
	assert_int_equal(c->nr_ops, ops);
	assert_int_equal(c->bytes_in, pages_in * DIPC_PAGE_SIZE);
	assert_int_equal(c->bytes_out, pages_out * DIPC_PAGE_SIZE);
}

/* ---- cases -------------------------------------------------------------- */

static void cost_fiber(void *shm)
{
	struct dipc_page_counters c;

	open_all(3, shm);
	/* a clean page: FAA and READ */
	c = step(2, 0, false);
	expect_wire(&c, 1, 2, 1, 0);
	EXPECT(c, nr_read_misses, 1);
	EXPECT(c, nr_fills, 1);
	EXPECT(c, nr_faults, 1);
	/* nobody else has it: CAS, and what we have stays */
	c = step(2, 0, true);
	expect_wire(&c, 1, 1, 0, 0);
	EXPECT(c, nr_upgrades, 1);
	EXPECT(c, nr_write_misses, 0);
	EXPECT(c, nr_fills, 0);
	/* nobody has it: CAS and READ */
	c = step(2, 1, true);
	expect_wire(&c, 1, 2, 1, 0);
	EXPECT(c, nr_write_misses, 1);
	EXPECT(c, nr_invalidations, 0);
	/* the holder is asked: its WRITE and FAA; then READ and publish */
	c = step(3, 1, false);
	EXPECT(c, nr_read_misses, 1);
	EXPECT(c, nr_recalls, 1);
	EXPECT(c, nr_discards, 1);
	c = dipc_segment_counters(nodes[2].seg);
	EXPECT(c, nr_recalled, 1);
	EXPECT(c, bytes_out, DIPC_PAGE_SIZE);
	/* what is here costs nothing */
	c = step(3, 1, false);
	expect_wire(&c, 0, 0, 0, 0);
	close_all(3);
}

static void one_access__exact_cost(void **state)
{
	(void)state;
	with_cluster(3, 0, cost_fiber);
}

static void invalidate_fiber(void *shm)
{
	struct dipc_page_counters c;
	unsigned i;

	open_all(10, shm);
	for (i = 2; i <= 10; i++)
		step(i, 3, false);
	c = step(2, 3, true);
	EXPECT(c, nr_upgrades, 1);
	EXPECT(c, nr_invalidations, 8);
	EXPECT(c, nr_invalidations_at_once, 8);
	/* a guess at the word; the lock; and publish: the copy stays good */
	assert_in_range(c.nr_doorbells, 2, 3);
	EXPECT(c, bytes_in, 0);
	for (i = 3; i <= 10; i++) {
		c = dipc_segment_counters(nodes[i].seg);
		EXPECT(c, nr_invalidated, 1);
	}
	close_all(10);
}

/* All are asked before the first answer is waited for. */
static void eight_sharers__asked_at_once(void **state)
{
	(void)state;
	with_cluster(10, 0, invalidate_fiber);
}

static void hold_fiber(void *shm)
{
	struct dipc_page_counters c;

	open_all(2, shm);
	step(2, 0, true);
	step(1, 0, true); /* at once: node 2 has just got it */
	c = dipc_segment_counters(nodes[2].seg);
	EXPECT(c, nr_hold_delays, 1);
	assert_in_range(c.hold_ns, HOLD_NS / 2, HOLD_NS);
	dipc_fiber_sleep(2 * HOLD_NS);
	step(2, 0, true);
	c = dipc_segment_counters(nodes[1].seg);
	EXPECT(c, nr_hold_delays, 0);
	close_all(2);
}

static void hold__counted(void **state)
{
	(void)state;
	with_cluster(2, HOLD_NS, hold_fiber);
}

static void rank_fiber(void *shm)
{
	const struct dipc_page_rank *most;
	uint64_t page;
	unsigned i;

	open_all(2, shm);
	/* page p is fought over p times; more pages than the ranking has */
	for (page = 1; page <= 12; page++)
		for (i = 0; i < page; i++) {
			step(2, page * 40, true);
			step(1, page * 40, true);
		}
	most = dipc_segment_most_taken(nodes[2].seg);
	for (i = 0; i < DIPC_PAGES_RANKED; i++) {
		assert_int_equal(most[i].page, (12 - i) * 40);
		assert_int_equal(most[i].nr, 12 - i);
	}
	most = dipc_segment_most_missed(nodes[2].seg);
	assert_int_equal(most[0].page, 480);
	assert_int_equal(most[0].nr, 12);
	/* one that was out of it comes in, and up */
	for (i = 0; i < 5; i++) {
		step(2, 7 * 40, true);
		step(1, 7 * 40, true);
	}
	most = dipc_segment_most_taken(nodes[2].seg);
	assert_int_equal(most[0].nr, 12);
	assert_int_equal(most[1].nr, 12);
	assert_int_equal(most[1].page, 7 * 40);
	close_all(2);
}

static void rank__most_first(void **state)
{
	(void)state;
	with_cluster(2, 0, rank_fiber);
}

/* The node's sum remembers what is closed. */
static void sum_fiber(void *shm)
{
	struct dipc_page_counters c;

	open_all(2, shm);
	step(2, 0, false);
	c = dipc_pages_counters(nodes[2].pages);
	EXPECT(c, nr_read_misses, 1);
	close_all(2);
	dipc_pages_drain(nodes[2].pages);
	c = dipc_pages_counters(nodes[2].pages);
	EXPECT(c, nr_read_misses, 1);
	EXPECT(c, bytes_in, DIPC_PAGE_SIZE);
}

static void sum__outlives_segments(void **state)
{
	(void)state;
	with_cluster(2, 0, sum_fiber);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_access__exact_cost),
		cmocka_unit_test(eight_sharers__asked_at_once),
		cmocka_unit_test(hold__counted),
		cmocka_unit_test(rank__most_first),
		cmocka_unit_test(sum__outlives_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
