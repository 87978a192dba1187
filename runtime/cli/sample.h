/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the nodes of this machine count of pages, looked at again and again:
 * how much it was in the last interval, segment by segment.
 */
#ifndef DIPC_CLI_SAMPLE_H
#define DIPC_CLI_SAMPLE_H

#include "runtime/cli/dir.h"

/* A page that is missed or taken away a lot, somewhere. */
struct dipc_sample_page {
	uint64_t page;                /* its number in the segment */
	uint64_t nr_missed, nr_taken; /* since the segment was opened */
	uint64_t missed, taken;       /* in the interval */
	uint64_t nodes;               /* bit n - 1: node n says so */
};

#define DIPC_SAMPLE_PAGES 16u

struct dipc_sample_row {
	int32_t id;
	int32_t key;
	bool has_key; /* the referee's memory told it */
	unsigned home;
	uint64_t size, resident;          /* bytes; of all nodes */
	uint64_t nodes;                   /* bit n - 1: open on node n */
	struct dipc_page_counters counts; /* in the interval, of all nodes */
	/* those that the others fight for first, then those missed most */
	struct dipc_sample_page pages[DIPC_SAMPLE_PAGES];
	unsigned nr_pages;
};

struct dipc_sample;

/*
 * Of the nodes of dipc_targets_find(DIR), or of NODE alone if it is not 0.
 * Nodes that do not answer are asked again later. 0, or DIPC_EXIT_FAIL, said:
 * also if no node answers.
 */
int dipc_sample_open(const char *dir, unsigned node,
		     struct dipc_sample **sample_out);
void dipc_sample_close(struct dipc_sample *sample);
/*
 * Look again. The interval is the time since the last look; the first one is
 * as long as nothing. 0 or DIPC_EXIT_FAIL, not said: nobody answers any more.
 */
int dipc_sample_take(struct dipc_sample *sample);

double dipc_sample_seconds(const struct dipc_sample *sample);
/* Borrowed until the next look, and may be sorted. */
struct dipc_sample_row *dipc_sample_rows(struct dipc_sample *sample,
					 unsigned *nr_out);
/* Bit n - 1: node n has answered. */
uint64_t dipc_sample_nodes(const struct dipc_sample *sample);
/* "1, 3": the nodes of a set, into TEXT, which it returns. */
const char *dipc_sample_nodes_text(uint64_t nodes, char *text, size_t size);

#endif
