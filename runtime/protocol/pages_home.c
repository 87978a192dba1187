/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The home's side: memory for chunks, and recovery. Nothing here is on the
 * way of a page: a node asks once for each chunk.
 */
#include "runtime/protocol/homes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"
#include "runtime/protocol/homemem.h"
#include "runtime/protocol/object.h"
#include "runtime/protocol/pages_private.h"

#define EVICT_RUN      1024u /* pages between two turns of the loop */
#define FREE_RUN       256u  /* chunks, likewise */
#define REAP_SLOTS     16u
#define FORGET_POLL_NS (50 * DIPC_USEC)
/* in which memory for a chain of requests must be had again */
#define EVICT_PATIENCE_MS 10000u
#define HASH_SIZE         256u

struct home_chunk {
	struct dipc_piece piece;
	uint32_t nr_pages;
};

/* A segment that is at home here, or may be. */
struct home {
	struct dipc_list in_table;
	struct dipc_list entry; /* homes->list */
	int32_t id;
	bool is_known; /* the arena has it, `shm` is filled in */
	bool is_over;  /* the arena had it no more when we last looked */
	bool is_short; /* the last chunk was refused */
	uint64_t pass; /* when it became known */
	struct dipc_list waiting; /* dipc_incoming.user: until it is known */
	struct dipc_arena_shm shm;
	uint64_t nr_pages, nr_chunks;
	size_t entry_size;          /* of the directory; bytes */
	struct dipc_fmutex evict;   /* one at a time: see home_evict() */
	struct home_chunk **chunks; /* owned; NULL: nobody asked yet */
};

struct dipc_homes {
	struct dipc_homes_config config;
	struct dipc_homemem *mem; /* owned */
	unsigned max_nodes;
	struct dipc_list table[HASH_SIZE];
	struct dipc_list list;
	struct dipc_list over; /* being freed */
	uint64_t pass;         /* number of walks over the homes */
	uint64_t freed_seen;   /* by the last whole one */
	unsigned nr_evicting;  /* fibers at work on homes: none may go */
	bool is_freeing;       /* a fiber frees those that are over */
};

/* ---- homes -------------------------------------------------------------- */

static struct dipc_list *table_row(struct dipc_homes *homes, int32_t id)
{
	uint32_t hash = (uint32_t)id * 2654435761u;

	return &homes->table[hash >> 24];
}

static struct home *home_find(struct dipc_homes *homes, int32_t id)
{
	struct dipc_list *pos, *row = table_row(homes, id);

	dipc_list_for_each (pos, row) {
		struct home *home =
			dipc_container_of(pos, struct home, in_table);

		if (home->id == id)
			return home;
	}
	return NULL;
}

static struct home *home_new(struct dipc_homes *homes, int32_t id)
{
	struct home *home = calloc(1, sizeof(*home));

	if (!home)
		return NULL;
	home->id = id;
	dipc_list_init(&home->waiting);
	dipc_fmutex_init(&home->evict);
	dipc_list_add_tail(table_row(homes, id), &home->in_table);
	dipc_list_add_tail(&homes->list, &home->entry);
	return home;
}

static int home_know(struct dipc_homes *homes, struct home *home,
		     const struct dipc_arena_shm *shm)
{
	uint64_t nr = (shm->size + DIPC_PAGE_SIZE - 1) / DIPC_PAGE_SIZE;
	uint64_t nr_chunks = (nr + CHUNK_PAGES - 1) / CHUNK_PAGES;

	if (shm->nr_sharer_words > dipc_entry_sharer_words(homes->max_nodes))
		return -EIDRM; /* of another cluster */
	/* of a large one mostly untouched, and then not even real */
	home->chunks = calloc(nr_chunks, sizeof(struct home_chunk *));
	if (!home->chunks)
		return -ENOMEM;
	home->shm = *shm;
	home->nr_pages = nr;
	home->nr_chunks = nr_chunks;
	home->entry_size = dipc_entry_size(shm->nr_sharer_words);
	home->is_known = true;
	home->pass = homes->pass;
	return 0;
}

static void home_unlist(struct home *home)
{
	dipc_list_del(&home->in_table);
	dipc_list_del(&home->entry);
}

int dipc_homes_add(struct dipc_homes *homes, int32_t id,
		   const struct dipc_arena_shm *shm)
{
	struct home *home;
	int ret;

	if (home_find(homes, id))
		return 0; /* somebody was faster and asked for a chunk */
	home = home_new(homes, id);
	if (!home)
		return -ENOMEM;
	ret = home_know(homes, home, shm);
	if (ret) {
		home_unlist(home);
		free(home);
	}
	return ret;
}

