/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by pages*.c only. */
#ifndef DIPC_PROTOCOL_PAGES_PRIVATE_H
#define DIPC_PROTOCOL_PAGES_PRIVATE_H

#include "runtime/protocol/pages.h"
#include "runtime/protocol/pages_dir.h"

/* ---- requests ----------------------------------------------------------- */

/* RECALL's flags: the asker reads, the holder may keep a copy. */
#define RECALL_KEEP 1u

/* ---- pages -------------------------------------------------------------- */

#define CHUNK_PAGES DIPC_CHUNK_PAGES /* the pager's block, too */

enum page_state {
	PAGE_I,   /* no copy here */
	PAGE_S,   /* a copy for reading */
	PAGE_M,   /* ours: newer than the home's */
	PAGE_BAD, /* lost for ever */
	PAGE_NR_STATES,
};

/* What the one fiber at work on a page is waiting for. */
enum page_phase {
	PHASE_IDLE,    /* there is none */
	PHASE_FILLING, /* one-sided operations, or it has the lock */
	PHASE_WAITING, /* the lock, or a back-off: requests go ahead */
};

struct fault {
	struct dipc_list node; /* page->faults, or pages->free_faults */
	uint64_t who;
	bool is_write;
};

struct page {
	uint8_t state;   /* enum page_state; page_set_state() */
	uint8_t phase;   /* enum page_phase; page_set_phase() */
	uint16_t slot;   /* index in its chunk */
	bool has_bit;    /* what our last operation made of our bit */
	bool is_first;   /* wide: as S, nobody had arrived before us */
	bool was_holder; /* the word has named us in this life of ours */
	bool is_ahead;   /* brought by a stream that has not passed it yet */
	bool is_serving; /* a request is writing it home: faults queue */
	uint32_t nr_misses;
	uint32_t nr_taken; /* by others; both stop at their maximum */
	uint64_t seen;     /* the word as we last saw or left it: a guess */
	uint64_t hold_until;
	struct dipc_list age;    /* pages->by_age, if it is here */
	struct dipc_list faults; /* waiting for the fiber */
	struct dipc_waitq wq;    /* phase or is_serving changed */
};

struct page_chunk {
	struct dipc_segment *seg; /* borrowed */
	uint64_t first;           /* page number */
	/* to its home; the fabric's. NULL: where it is is not known. The same
	   for life: rule A */
	struct dipc_link *link;
	struct dipc_remote words, data; /* of its first page */
	struct dipc_waitq asked;        /* the home has answered */
	bool is_asking;
	struct page page[CHUNK_PAGES];
};

/*
 * Faults of one process at neighbouring pages. It has met [tail, next); next
 * is its marker, absent, whose fault says that it goes on; what lies between
 * the marker and ahead is here or on its way.
 */
struct stream {
	uint64_t who;
	uint64_t used; /* when: stream_clock */
	uint64_t tail, next, ahead;
	unsigned nr_met;
	unsigned window; /* pages; 0: not one yet */
	bool is_write;
	bool is_held; /* the last pages were modified elsewhere */
};

#define STREAMS 8u

struct dipc_segment {
	struct dipc_list node;    /* in pages->table */
	struct dipc_pages *pages; /* borrowed */
	struct dipc_arena_shm shm;
	struct dipc_pager *pager;   /* the node's, until released() */
	struct page_chunk **chunks; /* owned; NULL: nothing there yet */
	uint64_t nr_pages;
	uint64_t nr_chunks;
	uint64_t nr_resident; /* pages that are S or M */
	/* bytes, doorbells and operations are counted in `wire`, by the
	   transactions themselves: dipc_page_tx() */
	struct dipc_page_counters counters;
	struct dipc_tx_counters wire;
	struct dipc_page_rank most_missed[DIPC_PAGES_RANKED];
	struct dipc_page_rank most_taken[DIPC_PAGES_RANKED];
	int32_t id;
	struct stream streams[STREAMS];
	uint64_t stream_clock;
	uint64_t unit_busy;      /* first page of the unit being fetched */
	unsigned guesses_needed; /* neighbours met before a stream is one */
	unsigned nr_refs;
	unsigned nr_fibers;      /* at work on it */
	struct dipc_waitq quiet; /* nr_fibers fell to 0 */
	bool is_opening;
	bool is_closing;
	bool is_stopping;   /* faults wait for kill() */
	bool is_dead;       /* home or pager failed: SIGBUS for everyone here */
	bool is_forgetting; /* a fiber has homes forget us; `quiet`, too */
};

