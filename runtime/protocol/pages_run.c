/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/protocol/pages_run.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "runtime/base/log.h"

/* A run being fetched; the fiber's, on its stack. Bit i of a set is page i. */
struct run {
	struct dipc_segment *seg; /* borrowed */
	struct page *page;        /* the first; the others follow it */
	unsigned nr;
	struct run_want *want; /* borrowed */
	uint32_t busy;         /* in our hands: phase filling */
	uint32_t left;         /* were, and are to be handed over */
	struct dipc_tx tx;
	uint8_t *data[RUN_PAGES]; /* in tx's buffer */
	union {
		struct entry_arrival arrival[RUN_PAGES];
		struct entry_lock lock[RUN_PAGES];
	};
	struct dipc_wr wr[DIPC_TX_RUN];
};

unsigned dipc_run_length(uint64_t first, uint64_t nr)
{
	uint64_t room = CHUNK_PAGES - first % CHUNK_PAGES;

	if (nr > room)
		nr = room;
	return nr < RUN_PAGES ? (unsigned)nr : RUN_PAGES;
}

static unsigned page_holder(struct page *pg)
{
	return dipc_entry_holder(pg, pg->seen);
}

/* ---- taking pages and letting go ---------------------------------------- */

static bool page_can_join(struct page *pg, bool is_write)
{
	if (pg->phase != PHASE_IDLE || pg->is_serving || pg->state != PAGE_I)
		return false;
	return !is_write || dipc_entry_may_claim(pg);
}

/* Take what can be had; as much as one chain has room for. */
static void run_take(struct run *run)
{
	unsigned i, need = 0, ops = dipc_entry_ops(run->page);
	bool is_next = false;

	for (i = 0; i < run->nr; i++) {
		if (!page_can_join(&run->page[i], run->want->is_write)) {
			is_next = false;
			continue;
		}
		need += is_next ? ops : ops + 1;
		if (need > dipc_tx_room(&run->tx)) {
			run->nr = i;
			return;
		}
		is_next = true;
		run->busy |= 1u << i;
		dipc_page_set_phase(&run->page[i], PHASE_FILLING);
	}
}

/* Requests for SET are served from now on. */
static void run_let_go(struct run *run, uint32_t set)
{
	uint32_t bits;

	for (bits = set; bits; bits &= bits - 1)
		dipc_page_set_phase(&run->page[__builtin_ctz(bits)],
				    PHASE_WAITING);
	run->busy &= ~set;
	run->left |= set;
}

/* To whoever waits for a page. Nothing is in our hands any more. */
static void run_hand_over(struct run *run)
{
	uint32_t bits;

	assert(!run->busy);
	for (bits = run->left; bits; bits &= bits - 1)
		dipc_page_hand_over(&run->page[__builtin_ctz(bits)]);
}

/* ---- moving contents ---------------------------------------------------- */

static void run_read(struct run *run, uint32_t set)
{
	uint32_t bits = set;
	unsigned i, j, n;
	uint8_t *data;

	while (bits) {
		i = (unsigned)__builtin_ctz(bits);
		n = run_piece(bits, i);
		data = dipc_tx_read(&run->tx, dipc_page_data_at(&run->page[i]),
				    (size_t)n * DIPC_PAGE_SIZE);
		for (j = 0; j < n; j++)
			run->data[i + j] = data + (size_t)j * DIPC_PAGE_SIZE;
		bits &= ~(((1u << n) - 1) << i);
	}
}

/* Faults of the run's own process, which the install has ended. */
static bool page_end_faults(struct page *pg, const struct run *run)
{
	bool had_any = !dipc_list_is_empty(&pg->faults);
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &pg->faults) {
		struct fault *fault =
			dipc_container_of(pos, struct fault, node);

		if (fault->who == run->want->who &&
		    (run->want->is_write || !fault->is_write))
			dipc_fault_free(run->seg->pages, fault);
	}
	return had_any;
}

