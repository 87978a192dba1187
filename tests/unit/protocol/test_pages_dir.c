/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page directory: sets of nodes, what the wide entry says after each
 * step, who may claim by it, and what recovery makes of what a dead node left.
 * One step at a time in a simulated cluster; node 1 is the home.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "runtime/protocol/pages_private.h"
#include "tests/support/array_pager.h"
#include "tests/support/fake_fabric.h"
#include "tests/support/home_entry.h"

#define NODES   4u
#define SEGMENT 0x40000001

static struct node {
	unsigned id;
	struct dipc_fabric *fabric;
	struct dipc_pages *pages;
	struct dipc_segment *seg;
	struct array_pager pager;
} nodes[NODES + 1];

static struct dipc_arena_shm shm = {
	.size = ARRAY_PAGER_PAGES * DIPC_PAGE_SIZE,
	.home = 1,
	.homes = 1,
	.block_chunks = 1,
	.unit_pages = 1,
	.nr_pages = ARRAY_PAGER_PAGES,
};
static struct home_view home = {.shm = &shm, .id = SEGMENT};

/* ---- a cluster with a wide directory ------------------------------------ */

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
		dipc_homes_request(home.homes[1], in);
	else if (in->request.type == DIPC_REQ_FORGET)
		dipc_homes_forget(home.homes[1], in);
	else
		dipc_pages_request(n->pages, in);
}

static const struct dipc_fabric_events fabric_events = {.request = on_request};

static void open_all(void)
{
	unsigned i;

	for (i = 1; i <= NODES; i++)
		assert_int_equal(dipc_segment_open(nodes[i].pages, SEGMENT,
						   &shm, &nodes[i].seg),
				 0);
	/* so that poke() finds it */
	assert_int_equal(dipc_page_locate(dipc_page_get(nodes[1].seg, 0)), 0);
}

static void (*body)(void);

static void body_fiber(void *arg)
{
	unsigned i;

	(void)arg;
	open_all();
	body();
	for (i = 1; i <= NODES; i++)
		dipc_segment_put(nodes[i].seg);
}

/* Run FN with a segment open everywhere. */
static void with_cluster(void (*fn)(void))
{
	struct dipc_homes_config homes_config = {.max_nodes = ENTRY_NODES_MAX};
	unsigned i;

	body = fn;

	fake_world_start(1, 5 * DIPC_USEC);
	for (i = 1; i <= NODES; i++) {
		struct dipc_pages_config config = {.events = &pages_events,
						   .arg = &nodes[i]};

		nodes[i].id = i;
		nodes[i].fabric =
			fake_fabric_create(i, &fabric_events, &nodes[i]);
		config.fabric = nodes[i].fabric;
		assert_int_equal(dipc_pages_create(&config, &nodes[i].pages),
				 0);
	}
	shm.nr_sharer_words = dipc_entry_sharer_words(ENTRY_NODES_MAX);
	homes_config.fabric = nodes[1].fabric;
	assert_int_equal(dipc_homes_create(&homes_config, &home.homes[1]), 0);
	assert_int_equal(dipc_homes_add(home.homes[1], SEGMENT, &shm), 0);
	assert_int_equal(dipc_fiber_spawn(fake_world_sched(), body_fiber, NULL),
			 0);
	assert_true(fake_world_run(NULL, 60 * DIPC_SEC));
	for (i = 1; i <= NODES; i++)
		dipc_pages_destroy(nodes[i].pages);
	dipc_homes_destroy(home.homes[1]);
	fake_world_stop();
}

/* An access of NODE to page 0; doorbells that it rang. */
static uint64_t step(unsigned node, bool is_write)
{
	struct node *n = &nodes[node];
	uint64_t before = dipc_segment_counters(n->seg).nr_doorbells;

	while (is_write ? !n->pager.may_write[0] : !n->pager.is_here[0]) {
		assert_int_equal(dipc_pages_fault(n->seg, 0, is_write, 0), 0);
		if (dipc_waitq_wait(&n->pager.changed,
				    fake_world_now() + DIPC_SEC))
			fail_msg("node %u hangs", node);
	}
	return dipc_segment_counters(n->seg).nr_doorbells - before;
}

