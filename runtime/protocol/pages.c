/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments: opening, faults coming in, giving everything back. The protocol
 * itself is in docs/design/pages.md, which names the INV-*.
 */
#include "runtime/protocol/pages_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "runtime/base/log.h"
#include "runtime/protocol/seeded_bug.h"

#define GIVE_BACK_RUN 32u /* pages between two turns of the loop */

#define BACKOFF_MIN    (5 * DIPC_USEC)
#define BACKOFF_MAX    (160 * DIPC_USEC)
#define TX_PATIENCE_MS 1000u

/* ---- a page's state ----------------------------------------------------- */

static const uint8_t page_next[PAGE_NR_STATES] = {
	[PAGE_I] = 1u << PAGE_S | 1u << PAGE_M | 1u << PAGE_BAD,
	[PAGE_S] = 1u << PAGE_I | 1u << PAGE_M,
	[PAGE_M] = 1u << PAGE_I | 1u << PAGE_S,
	[PAGE_BAD] = 0,
};

bool dipc_page_can_move(enum page_state from, enum page_state to)
{
	return page_next[from] & 1u << to;
}

/* PG came, or went, or is as good as new. */
static void page_count_resident(struct page *pg, bool was_here)
{
	struct dipc_segment *seg = page_segment(pg);
	bool is_here = pg->state == PAGE_S || pg->state == PAGE_M;

	dipc_list_del(&pg->age);
	dipc_list_init(&pg->age);
	if (seg->is_dead)
		return;
	if (is_here)
		dipc_list_add_tail(&seg->pages->by_age, &pg->age);
	if (is_here && !was_here) {
		seg->nr_resident++;
		seg->pages->nr_resident++;
		dipc_pages_make_room(seg->pages);
	} else if (was_here && !is_here) {
		seg->nr_resident--;
		seg->pages->nr_resident--;
	}
}

void dipc_page_set_state(struct page *pg, enum page_state to)
{
	bool was_here;

	assert(dipc_page_can_move(pg->state, to));
	dipc_trace("segment 0x%x page %llu: %u -> %u",
		   (unsigned)page_segment(pg)->id,
		   (unsigned long long)page_index(pg), pg->state, to);
	was_here = pg->state == PAGE_S || pg->state == PAGE_M;
	pg->state = (uint8_t)to;
	if (to == PAGE_I)
		dipc_stream_forget(pg);
	page_count_resident(pg, was_here);
}

void dipc_page_set_phase(struct page *pg, enum page_phase phase)
{
	pg->phase = (uint8_t)phase;
	if (phase != PHASE_FILLING)
		dipc_waitq_wake_all(&pg->wq);
}

struct page *dipc_page_find(struct dipc_segment *seg, uint64_t index)
{
	struct page_chunk *chunk = seg->chunks[index / CHUNK_PAGES];

	return chunk ? &chunk->page[index % CHUNK_PAGES] : NULL;
}

struct page *dipc_page_get(struct dipc_segment *seg, uint64_t index)
{
	struct page_chunk **slot = &seg->chunks[index / CHUNK_PAGES];
	struct page_chunk *chunk = *slot;
	unsigned i;

	if (!chunk) {
		chunk = calloc(1, sizeof(*chunk));
		if (!chunk)
			return NULL;
		chunk->seg = seg;
		chunk->first = index - index % CHUNK_PAGES;
		dipc_waitq_init(&chunk->asked);
		for (i = 0; i < CHUNK_PAGES; i++) {
			chunk->page[i].slot = (uint16_t)i;
			dipc_list_init(&chunk->page[i].faults);
			dipc_list_init(&chunk->page[i].age);
			dipc_waitq_init(&chunk->page[i].wq);
		}
		*slot = chunk;
	}
	return &chunk->page[index % CHUNK_PAGES];
}

struct dipc_remote dipc_page_word_at(struct page *pg)
{
	struct dipc_remote at = page_chunk(pg)->words;

	at.addr += pg->slot * dipc_page_word_stride(page_segment(pg));
	return at;
}

