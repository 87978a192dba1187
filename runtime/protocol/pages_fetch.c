/* SPDX-License-Identifier: BSD-2-Clause */
/* Bringing pages before anybody meets them absent. */
#include <errno.h>

#include "runtime/protocol/pages_run.h"

/* Ask for PG as a fault would that nobody waits for. Fiber. 0 or -errno. */
static int page_want(struct page *pg, bool is_write)
{
	struct dipc_segment *seg = page_segment(pg);
	int ret;

	if (dipc_page_allows(pg, is_write))
		return 0;
	if (pg->state == PAGE_BAD)
		return -EIO;
	/* all the others' faults are ahead of us: they will end */
	while (!seg->is_dead) {
		ret = dipc_page_ask(pg, is_write, DIPC_PAGER_NOBODY);
		if (ret == 0)
			return 0;
		dipc_fiber_sleep(DIPC_MSEC);
	}
	return -ENOLINK;
}

/* Wait until what was asked of PG is done. Fiber. */
static int page_await(struct page *pg, bool is_write)
{
	struct dipc_segment *seg = page_segment(pg);

	while (!seg->is_dead && pg->phase != PHASE_IDLE &&
	       !dipc_page_allows(pg, is_write))
		(void)dipc_waitq_wait(&pg->wq, DIPC_NEVER);
	if (seg->is_dead)
		return -ENOLINK;
	return pg->state == PAGE_BAD ? -EIO : 0;
}

static int fetch_run(struct dipc_segment *seg, uint64_t first, unsigned nr,
		     bool is_write)
{
	struct run_want want = {.is_write = is_write, .who = DIPC_PAGER_NOBODY};
	struct page *pages[RUN_PAGES];
	int ret = 0, err;
	unsigned i, n;

	dipc_pages_await_room(seg->pages);
	/* most of them together, what is left one by one */
	for (n = 0; n < nr; n += dipc_run_fetch(seg, &want)) {
		want.first = first + n;
		want.nr = nr - n;
	}
	for (n = 0; n < nr; n++) {
		pages[n] = dipc_page_get(seg, first + n);
		ret = pages[n] ? page_want(pages[n], is_write) : -ENOMEM;
		if (ret)
			break;
	}
	for (i = 0; i < n; i++) {
		err = page_await(pages[i], is_write);
		if (err && !ret)
			ret = err;
	}
	return ret;
}

int dipc_pages_fetch(struct dipc_segment *seg, uint64_t first, uint64_t nr,
		     bool is_write)
{
	unsigned n;
	int ret = 0;

	if (first > seg->nr_pages || nr > seg->nr_pages - first)
		return -EINVAL;
	dipc_segment_fiber_begin(seg);
	for (; nr && ret == 0; first += n, nr -= n) {
		n = dipc_run_length(first, nr);
		if (seg->is_dead || seg->is_closing || seg->is_stopping)
			ret = -ENOLINK;
		else
			ret = fetch_run(seg, first, n, is_write);
	}
	dipc_segment_fiber_end(seg);
	return ret;
}