#define TABLE_SIZE 256u
#define FAULTS_MAX 4096u

struct dipc_pages {
	struct dipc_fabric *fabric; /* borrowed */
	const struct dipc_pages_events *events;
	void *arg;
	uint64_t hold_ns;
	unsigned prefetch_pages; /* ahead of a stream at most; 0: none */
	unsigned nr_guesses;     /* runs of streams in flight */
	uint64_t cache_pages;    /* may be here, of all segments; 0: any */
	uint64_t nr_resident;    /* are; not those of dead segments */
	struct dipc_list by_age; /* pages here, as they came */
	struct dipc_waitq room;  /* evicting came to something */
	bool is_evicting;        /* a fiber is at it */
	unsigned node;
	bool is_out; /* of the cluster: nobody listens to us */
	uint64_t random;
	struct dipc_page_counters over;     /* of segments that are released */
	struct dipc_list table[TABLE_SIZE]; /* segments, by id */
	unsigned nr_segments;
	struct dipc_waitq changed; /* a segment was opened or released */
	struct dipc_list free_faults;
	struct dipc_list deferred; /* dipc_incoming.user: no memory then */
	struct dipc_timer retry;
	struct fault faults[FAULTS_MAX];
};

struct backoff {
	uint64_t ns;
	unsigned crowd; /* how many times the usual longest; 0: once */
};

static inline struct page_chunk *page_chunk(struct page *pg)
{
	return dipc_container_of(pg - pg->slot, struct page_chunk, page[0]);
}

static inline struct dipc_segment *page_segment(struct page *pg)
{
	return page_chunk(pg)->seg;
}

static inline uint64_t page_index(struct page *pg)
{
	return page_chunk(pg)->first + pg->slot;
}

/* pages.c */
/* NULL: nothing has happened to the page yet (find), no memory (get). */
struct page *dipc_page_find(struct dipc_segment *seg, uint64_t index);
struct page *dipc_page_get(struct dipc_segment *seg, uint64_t index);
void dipc_page_set_state(struct page *pg, enum page_state to);
bool dipc_page_can_move(enum page_state from, enum page_state to);
void dipc_page_set_phase(struct page *pg, enum page_phase phase);
/* The page's entry in the directory: it begins with the word. */
struct dipc_remote dipc_page_word_at(struct page *pg);
/* From one page's entry to the next one's; inside a chunk only. Bytes. */
size_t dipc_page_word_stride(const struct dipc_segment *seg);
struct dipc_remote dipc_page_data_at(struct page *pg);
/* Everything here ends in SIGBUS; WHY is logged once, unless NULL. */
void dipc_segment_fail(struct dipc_segment *seg, const char *why);
void dipc_segment_fiber_begin(struct dipc_segment *seg);
void dipc_segment_fiber_end(struct dipc_segment *seg);
/*
 * dipc_tx_begin() on the link to the page's home, patient with -ENOMEM; asks
 * where the page is, if that is not known. Fiber. -ENOSPC: its home has no
 * memory for it now.
 */
int dipc_page_tx(struct page *pg, struct dipc_tx *tx, size_t bytes);
/* Take our bit back: posted, not waited for. The copy is gone before. */
void dipc_page_take_back(struct page *pg);
/* Longer each time, with jitter. Fiber. */
void dipc_pages_backoff(struct dipc_pages *pages, struct backoff *b);
/* For PG's lock: the longer, the more may be waiting for it. */
struct backoff dipc_page_backoff(struct page *pg);

/*
 * WHO met PG absent, or protected. 0: it is settled, or will be; -EAGAIN: no
 * memory.
 */
