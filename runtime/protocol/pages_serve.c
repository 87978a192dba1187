/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RECALL of a run: what the asker has locked goes home together, as far as it
 * is free together; each page waits for itself alone (INV-6).
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime/base/log.h"
#include "runtime/protocol/pages_run.h"

/* Owned by its fiber. Bit i of a set is page i. */
struct serve {
	struct dipc_segment *seg; /* borrowed */
	struct dipc_incoming *in;
	struct page *page; /* the first; the others follow it */
	uint32_t todo;
	uint32_t lost; /* this node has never held them */
	struct dipc_wr wr[DIPC_TX_RUN];
};

/* WRITE the modified pages SET home, in one chain; they stay readable. */
static int serve_write(struct serve *sv, uint32_t set)
{
	struct dipc_segment *seg = sv->seg;
	unsigned i, n, nr = run_count(set);
	struct dipc_tx tx;
	void *data;
	int ret;

	ret = dipc_page_tx(sv->page, &tx,
			   (size_t)nr * DIPC_PAGE_SIZE + ENTRY_BYTES);
	if (ret)
		return ret;
	dipc_tx_lend(&tx, sv->wr);
	while (set && ret == 0) {
		i = (unsigned)__builtin_ctz(set);
		n = run_piece(set, i);
		data = dipc_tx_write_here(&tx, dipc_page_data_at(&sv->page[i]),
					  (size_t)n * DIPC_PAGE_SIZE);
		ret = seg->pager->ops->protect_and_copy(
			seg->pager, page_index(&sv->page[i]), n, data);
		set &= ~(((1u << n) - 1) << i);
	}
	if (ret == 0) {
		/* its answer says that the WRITEs are placed */
		(void)dipc_entry_look(sv->page, &tx);
		ret = dipc_tx_run(&tx);
	}
	dipc_tx_end(&tx);
	return ret;
}

static void serve_modified(struct serve *sv, uint32_t set)
{
	uint32_t bits;

	for (bits = set; bits; bits &= bits - 1)
		sv->page[__builtin_ctz(bits)].is_serving = true;
	if (serve_write(sv, set))
		dipc_segment_fail(sv->seg, "pages could not be given up");
	for (bits = set; bits; bits &= bits - 1) {
		struct page *pg = &sv->page[__builtin_ctz(bits)];

		dipc_page_set_state(pg, PAGE_S);
		pg->is_serving = false;
		dipc_waitq_wake_all(&pg->wq);
		dipc_page_count_taken(pg, true);
	}
}

/* Serve what can be served now. UNTIL_OUT: when more can, if nothing does. */
static bool serve_round(struct serve *sv, uint64_t *until_out,
			struct page **busy_out)
{
	uint64_t now = dipc_fabric_now(sv->seg->pages->fabric), until;
	uint32_t modified = 0, bits, before = sv->todo;

	*until_out = DIPC_NEVER;
	for (bits = sv->todo; bits; bits &= bits - 1) {
		uint32_t bit = bits & -bits;
		struct page *pg = &sv->page[__builtin_ctz(bits)];

		until = dipc_page_held_until(pg);
		if (!dipc_page_is_free(pg) || now < until) {
			*busy_out = pg;
			if (dipc_page_is_free(pg) && until < *until_out)
				*until_out = until;
			continue;
		}
		sv->todo &= ~bit;
		if (pg->state == PAGE_M)
			modified |= bit;
		else if (pg->state != PAGE_S && !pg->was_holder)
			sv->lost |= bit;
	}
	if (modified)
		serve_modified(sv, modified);
	return sv->todo != before;
}

static void serve_fiber(void *arg)
{
	struct serve *sv = arg;
	struct dipc_answer answer = {.status = 0};
	struct page *busy = NULL;
	uint64_t until;

	while (sv->todo && !sv->seg->is_dead && sv->in->link) {
		if (!serve_round(sv, &until, &busy))
			(void)dipc_waitq_wait(&busy->wq, until);
	}
	if (sv->seg->is_dead)
		answer.status = -ENOLINK;
	answer.arg[0] = sv->lost;
	dipc_incoming_answer(sv->in, &answer);
	dipc_segment_fiber_end(sv->seg);
	free(sv);
}

static void answer_status(struct dipc_incoming *in, int status)
{
	struct dipc_answer answer = {.status = status};

	dipc_incoming_answer(in, &answer);
}

void dipc_pages_request_run(struct dipc_pages *pages, struct dipc_incoming *in)
{
	uint64_t first = in->request.page, set = in->request.arg[0];
	struct dipc_segment *seg;
	struct serve *sv;
	unsigned top;

	seg = dipc_segment_find(pages, (int32_t)in->request.object);
	if (!seg || seg->is_opening) {
		answer_status(in, -ENXIO);
		return;
	}
	top = set ? 63u - (unsigned)__builtin_clzll(set) : RUN_PAGES;
	if (top >= RUN_PAGES || first >= seg->nr_pages ||
	    top >= seg->nr_pages - first ||
	    first % CHUNK_PAGES + top >= CHUNK_PAGES) {
		dipc_warn("node %u asks for pages %llu of segment 0x%x",
			  in->from, (unsigned long long)first,
			  in->request.object);
		answer_status(in, -EINVAL);
		return;
	}
	if (!dipc_page_find(seg, first)) {
		answer_status(in, -ENXIO);
		return;
	}
	sv = calloc(1, sizeof(*sv));
	if (!sv)
		goto err_defer;
	sv->seg = seg;
	sv->in = in;
	sv->page = dipc_page_find(seg, first);
	sv->todo = (uint32_t)set;
	if (dipc_fiber_spawn(dipc_fabric_sched(pages->fabric), serve_fiber, sv))
		goto err_serve;
	dipc_segment_fiber_begin(seg);
	return;

err_serve:
	free(sv);
err_defer:
	dipc_pages_defer(pages, in);
}