size_t dipc_page_word_stride(const struct dipc_segment *seg)
{
	return dipc_entry_size(seg->shm.nr_sharer_words);
}

struct dipc_remote dipc_page_data_at(struct page *pg)
{
	struct dipc_remote at = page_chunk(pg)->data;

	at.addr += (uint64_t)pg->slot * DIPC_PAGE_SIZE;
	return at;
}

/* ---- helpers of the fibers ---------------------------------------------- */

void dipc_pages_backoff(struct dipc_pages *pages, struct backoff *b)
{
	uint64_t most = BACKOFF_MAX * (b->crowd ? b->crowd : 1);

	b->ns = b->ns ? b->ns * 2 : BACKOFF_MIN;
	if (b->ns > most)
		b->ns = most;
	pages->random ^= pages->random << 13;
	pages->random ^= pages->random >> 7;
	pages->random ^= pages->random << 17;
	dipc_fiber_sleep(b->ns / 2 + pages->random % b->ns);
}

struct backoff dipc_page_backoff(struct page *pg)
{
	return (struct backoff){
		.crowd = page_segment(pg)->shm.nr_sharer_words,
	};
}

int dipc_page_tx(struct page *pg, struct dipc_tx *tx, size_t bytes)
{
	struct page_chunk *chunk = page_chunk(pg);
	unsigned i;
	int ret;

	ret = dipc_page_locate(pg);
	if (ret)
		return ret;
	for (i = 0;; i++) {
		if (chunk->seg->is_dead)
			return -ENOLINK;
		ret = dipc_tx_begin(tx, chunk->link, bytes);
		if (ret == 0)
			tx->counters = &chunk->seg->wire;
		if (ret != -ENOMEM || i == TX_PATIENCE_MS)
			return ret;
		dipc_fiber_sleep(DIPC_MSEC);
	}
}

void dipc_page_take_back(struct page *pg)
{
	struct dipc_segment *seg = page_segment(pg);
	struct dipc_tx tx;

	if (!pg->has_bit || seg->is_dead)
		return;
	/* without memory for it the bit stays: one INVALIDATE too many */
	if (dipc_tx_begin(&tx, page_chunk(pg)->link, ENTRY_BYTES))
		return;
	tx.counters = &seg->wire;
	dipc_entry_leave(pg, &tx);
	if (dipc_tx_post(&tx))
		pg->has_bit = true;
}

void dipc_segment_fiber_begin(struct dipc_segment *seg)
{
	seg->nr_fibers++;
}

void dipc_segment_fiber_end(struct dipc_segment *seg)
{
	if (--seg->nr_fibers == 0)
		dipc_waitq_wake_all(&seg->quiet);
}

void dipc_segment_fail(struct dipc_segment *seg, const char *why)
{
	if (seg->is_dead)
		return;
	seg->is_dead = true;
	seg->pages->nr_resident -= seg->nr_resident;
	seg->nr_resident = 0;
	if (!seg->is_closing && why)
		dipc_error("segment 0x%x is lost here: %s", (unsigned)seg->id,
			   why);
	if (seg->pager)
		seg->pager->ops->kill(seg->pager);
	if (why) /* else it has given everything back */
		dipc_segment_forget(seg);
}

/* ---- faults ------------------------------------------------------------- */

int dipc_page_ask(struct page *pg, bool is_write, uint64_t who)
{
	struct dipc_pages *pages = page_segment(pg)->pages;
	struct dipc_list *node = dipc_list_pop(&pages->free_faults);
	struct fault *fault;

	if (!node)
		return -EAGAIN;
	fault = dipc_container_of(node, struct fault, node);
	fault->who = who;
	fault->is_write = is_write;
	dipc_list_add_tail(&pg->faults, &fault->node);
	if (pg->phase != PHASE_IDLE)
		return 0; /* its fiber will see to it */
	if (!pg->is_serving)
		dipc_page_settle(pg);
	if (dipc_list_is_empty(&pg->faults))
		return 0;
	if (dipc_page_start(pg)) {
		dipc_list_del(&fault->node);
		dipc_list_add_head(&pages->free_faults, &fault->node);
		return -EAGAIN;
	}
	return 0;
}