/* NODE gives the page up of its own accord. */
static void leave(unsigned node)
{
	assert_int_equal(dipc_pages_release(nodes[node].seg, 0, 1), 0);
	dipc_fiber_sleep(DIPC_MSEC); /* what was posted has landed */
}

static void expect(unsigned holder, uint64_t sharers, uint32_t arrivals)
{
	home_entry_expect(&home, 0, holder, sharers);
	assert_int_equal(home_entry(&home, 0).arrivals, arrivals);
}

static void poke(unsigned word, uint64_t value)
{
	uint8_t *entry = (uint8_t *)(uintptr_t)home_find(&home, 0, false);

	memcpy(entry + word * sizeof(value), &value, sizeof(value));
}

/* ---- what the entry says ------------------------------------------------ */

static void life(void)
{
	assert_int_equal(step(1, false), 1);
	expect(0, 1, 1);
	/* nobody arrived since: a claim */
	assert_int_equal(step(1, true), 1);
	expect(1, 1, 0);
	/* node 2 meets a holder; it takes the lock and both have a copy */
	step(2, false);
	expect(0, 3, 2);
	assert_int_equal(step(3, false), 1);
	expect(0, 7, 3);
	/* lock with the sharers behind it, INVALIDATE, publish */
	assert_true(step(3, true) <= 3); /* one more if its guess is old */
	dipc_fiber_sleep(DIPC_MSEC);
	expect(3, 4, 0);
	assert_false(nodes[1].pager.is_here[0]);
	assert_false(nodes[2].pager.is_here[0]);
	leave(3);
	expect(0, 0, 0);
	/* nobody has a copy, whoever asks: a claim */
	assert_int_equal(step(4, true), 1);
	expect(4, 8, 0);
}

static void wide__step_by_step(void **state)
{
	(void)state;
	with_cluster(life);
}

/* A reader that came and went costs the next writer a round trip, no more. */
static void came_and_went(void)
{
	step(1, false);
	step(2, false);
	leave(2);
	expect(0, 1, 2);
	assert_int_equal(dipc_segment_counters(nodes[2].seg).nr_invalidated, 0);
	step(1, true);
	expect(1, 1, 0);
	assert_int_equal(dipc_segment_counters(nodes[1].seg).nr_invalidations,
			 0);
}

static void wide__reader_came_and_went(void **state)
{
	(void)state;
	with_cluster(came_and_went);
}

/*
 * ARR-2: node 1 was the first once; node 3 is the first now. The count alone
 * would let node 1 claim beside node 3's copy.
 */
static void first_of_old(void)
{
	step(1, false);
	expect(0, 1, 1);
	step(2, true);
	leave(2);
	step(3, false);
	expect(0, 4, 1);
	step(1, true);
	assert_false(nodes[3].pager.is_here[0]);
	assert_int_equal(dipc_segment_counters(nodes[3].seg).nr_invalidated, 1);
}

static void wide__first_of_old_does_not_claim(void **state)
{
	(void)state;
	with_cluster(first_of_old);
}

/* The count never comes to its end: whoever sees it high sets it back. */
static void many(void)
{
	step(1, false);
	poke(0, wide_word(0, 0, WIDE_ARRIVALS_MANY - 2));
	assert_int_equal(step(2, false), 1);
	expect(0, 3, WIDE_ARRIVALS_MANY - 1);
	assert_true(step(3, false) > 1);
	expect(0, 7, 2);
	step(4, true);
	assert_false(nodes[1].pager.is_here[0]);
	assert_false(nodes[3].pager.is_here[0]);
}

static void wide__many_arrivals(void **state)
{
	(void)state;
	with_cluster(many);
}

/* ---- recovery ----------------------------------------------------------- */

