/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The asking side: what a fault sets off. One fiber a page; it reads as
 * "Operations" of docs/design/pages.md does.
 */
#include "runtime/protocol/pages_private.h"

#include <assert.h>
#include <errno.h>

#include "runtime/base/log.h"
#include "runtime/protocol/seeded_bug.h"

#define FAST_TRIES 3u /* fills discarded before a reader takes the lock */

#define ASK_WINDOW 128u /* requests that one fiber has on their way */

/* What a lock attempt brought; the fiber's, on its stack. */
struct lock {
	struct dipc_tx tx;
	const void *data; /* in tx's buffer; NULL: not read yet */
	struct entry_lock entry;
};

/* A question on its way; the fiber's, on its stack. */
struct ask {
	struct dipc_call call;
	unsigned node;
};

/* ---- local matters ------------------------------------------------------ */

bool dipc_page_allows(const struct page *pg, bool is_write)
{
	return pg->state == PAGE_M || (pg->state == PAGE_S && !is_write);
}

void dipc_fault_free(struct dipc_pages *pages, struct fault *fault)
{
	dipc_list_del(&fault->node);
	dipc_list_add_head(&pages->free_faults, &fault->node);
}

static void page_poison(struct page *pg, uint64_t who)
{
	struct dipc_segment *seg = page_segment(pg);

	if (seg->pager->ops->poison(seg->pager, page_index(pg), who))
		dipc_segment_fail(seg, "a page is lost");
}

/*
 * The program itself took the page away (MADV_REMOVE). What was a copy is
 * fetched again; what was ours to write is zeros now, as it asked.
 */
static void page_removed(struct page *pg, uint64_t who, bool is_write)
{
	static const uint8_t zeros[DIPC_PAGE_SIZE];
	struct dipc_segment *seg = page_segment(pg);
	const struct dipc_pager_ops *ops = seg->pager->ops;
	uint64_t index = page_index(pg);
	int ret;

	ret = ops->drop(seg->pager, index, 1); /* the cure: INV-7 */
	if (ret == 0 && pg->state == PAGE_M)
		ret = ops->install(seg->pager, index, 1, zeros, who, is_write);
	else if (ret == 0)
		dipc_page_set_state(pg, PAGE_I);
	if (ret)
		dipc_segment_fail(seg, "its page cache failed");
}

/* True: FAULT is over. */
static bool fault_settle(struct page *pg, const struct fault *fault)
{
	struct dipc_segment *seg = page_segment(pg);
	int ret;

	if (seg->is_dead)
		return true; /* kill() ended it */
	if (pg->state == PAGE_BAD) {
		page_poison(pg, fault->who);
		return true;
	}
	if (!dipc_page_allows(pg, fault->is_write))
		return false;
	ret = seg->pager->ops->resolve(seg->pager, page_index(pg), fault->who,
				       fault->is_write);
	if (ret == 0)
		return true;
	if (ret == -ENOENT)
		page_removed(pg, fault->who, fault->is_write);
	else
		dipc_segment_fail(seg, "its page cache failed");
	return pg->state == PAGE_M || seg->is_dead;
}

void dipc_page_settle(struct page *pg)
{
	struct dipc_pages *pages = page_segment(pg)->pages;
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &pg->faults) {
		struct fault *fault =
			dipc_container_of(pos, struct fault, node);

		if (fault_settle(pg, fault))
			dipc_fault_free(pages, fault);
	}
}

/* The first fault that wants to write, if IS_WRITE; else the first. */
static struct fault *page_first_fault(struct page *pg, bool is_write)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &pg->faults) {
		struct fault *fault =
			dipc_container_of(pos, struct fault, node);

		if (fault->is_write || !is_write)
			return fault;
	}
	return NULL;
}

/* The contents are DATA (NULL: the copy we have); make the page TO. */
static int page_install(struct page *pg, const void *data, enum page_state to)
{
	struct dipc_segment *seg = page_segment(pg);
	struct dipc_pages *pages = seg->pages;
	bool is_write = to == PAGE_M;
	struct fault *fault = page_first_fault(pg, is_write);
	int ret;

	/* it may have died since this brought the page */
	if (seg->is_dead)
		return -ENOLINK;
	assert(fault);
	if (data) {
		ret = seg->pager->ops->install(seg->pager, page_index(pg), 1,
					       data, fault->who, is_write);
		if (ret) {
			dipc_segment_fail(seg, "its page cache failed");
			return ret;
		}
		dipc_fault_free(pages, fault);
		seg->counters.nr_fills++;
	}
	dipc_page_set_state(pg, to);
	pg->hold_until = dipc_fabric_now(pages->fabric) + pages->hold_ns;
	return 0;
}

/* ---- the lock ----------------------------------------------------------- */