/* ---- chunks ------------------------------------------------------------- */

/* 0 or -ENOMEM, said once. */
static int chunk_create(struct dipc_homes *homes, struct home *home, uint64_t c)
{
	uint64_t left = home->nr_pages - c * CHUNK_PAGES;
	struct home_chunk *chunk = calloc(1, sizeof(*chunk));
	int ret = -ENOMEM;

	if (!chunk)
		return ret;
	chunk->nr_pages = left < CHUNK_PAGES ? (uint32_t)left : CHUNK_PAGES;
	/* contents first: they begin on a page */
	ret = dipc_homemem_take(homes->mem,
				chunk->nr_pages *
					(DIPC_PAGE_SIZE + home->entry_size),
				&chunk->piece);
	if (ret) {
		free(chunk);
		if (!home->is_short)
			dipc_error("segment 0x%x: no memory for more of its "
				   "pages on this node, its home",
				   (unsigned)home->id);
	} else {
		home->chunks[c] = chunk;
	}
	home->is_short = ret != 0;
	return ret;
}

static uint64_t chunk_words_off(const struct home_chunk *chunk)
{
	return (uint64_t)chunk->nr_pages * DIPC_PAGE_SIZE;
}

/* ---- being asked -------------------------------------------------------- */

static void answer_status(struct dipc_incoming *in, int status)
{
	struct dipc_answer answer = {.status = status};

	dipc_incoming_answer(in, &answer);
}

/* HOME is known. */
static void home_answer(struct dipc_homes *homes, struct home *home,
			struct dipc_incoming *in)
{
	uint64_t c = in->request.page / CHUNK_PAGES;
	struct dipc_answer answer = {0};
	const struct home_chunk *chunk;

	if (c >= home->nr_chunks ||
	    dipc_shm_home_of(&home->shm, c) !=
		    dipc_fabric_node(homes->config.fabric)) {
		dipc_warn("node %u asks for page %llu of segment 0x%x, which "
			  "is not here",
			  in->from, (unsigned long long)in->request.page,
			  (unsigned)home->id);
		answer_status(in, -EIDRM);
		return;
	}
	if (!home->chunks[c])
		answer.status = chunk_create(homes, home, c);
	chunk = home->chunks[c];
	if (chunk) {
		answer.arg[0] =
			chunk->piece.remote.addr + chunk_words_off(chunk);
		answer.arg[1] = chunk->piece.remote.addr;
		answer.flags = chunk->piece.remote.rkey;
	}
	dipc_incoming_answer(in, &answer);
}

struct learn_job {
	struct dipc_homes *homes;
	struct home *home;
};

/*
 * Is this node a home of the object in OBJ? One that joined later under the
 * same number is not; a removed segment lives on while it is attached.
 */
static bool object_is_ours(struct dipc_fabric *f,
			   const struct dipc_arena_object *obj, int32_t id)
{
	return obj->state && obj->id == id &&
	       (obj->state & ~DIPC_OBJECT_REMOVED) >> 32 == DIPC_KIND_SHM &&
	       dipc_shm_is_sane(&obj->shm) &&
	       dipc_shm_is_home(&obj->shm, dipc_fabric_node(f)) &&
	       dipc_fabric_incarnation(f) <= obj->shm.born;
}

/* The first request for a segment that this node knows nothing of. Fiber. */
static void learn_fiber(void *arg)
{
	struct learn_job job = *(struct learn_job *)arg;
	struct dipc_fabric *f = job.homes->config.fabric;
	const struct dipc_arena_super *super = dipc_fabric_super(f);
	uint32_t slot = dipc_id_slot(job.home->id);
	struct home *home = job.home;
	struct dipc_arena_object obj;
	struct dipc_list *node;
	int ret;

	free(arg);
	ret = slot < super->nr_slots
		      ? dipc_arena_read(f, dipc_object_off(super, slot), &obj,
					sizeof(obj))
		      : -EIDRM;
	if (ret == 0 && !object_is_ours(f, &obj, home->id))
		ret = -EIDRM;
	if (ret == 0)
		ret = home_know(job.homes, home, &obj.shm);
	if (ret) {
		while (job.homes->nr_evicting) /* they walk the list */
			dipc_fiber_sleep(DIPC_MSEC);
		home_unlist(home);
	}
	while ((node = dipc_list_pop(&home->waiting))) {
		struct dipc_incoming *in =
			dipc_container_of(node, struct dipc_incoming, user);

		if (ret)
			answer_status(in, ret);
		else
			home_answer(job.homes, home, in);
	}
	if (ret)
		free(home);
}