int dipc_page_ask(struct page *pg, bool is_write, uint64_t who);

/* pages_chunk.c */
/*
 * Know where the page's chunk is at home; its memory there comes into being
 * when the first node asks. Fiber. 0, -ENOSPC, -ENOLINK.
 */
int dipc_page_locate(struct page *pg);
/* Ask where the chunk of page INDEX is, if nobody has; who needs it finds it. */
void dipc_chunk_ask_ahead(struct dipc_segment *seg, uint64_t index);
/* Wait for everything posted before to any home: see "Giving back". Fiber. */
int dipc_segment_flush(struct dipc_segment *seg);

/* pages_fault.c */
void dipc_fault_free(struct dipc_pages *pages, struct fault *fault);
/*
 * NODE does not answer. 0: it is out of the cluster; -EAGAIN: it is not, ask
 * again. Fiber.
 */
int dipc_pages_await_fenced(struct dipc_pages *pages, unsigned node);
void dipc_page_fiber(void *page);
/* Does the state of PG let this node read it, or write? */
bool dipc_page_allows(const struct page *pg, bool is_write);
/* Give PG, which has faults, a fiber. 0 or -ENOMEM. */
int dipc_page_start(struct page *pg);
/*
 * The fiber that worked on PG is done with it: settle the faults that came
 * meanwhile, or give them a fiber. Fiber; waits only for want of memory.
 */
void dipc_page_hand_over(struct page *pg);
/* Settle what the state of PG allows already. */
void dipc_page_settle(struct page *pg);

/* pages_stream.c */
void dipc_stream_init(struct dipc_segment *seg);
/* WHO met PAGE absent: fetch what comes next, if it is a stream. */
void dipc_stream_fault(struct dipc_segment *seg, uint64_t page, bool is_write,
		       uint64_t who);
/* The same: bring the rest of its transfer unit. */
void dipc_unit_fault(struct dipc_segment *seg, uint64_t page, bool is_write,
		     uint64_t who);
/* PG goes; was it brought for nothing? */
void dipc_stream_forget(struct page *pg);

/* pages_evict.c */
static inline bool dipc_pages_is_full(const struct dipc_pages *pages)
{
	return pages->cache_pages && pages->nr_resident > pages->cache_pages;
}
/* More pages may be here than should: let a fiber give the oldest back. */
void dipc_pages_make_room(struct dipc_pages *pages);
/* Before one more is fetched; not for long. Fiber. */
void dipc_pages_await_room(struct dipc_pages *pages);
/* What no fiber works on goes home, in runs. Fiber. */
void dipc_segment_give_back_idle(struct dipc_segment *seg);
/* PG, which no fiber works on, goes home. Fiber. 0 or -errno. */
int dipc_page_give_back(struct page *pg);

/* pages_forget.c */
/* SEG is dead: have its homes take this node's traces away. */
void dipc_segment_forget(struct dipc_segment *seg);

/* pages_count.c */
/* PG does not allow what somebody wants of it. */
void dipc_page_count_miss(struct page *pg, bool is_write);
/* PG is given up for another node. */
void dipc_page_count_taken(struct page *pg, bool is_modified);
/* A request for PG had to wait for NS, for the hold time. */
void dipc_page_count_hold(struct page *pg, uint64_t ns);
/* SEG is about to be freed: keep what it counted in its node's sum. */
void dipc_segment_count_over(struct dipc_segment *seg);

/* pages_serve.c: several pages for one request */
void dipc_pages_request_run(struct dipc_pages *pages, struct dipc_incoming *in);
/* pages_request.c */
/* May a request for PG be served now? */
bool dipc_page_is_free(const struct page *pg);
/* Until when PG is kept whoever asks. */
uint64_t dipc_page_held_until(const struct page *pg);
/* As dipc_pages_request() for IN again, soon: no memory now. */
void dipc_pages_defer(struct dipc_pages *pages, struct dipc_incoming *in);
void dipc_pages_retry_requests(struct dipc_timer *timer);

#endif
