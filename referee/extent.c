/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bit for each unit. Giving back costs the same whatever else is free, and
 * never fails; taking looks at 64 units at a time: no list that tens of
 * thousands of removed sets would make long. First fit, so that small sets
 * gather at the beginning and leave room for large ones.
 */
#include "referee/extent.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

struct dipc_extents {
	uint64_t *taken; /* owned; bits */
	uint64_t start;  /* offset of unit 0 */
	uint64_t unit;
	uint64_t nr;  /* units */
	uint64_t low; /* no unit below is free */
	/* no SKIP_NEED units in a row are, that begin below */
	uint64_t skip, skip_need;
	uint64_t nr_free;
};

int dipc_extents_create(uint64_t start, uint64_t end, uint64_t align,
			struct dipc_extents **extents_out)
{
	struct dipc_extents *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->unit = align;
	x->start = (start + align - 1) / align * align;
	x->nr = end > x->start ? (end - x->start) / align : 0;
	x->nr_free = x->nr;
	x->taken = calloc(x->nr / 64 + 1, sizeof(*x->taken));
	if (!x->taken) {
		free(x);
		return -ENOMEM;
	}
	*extents_out = x;
	return 0;
}

void dipc_extents_destroy(struct dipc_extents *x)
{
	if (!x)
		return;
	free(x->taken);
	free(x);
}

static uint64_t units_of(const struct dipc_extents *x, uint64_t len)
{
	return len / x->unit + (len % x->unit != 0);
}

/* The first unit from AT on, below END, whose bit is IS_TAKEN; END: none. */
static uint64_t find(const struct dipc_extents *x, uint64_t at, uint64_t end,
		     bool is_taken)
{
	while (at < end) {
		uint64_t word = x->taken[at / 64];

		if (!is_taken)
			word = ~word;
		word &= ~0ull << at % 64;
		if (word) {
			at = at / 64 * 64 + (uint64_t)__builtin_ctzll(word);
			return at < end ? at : end;
		}
		at = (at / 64 + 1) * 64;
	}
	return end;
}

/* NEED units in a row between AT and END; END: there are none. */
static uint64_t find_room(const struct dipc_extents *x, uint64_t at,
			  uint64_t end, uint64_t need)
{
	at = find(x, at, end, false);
	while (need <= end - at) {
		uint64_t stop = find(x, at, at + need, true);

		if (stop == at + need)
			return at;
		at = find(x, stop, end, false);
	}
	return end;
}

static void mark(struct dipc_extents *x, uint64_t at, uint64_t nr,
		 bool is_taken)
{
	uint64_t end = at + nr;

	while (at < end) {
		uint64_t bits = ~0ull << at % 64;
		uint64_t stop = (at / 64 + 1) * 64;

		if (stop > end) {
			bits &= ~0ull >> (stop - end);
			stop = end;
		}
		if (is_taken)
			x->taken[at / 64] |= bits;
		else
			x->taken[at / 64] &= ~bits;
		at = stop;
	}
}

uint64_t dipc_extents_take(struct dipc_extents *x, uint64_t len)
{
	uint64_t need = units_of(x, len), at;

	if (!need || need > x->nr_free)
		return 0;
	x->low = find(x, x->low, x->nr, false);
	at = x->low;
	if (need >= x->skip_need && x->skip > at)
		at = x->skip;
	at = find_room(x, at, x->nr, need);
	x->skip_need = need;
	x->skip = at;
	if (at == x->nr)
		return 0;
	mark(x, at, need, true);
	x->nr_free -= need;
	return x->start + at * x->unit;
}

void dipc_extents_give(struct dipc_extents *x, uint64_t off, uint64_t len)
{
	uint64_t nr = units_of(x, len), at = (off - x->start) / x->unit;

	mark(x, at, nr, false);
	if (at < x->low)
		x->low = at;
	/* a run that was too short may now go on through here */
	if (at < x->skip + x->skip_need)
		x->skip = at < x->skip_need ? 0 : at - x->skip_need;
	x->nr_free += nr;
}

uint64_t dipc_extents_free_bytes(const struct dipc_extents *x)
{
	return x->nr_free * x->unit;
}