static int learn_start(struct dipc_homes *homes, struct home *home)
{
	struct learn_job *job = malloc(sizeof(*job));
	int ret;

	if (!job)
		return -ENOMEM;
	job->homes = homes;
	job->home = home;
	ret = dipc_fiber_spawn(dipc_fabric_sched(homes->config.fabric),
			       learn_fiber, job);
	if (ret)
		free(job);
	return ret;
}

void dipc_homes_request(struct dipc_homes *homes, struct dipc_incoming *in)
{
	int32_t id = (int32_t)in->request.object;
	struct home *home = home_find(homes, id);

	if (home && home->is_known) {
		home_answer(homes, home, in);
		return;
	}
	if (!home) {
		home = home_new(homes, id);
		if (home && learn_start(homes, home)) {
			home_unlist(home);
			free(home);
			home = NULL;
		}
		if (!home) {
			answer_status(in, -EAGAIN);
			return;
		}
	}
	dipc_list_add_tail(&home->waiting, &in->user);
}

/* ---- freeing ------------------------------------------------------------ */

/* True: HOME is empty. Some milliseconds at most. */
static bool home_shrink(struct dipc_homes *homes, struct home *home)
{
	struct home_chunk *chunk;
	unsigned run;
	bool is_slow;

	for (run = 0; home->nr_chunks && run < FREE_RUN; home->nr_chunks--) {
		chunk = home->chunks[home->nr_chunks - 1];
		if (!chunk)
			continue;
		is_slow = dipc_homemem_give(homes->mem, &chunk->piece);
		free(chunk);
		home->chunks[home->nr_chunks - 1] = NULL;
		run = is_slow ? FREE_RUN : run + 1;
	}
	return home->nr_chunks == 0;
}

static void home_destroy(struct home *home)
{
	free(home->chunks);
	free(home);
}

static void free_fiber(void *arg)
{
	struct dipc_homes *homes = arg;
	struct dipc_list *node;

	while ((node = dipc_list_pop(&homes->over))) {
		struct home *home = dipc_container_of(node, struct home, entry);

		while (!home_shrink(homes, home))
			dipc_fiber_sleep(DIPC_USEC); /* let the loop turn */
		home_destroy(home);
	}
	homes->is_freeing = false;
}

static void free_start(struct dipc_homes *homes)
{
	if (homes->is_freeing || dipc_list_is_empty(&homes->over))
		return;
	/* without memory for a fiber: at the next pass */
	homes->is_freeing =
		dipc_fiber_spawn(dipc_fabric_sched(homes->config.fabric),
				 free_fiber, homes) == 0;
}

/* How many segments at home here the referee has freed. 0 or -errno. */
static int homes_freed(struct dipc_fabric *f, uint64_t *freed_out)
{
	uint64_t off =
		dipc_fabric_super(f)->nodes_off +
		(uint64_t)dipc_fabric_node(f) * sizeof(struct dipc_arena_node) +
		offsetof(struct dipc_arena_node, homes_freed);

	return dipc_arena_read(f, off, freed_out, sizeof(*freed_out));
}

/* Slots that lie together: homes do, as they were made. */
struct home_window {
	uint32_t first, nr;
	uint8_t slots[REAP_SLOTS * DIPC_OBJECT_STRIDE];
};

/* Is the object of HOME gone from the arena? -errno: cannot say. */
static int home_is_over(struct dipc_fabric *f, const struct home *home,
			struct home_window *w)
{
	const struct dipc_arena_super *super = dipc_fabric_super(f);
	uint32_t slot = dipc_id_slot(home->id);
	struct dipc_arena_object obj;
	int ret;

	if (slot < w->first || slot - w->first >= w->nr) {
		w->first = slot;
		w->nr = super->nr_slots - slot;
		if (w->nr > REAP_SLOTS)
			w->nr = REAP_SLOTS;
		ret = dipc_arena_read(f, dipc_object_off(super, slot), w->slots,
				      (size_t)w->nr * DIPC_OBJECT_STRIDE);
		if (ret) {
			w->nr = 0;
			return ret;
		}
	}
	memcpy(&obj, w->slots + (size_t)(slot - w->first) * DIPC_OBJECT_STRIDE,
	       sizeof(obj));
	return obj.state == 0 || obj.id != home->id;
}

