/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving pages up of our own accord: "Giving back" of docs/design/pages.md.
 */
#include <assert.h>
#include <errno.h>

#include "runtime/protocol/pages_run.h"

/* Evicting goes on until so many pages fewer are here than may be. */
#define EVICT_SLACK(cache) ((cache) / 16)
/* Looked at before the oldest are left for later. */
#define EVICT_LOOKS 256u
/* Longest wait for room, on which nothing depends. */
#define ROOM_NS (20 * DIPC_MSEC)

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
		data = NULL; /* the home is current from here on: INV-3 */
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

/* ---- several pages ------------------------------------------------------ */

/* May PG be given up now? Not one that a fiber works on: somebody wants it. */
static bool page_is_idle_copy(const struct page *pg)
{
	return pg->phase == PHASE_IDLE && !pg->is_serving &&
	       (pg->state == PAGE_S || pg->state == PAGE_M);
}

/* Neighbours in a chunk, given up together; the fiber's, on its stack. */
struct batch {
	struct dipc_segment *seg;
	struct page *page; /* the first */
	uint32_t clean, modified;
	struct entry_return back[RUN_PAGES];
	struct dipc_wr wr[DIPC_TX_RUN];
};

static int batch_drop(struct batch *b, uint32_t set)
{
	const struct dipc_pager_ops *ops = b->seg->pager->ops;
	uint32_t bits = set;
	unsigned i, n;
	int ret;

	while (bits) {
		i = (unsigned)__builtin_ctz(bits);
		n = run_piece(bits, i);
		ret = ops->drop(b->seg->pager, page_index(&b->page[i]), n);
		if (ret)
			return ret;
		bits &= ~(((1u << n) - 1) << i);
	}
	for (bits = set; bits; bits &= bits - 1)
		dipc_page_set_state(&b->page[__builtin_ctz(bits)], PAGE_I);
	return 0;
}

/* One chain: the contents, then our name off. The pages are gone from here. */
static int batch_send(struct batch *b, struct dipc_tx *tx)
{
	const struct dipc_pager_ops *ops = b->seg->pager->ops;
	uint32_t bits = b->modified;
	unsigned i, n;
	void *data;
	int ret;

	while (bits) {
		i = (unsigned)__builtin_ctz(bits);
		n = run_piece(bits, i);
		data = dipc_tx_write_here(tx, dipc_page_data_at(&b->page[i]),
					  (size_t)n * DIPC_PAGE_SIZE);
		ret = ops->protect_and_copy(b->seg->pager,
					    page_index(&b->page[i]), n, data);
		if (ret)
			return ret;
		bits &= ~(((1u << n) - 1) << i);
	}
	ret = batch_drop(b, b->modified);
	if (ret)
		return ret;
	for (bits = b->modified; bits; bits &= bits - 1) {
		i = (unsigned)__builtin_ctz(bits);
		dipc_entry_return(&b->page[i], tx, &b->back[i]);
	}
	return dipc_tx_run(tx);
}

static int batch_return(struct batch *b)
{
	unsigned i, nr = run_count(b->modified);
	uint32_t bits, left = 0;
	struct dipc_tx tx;
	int ret;

	for (bits = b->modified; bits; bits &= bits - 1)
		dipc_page_set_phase(&b->page[__builtin_ctz(bits)],
				    PHASE_FILLING);
	ret = dipc_page_tx(b->page, &tx,
			   (size_t)nr * (DIPC_PAGE_SIZE + ENTRY_BYTES));
	if (ret == 0) {
		dipc_tx_lend(&tx, b->wr);
		ret = batch_send(b, &tx);
		for (bits = ret ? 0 : b->modified; bits; bits &= bits - 1) {
			i = (unsigned)__builtin_ctz(bits);
			if (dipc_entry_returned(&b->page[i], &b->back[i]))
				b->page[i].was_holder = false;
			else
				left |= 1u << i;
		}
		dipc_tx_end(&tx);
	}
	/* a page must not be in phase filling while another one waits */
	for (bits = b->modified; bits; bits &= bits - 1)
		dipc_page_set_phase(&b->page[__builtin_ctz(bits)],
				    PHASE_WAITING);
	for (bits = b->modified & ~left; bits; bits &= bits - 1)
		dipc_page_hand_over(&b->page[__builtin_ctz(bits)]);
	/* others' bits came, or a lock: the home has the contents already */
	for (bits = left; bits; bits &= bits - 1) {
		if (ret == 0)
			ret = page_return(&b->page[__builtin_ctz(bits)], NULL);
		dipc_page_hand_over(&b->page[__builtin_ctz(bits)]);
	}
	return ret;
}

/* Fiber. */
static void batch_give_back(struct batch *b)
{
	uint32_t bits;
	int ret = 0;

	if (b->clean)
		ret = batch_drop(b, b->clean);
	for (bits = ret ? 0 : b->clean; bits; bits &= bits - 1)
		dipc_page_take_back(&b->page[__builtin_ctz(bits)]);
	if (ret == 0 && b->modified)
		ret = batch_return(b);
	if (ret)
		dipc_segment_fail(b->seg, "pages could not be given up");
}

/* False: B has no room for PG. */
static bool batch_add(struct batch *b, struct page *pg, unsigned *ops)
{
	bool is_modified = pg->state == PAGE_M;
	uint32_t bit;

	if (pg - b->page >= (int)RUN_PAGES)
		return false;
	bit = 1u << (pg - b->page);
	if (is_modified) {
		*ops += dipc_entry_ops(pg) + !(b->modified & (bit >> 1));
		if (*ops > DIPC_TX_RUN)
			return false;
		b->modified |= bit;
	} else {
		b->clean |= bit;
	}
	return true;
}

