/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counters, and which pages have most of the misses. A ranking is kept as the
 * counts grow, never searched for: a page outside it has at most the count of
 * its last rank, and both only grow.
 */
#include "runtime/protocol/pages_private.h"

/* PAGE has now NR. */
static void rank_add(struct dipc_page_rank rank[DIPC_PAGES_RANKED],
		     uint64_t page, uint64_t nr)
{
	unsigned i, last = DIPC_PAGES_RANKED - 1;

	/* whoever is in it has just passed the last one, or itself */
	if (nr <= rank[last].nr)
		return;
	for (i = 0; i < last; i++)
		if (rank[i].nr && rank[i].page == page)
			break;
	for (; i > 0 && rank[i - 1].nr < nr; i--)
		rank[i] = rank[i - 1];
	rank[i] = (struct dipc_page_rank){.page = page, .nr = nr};
}

void dipc_page_count_miss(struct page *pg, bool is_write)
{
	struct dipc_segment *seg = page_segment(pg);

	if (pg->state == PAGE_S)
		seg->counters.nr_upgrades++;
	else if (is_write)
		seg->counters.nr_write_misses++;
	else
		seg->counters.nr_read_misses++;
	if (pg->nr_misses == UINT32_MAX)
		return;
	pg->nr_misses++;
	rank_add(seg->most_missed, page_index(pg), pg->nr_misses);
}

void dipc_page_count_taken(struct page *pg, bool is_modified)
{
	struct dipc_segment *seg = page_segment(pg);

	if (is_modified)
		seg->counters.nr_recalled++;
	else
		seg->counters.nr_invalidated++;
	if (pg->nr_taken == UINT32_MAX)
		return;
	pg->nr_taken++;
	rank_add(seg->most_taken, page_index(pg), pg->nr_taken);
}

void dipc_page_count_hold(struct page *pg, uint64_t ns)
{
	struct dipc_segment *seg = page_segment(pg);

	seg->counters.nr_hold_delays++;
	seg->counters.hold_ns += ns;
}

/* TO += what SEG has. */
static void segment_add(const struct dipc_segment *seg,
			struct dipc_page_counters *to)
{
#define X(name, words) to->name += seg->counters.name;
	DIPC_PAGE_COUNTERS(X)
#undef X
	to->nr_doorbells += seg->wire.nr_doorbells;
	to->nr_ops += seg->wire.nr_ops;
	to->bytes_in += seg->wire.bytes_in;
	to->bytes_out += seg->wire.bytes_out;
}

void dipc_segment_count_over(struct dipc_segment *seg)
{
	segment_add(seg, &seg->pages->over);
}

struct dipc_page_counters dipc_segment_counters(const struct dipc_segment *seg)
{
	struct dipc_page_counters counters = {0};

	segment_add(seg, &counters);
	return counters;
}

const struct dipc_page_rank *
dipc_segment_most_missed(const struct dipc_segment *seg)
{
	return seg->most_missed;
}

const struct dipc_page_rank *
dipc_segment_most_taken(const struct dipc_segment *seg)
{
	return seg->most_taken;
}

/* *AT: the table's row, and the place in it. */
#define AT_SHIFT 20u

struct dipc_segment *dipc_segment_each(struct dipc_pages *pages, uint32_t *at)
{
	uint32_t row = *at >> AT_SHIFT;
	uint32_t place = *at & ((1u << AT_SHIFT) - 1);
	struct dipc_list *pos;

	for (; row < TABLE_SIZE; row++, place = 0) {
		uint32_t i = 0;

		dipc_list_for_each (pos, &pages->table[row]) {
			struct dipc_segment *seg = dipc_container_of(
				pos, struct dipc_segment, node);

			if (i++ < place || seg->is_opening)
				continue;
			*at = row << AT_SHIFT | i;
			return seg;
		}
	}
	return NULL;
}

struct dipc_page_counters dipc_pages_counters(const struct dipc_pages *pages)
{
	struct dipc_page_counters counters = pages->over;
	const struct dipc_list *pos;
	unsigned i;

	for (i = 0; i < TABLE_SIZE; i++)
		dipc_list_for_each (pos, &pages->table[i])
			segment_add(dipc_container_of(pos, struct dipc_segment,
						      node),
				    &counters);
	return counters;
}