/* Free what an earlier walk found gone: see "What a late write meets". */
static void homes_free(struct dipc_homes *homes)
{
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &homes->list) {
		struct home *home = dipc_container_of(pos, struct home, entry);

		if (!home->is_over)
			continue;
		home_unlist(home);
		if (homes->config.over)
			homes->config.over(homes->config.arg, home->id);
		dipc_list_add_tail(&homes->over, &home->entry);
	}
	free_start(homes);
}

void dipc_homes_reap(struct dipc_homes *homes)
{
	struct dipc_fabric *f = homes->config.fabric;
	struct home_window window = {0};
	struct dipc_list *pos;
	uint64_t freed;

	if (homes->nr_evicting)
		return;
	homes_free(homes);
	/* idle nodes must not read thousands of slots a second */
	if (dipc_list_is_empty(&homes->list) || homes_freed(f, &freed) ||
	    freed == homes->freed_seen)
		return;
	homes->pass++;
	for (pos = homes->list.next; pos != &homes->list; pos = pos->next) {
		struct home *home = dipc_container_of(pos, struct home, entry);
		int ret = 0;

		/* one made during this pass: the window may be older */
		if (home->is_known && home->pass < homes->pass)
			ret = home_is_over(f, home, &window);
		if (ret < 0)
			return; /* next time */
		home->is_over = ret;
	}
	/* what was freed after that READ has moved the count again */
	homes->freed_seen = freed;
}

/* ---- recovery ----------------------------------------------------------- */

static int chunk_evict(const struct home *home, struct dipc_link *link,
		       const struct home_chunk *chunk, unsigned node)
{
	uint64_t off = chunk_words_off(chunk);
	struct dipc_remote at = chunk->piece.remote;

	at.addr += off;
	return dipc_entries_evict(link, at, chunk->piece.base + off,
				  chunk->nr_pages, home->shm.nr_sharer_words,
				  node);
}

/*
 * With home->evict held: two that took the same bit away at once would borrow
 * the second one from its neighbours, and one that comes late would take what
 * the node has set since.
 */
static int home_evict(struct dipc_link *link, const struct home *home,
		      unsigned node)
{
	unsigned run = 0;
	uint64_t c;
	int ret;

	/* a chunk made meanwhile has never heard of NODE */
	for (c = 0; c < home->nr_chunks; c++) {
		if (!home->chunks[c])
			continue;
		ret = chunk_evict(home, link, home->chunks[c], node);
		if (ret)
			return ret;
		run += home->chunks[c]->nr_pages;
		if (run >= EVICT_RUN) {
			dipc_fiber_sleep(DIPC_USEC); /* let the loop turn */
			run = 0;
		}
	}
	return 0;
}

/* A lock that stays would be waited for for ever: patient with -ENOMEM. */
static int home_evict_surely(struct dipc_link *link, struct home *home,
			     unsigned node)
{
	unsigned i;
	int ret;

	dipc_fmutex_lock(&home->evict);
	for (i = 0;; i++) {
		ret = home_evict(link, home, node);
		if (ret != -ENOMEM || i == EVICT_PATIENCE_MS)
			break;
		dipc_fiber_sleep(DIPC_MSEC);
	}
	dipc_fmutex_unlock(&home->evict);
	if (ret)
		dipc_error("segment 0x%x keeps traces of dead node %u",
			   (unsigned)home->id, node);
	return ret;
}

int dipc_homes_evict(struct dipc_homes *homes, unsigned node)
{
	struct dipc_fabric *f = homes->config.fabric;
	struct dipc_link *link;
	struct dipc_list *pos;
	int ret, first = 0;

	if (node < 1 || node > homes->max_nodes)
		return -EINVAL;
	ret = dipc_fabric_link(f, dipc_fabric_node(f), &link);
	if (ret) {
		dipc_error("segments at home here keep traces of dead node %u",
			   node);
		return ret;
	}
	homes->nr_evicting++;
	dipc_list_for_each (pos, &homes->list) {
		ret = home_evict_surely(
			link, dipc_container_of(pos, struct home, entry), node);
		if (!first)
			first = ret;
	}
	homes->nr_evicting--;
	return first;
}

/* ---- forgetting one that lives ------------------------------------------- */