int dipc_pages_fault(struct dipc_segment *seg, uint64_t index, bool is_write,
		     uint64_t who)
{
	struct page *pg;
	bool is_absent;
	int ret;

	seg->counters.nr_faults++;
	if (index >= seg->nr_pages || seg->is_closing)
		return -EINVAL;
	if (seg->is_stopping && !seg->is_dead)
		return 0; /* kill() will end it */
	if (seg->is_dead) {
		/* read after kill() had woken everyone: wake again */
		seg->pager->ops->kill(seg->pager);
		return 0;
	}
	pg = dipc_page_get(seg, index);
	if (!pg)
		return -EAGAIN;
	is_absent = pg->state == PAGE_I;
	ret = dipc_page_ask(pg, is_write, who);
	/* behind it, so that what is needed now is asked for first */
	if (ret == 0 && is_absent) {
		dipc_unit_fault(seg, index, is_write, who);
		dipc_stream_fault(seg, index, is_write, who);
	}
	return ret;
}

/* ---- giving back -------------------------------------------------------- */

static int segment_give_back(struct dipc_segment *seg)
{
	uint64_t c;
	unsigned i;
	int ret;

	dipc_segment_give_back_idle(seg);
	/* those that were being served; and where our name may have stayed */
	for (c = 0; c < seg->nr_chunks; c++) {
		if (!seg->chunks[c] || !seg->chunks[c]->link)
			continue;
		for (i = 0; i < CHUNK_PAGES; i++) {
			if (seg->is_dead)
				return -ENOLINK;
			ret = dipc_page_give_back(&seg->chunks[c]->page[i]);
			if (ret)
				return ret;
			/* where nothing waits for the wire the loop would not
			   turn: heartbeats and others are due */
			if (i % GIVE_BACK_RUN == GIVE_BACK_RUN - 1)
				dipc_fiber_sleep(DIPC_USEC);
		}
	}
	return dipc_segment_flush(seg);
}

static void chunk_free(struct page_chunk *chunk)
{
	unsigned i;

	/* of a dead segment some are still in the node's list */
	for (i = 0; chunk && i < CHUNK_PAGES; i++)
		dipc_list_del(&chunk->page[i].age);
	free(chunk);
}

static void segment_free(struct dipc_segment *seg)
{
	struct dipc_pages *pages = seg->pages;
	uint64_t c;

	dipc_segment_count_over(seg);
	dipc_list_del(&seg->node);
	pages->nr_segments--;
	dipc_waitq_wake_all(&pages->changed);
	if (seg->chunks)
		for (c = 0; c < seg->nr_chunks; c++)
			chunk_free(seg->chunks[c]);
	free(seg->chunks);
	free(seg);
}

static void segment_await_quiet(struct dipc_segment *seg)
{
	while (seg->nr_fibers)
		(void)dipc_waitq_wait(&seg->quiet, DIPC_NEVER);
}

static void segment_close_fiber(void *arg)
{
	struct dipc_segment *seg = arg;
	struct dipc_pages *pages = seg->pages;

	segment_await_quiet(seg);
	if (!seg->is_dead && segment_give_back(seg))
		dipc_segment_fail(seg, "giving its pages back failed");
	/* requests that came meanwhile; and may come as long as homes are
	   asked to forget us */
	while (seg->nr_fibers || seg->is_forgetting)
		(void)dipc_waitq_wait(&seg->quiet, DIPC_NEVER);
	if (pages->events->released)
		pages->events->released(pages->arg, seg, seg->pager);
	segment_free(seg);
}

/* ---- segments ----------------------------------------------------------- */

static struct dipc_list *table_row(struct dipc_pages *pages, int32_t id)
{
	uint32_t hash = (uint32_t)id * 2654435761u;

	return &pages->table[hash >> 24];
}

