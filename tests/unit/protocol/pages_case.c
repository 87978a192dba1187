/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/protocol/pages_case.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim sim;
unsigned max_nodes;
unsigned nr_homes = 1;
uint64_t home_available = UINT64_MAX;
unsigned sim_cache_pages;

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
	const struct sim_node *n = arg;

	if (fake_node_is_dead(n->id))
		return 0; /* it runs on, in vain: let it end */
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

	if (in->request.type == DIPC_REQ_CHUNK)
		dipc_homes_request(n->homes, in);
	else if (in->request.type == DIPC_REQ_FORGET)
		dipc_homes_forget(n->homes, in);
	else
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

static uint64_t on_available(void *arg)
{
	(void)arg;
	return home_available;
}

/* What the referee would have written. */
static void arena_show(void)
{
	struct dipc_arena_object *obj =
		fake_world_object(dipc_id_slot(SEGMENT));

	obj->id = SEGMENT;
	obj->shm = sim.shm;
	obj->state = (uint64_t)DIPC_KIND_SHM << 32;
}

void sim_start(uint64_t seed, unsigned nr_nodes, uint64_t delay_ns,
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
			.prefetch_pages = seed % 3 ? 16 : 0,
			.cache_pages = sim_cache_pages,
			.events = &pages_events,
			.arg = n,
		};
		struct dipc_homes_config hc = {.max_nodes = max_nodes,
					       .available = on_available};

		n->id = i;
		n->fabric = fake_fabric_create(i, &fabric_events, n);
		config.fabric = n->fabric;
		assert_int_equal(dipc_pages_create(&config, &n->pages), 0);
		hc.fabric = n->fabric;
		assert_int_equal(dipc_homes_create(&hc, &n->homes), 0);
		sim.home.homes[i] = n->homes;
	}
	sim.shm.size = MAX_PAGES * DIPC_PAGE_SIZE;
	sim.shm.nr_sharer_words = dipc_entry_sharer_words(max_nodes);
	sim.shm.home = 1;
	sim.shm.homes = (1ull << nr_homes) - 1;
	sim.shm.born = 1;
	sim.shm.block_chunks = 1;
	sim.shm.unit_pages = 1;
	sim.shm.nr_pages = MAX_PAGES;
	sim.home.shm = &sim.shm;
	sim.home.id = SEGMENT;
	arena_show();
	if (nr_homes == 1)
		assert_int_equal(
			dipc_homes_add(sim.node[1].homes, SEGMENT, &sim.shm),
			0);
}

static bool never(void)
{
	return false;
}

void sim_stop(void)
{
	unsigned i;

	/* what is still on its way, of nodes that died for instance */
	fake_world_run(never, NS_LIMIT);
	for (i = 1; i <= sim.nr_nodes; i++)
		dipc_pages_destroy(sim.node[i].pages);
	for (i = 1; i <= sim.nr_nodes; i++)
		dipc_homes_destroy(sim.node[i].homes);
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

bool thread_access(struct sim_thread *th, unsigned page, bool is_write)
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
		unsigned page =
			th->is_stream
				? th->done % th->nr_pages
				: (unsigned)fake_world_random(th->nr_pages);
		bool is_write = fake_world_random(100) < th->percent_writes;

		if (nr_homes > 1 && fake_world_random(2))
			page = (page + CHUNK_PAGES) % MAX_PAGES;
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

struct sim_thread *add_thread(unsigned node, unsigned nr_ops,
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

void run_all(void)
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

void check_home(void)
{
	const uint64_t *data;
	unsigned i;

	for (i = 0; i < MAX_PAGES; i++) {
		home_entry_expect_clear(&sim.home, sim.seed, i, false);
		data = home_data(&sim.home, i);
		assert_int_equal(data[0], sim.truth[i]);
		assert_int_equal(data[WORDS - 1], sim.truth[i]);
	}
}
