/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The history of each location, checked as such when all is over: could it be
 * that every access took effect at one moment between its call and its return,
 * each read giving what was written last? Values are unique, which makes the
 * question easy (Gibbons and Korach, "Testing shared memories", 1997): the
 * accesses of one value form a zone in time; no read may return before its
 * value's write was called, and zones must not be in each other's way.
 */
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define ENTRIES_MAX 20000u

struct entry {
	uint64_t location, value;
	uint64_t called, returned;
	enum sim_access kind;
};

/* The accesses of one value: [min over returns, max over calls]. */
struct zone {
	uint64_t location, value;
	uint64_t first_return, last_call;
	uint64_t write_call; /* 0: the value was there from the start */
	unsigned nr_writes;
};

static struct entry entries[ENTRIES_MAX];
static struct zone zones[ENTRIES_MAX];
static unsigned nr_entries;

void sim_history_start(void)
{
	nr_entries = 0;
}

void sim_history_add(const struct sim_segment *s, unsigned page, unsigned word,
		     enum sim_access kind, uint64_t value, uint64_t called,
		     uint64_t returned)
{
	if (nr_entries == ENTRIES_MAX)
		sim_fail("the history is too long");
	entries[nr_entries++] = (struct entry){
		.location = (uint64_t)s->id << 16 | page << 4 | word,
		.kind = kind,
		.value = value,
		.called = called,
		.returned = returned,
	};
}

static int entry_compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->location != y->location)
		return x->location < y->location ? -1 : 1;
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return 0;
}

static unsigned zones_make(void)
{
	unsigned i, nr = 0;

	qsort(entries, nr_entries, sizeof(entries[0]), entry_compare);
	for (i = 0; i < nr_entries; i++) {
		const struct entry *e = &entries[i];
		struct zone *z = &zones[nr ? nr - 1 : 0];

		if (!nr || z->location != e->location || z->value != e->value) {
			z = &zones[nr++];
			*z = (struct zone){.location = e->location,
					   .value = e->value,
					   .first_return = UINT64_MAX};
			/* zeros are written before anything is called */
			if (!e->value)
				z->first_return = 0;
		}
		if (e->returned < z->first_return)
			z->first_return = e->returned;
		if (e->called > z->last_call)
			z->last_call = e->called;
		if (e->kind == SIM_WRITE) {
			z->nr_writes++;
			z->write_call = e->called;
		}
	}
	return nr;
}

static void history_bad(const struct zone *z, const char *what)
{
	sim_fail("history of location 0x%llx, value 0x%llx: %s",
		 (unsigned long long)z->location, (unsigned long long)z->value,
		 what);
}

/* Forward: it must have been the value from first_return to last_call. */
static bool zone_is_forward(const struct zone *z)
{
	return z->first_return < z->last_call;
}

static void zones_check_pair(const struct zone *a, const struct zone *b)
{
	uint64_t b_from = zone_is_forward(b) ? b->first_return : b->last_call;
	uint64_t b_to = zone_is_forward(b) ? b->last_call : b->first_return;

	if (!zone_is_forward(a))
		return;
	if (zone_is_forward(b) && a->first_return < b_to &&
	    b_from < a->last_call)
		history_bad(a, "it came back after another had replaced it");
	if (!zone_is_forward(b) && a->first_return < b_from &&
	    b_to < a->last_call)
		history_bad(a, "it was read on both sides of another's time");
}

void sim_history_check(void)
{
	unsigned i, k, from, nr = zones_make();

	for (i = 0; i < nr_entries; i++) {
		const struct entry *e = &entries[i];
		sim_hash(e->value ^ e->returned);
	}
	for (i = 0; i < nr; i++) {
		const struct zone *z = &zones[i];

		if (z->nr_writes > 1)
			history_bad(z, "written twice: an update is lost");
		if (z->value && !z->nr_writes)
			history_bad(z, "nobody wrote it");
		if (z->first_return < z->write_call)
			history_bad(z, "read before it was written");
	}
	for (from = 0; from < nr; from = i) {
		for (i = from;
		     i < nr && zones[i].location == zones[from].location; i++)
			for (k = from; k < i; k++) {
				zones_check_pair(&zones[i], &zones[k]);
				zones_check_pair(&zones[k], &zones[i]);
			}
	}
}