/* One CAS. 1: it worked, LK is filled; 0: pg->seen is news. */
static int page_try_lock(struct page *pg, bool is_write, struct lock *lk)
{
	int ret;

	ret = dipc_page_tx(pg, &lk->tx, DIPC_PAGE_SIZE + ENTRY_LOCK_BYTES);
	if (ret)
		return ret;
	dipc_entry_lock(pg, &lk->tx, is_write, &lk->entry);
	/* behind the CAS: good if that works and nobody else is the holder */
	lk->data = NULL;
	if (pg->state == PAGE_I && !dipc_entry_holder(pg, lk->entry.word))
		lk->data = dipc_tx_read(&lk->tx, dipc_page_data_at(pg),
					DIPC_PAGE_SIZE);
	ret = dipc_tx_run(&lk->tx);
	if (ret == 0 && dipc_entry_locked(pg, &lk->entry))
		return 1;
	dipc_tx_end(&lk->tx);
	return ret;
}

/*
 * Lock or claim the page. 0: LK's transaction is to be ended. The copy we had
 * may have gone while we waited (race 4).
 */
static int page_lock(struct page *pg, bool is_write, struct lock *lk)
{
	struct dipc_segment *seg = page_segment(pg);
	struct backoff backoff = dipc_page_backoff(pg);
	int ret;

	for (;;) {
		dipc_page_set_phase(pg, PHASE_FILLING);
		ret = page_try_lock(pg, is_write, lk);
		if (ret)
			return ret < 0 ? ret : 0;
		if (!dipc_entry_locker(pg, pg->seen))
			continue;
		dipc_page_set_phase(pg, PHASE_WAITING);
		dipc_pages_backoff(seg->pages, &backoff);
	}
}

/*
 * Unlock: one FAA that makes HOLDER the holder and sets our bit, if
 * WANTS_COPY; before it the contents are read, if LK has not got them.
 */
static int page_publish(struct page *pg, struct lock *lk, unsigned holder,
			bool wants_copy)
{
	int ret;

	if (!lk->data && wants_copy && pg->state == PAGE_I) {
		dipc_tx_end(&lk->tx);
		ret = dipc_page_tx(pg, &lk->tx, DIPC_PAGE_SIZE + ENTRY_BYTES);
		if (ret)
			return ret;
		lk->data = dipc_tx_read(&lk->tx, dipc_page_data_at(pg),
					DIPC_PAGE_SIZE);
		dipc_entry_publish(pg, &lk->tx, &lk->entry, holder, wants_copy);
		ret = dipc_tx_run(&lk->tx);
	} else {
		struct dipc_tx tx;

		ret = dipc_page_tx(pg, &tx, ENTRY_BYTES);
		if (ret)
			return ret;
		dipc_entry_publish(pg, &tx, &lk->entry, holder, wants_copy);
		ret = dipc_tx_run(&tx);
		dipc_tx_end(&tx);
	}
	if (ret == 0)
		dipc_entry_published(pg, &lk->entry, holder, wants_copy);
	return ret;
}

/* ---- asking others ------------------------------------------------------ */

int dipc_pages_await_fenced(struct dipc_pages *pages, unsigned node)
{
	struct backoff backoff = {0};

	if (!pages->events->await_fenced ||
	    pages->events->await_fenced(pages->arg, node) == 0)
		return 0;
	dipc_pages_backoff(pages, &backoff);
	return -EAGAIN;
}

static int page_ask(struct page *pg, unsigned node, uint16_t type,
		    uint16_t flags, struct dipc_call *call)
{
	struct dipc_segment *seg = page_segment(pg);
	struct dipc_request request = {.type = type,
				       .flags = flags,
				       .object = (uint32_t)seg->id,
				       .page = page_index(pg)};
	struct dipc_link *link;
	int ret;

	ret = dipc_fabric_link(seg->pages->fabric, node, &link);
	return ret ? ret : dipc_call_start(link, &request, call);
}

/*
 * 0: the home is current; -ENODATA: what HOLDER had is lost; -ENOLINK: it is
 * us who are out.
 */
static int page_recall(struct page *pg, unsigned holder, bool is_write)
{
	struct dipc_segment *seg = page_segment(pg);
	struct dipc_call call;
	int ret;

	while (!seg->is_dead) {
		ret = page_ask(pg, holder, DIPC_REQ_RECALL,
			       (uint16_t)(is_write ? 0 : RECALL_KEEP), &call);
		if (ret == 0) {
			seg->counters.nr_recalls++;
			ret = dipc_call_wait(&call);
		}
		if (ret == 0)
			return call.answer.status ? -ENODATA : 0;
		if (dipc_pages_await_fenced(seg->pages, holder) == 0)
			return -ENODATA;
	}
	return -ENOLINK;
}

