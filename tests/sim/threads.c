/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Programs: threads that open segments, read, write and add in them, fetch and
 * release pages, and let go again. Loads and stores are looked at where they
 * happen: a load must give what was stored last, over the whole world.
 */
#include <errno.h>
#include <string.h>

#include "world.h"

#define THREADS_MAX 3u /* of a node */
#define PAUSE_NS    (30 * DIPC_USEC)

struct thread {
	struct sim_node *node;
	unsigned who, number;
	unsigned nr_ops, done;
	unsigned percent_writes;
	uint64_t pause_ns;
	unsigned segment, page; /* the last ones */
	unsigned nr_walk;       /* pages to go, one after the other */
	uint64_t serial;        /* of its writes */
	bool has_ref[SIM_SEGMENTS];
	bool has_ended;
};

static struct thread threads[SIM_NODES * THREADS_MAX];
static unsigned nr_threads;

/* ---- loads and stores --------------------------------------------------- */

static bool view_allows(const struct sim_view *view, unsigned at,
			const struct thread *th, bool is_write)
{
	return view->pager.data[at] &&
	       (!is_write || (view->pager.may_write[at] & 1u << th->who));
}

/* SIGBUS: is there a reason for it? */
static void check_sigbus(struct sim_segment *s, struct sim_view *view,
			 unsigned page)
{
	world.totals.nr_sigbus++;
	if (view->pager.is_dead) {
		if (!view->may_die)
			sim_fail("node %u: segment 0x%x died for nothing",
				 view->node->id, (unsigned)s->id);
		return;
	}
	if (!s->may_lose[page] && !sim_has_lost_home(s, page))
		sim_fail("node %u: segment 0x%x page %u is lost for nothing",
			 view->node->id, (unsigned)s->id, page);
	world.totals.nr_lost += !s->is_lost[page];
	s->is_lost[page] = true;
}

/* Until the page may be touched. False: SIGBUS, or this node has crashed. */
static bool thread_await(const struct thread *th, struct sim_segment *s,
			 unsigned page, bool is_write)
{
	struct sim_view *view = &s->view[th->node->id];
	struct sim_pager *p = &view->pager;
	unsigned at = s->index[page];

	for (;;) {
		if (sim_is_dead(th->node->id))
			return false;
		if (p->is_dead || p->is_lost[at]) {
			check_sigbus(s, view, page);
			return false;
		}
		if (view_allows(view, at, th, is_write))
			return true;
		(void)dipc_pages_fault(view->seg, at, is_write, th->who);
		/* a fault that was settled at once has woken nobody */
		if (view_allows(view, at, th, is_write) || p->is_dead ||
		    p->is_lost[at])
			continue;
		/* others' wakes come too: the fault is repeated then, as a
		   thread woken for nothing does */
		(void)dipc_waitq_wait(&p->changed, DIPC_NEVER);
	}
}

static void thread_access(struct thread *th, struct sim_segment *s,
			  unsigned page, unsigned word, bool is_write)
{
	uint64_t called = dipc_sim_now(world.sim), *at, value;
	bool is_inc = word == SIM_WORDS - 1; /* the last one is a counter */

	if (!thread_await(th, s, page, is_write))
		return;
	at = &s->view[th->node->id]
		      .pager.data[s->index[page]][sim_word_at[word]];
	if (*at != s->truth[page][word] && !world.is_blind)
		sim_fail("node %u thread %u reads 0x%llx at segment 0x%x page "
			 "%u word %u, and 0x%llx was written last",
			 th->node->id, th->who, (unsigned long long)*at,
			 (unsigned)s->id, page, word,
			 (unsigned long long)s->truth[page][word]);
	sim_say("node %u thread %u %s segment 0x%x page %u word %u: 0x%llx",
		th->node->id, th->who, is_write ? "writes" : "reads",
		(unsigned)s->id, page, word, (unsigned long long)*at);
	if (!is_write) {
		world.totals.nr_reads++;
		sim_history_add(s, page, word, SIM_READ, *at, called,
				dipc_sim_now(world.sim));
		return;
	}
	value = is_inc ? *at + 1
		       : (uint64_t)(th->number + 1) << 32 | ++th->serial;
	if (is_inc) {
		world.totals.nr_incs++;
		s->nr_incs[page]++;
	} else {
		world.totals.nr_writes++;
	}
	*at = value;
	s->truth[page][word] = value;
	sim_history_add(s, page, word, SIM_WRITE, value, called,
			dipc_sim_now(world.sim));
}

/* ---- operations --------------------------------------------------------- */

/* May the call on this view fail with RET? */
static void check_status(const struct thread *th, const struct sim_segment *s,
			 const char *call, int ret)
{
	unsigned i;

	if (!ret || s->view[th->node->id].may_die || sim_is_dead(th->node->id))
		return;
	for (i = 0; ret == -EIO && i < s->nr_pages; i++)
		if (s->may_lose[i])
			return;
	sim_fail("node %u: %s of segment 0x%x: %s", th->node->id, call,
		 (unsigned)s->id, strerror(-ret));
}