/* What is here of NR pages from FIRST on, in one chunk. How far it got. */
static unsigned release_run(struct dipc_segment *seg, uint64_t first,
			    unsigned nr)
{
	struct batch b = {.seg = seg, .page = dipc_page_find(seg, first)};
	unsigned i, ops = 0;

	if (!b.page)
		return nr;
	for (i = 0; i < nr; i++)
		if (page_is_idle_copy(&b.page[i]) &&
		    !batch_add(&b, &b.page[i], &ops))
			break;
	batch_give_back(&b);
	/* where nothing waits for the wire the loop would not turn */
	if (b.clean || b.modified)
		dipc_fiber_sleep(DIPC_USEC);
	return i;
}

int dipc_pages_release(struct dipc_segment *seg, uint64_t first, uint64_t nr)
{
	unsigned n;
	int ret = 0;

	if (first > seg->nr_pages || nr > seg->nr_pages - first)
		return -EINVAL;
	dipc_segment_fiber_begin(seg);
	for (; nr && ret == 0; first += n, nr -= n) {
		n = 0;
		if (seg->is_dead || seg->is_closing || seg->is_stopping)
			ret = -ENOLINK;
		else
			n = release_run(seg, first, dipc_run_length(first, nr));
	}
	dipc_segment_fiber_end(seg);
	return seg->is_dead ? -ENOLINK : ret;
}

void dipc_segment_give_back_idle(struct dipc_segment *seg)
{
	uint64_t at;
	unsigned n;

	for (at = 0; at < seg->nr_pages && !seg->is_dead; at += n) {
		n = dipc_run_length(at, seg->nr_pages - at);
		if (!seg->chunks[at / CHUNK_PAGES])
			n = CHUNK_PAGES - at % CHUNK_PAGES;
		else
			n = release_run(seg, at, n);
	}
}

/* ---- for want of room --------------------------------------------------- */

static bool page_may_be_evicted(struct page *pg, uint64_t now)
{
	struct dipc_segment *seg = page_segment(pg);

	return page_is_idle_copy(pg) && now >= pg->hold_until &&
	       !seg->is_dead && !seg->is_closing && !seg->is_stopping;
}

static struct page *page_of_age(struct dipc_list *node)
{
	return dipc_container_of(node, struct page, age);
}

/* The oldest page that may go, behind those that may not; NULL: none. */
static struct page *pages_oldest(struct dipc_pages *pages)
{
	uint64_t now = dipc_fabric_now(pages->fabric);
	unsigned i;

	for (i = 0; i < EVICT_LOOKS; i++) {
		struct dipc_list *node = pages->by_age.next;

		if (node == &pages->by_age)
			return NULL;
		if (page_may_be_evicted(page_of_age(node), now))
			return page_of_age(node);
		dipc_list_del(node);
		dipc_list_add_tail(&pages->by_age, node);
	}
	return NULL;
}

/* PG, and what came here together with it. */
static void evict_run(struct dipc_pages *pages, struct page *pg)
{
	struct batch b = {.seg = page_segment(pg), .page = pg};
	uint64_t now = dipc_fabric_now(pages->fabric);
	struct dipc_page_counters *c = &b.seg->counters;
	unsigned ops = 0;

	for (;;) {
		struct dipc_list *next = pg->age.next;

		if (!batch_add(&b, pg, &ops))
			break;
		if (next == &pages->by_age || page_of_age(next) != pg + 1 ||
		    pg->slot == CHUNK_PAGES - 1 ||
		    !page_may_be_evicted(pg + 1, now))
			break;
		pg++;
	}
	c->nr_evicted_clean += run_count(b.clean);
	c->nr_evicted_modified += run_count(b.modified);
	dipc_segment_fiber_begin(b.seg);
	batch_give_back(&b);
	dipc_segment_fiber_end(b.seg);
}

static void evict_fiber(void *arg)
{
	struct dipc_pages *pages = arg;
	uint64_t enough = pages->cache_pages - EVICT_SLACK(pages->cache_pages);
	struct page *pg;

	while (pages->nr_resident > enough && (pg = pages_oldest(pages))) {
		evict_run(pages, pg);
		if (pages->nr_resident <= pages->cache_pages)
			dipc_waitq_wake_all(&pages->room);
		dipc_fiber_sleep(DIPC_USEC); /* let the loop turn */
	}
	pages->is_evicting = false;
	dipc_waitq_wake_all(&pages->room);
	dipc_waitq_wake_all(&pages->changed);
}

void dipc_pages_make_room(struct dipc_pages *pages)
{
	if (!dipc_pages_is_full(pages) || pages->is_evicting)
		return;
	if (dipc_fiber_spawn(dipc_fabric_sched(pages->fabric), evict_fiber,
			     pages))
		return; /* no memory: at the next page */
	pages->is_evicting = true;
}

void dipc_pages_await_room(struct dipc_pages *pages)
{
	if (!dipc_pages_is_full(pages))
		return;
	dipc_pages_make_room(pages);
	if (pages->is_evicting)
		(void)dipc_waitq_wait(&pages->room,
				      dipc_fabric_now(pages->fabric) + ROOM_NS);
}