/* A round of INVALIDATEs: who answers leaves SHARERS. */
static void page_ask_all(struct page *pg, struct nodeset *sharers)
{
	struct dipc_page_counters *counters = &page_segment(pg)->counters;
	struct ask asks[ASK_WINDOW], *ask;
	unsigned next = dipc_nodeset_next(sharers, 0);
	unsigned nr_asked = 0, nr_answered = 0;

	while (next || nr_answered < nr_asked) {
		if (!next || nr_asked - nr_answered == ASK_WINDOW) {
			/* any answer is good: a node that failed to drop its
			   copy has killed the whole segment */
			if (nr_answered == 0)
				counters->nr_invalidations_at_once += nr_asked;
			ask = &asks[nr_answered++ % ASK_WINDOW];
			if (dipc_call_wait(&ask->call) == 0)
				dipc_nodeset_del(sharers, ask->node);
			continue;
		}
		ask = &asks[nr_asked % ASK_WINDOW];
		ask->node = next;
		if (page_ask(pg, next, DIPC_REQ_INVALIDATE, 0, &ask->call) ==
		    0) {
			nr_asked++;
			counters->nr_invalidations++;
		}
		next = dipc_nodeset_next(sharers, next);
	}
}

static void nodeset_forget_last(struct nodeset *set)
{
	unsigned n, last = 0;

	for (n = dipc_nodeset_next(set, 0); n; n = dipc_nodeset_next(set, n))
		last = n;
	if (last)
		dipc_nodeset_del(set, last);
}

/*
 * Every node in SHARERS drops its copy; all are asked at once, or ASK_WINDOW
 * at a time. 0; -ENOLINK: it is us who are out.
 */
static int page_invalidate(struct page *pg, struct nodeset *sharers)
{
	struct dipc_segment *seg = page_segment(pg);
	unsigned n;

	if (seeded_bug(2))
		nodeset_forget_last(sharers);
	while (!dipc_nodeset_is_empty(sharers)) {
		if (seg->is_dead)
			return -ENOLINK;
		page_ask_all(pg, sharers);
		for (n = dipc_nodeset_next(sharers, 0); n;
		     n = dipc_nodeset_next(sharers, n))
			if (dipc_pages_await_fenced(seg->pages, n) == 0)
				dipc_nodeset_del(sharers, n);
	}
	return 0;
}

/* ---- misses ------------------------------------------------------------- */

static int page_set_bad(struct page *pg, struct lock *lk)
{
	struct dipc_segment *seg = page_segment(pg);
	int ret;

	ret = page_publish(pg, lk, NODE_LOST, false);
	if (ret)
		return ret;
	if (dipc_entry_holder(pg, lk->entry.word) != NODE_LOST)
		dipc_error("segment 0x%x: page %llu is lost with node %u",
			   (unsigned)seg->id,
			   (unsigned long long)page_index(pg),
			   dipc_entry_holder(pg, lk->entry.word));
	seg->counters.nr_lost++;
	if (pg->state != PAGE_I) /* INV-4 says that it cannot be */
		return -EPROTO;
	dipc_page_set_state(pg, PAGE_BAD);
	return 0;
}

/* With the lock: make the home current and, to write, the copy ours alone. */
static int page_clear_others(struct page *pg, const struct lock *lk,
			     bool is_write)
{
	unsigned me = page_segment(pg)->pages->node;
	unsigned holder = dipc_entry_holder(pg, lk->entry.word);
	struct nodeset others;

	if (holder == NODE_LOST)
		return -ENODATA;
	if (holder == me) /* somebody's lock was taken away: see Crashes */
		return pg->was_holder ? 0 : -ENODATA;
	if (holder)
		return page_recall(pg, holder, is_write);
	if (!is_write)
		return 0;
	dipc_entry_others(pg, &lk->entry, &others);
	return page_invalidate(pg, &others);
}

static int page_get_locked(struct page *pg, bool is_write)
{
	unsigned me = page_segment(pg)->pages->node;
	struct lock lk;
	int ret;

	ret = page_lock(pg, is_write, &lk);
	if (ret)
		return ret;
	if (!lk.entry.is_claim) {
		ret = page_clear_others(pg, &lk, is_write);
		if (ret == -ENODATA) {
			ret = page_set_bad(pg, &lk);
			goto out_tx;
		}
		/* INV-1: not installed before this is known to be done */
		if (ret == 0)
			ret = page_publish(pg, &lk, is_write ? me : 0, true);
		if (ret)
			goto out_tx;
	}
	ret = page_install(pg, lk.data, is_write ? PAGE_M : PAGE_S);

out_tx:
	dipc_tx_end(&lk.tx);
	return ret;
}

