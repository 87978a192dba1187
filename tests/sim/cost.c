/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sim_cost: what one access costs on transport `sim`, whatever the network and
 * the directory's layout are like: one doorbell for a miss of a clean page, no
 * data for an upgrade, and all sharers asked at once. As
 * tests/unit/protocol/test_pages_count.c and tests/cluster/pages.sh have it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "world.h"

#define SEEDS 80u

/* One access at a time. */
static struct {
	unsigned node;
	bool is_write, is_done;
	struct dipc_page_counters cost;
} access_now;

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	printf("FAIL world %llu: ", (unsigned long long)world.seed);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

/* The trace of one seed is sim_pages' business. */
void sim_say(const char *fmt, ...)
{
	(void)fmt;
}

static void access_fiber(void *arg)
{
	struct sim_segment *s = &world.segment[0];
	struct sim_view *view = &s->view[access_now.node];
	unsigned at = s->index[0];
	struct dipc_page_counters before;
	struct dipc_segment *seg;

	(void)arg;
	if (!view->seg &&
	    dipc_segment_open(view->node->pages, s->id, &s->shm, &seg))
		sim_fail("node %u cannot open a segment", access_now.node);
	before = dipc_segment_counters(view->seg);
	while (access_now.is_write ? !view->pager.may_write[at]
				   : !view->pager.data[at]) {
		(void)dipc_pages_fault(view->seg, at, access_now.is_write, 0);
		if (access_now.is_write ? !view->pager.may_write[at]
					: !view->pager.data[at])
			(void)dipc_waitq_wait(&view->pager.changed, DIPC_NEVER);
	}
	access_now.cost = dipc_segment_counters(view->seg);
#define X(name, words) access_now.cost.name -= before.name;
	DIPC_PAGE_COUNTERS(X)
#undef X
	access_now.is_done = true;
}

static bool access_is_done(void)
{
	return access_now.is_done;
}

static const struct dipc_page_counters *cost_of(unsigned node, bool is_write)
{
	access_now.node = node;
	access_now.is_write = is_write;
	access_now.is_done = false;
	sim_spawn(node, access_fiber, NULL);
	if (!sim_world_run(access_is_done))
		sim_fail("node %u waits for ever", node);
	return &access_now.cost;
}

static void expect(const char *what, uint64_t value, uint64_t low,
		   uint64_t high)
{
	if (value < low || value > high)
		sim_fail("%s: %llu, not %llu to %llu", what,
			 (unsigned long long)value, (unsigned long long)low,
			 (unsigned long long)high);
}

static void check_costs(void)
{
	/* the wide layout's word of sharers is an atomic more */
	unsigned more = world.max_nodes ? 1 : 0;
	const struct dipc_page_counters *c;
	unsigned k;

	c = cost_of(2, false);
	expect("read miss: doorbells", c->nr_doorbells, 1, 1);
	expect("read miss: operations", c->nr_ops, 2, 2 + more);
	expect("read miss: bytes", c->bytes_in, DIPC_PAGE_SIZE, DIPC_PAGE_SIZE);
	c = cost_of(2, true);
	expect("upgrade: doorbells", c->nr_doorbells, 1, 1);
	expect("upgrade: operations", c->nr_ops, 1, 1 + more);
	expect("upgrade: bytes", c->bytes_in, 0, 0);
	for (k = 1; k <= world.nr_nodes; k++)
		if (k != 2)
			expect("modified elsewhere: recalls",
			       cost_of(k, false)->nr_recalls, k == 1, k == 1);
	c = cost_of(1, true);
	/* no page; in the wide layout, who the sharers are */
	expect("shared: bytes", c->bytes_in, 0, more * DIPC_PAGE_SIZE / 2);
	expect("shared: invalidations", c->nr_invalidations, world.nr_nodes - 1,
	       world.nr_nodes - 1);
	expect("shared: at once", c->nr_invalidations_at_once,
	       world.nr_nodes - 1, world.nr_nodes - 1);
}

static void put_fiber(void *arg)
{
	struct sim_view *view = arg;

	dipc_segment_put(view->seg);
}

int main(void)
{
	uint64_t seed;
	unsigned k;

	for (seed = 1; seed <= SEEDS; seed++) {
		sim_world_start(seed);
		/* a larger unit brings the rest of it by chains of its own */
		world.segment[0].shm.unit_pages = 1;
		check_costs();
		for (k = 1; k <= world.nr_nodes; k++)
			sim_spawn(k, put_fiber, &world.segment[0].view[k]);
		(void)sim_world_run(NULL);
		sim_world_stop();
	}
	printf("%u worlds: every access cost what it should\n", SEEDS);
	return 0;
}