/* Nodes of the last word of sharers, too. */
static void evict(void)
{
	const unsigned dead = ENTRY_NODES_MAX;
	const unsigned last = ENTRY_NODES_MAX / 64;

	/* it had announced itself, and was not counted yet */
	poke(last, 1ull << 63);
	assert_int_equal(dipc_homes_evict(home.homes[1], dead), 0);
	assert_int_equal(home_entry(&home, 0).sharers.bits[last - 1], 0);
	assert_int_equal(step(1, true), 1);
	leave(1);
	/* a copy; others' bits stay, the count too: it is a bound */
	poke(last, 3ull << 62);
	poke(0, wide_word(0, 0, 2));
	assert_int_equal(dipc_homes_evict(home.homes[1], dead), 0);
	assert_int_equal(home_entry(&home, 0).sharers.bits[last - 1],
			 1ull << 62);
	assert_int_equal(home_entry(&home, 0).arrivals, 2);
	assert_int_equal(dipc_homes_evict(home.homes[1], dead - 1), 0);
	/* a lock; a page that it held; one for which another has the lock */
	poke(0, wide_word(dead, 3, 7));
	assert_int_equal(dipc_homes_evict(home.homes[1], dead), 0);
	expect(3, 0, 7);
	poke(0, wide_word(2, dead, 7));
	assert_int_equal(dipc_homes_evict(home.homes[1], dead), 0);
	assert_int_equal(home_entry(&home, 0).holder, dead);
	poke(0, wide_word(0, dead, 7));
	assert_int_equal(dipc_homes_evict(home.homes[1], dead), 0);
	expect(NODE_LOST, 0, 7);
	poke(0, wide_word(dead, dead, 7));
	assert_int_equal(dipc_homes_evict(home.homes[1], dead), 0);
	expect(NODE_LOST, 0, 7);
	assert_int_equal(dipc_homes_evict(home.homes[1], dead + 1), -EINVAL);
	poke(0, 0);
}

static void wide__evict(void **state)
{
	(void)state;
	with_cluster(evict);
}

/* ---- small parts -------------------------------------------------------- */

static void nodeset__all(void **state)
{
	struct nodeset set = {0};
	unsigned n = 0, i;
	const unsigned some[] = {1, 2, 64, 65, 640, ENTRY_NODES_MAX};

	(void)state;
	assert_true(dipc_nodeset_is_empty(&set));
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		set.bits[(some[i] - 1) / 64] |= 1ull << (some[i] - 1) % 64;
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		n = dipc_nodeset_next(&set, n);
		assert_int_equal(n, some[i]);
	}
	assert_int_equal(dipc_nodeset_next(&set, n), 0);
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		assert_false(dipc_nodeset_is_empty(&set));
		dipc_nodeset_del(&set, some[i]);
	}
	assert_true(dipc_nodeset_is_empty(&set));
}

static void entry__sizes(void **state)
{
	(void)state;
	assert_int_equal(dipc_entry_sharer_words(2), 0);
	assert_int_equal(dipc_entry_sharer_words(40), 0);
	assert_int_equal(dipc_entry_sharer_words(41), 1);
	assert_int_equal(dipc_entry_sharer_words(64), 1);
	assert_int_equal(dipc_entry_sharer_words(65), 2);
	assert_int_equal(dipc_entry_sharer_words(1024), 16);
	assert_int_equal(dipc_entry_size(0), 8);
	assert_int_equal(dipc_entry_size(16), 136);
}

static void states__moves(void **state)
{
	static const char legal[PAGE_NR_STATES][PAGE_NR_STATES + 1] = {
		".SMB", /* from I to: I S M BAD */
		"I.M.",
		"IS..",
		"....",
	};
	unsigned from, to;

	(void)state;
	for (from = 0; from < PAGE_NR_STATES; from++)
		for (to = 0; to < PAGE_NR_STATES; to++)
			assert_int_equal(dipc_page_can_move(from, to),
					 legal[from][to] != '.');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodeset__all),
		cmocka_unit_test(entry__sizes),
		cmocka_unit_test(states__moves),
		cmocka_unit_test(wide__step_by_step),
		cmocka_unit_test(wide__reader_came_and_went),
		cmocka_unit_test(wide__first_of_old_does_not_claim),
		cmocka_unit_test(wide__many_arrivals),
		cmocka_unit_test(wide__evict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