/*
 * FAA of our bit and READ, in one doorbell. 1: installed; 0: locked or held,
 * pg->seen says.
 */
static int page_try_fill(struct page *pg)
{
	struct entry_arrival arrival;
	const void *data;
	struct dipc_tx tx;
	int ret;

	dipc_page_set_phase(pg, PHASE_FILLING);
	ret = dipc_page_tx(pg, &tx, DIPC_PAGE_SIZE + ENTRY_BYTES);
	if (ret)
		return ret;
	dipc_entry_arrive(pg, &tx, &arrival);
	data = dipc_tx_read(&tx, dipc_page_data_at(pg), DIPC_PAGE_SIZE);
	ret = dipc_tx_run(&tx);
	if (ret)
		goto out_tx;
	if (!dipc_entry_arrived(pg, &arrival)) { /* INV-5 */
		page_segment(pg)->counters.nr_discards++;
		goto out_tx;
	}
	ret = page_install(pg, data, PAGE_S);
	if (ret == 0)
		ret = 1;

out_tx:
	dipc_tx_end(&tx);
	return ret;
}

static int page_get_read(struct page *pg)
{
	struct backoff backoff = dipc_page_backoff(pg);
	unsigned i;
	int ret;

	for (i = 0; i < FAST_TRIES; i++) {
		ret = page_try_fill(pg);
		if (ret)
			return ret < 0 ? ret : 0;
		if (!dipc_entry_locker(pg, pg->seen))
			break; /* it has a holder */
		dipc_page_set_phase(pg, PHASE_WAITING);
		dipc_pages_backoff(page_segment(pg)->pages, &backoff);
	}
	return page_get_locked(pg, false);
}

/*
 * The page's home has no memory for it: the faults so far end in SIGBUS, as on
 * a full tmpfs; a later one asks again.
 */
static void page_no_memory(struct page *pg)
{
	struct dipc_segment *seg = page_segment(pg);
	const struct dipc_pager_ops *ops = seg->pager->ops;
	struct fault *fault;
	int ret = 0;

	while ((fault = page_first_fault(pg, false))) {
		if (fault->who != DIPC_PAGER_NOBODY) {
			dipc_error("segment 0x%x: no memory for page %llu at "
				   "its home: SIGBUS",
				   (unsigned)seg->id,
				   (unsigned long long)page_index(pg));
			ret = ops->poison(seg->pager, page_index(pg),
					  fault->who);
		}
		dipc_fault_free(seg->pages, fault);
		if (ret)
			break;
	}
	/* without a way to do it for one page */
	if (ret)
		dipc_segment_fail(seg, "its home has no memory");
}

void dipc_page_fiber(void *arg)
{
	struct page *pg = arg;
	struct dipc_segment *seg = page_segment(pg);
	bool is_write;
	int ret;

	for (;;) {
		while (pg->is_serving)
			(void)dipc_waitq_wait(&pg->wq, DIPC_NEVER);
		dipc_page_settle(pg);
		if (dipc_list_is_empty(&pg->faults))
			break;
		if (pg->state == PAGE_I)
			dipc_pages_await_room(seg->pages);
		ret = dipc_page_locate(pg);
		if (ret == -ENOSPC) {
			page_no_memory(pg);
			continue;
		}
		is_write = pg->state != PAGE_I || page_first_fault(pg, true);
		dipc_page_count_miss(pg, is_write);
		if (ret == 0)
			ret = is_write ? page_get_locked(pg, true)
				       : page_get_read(pg);
		if (ret)
			dipc_segment_fail(seg,
					  ret == -EPROTO
						  ? "its directory is wrong"
						  : "its home is out of reach");
	}
	dipc_page_set_phase(pg, PHASE_IDLE);
	dipc_segment_fiber_end(seg);
}

int dipc_page_start(struct page *pg)
{
	struct dipc_segment *seg = page_segment(pg);
	int ret;

	ret = dipc_fiber_spawn(dipc_fabric_sched(seg->pages->fabric),
			       dipc_page_fiber, pg);
	if (ret)
		return ret;
	dipc_segment_fiber_begin(seg);
	dipc_page_set_phase(pg, PHASE_WAITING);
	return 0;
}

void dipc_page_hand_over(struct page *pg)
{
	if (!pg->is_serving)
		dipc_page_settle(pg);
	if (dipc_list_is_empty(&pg->faults)) {
		dipc_page_set_phase(pg, PHASE_IDLE);
		return;
	}
	if (dipc_page_start(pg) == 0)
		return;
	/* no memory for a fiber: this one does it */
	dipc_segment_fiber_begin(page_segment(pg));
	dipc_page_set_phase(pg, PHASE_WAITING);
	dipc_page_fiber(pg);
}