/* SET was READ in the last chain. */
static void run_install(struct run *run, uint32_t set)
{
	struct dipc_segment *seg = run->seg;
	struct dipc_pages *pages = seg->pages;
	uint64_t until = dipc_fabric_now(pages->fabric) + pages->hold_ns;
	unsigned i, j, n;

	while (set && !seg->is_dead) {
		i = (unsigned)__builtin_ctz(set);
		for (n = 1; n < run_piece(set, i); n++)
			if (run->data[i + n] !=
			    run->data[i] + (size_t)n * DIPC_PAGE_SIZE)
				break;
		if (seg->pager->ops->install(seg->pager,
					     page_index(&run->page[i]), n,
					     run->data[i], run->want->who,
					     run->want->is_write)) {
			dipc_segment_fail(seg, "its page cache failed");
			return;
		}
		for (j = i; j < i + n; j++) {
			struct page *pg = &run->page[j];

			dipc_page_set_state(pg, run->want->is_write ? PAGE_M
								    : PAGE_S);
			/* held for those who wait for it, not for a guess */
			pg->hold_until = page_end_faults(pg, run) ? until : 0;
			seg->counters.nr_fills++;
			pg->is_ahead = run->want->is_guess;
			seg->counters.nr_prefetched += run->want->is_guess;
		}
		set &= ~(((1u << n) - 1) << i);
	}
}

/* ---- modified elsewhere ------------------------------------------------- */

/* One try for each of SET. 0 or -errno; LOCKED_OUT: which we have. */
static int run_lock(struct run *run, uint32_t set, uint32_t *locked_out)
{
	uint32_t bits;
	unsigned i;
	int ret;

	dipc_tx_again(&run->tx);
	for (bits = set; bits; bits &= bits - 1) {
		i = (unsigned)__builtin_ctz(bits);
		dipc_entry_lock(&run->page[i], &run->tx, false, &run->lock[i]);
	}
	ret = dipc_tx_run(&run->tx);
	if (ret)
		return ret;
	*locked_out = 0;
	for (bits = set; bits; bits &= bits - 1) {
		i = (unsigned)__builtin_ctz(bits);
		if (dipc_entry_locked(&run->page[i], &run->lock[i]))
			*locked_out |= 1u << i;
	}
	return 0;
}

/*
 * HOLDER brings SET home and keeps copies. 0: LOST_OUT says of which it never
 * had one; -ENOLINK: it is us who are out.
 */
static int run_recall(struct run *run, uint32_t set, unsigned holder,
		      uint32_t *lost_out)
{
	struct dipc_segment *seg = run->seg;
	struct dipc_request request = {.type = DIPC_REQ_RECALL_RUN,
				       .flags = RECALL_KEEP,
				       .object = (uint32_t)seg->id,
				       .page = page_index(run->page),
				       .arg[0] = set};
	struct dipc_link *link;
	struct dipc_call call;
	int ret;

	while (!seg->is_dead) {
		ret = dipc_fabric_link(seg->pages->fabric, holder, &link);
		if (ret == 0)
			ret = dipc_call_start(link, &request, &call);
		if (ret == 0) {
			seg->counters.nr_recalls += run_count(set);
			ret = dipc_call_wait(&call);
		}
		if (ret == 0) {
			*lost_out =
				call.answer.status
					? set
					: (uint32_t)call.answer.arg[0] & set;
			return 0;
		}
		*lost_out = set;
		if (dipc_pages_await_fenced(seg->pages, holder) == 0)
			return 0;
	}
	return -ENOLINK;
}

/* Unlock SET, LOST of it for ever, and READ the others. */
static int run_publish(struct run *run, uint32_t set, uint32_t lost)
{
	uint32_t bits;
	unsigned i;
	int ret;

	dipc_tx_again(&run->tx);
	run_read(run, set & ~lost);
	for (bits = set; bits; bits &= bits - 1) {
		bool is_lost = lost & (bits & -bits);

		i = (unsigned)__builtin_ctz(bits);
		dipc_entry_publish(&run->page[i], &run->tx, &run->lock[i],
				   is_lost ? NODE_LOST : 0, !is_lost);
	}
	ret = dipc_tx_run(&run->tx);
	if (ret)
		return ret;
	for (bits = set; bits; bits &= bits - 1) {
		bool is_lost = lost & (bits & -bits);

		i = (unsigned)__builtin_ctz(bits);
		dipc_entry_published(&run->page[i], &run->lock[i],
				     is_lost ? NODE_LOST : 0, !is_lost);
		if (is_lost) {
			dipc_page_set_state(&run->page[i], PAGE_BAD);
			run->seg->counters.nr_lost++;
			dipc_error(
				"segment 0x%x: page %llu is lost",
				(unsigned)run->seg->id,
				(unsigned long long)page_index(&run->page[i]));
		}
	}
	return 0;
}

/*
 * Of HELD, which others have modified, bring what the first one's holder has:
 * locked together, recalled together. The locks are only ever tried for, and
 * while we wait for an answer we have the lock of every page in our hands.
 */
