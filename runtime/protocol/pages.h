/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared memory: the page protocol, docs/design/pages.md. Strict consistency:
 * many readers or one writer of each page over the whole cluster.
 *
 * Segments are opened when somebody here attaches and give all their pages
 * back when nobody is attached any more. Everything here belongs to the
 * loop's thread; "Fiber" marks functions that may park.
 */
#ifndef DIPC_PROTOCOL_PAGES_H
#define DIPC_PROTOCOL_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/page_counters.h"
#include "runtime/protocol/fabric.h"
#include "runtime/protocol/pager.h"

struct dipc_pages;   /* one a node */
struct dipc_segment; /* a segment open on this node */

struct dipc_pages_events {
	/*
	 * SEG is being opened: its cache, empty. 0 or -errno. The pager is
	 * used until released() and destroyed there.
	 */
	int (*pager_create)(void *arg, struct dipc_segment *seg,
			    struct dipc_pager **pager_out);
	/*
	 * The last reference to SEG was put and every page is back home: no
	 * operation of this node touches the home's memory any more, and the
	 * segment's last attachment here may be taken off `nattch`. SEG is
	 * gone when this returns.
	 */
	void (*released)(void *arg, struct dipc_segment *seg,
			 struct dipc_pager *pager);
	/*
	 * Wait until NODE, which a message could not reach, is certainly out
	 * of the cluster and reads nothing any more. Fiber. 0; -errno: it is
	 * in (the operation is tried again). NULL: a closed link is proof
	 * enough.
	 */
	int (*await_fenced)(void *arg, unsigned node);
};

struct dipc_pages_config {
	struct dipc_fabric *fabric; /* borrowed */
	/* A node keeps a page this long before it gives it up; 0: not. */
	uint64_t hold_ns;
	unsigned prefetch_pages; /* ahead of a stream at most; 0: none */
	/* Pages of all segments that should be here at most; 0: any number. */
	uint64_t cache_pages;
	const struct dipc_pages_events *events; /* borrowed */
	void *arg;
};

/* 0 or -ENOMEM. */
int dipc_pages_create(const struct dipc_pages_config *config,
		      struct dipc_pages **pages_out);
/* Every segment must have been released. Takes NULL. */
void dipc_pages_destroy(struct dipc_pages *pages);
/*
 * A clean stop of this node: every page goes home, then what is attached here
 * ends in SIGBUS. References are still to be put. Fiber.
 */
void dipc_pages_stop(struct dipc_pages *pages);
/* Wait until every segment has been released (their references are put).
   Fiber. */
void dipc_pages_drain(struct dipc_pages *pages);

/* The sum over all segments, those that were released included. */
struct dipc_page_counters dipc_pages_counters(const struct dipc_pages *pages);

/* ---- what the fabric's events call -------------------------------------- */

/* DIPC_REQ_INVALIDATE and DIPC_REQ_RECALL. Answers IN, now or later. */
void dipc_pages_request(struct dipc_pages *pages, struct dipc_incoming *in);
/*
 * The link to NODE is gone: segments with a home there end in SIGBUS. What was
 * asked of NODE fails by itself.
 */
void dipc_pages_lost(struct dipc_pages *pages, unsigned node);
/* This node is out of the cluster: every segment ends in SIGBUS. */
void dipc_pages_kill(struct dipc_pages *pages);

/* ---- segments ----------------------------------------------------------- */

/*
 * The segment ID, which the arena describes as SHM (copied); opened at the
 * first call, a further reference to it later. Waits for one that is just
 * being given back. Fiber. 0, -ENOMEM, -ENOLINK (its home is out of reach),
 * -EIDRM (open, but a home of it was lost; or SHM makes no sense), or what pager_create() said.
 */
int dipc_segment_open(struct dipc_pages *pages, int32_t id,
		      const struct dipc_arena_shm *shm,
		      struct dipc_segment **seg_out);
/* Borrowed, and only until anything parks; NULL: not open here. */
struct dipc_segment *dipc_segment_find(struct dipc_pages *pages, int32_t id);
void dipc_segment_get(struct dipc_segment *seg);
/* The last put starts giving back: released() follows, never from inside. */
void dipc_segment_put(struct dipc_segment *seg);
int32_t dipc_segment_id(const struct dipc_segment *seg);
uint64_t dipc_segment_size(const struct dipc_segment *seg); /* bytes */
unsigned dipc_segment_home(const struct dipc_segment *seg); /* the first */
uint64_t dipc_segment_nr_pages(const struct dipc_segment *seg);
struct dipc_pager *dipc_segment_pager(const struct dipc_segment *seg);
bool dipc_segment_is_dead(const struct dipc_segment *seg);
/*
 * The segments that are open here, one by one: *AT is 0 at first, and moves on.
 * Others may come and go between calls. Borrowed, and only until anything
 * parks; NULL: no more.
 */
struct dipc_segment *dipc_segment_each(struct dipc_pages *pages, uint32_t *at);
/* Since it was opened. */
struct dipc_page_counters dipc_segment_counters(const struct dipc_segment *seg);
/*
 * The DIPC_PAGES_RANKED pages that were missed here most often, or that others
 * took away most often; most first. Borrowed, and only until anything parks.
 */
const struct dipc_page_rank *
dipc_segment_most_missed(const struct dipc_segment *seg);
const struct dipc_page_rank *
dipc_segment_most_taken(const struct dipc_segment *seg);

/*
 * From the pager: WHO met PAGE absent, or protected (is_write). The fault ends
 * with install(), resolve(), poison() or kill(). -EAGAIN: no room to remember
 * it, let WHO fault again. -EINVAL: no such page.
 */
int dipc_pages_fault(struct dipc_segment *seg, uint64_t page, bool is_write,
		     uint64_t who);

/*
 * Bring NR pages from FIRST on, to be read or written here; nobody is woken,
 * and nobody is given the right to write by this alone: a first write is a
 * fault that costs no message. Fiber. 0: they are here, unless they were taken
 * away again; -EIO: one of them is lost, -ENOLINK: the segment is, or is being
 * given back; -EINVAL: no such pages; -ENOMEM.
 */
int dipc_pages_fetch(struct dipc_segment *seg, uint64_t first, uint64_t nr,
		     bool is_write);
/*
 * Give up what is here of NR pages from FIRST on: copies are dropped, modified
 * pages sent home first. Pages that somebody waits for stay. Fiber. 0,
 * -ENOLINK or -EINVAL as above.
 */
int dipc_pages_release(struct dipc_segment *seg, uint64_t first, uint64_t nr);

#endif
