/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving pages up of our own accord: "Giving back" of docs/design/pages.md.
 */
#include "runtime/protocol/pages_private.h"

#include <errno.h>

#define RELEASE_RUN 32u /* pages between two turns of the loop */

/*
 * Take our name from the word; before that, if there is DATA, WRITE it home:
 * it is what the page was, which has been dropped here. Fiber.
 */
static int page_return(struct page *pg, const void *data)
{
	struct dipc_segment *seg = page_segment(pg);
	struct backoff backoff = {0};
	struct entry_return back;
	struct dipc_tx tx;
	bool is_done;
	int ret;

	for (;;) {
		dipc_page_set_phase(pg, PHASE_FILLING);
		ret = dipc_page_tx(pg, &tx, DIPC_PAGE_SIZE + ENTRY_BYTES);
		if (ret)
			return ret;
		if (data)
			dipc_tx_write(&tx, dipc_page_data_at(pg), data,
				      DIPC_PAGE_SIZE);
		data = NULL; /* the home is current from here on */
		dipc_entry_return(pg, &tx, &back);
		ret = dipc_tx_run(&tx);
		is_done = ret == 0 && dipc_entry_returned(pg, &back);
		dipc_tx_end(&tx);
		if (ret)
			return ret;
		if (is_done)
			break;
		if (!dipc_entry_locker(pg, pg->seen))
			continue; /* others' bits came or went */
		/* its RECALL may be waiting here for this phase to end */
		dipc_page_set_phase(pg, PHASE_WAITING);
		dipc_pages_backoff(seg->pages, &backoff);
	}
	pg->was_holder = false;
	return 0;
}

static int page_give_back_modified(struct page *pg)
{
	struct dipc_pager *pager = page_segment(pg)->pager;
	uint8_t data[DIPC_PAGE_SIZE];
	int ret;

	ret = pager->ops->protect_and_copy(pager, page_index(pg), 1, data);
	if (ret == 0)
		ret = pager->ops->drop(pager, page_index(pg), 1);
	if (ret)
		return ret;
	dipc_page_set_state(pg, PAGE_I);
	return page_return(pg, data);
}

/*
 * We gave the page up for a locker who may have died before he published: the
 * word may still name us. Look, since nobody could ask us later.
 */
static int page_disown(struct page *pg)
{
	struct dipc_segment *seg = page_segment(pg);
	const uint64_t *old;
	struct dipc_tx tx;
	int ret;

	dipc_page_set_phase(pg, PHASE_FILLING);
	ret = dipc_page_tx(pg, &tx, ENTRY_BYTES);
	if (ret)
		return ret;
	old = dipc_entry_look(pg, &tx);
	ret = dipc_tx_run(&tx);
	if (ret == 0)
		pg->seen = *old;
	dipc_tx_end(&tx);
	if (ret || dipc_entry_holder(pg, pg->seen) != seg->pages->node)
		return ret;
	return page_return(pg, NULL);
}

int dipc_page_give_back(struct page *pg)
{
	struct dipc_pager *pager = page_segment(pg)->pager;
	int ret = 0;

	while (pg->is_serving)
		(void)dipc_waitq_wait(&pg->wq, DIPC_NEVER);
	if (pg->state == PAGE_M)
		ret = page_give_back_modified(pg);
	if (pg->state == PAGE_S) {
		ret = pager->ops->drop(pager, page_index(pg), 1);
		if (ret == 0)
			dipc_page_set_state(pg, PAGE_I);
	}
	if (ret == 0 && pg->was_holder && pg->state == PAGE_I)
		ret = page_disown(pg);
	if (ret == 0)
		dipc_page_take_back(pg);
	/* faults that came meanwhile */
	dipc_page_hand_over(pg);
	return ret;
}

/* May PG be given up now? Not one that a fiber works on: somebody wants it. */
static bool page_is_idle_copy(const struct page *pg)
{
	return pg->phase == PHASE_IDLE && !pg->is_serving &&
	       (pg->state == PAGE_S || pg->state == PAGE_M);
}

int dipc_pages_release(struct dipc_segment *seg, uint64_t first, uint64_t nr)
{
	uint64_t at, end;
	unsigned run = 0;
	struct page *pg;
	int ret = 0;

	if (first > seg->nr_pages || nr > seg->nr_pages - first)
		return -EINVAL;
	end = first + nr;
	dipc_segment_fiber_begin(seg);
	for (at = first; at < end && ret == 0; at++) {
		if (seg->is_dead || seg->is_closing || seg->is_stopping)
			ret = -ENOLINK;
		pg = ret ? NULL : dipc_page_find(seg, at);
		if (!pg || !page_is_idle_copy(pg))
			continue;
		ret = dipc_page_give_back(pg);
		if (ret)
			dipc_segment_fail(seg, "a page could not be given up");
		/* where nothing waits for the wire the loop would not turn */
		if (++run % RELEASE_RUN == 0)
			dipc_fiber_sleep(DIPC_USEC);
	}
	dipc_segment_fiber_end(seg);
	return ret;
}