static int run_fetch_held(struct run *run, uint32_t held)
{
	unsigned i = (unsigned)__builtin_ctz(held);
	unsigned holder = page_holder(&run->page[i]);
	uint32_t set = 0, locked = 0, lost = 0, bits;
	int ret;

	for (bits = held; bits; bits &= bits - 1) {
		i = (unsigned)__builtin_ctz(bits);
		if (page_holder(&run->page[i]) == holder)
			set |= 1u << i;
	}
	ret = run_lock(run, set, &locked);
	run_let_go(run, held & ~locked);
	if (ret || !locked)
		return ret;
	ret = run_recall(run, locked, holder, &lost);
	if (ret == 0)
		ret = run_publish(run, locked, lost);
	if (ret == 0)
		run_install(run, locked & ~lost);
	return ret;
}

/* ---- fetching ----------------------------------------------------------- */

/*
 * One doorbell: our bits, and the contents, if they may be good. HELD_OUT:
 * modified elsewhere.
 */
static int run_fill(struct run *run, uint32_t *held_out)
{
	unsigned me = run->seg->pages->node, i, holder;
	bool was_held = run->want->is_held;
	uint32_t bits, good = 0;
	int ret;

	for (bits = run->busy; bits; bits &= bits - 1) {
		i = (unsigned)__builtin_ctz(bits);
		dipc_entry_arrive(&run->page[i], &run->tx, &run->arrival[i]);
	}
	if (!was_held)
		run_read(run, run->busy);
	ret = dipc_tx_run(&run->tx);
	if (ret)
		return ret;
	for (bits = run->busy; bits; bits &= bits - 1) {
		struct page *pg = &run->page[i = (unsigned)__builtin_ctz(bits)];

		if (dipc_entry_arrived(pg, &run->arrival[i])) {
			good |= 1u << i;
			continue;
		}
		run->seg->counters.nr_discards++;
		holder = page_holder(pg);
		if (!dipc_entry_locker(pg, pg->seen) && holder &&
		    holder != me && holder != NODE_LOST)
			*held_out |= 1u << i;
	}
	run->want->is_held = run_count(*held_out) > run_count(good);
	if (was_held && good) {
		/* not so: our bits are set, what we READ now is good */
		dipc_tx_again(&run->tx);
		run_read(run, good);
		ret = dipc_tx_run(&run->tx);
		if (ret)
			return ret;
	}
	run_install(run, good);
	return 0;
}

/* One doorbell: claims, and the contents. */
static int run_claim(struct run *run)
{
	uint32_t bits, good = 0;
	unsigned i;
	int ret;

	for (bits = run->busy; bits; bits &= bits - 1) {
		i = (unsigned)__builtin_ctz(bits);
		dipc_entry_lock(&run->page[i], &run->tx, true, &run->lock[i]);
	}
	run_read(run, run->busy);
	ret = dipc_tx_run(&run->tx);
	if (ret)
		return ret;
	for (bits = run->busy; bits; bits &= bits - 1) {
		i = (unsigned)__builtin_ctz(bits);
		if (dipc_entry_locked(&run->page[i], &run->lock[i]))
			good |= 1u << i;
	}
	run_install(run, good);
	return 0;
}

unsigned dipc_run_fetch(struct dipc_segment *seg, struct run_want *want)
{
	struct run run;
	uint32_t held = 0;
	int ret = 0;

	assert(want->nr <= dipc_run_length(want->first, want->nr));
	run.seg = seg;
	run.nr = want->nr;
	run.want = want;
	run.busy = 0;
	run.left = 0;
	run.page = dipc_page_get(seg, want->first);
	if (!run.page ||
	    dipc_page_tx(run.page, &run.tx,
			 (size_t)want->nr * (DIPC_PAGE_SIZE + ENTRY_BYTES)))
		return want->nr;
	dipc_tx_lend(&run.tx, run.wr);
	run_take(&run);
	if (run.busy)
		ret = want->is_write ? run_claim(&run) : run_fill(&run, &held);
	if (ret == 0 && held) {
		run_let_go(&run, run.busy & ~held);
		ret = run_fetch_held(&run, held);
	}
	if (ret)
		dipc_segment_fail(seg, "its home is out of reach");
	dipc_tx_end(&run.tx);
	run_let_go(&run, run.busy);
	run_hand_over(&run);
	return run.nr;
}
