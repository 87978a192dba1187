/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The asked side: INVALIDATE and RECALL. What can be done at once is; the rest
 * is given to a fiber, which waits only for one-sided operations to the home,
 * for such of the page's own fiber, and for the hold time (INV-6).
 */
#include "runtime/protocol/pages_private.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/base/log.h"
#include "runtime/protocol/seeded_bug.h"

#define RETRY_NS DIPC_MSEC

/* A request on a fiber of its own; owned by it. */
struct job {
	struct page *pg;
	struct dipc_incoming *in;
};

static void request_answer(struct dipc_incoming *in, int status)
{
	struct dipc_answer answer = {.status = status};

	dipc_incoming_answer(in, &answer);
}

/* May it be served now? */
bool dipc_page_is_free(const struct page *pg)
{
	return pg->phase != PHASE_FILLING && !pg->is_serving;
}

/*
 * A copy is kept for its hold time; not while our fiber waits for the lock,
 * which the asker has.
 */
uint64_t dipc_page_held_until(const struct page *pg)
{
	if (pg->phase == PHASE_WAITING || pg->state == PAGE_I)
		return 0;
	return pg->hold_until;
}

/* ---- serving ------------------------------------------------------------ */

/* WRITE the page home; unless KEEP drop it first (INV-2). Fiber. */
static int page_write_home(struct page *pg, bool keep)
{
	struct dipc_segment *seg = page_segment(pg);
	const struct dipc_pager_ops *ops = seg->pager->ops;
	uint64_t index = page_index(pg);
	struct dipc_tx tx;
	void *data;
	int ret;

	ret = dipc_page_tx(pg, &tx, DIPC_PAGE_SIZE + ENTRY_BYTES);
	if (ret)
		return ret;
	data = dipc_tx_write_here(&tx, dipc_page_data_at(pg), DIPC_PAGE_SIZE);
	ret = ops->protect_and_copy(seg->pager, index, 1, data);
	if (ret == 0 && !keep)
		ret = ops->drop(seg->pager, index, 1);
	if (ret)
		goto out_tx;
	/* an atomic in any case: its answer says that the WRITE is placed,
	   as INV-3 wants before the asker can unlock */
	if (keep)
		(void)dipc_entry_look(pg, &tx);
	else
		dipc_entry_leave(pg, &tx);
	ret = dipc_tx_run(&tx);

out_tx:
	dipc_tx_end(&tx);
	return ret;
}

/* Fiber. */
static int page_serve_modified(struct page *pg, bool keep)
{
	struct dipc_segment *seg = page_segment(pg);
	int ret;

	pg->is_serving = true;
	ret = page_write_home(pg, keep);
	if (ret)
		dipc_segment_fail(seg, "a page could not be given up");
	dipc_page_set_state(pg, keep ? PAGE_S : PAGE_I);
	pg->is_serving = false;
	dipc_page_count_taken(pg, true);
	dipc_waitq_wake_all(&pg->wq);
	return ret;
}

static int page_serve_shared(struct page *pg)
{
	struct dipc_segment *seg = page_segment(pg);
	int ret;

	ret = seg->pager->ops->drop(seg->pager, page_index(pg), 1);
	if (ret)
		dipc_segment_fail(seg, "a page could not be dropped");
	dipc_page_set_state(pg, PAGE_I);
	dipc_page_take_back(pg);
	dipc_page_count_taken(pg, false);
	return ret;
}

/* What page_serve() does about a copy, in the wrong order. Fiber. */
static void page_serve_bug_1(struct page *pg, struct dipc_incoming *in)
{
	request_answer(in, 0);
	dipc_fiber_sleep(DIPC_MSEC);
	if (pg->state == PAGE_S)
		(void)page_serve_shared(pg);
}

/* Called when the page is free and no longer held. A fiber if it is M. */
static void page_serve(struct page *pg, struct dipc_incoming *in)
{
	bool is_recall = in->request.type == DIPC_REQ_RECALL;
	bool keep = is_recall && (in->request.flags & RECALL_KEEP);
	int status = 0;

	if (!in->link || page_segment(pg)->is_dead) {
		/* nobody wants to know, or there is nothing left */
		request_answer(in, is_recall ? -ENOLINK : 0);
		return;
	}
	switch ((enum page_state)pg->state) {
	case PAGE_M:
		status = page_serve_modified(pg, keep);
		break;
	case PAGE_S:
		if (seeded_bug(1) && !keep) {
			page_serve_bug_1(pg, in);
			return;
		}
		if (!keep)
			status = page_serve_shared(pg);
		break;
	case PAGE_I:
		/* a waiting fiber wants the page soon: the bit may stay */
		if (!keep && pg->phase == PHASE_IDLE)
			dipc_page_take_back(pg);
		if (is_recall && !pg->was_holder)
			status = -ENXIO;
		break;
	case PAGE_BAD:
		status = is_recall ? -ENXIO : 0;
		break;
	case PAGE_NR_STATES:
		break;
	}
	request_answer(in, status);
}