struct forget_job {
	struct dipc_homes *homes;
	struct dipc_incoming *in;
};

static int home_forget(struct dipc_homes *homes, struct home *home,
		       const struct dipc_incoming *in)
{
	struct dipc_fabric *f = homes->config.fabric;
	struct dipc_link *link;
	int ret = -EAGAIN;

	dipc_fmutex_lock(&home->evict);
	/* else he may have asked again, been answered and come back by now */
	if (in->link)
		ret = dipc_fabric_link(f, dipc_fabric_node(f), &link);
	if (ret == 0)
		ret = home_evict(link, home, in->from);
	dipc_fmutex_unlock(&home->evict);
	return ret;
}

static void forget_fiber(void *arg)
{
	struct forget_job job = *(struct forget_job *)arg;
	struct dipc_homes *homes = job.homes;
	struct dipc_incoming *in = job.in;
	struct home *home;
	int ret = -EAGAIN;

	free(arg);
	/* the asker gone: he asks again, or is dead */
	while (in->link && !dipc_incoming_is_alone(in))
		dipc_fiber_sleep(FORGET_POLL_NS);
	if (in->link && in->from >= 1 && in->from <= homes->max_nodes) {
		home = home_find(homes, (int32_t)in->request.object);
		homes->nr_evicting++; /* it stays */
		ret = home && home->is_known ? home_forget(homes, home, in) : 0;
		homes->nr_evicting--;
	}
	answer_status(in, ret ? -EAGAIN : 0);
}

void dipc_homes_forget(struct dipc_homes *homes, struct dipc_incoming *in)
{
	struct forget_job *job = malloc(sizeof(*job));

	if (job) {
		job->homes = homes;
		job->in = in;
		if (dipc_fiber_spawn(dipc_fabric_sched(homes->config.fabric),
				     forget_fiber, job) == 0)
			return;
	}
	free(job);
	answer_status(in, -EAGAIN);
}

/* ---- life --------------------------------------------------------------- */

int dipc_homes_create(const struct dipc_homes_config *config,
		      struct dipc_homes **homes_out)
{
	struct dipc_homes *homes = calloc(1, sizeof(*homes));
	struct dipc_homemem_config mc = {
		.transport = dipc_fabric_transport(config->fabric),
		.available = config->available,
		.arg = config->arg,
	};
	unsigned i;
	int ret;

	if (!homes)
		return -ENOMEM;
	homes->config = *config;
	homes->max_nodes =
		config->max_nodes ? config->max_nodes : DIPC_NODES_MAX;
	for (i = 0; i < HASH_SIZE; i++)
		dipc_list_init(&homes->table[i]);
	dipc_list_init(&homes->list);
	dipc_list_init(&homes->over);
	mc.largest =
		CHUNK_PAGES *
		(DIPC_PAGE_SIZE +
		 dipc_entry_size(dipc_entry_sharer_words(homes->max_nodes)));
	ret = dipc_homemem_create(&mc, &homes->mem);
	if (ret) {
		free(homes);
		return ret;
	}
	*homes_out = homes;
	return 0;
}

void dipc_homes_destroy(struct dipc_homes *homes)
{
	struct dipc_list *node;

	if (!homes)
		return;
	while ((node = dipc_list_pop(&homes->list)))
		dipc_list_add_tail(&homes->over, node);
	while ((node = dipc_list_pop(&homes->over))) {
		struct home *home = dipc_container_of(node, struct home, entry);

		while (!home_shrink(homes, home))
			;
		home_destroy(home);
	}
	dipc_homemem_destroy(homes->mem);
	free(homes);
}

void dipc_homes_usage(const struct dipc_homes *homes,
		      struct dipc_homemem_usage *usage_out)
{
	dipc_homemem_usage(homes->mem, usage_out);
}

bool dipc_homes_look(const struct dipc_homes *homes, int32_t id, uint64_t page,
		     const void **entry_out, const void **data_out)
{
	const struct home *home = home_find((struct dipc_homes *)homes, id);
	const struct home_chunk *chunk;

	if (!home || page >= home->nr_pages)
		return false;
	chunk = home->chunks[page / CHUNK_PAGES];
	if (!chunk)
		return false;
	page %= CHUNK_PAGES;
	*data_out = chunk->piece.base + page * DIPC_PAGE_SIZE;
	*entry_out = chunk->piece.base + chunk_words_off(chunk) +
		     page * home->entry_size;
	return true;
}