static bool thread_open(struct thread *th, unsigned i)
{
	struct sim_segment *s = &world.segment[i];
	struct dipc_segment *seg;
	int ret;

	ret = dipc_segment_open(th->node->pages, s->id, &s->shm, &seg);
	check_status(th, s, "open", ret);
	if (ret)
		return false;
	world.totals.nr_opens++;
	th->has_ref[i] = true;
	return true;
}

static void thread_put(struct thread *th, unsigned i)
{
	if (!th->has_ref[i])
		return;
	th->has_ref[i] = false;
	dipc_segment_put(world.segment[i].view[th->node->id].seg);
}

static void thread_range(struct thread *th, struct sim_segment *s,
			 bool is_fetch)
{
	struct dipc_segment *seg = s->view[th->node->id].seg;
	unsigned from = (unsigned)sim_random(s->nr_pages), to = from;
	uint64_t first = s->index[from], nr;
	int ret;

	/* neighbours only: between chunks lie hundreds */
	while (to + 1 < s->nr_pages && s->index[to + 1] == s->index[to] + 1)
		to++;
	nr = 1 + sim_random(s->index[to] - first + 1);
	if (is_fetch) {
		world.totals.nr_fetches++;
		ret = dipc_pages_fetch(seg, first, nr, sim_random(2));
		check_status(th, s, "fetch", ret);
	} else {
		world.totals.nr_releases++;
		ret = dipc_pages_release(seg, first, nr);
		check_status(th, s, "release", ret);
	}
}

/* Where to: to the next page while it walks, anywhere else. */
static unsigned thread_choose(struct thread *th)
{
	const struct sim_segment *s;

	if (th->nr_walk) {
		th->nr_walk--;
		th->page++;
	} else {
		th->segment = (unsigned)sim_random(world.nr_segments);
		th->page = (unsigned)sim_random(
			world.segment[th->segment].nr_pages);
		if (!sim_random(world.is_long ? 4 : 10))
			th->nr_walk = 4 + (unsigned)sim_random(SIM_PAGES);
	}
	s = &world.segment[th->segment];
	th->page %= s->nr_pages;
	return th->segment;
}

static void thread_operate(struct thread *th)
{
	unsigned i = thread_choose(th);
	struct sim_segment *s = &world.segment[i];
	unsigned dice = (unsigned)sim_random(100), word;

	if (!th->has_ref[i] && !thread_open(th, i))
		return;
	/* what is dead comes back when all here have let go of it */
	if (s->view[th->node->id].pager.is_dead && sim_random(2)) {
		thread_put(th, i);
	} else if (dice < world.percent_puts) {
		thread_put(th, i);
	} else if (dice < world.percent_puts + 6) {
		thread_range(th, s, dice < world.percent_puts + 3);
	} else {
		word = (unsigned)sim_random(SIM_WORDS);
		thread_access(th, s, th->page, word,
			      sim_random(100) < th->percent_writes);
	}
}

/* ---- life --------------------------------------------------------------- */

static void thread_fiber(void *arg)
{
	struct thread *th = arg;
	unsigned i;

	while (th->done < th->nr_ops && !sim_is_dead(th->node->id)) {
		thread_operate(th);
		th->done++;
		if (th->pause_ns)
			dipc_fiber_sleep(sim_random(th->pause_ns));
	}
	for (i = 0; i < world.nr_segments && !sim_is_dead(th->node->id); i++)
		thread_put(th, i);
	th->has_ended = true;
}

void sim_threads_start(void)
{
	unsigned percent = 5 + (unsigned)sim_random(10) * 9;
	unsigned node, i, nr;

	nr_threads = 0;
	for (node = 1; node <= world.nr_nodes; node++) {
		nr = 1 + (unsigned)sim_random(THREADS_MAX);
		for (i = 0; i < nr; i++) {
			struct thread *th = &threads[nr_threads];

			*th = (struct thread){
				.node = &world.node[node],
				.who = i,
				.number = nr_threads++,
				.nr_ops = 10 + (unsigned)sim_random(40),
				.percent_writes = percent,
				.pause_ns = sim_random(2) * PAUSE_NS,
			};
			sim_spawn(node, thread_fiber, th);
		}
	}
}

bool sim_threads_are_done(void)
{
	unsigned i, k;

	for (i = 0; i < nr_threads; i++)
		if (!threads[i].has_ended && !sim_is_dead(threads[i].node->id))
			return false;
	for (i = 0; i < world.nr_segments; i++)
		for (k = 1; k <= world.nr_nodes; k++)
			if (world.segment[i].view[k].seg && !sim_is_dead(k))
				return false;
	return true;
}

void sim_threads_check(void)
{
	unsigned i, k;

	for (i = 0; i < nr_threads; i++)
		if (!threads[i].has_ended && !sim_is_dead(threads[i].node->id))
			sim_fail(
				"node %u thread %u waits for ever, after %u of "
				"%u operations",
				threads[i].node->id, threads[i].who,
				threads[i].done, threads[i].nr_ops);
	for (i = 0; i < world.nr_segments; i++)
		for (k = 1; k <= world.nr_nodes; k++)
			if (world.segment[i].view[k].seg && !sim_is_dead(k))
				sim_fail(
					"node %u does not release segment 0x%x",
					k, (unsigned)world.segment[i].id);
}