static void request_fiber(void *arg)
{
	struct job job = *(struct job *)arg;
	struct page *pg = job.pg;
	struct dipc_segment *seg = page_segment(pg);
	struct dipc_fabric *f = seg->pages->fabric;
	uint64_t until, since, held = 0;

	free(arg);
	for (;;) {
		if (!dipc_page_is_free(pg)) {
			(void)dipc_waitq_wait(&pg->wq, DIPC_NEVER);
			continue;
		}
		until = dipc_page_held_until(pg);
		if (dipc_fabric_now(f) >= until)
			break;
		/* woken early when the phase changes */
		since = dipc_fabric_now(f);
		(void)dipc_waitq_wait(&pg->wq, until);
		held += dipc_fabric_now(f) - since;
	}
	if (held)
		dipc_page_count_hold(pg, held);
	page_serve(pg, job.in);
	dipc_segment_fiber_end(seg);
}

/* ---- coming in ---------------------------------------------------------- */

static int request_spawn(struct page *pg, struct dipc_incoming *in)
{
	struct dipc_segment *seg = page_segment(pg);
	struct job *job = malloc(sizeof(*job));
	int ret;

	if (!job)
		return -ENOMEM;
	job->pg = pg;
	job->in = in;
	ret = dipc_fiber_spawn(dipc_fabric_sched(seg->pages->fabric),
			       request_fiber, job);
	if (ret) {
		free(job);
		return ret;
	}
	dipc_segment_fiber_begin(seg);
	return 0;
}

/* For a page that nothing has ever happened to, or no such segment. */
static void request_answer_unknown(struct dipc_incoming *in)
{
	request_answer(in, in->request.type == DIPC_REQ_RECALL ? -ENXIO : 0);
}

void dipc_pages_request(struct dipc_pages *pages, struct dipc_incoming *in)
{
	struct dipc_segment *seg;
	struct page *pg;

	if (in->request.type == DIPC_REQ_RECALL_RUN) {
		dipc_pages_request_run(pages, in);
		return;
	}
	seg = dipc_segment_find(pages, (int32_t)in->request.object);
	if (!seg || seg->is_opening) {
		request_answer_unknown(in);
		return;
	}
	if (in->request.page >= seg->nr_pages) {
		dipc_warn("node %u asks for page %llu of segment 0x%x",
			  in->from, (unsigned long long)in->request.page,
			  in->request.object);
		request_answer(in, -EINVAL);
		return;
	}
	pg = dipc_page_find(seg, in->request.page);
	if (!pg) {
		request_answer_unknown(in);
		return;
	}
	if (dipc_page_is_free(pg) && pg->state != PAGE_M && !seeded_bug(1) &&
	    dipc_fabric_now(pages->fabric) >= dipc_page_held_until(pg)) {
		page_serve(pg, in);
		return;
	}
	if (request_spawn(pg, in))
		dipc_pages_defer(pages, in);
}

void dipc_pages_defer(struct dipc_pages *pages, struct dipc_incoming *in)
{
	dipc_list_add_tail(&pages->deferred, &in->user);
	dipc_timer_set(dipc_fabric_sched(pages->fabric), &pages->retry,
		       dipc_fabric_now(pages->fabric) + RETRY_NS);
}

void dipc_pages_retry_requests(struct dipc_timer *timer)
{
	struct dipc_pages *pages =
		dipc_container_of(timer, struct dipc_pages, retry);
	struct dipc_list again, *node;

	/* those that fail once more go to `deferred` again */
	dipc_list_init(&again);
	while ((node = dipc_list_pop(&pages->deferred)))
		dipc_list_add_tail(&again, node);
	while ((node = dipc_list_pop(&again)))
		dipc_pages_request(
			pages,
			dipc_container_of(node, struct dipc_incoming, user));
}