struct dipc_segment *dipc_segment_find(struct dipc_pages *pages, int32_t id)
{
	struct dipc_list *pos, *head = table_row(pages, id);

	dipc_list_for_each (pos, head) {
		struct dipc_segment *seg =
			dipc_container_of(pos, struct dipc_segment, node);

		if (seg->id == id)
			return seg;
	}
	return NULL;
}

static struct dipc_segment *segment_new(struct dipc_pages *pages, int32_t id,
					const struct dipc_arena_shm *shm)
{
	struct dipc_segment *seg = calloc(1, sizeof(*seg));

	if (!seg)
		return NULL;
	seg->pages = pages;
	seg->id = id;
	seg->shm = *shm;
	seg->nr_refs = 1;
	seg->is_opening = true;
	dipc_stream_init(seg);
	seg->nr_pages = (shm->size + DIPC_PAGE_SIZE - 1) / DIPC_PAGE_SIZE;
	seg->nr_chunks = (seg->nr_pages + CHUNK_PAGES - 1) / CHUNK_PAGES;
	dipc_waitq_init(&seg->quiet);
	seg->chunks = calloc(seg->nr_chunks, sizeof(*seg->chunks));
	if (!seg->chunks) {
		free(seg);
		return NULL;
	}
	dipc_list_add_tail(table_row(pages, id), &seg->node);
	pages->nr_segments++;
	return seg;
}

int dipc_segment_open(struct dipc_pages *pages, int32_t id,
		      const struct dipc_arena_shm *shm,
		      struct dipc_segment **seg_out)
{
	struct dipc_segment *seg;
	struct dipc_link *link;
	int ret;

	while ((seg = dipc_segment_find(pages, id))) {
		if (seg->is_opening || seg->is_closing) {
			(void)dipc_waitq_wait(&pages->changed, DIPC_NEVER);
			continue;
		}
		if (seg->is_dead)
			return -EIDRM;
		dipc_segment_get(seg);
		*seg_out = seg;
		return 0;
	}
	if (!dipc_shm_is_sane(shm))
		return -EIDRM;
	seg = segment_new(pages, id, shm);
	if (!seg)
		return -ENOMEM;
	/* better told now than by SIGBUS; its chunks ask for themselves */
	ret = dipc_fabric_link(pages->fabric, shm->home, &link);
	if (ret == 0)
		ret = pages->events->pager_create(pages->arg, seg, &seg->pager);
	if (ret) {
		segment_free(seg);
		return ret;
	}
	seg->is_opening = false;
	dipc_waitq_wake_all(&pages->changed);
	*seg_out = seg;
	return 0;
}

void dipc_segment_get(struct dipc_segment *seg)
{
	assert(seg->nr_refs && !seg->is_closing);
	seg->nr_refs++;
}

void dipc_segment_put(struct dipc_segment *seg)
{
	assert(seg->nr_refs);
	if (--seg->nr_refs)
		return;
	seg->is_closing = true;
	if (dipc_fiber_spawn(dipc_fabric_sched(seg->pages->fabric),
			     segment_close_fiber, seg)) {
		/*
		 * No memory for a fiber: it stays, closing for ever, and its
		 * pages with it; others' requests are still served.
		 */
		dipc_error("segment 0x%x: no memory to give it back",
			   (unsigned)seg->id);
	}
}

int32_t dipc_segment_id(const struct dipc_segment *seg)
{
	return seg->id;
}

uint64_t dipc_segment_size(const struct dipc_segment *seg)
{
	return seg->shm.size;
}

unsigned dipc_segment_home(const struct dipc_segment *seg)
{
	return seg->shm.home;
}

uint64_t dipc_segment_nr_pages(const struct dipc_segment *seg)
{
	return seg->nr_pages;
}

struct dipc_pager *dipc_segment_pager(const struct dipc_segment *seg)
{
	return seg->pager;
}

bool dipc_segment_is_dead(const struct dipc_segment *seg)
{
	return seg->is_dead;
}

/* ---- the node's --------------------------------------------------------- */

