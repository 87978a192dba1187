/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is counted of shared pages, on each node for each segment, and for the
 * node as the sum over its segments. docs/design/pages.md, "Counters".
 */
#ifndef DIPC_BASE_PAGE_COUNTERS_H
#define DIPC_BASE_PAGE_COUNTERS_H

#include <stdint.h>

/* X(name, what it counts) */
#define DIPC_PAGE_COUNTERS(X)                                                  \
	X(nr_faults, "faults that the kernel told of")                         \
	X(nr_read_misses, "pages not here, to be read")                        \
	X(nr_write_misses, "pages not here, to be written")                    \
	X(nr_upgrades, "copies here, to be written")                           \
	X(nr_fills, "pages brought from a home")                               \
	X(nr_discards, "fills that met a lock or a holder")                    \
	X(nr_invalidated, "copies dropped for others")                         \
	X(nr_invalidations, "others asked to drop their copies")               \
	X(nr_invalidations_at_once,                                            \
	  "of these, asked before an answer was awaited")                      \
	X(nr_recalled, "modified pages given up for others")                   \
	X(nr_recalls, "others asked to give a modified page up")               \
	X(nr_lost, "pages found lost")                                         \
	X(nr_hold_delays, "requests of others that the hold time kept")        \
	X(hold_ns, "nanoseconds that these waited")                            \
	X(nr_prefetched, "pages brought before they were asked for")           \
	X(nr_prefetch_useful, "of these, used")                                \
	X(nr_prefetch_wasted, "of these, gone unused")                         \
	X(nr_evicted_clean, "copies dropped for want of room")                 \
	X(nr_evicted_modified, "modified pages sent home for want of room")    \
	X(bytes_in, "bytes of pages read from homes")                          \
	X(bytes_out, "bytes of pages written to homes")                        \
	X(nr_doorbells, "chains of one-sided operations")                      \
	X(nr_ops, "operations in them")

struct dipc_page_counters {
#define X(name, words) uint64_t name;
	DIPC_PAGE_COUNTERS(X)
#undef X
};

/* Pages that a segment's ranking names: DIPC_CALL_PAGES. */
#define DIPC_PAGES_RANKED 8u

struct dipc_page_rank {
	uint64_t page; /* its number in the segment */
	uint64_t nr;   /* 0: nobody has this rank, or one below */
};

#endif
