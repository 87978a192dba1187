/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs: absent neighbouring pages brought together, with one doorbell a step.
 * docs/design/pages.md, "Runs".
 */
#ifndef DIPC_PROTOCOL_PAGES_RUN_H
#define DIPC_PROTOCOL_PAGES_RUN_H

#include "runtime/protocol/pages_private.h"

/* With their words they fill a buffer of 128 KiB. */
#define RUN_PAGES 31u

static_assert(RUN_PAGES < DIPC_TX_RUN, "a word for each, and a READ");
static_assert(RUN_PAGES * (DIPC_PAGE_SIZE + ENTRY_BYTES) <= 128 * 1024,
	      "a run fills its buffer well");

/* How many pages SET has. */
static inline unsigned run_count(uint32_t set)
{
	unsigned nr = 0;

	for (; set; set &= set - 1)
		nr++;
	return nr;
}

/* The length of the piece of SET that begins at bit I. */
static inline unsigned run_piece(uint32_t set, unsigned i)
{
	return (unsigned)__builtin_ctz(~(set >> i));
}

/* What a run is to bring. */
struct run_want {
	uint64_t first;
	unsigned nr; /* at most dipc_run_length() */
	bool is_write;
	bool is_guess; /* a stream's */
	/*
	 * In: the pages are thought to be modified elsewhere, and not read
	 * before that is known. Out: most of them were; so may the next be.
	 */
	bool is_held;
	uint64_t who;
};

/*
 * Bring what is absent of the pages WANT. Best effort: pages that a fiber is
 * at work on, that are locked, and to write those that anybody else has, are
 * left out; faults that wait for them are seen to as ever. Fiber. How many
 * pages it dealt with, 1 at least: one chain may not have room for all.
 */
unsigned dipc_run_fetch(struct dipc_segment *seg, struct run_want *want);
/* How many of NR pages from FIRST on the next run can have. */
unsigned dipc_run_length(uint64_t first, uint64_t nr);

#endif