int dipc_pages_create(const struct dipc_pages_config *config,
		      struct dipc_pages **pages_out)
{
	struct dipc_pages *pages = calloc(1, sizeof(*pages));
	unsigned i;

	if (!pages)
		return -ENOMEM;
	pages->fabric = config->fabric;
	pages->events = config->events;
	pages->arg = config->arg;
	pages->hold_ns = config->hold_ns;
	pages->prefetch_pages = config->prefetch_pages;
	pages->cache_pages = config->cache_pages;
	/* a window must not push out what was used just now */
	if (pages->cache_pages &&
	    pages->prefetch_pages > pages->cache_pages / 8)
		pages->prefetch_pages = (unsigned)(pages->cache_pages / 8);
	pages->node = dipc_fabric_node(config->fabric);
	pages->random = 0x9e3779b97f4a7c15u * (pages->node + 1);
	dipc_waitq_init(&pages->changed);
	dipc_list_init(&pages->free_faults);
	dipc_list_init(&pages->by_age);
	dipc_waitq_init(&pages->room);
	dipc_list_init(&pages->deferred);
	dipc_timer_init(&pages->retry, dipc_pages_retry_requests);
	for (i = 0; i < TABLE_SIZE; i++)
		dipc_list_init(&pages->table[i]);
	for (i = 0; i < FAULTS_MAX; i++)
		dipc_list_add_tail(&pages->free_faults, &pages->faults[i].node);
	if (DIPC_SEEDED_BUG)
		dipc_warn("seeded bug %d: for tests only", DIPC_SEEDED_BUG);
	*pages_out = pages;
	return 0;
}

void dipc_pages_destroy(struct dipc_pages *pages)
{
	if (!pages)
		return;
	assert(pages->nr_segments == 0);
	dipc_timer_cancel(&pages->retry);
	free(pages);
}

/* Segments may come and go meanwhile: the first that is not yet stopped. */
static struct dipc_segment *pages_next_to_stop(struct dipc_pages *pages)
{
	struct dipc_list *pos;
	unsigned i;

	for (i = 0; i < TABLE_SIZE; i++) {
		dipc_list_for_each (pos, &pages->table[i]) {
			struct dipc_segment *seg = dipc_container_of(
				pos, struct dipc_segment, node);

			if (!seg->is_opening && !seg->is_closing &&
			    !seg->is_stopping)
				return seg;
		}
	}
	return NULL;
}

void dipc_pages_stop(struct dipc_pages *pages)
{
	struct dipc_segment *seg;

	while ((seg = pages_next_to_stop(pages))) {
		dipc_segment_get(seg);
		seg->is_stopping = true;
		segment_await_quiet(seg);
		if (!seg->is_dead && segment_give_back(seg))
			dipc_error("segment 0x%x: changes may be lost",
				   (unsigned)seg->id);
		dipc_segment_fail(seg, NULL);
		dipc_segment_put(seg);
	}
}

void dipc_pages_drain(struct dipc_pages *pages)
{
	while (pages->nr_segments || pages->is_evicting)
		(void)dipc_waitq_wait(&pages->changed, DIPC_NEVER);
}

/* Fail the segments whose home is NODE; all of them if it is 0. */
static void pages_fail(struct dipc_pages *pages, unsigned node, const char *why)
{
	struct dipc_list *pos;
	unsigned i;

	for (i = 0; i < TABLE_SIZE; i++) {
		dipc_list_for_each (pos, &pages->table[i]) {
			struct dipc_segment *seg = dipc_container_of(
				pos, struct dipc_segment, node);

			if (!node || dipc_shm_is_home(&seg->shm, node))
				dipc_segment_fail(seg, why);
		}
	}
}

void dipc_pages_lost(struct dipc_pages *pages, unsigned node)
{
	if (node != DIPC_REFEREE)
		pages_fail(pages, node, "a home of it is out of reach");
}

void dipc_pages_kill(struct dipc_pages *pages)
{
	pages->is_out = true;
	pages_fail(pages, 0, "this node is out of the cluster");
}
