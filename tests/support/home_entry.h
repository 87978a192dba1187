/* SPDX-License-Identifier: BSD-2-Clause */
/* What the directory of a home says of a page, whichever its layout. */
#ifndef DIPC_TESTS_HOME_ENTRY_H
#define DIPC_TESTS_HOME_ENTRY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "runtime/protocol/homes.h"
#include "runtime/protocol/pages_private.h"

struct home_entry {
	unsigned holder, locker; /* 0: none; NODE_LOST */
	struct nodeset sharers;
	uint32_t arrivals; /* wide only */
};

static inline struct home_entry home_entry_of(const uint8_t *entry,
					      unsigned nr_sharer_words)
{
	struct home_entry e = {0};
	uint64_t word;

	memcpy(&word, entry, sizeof(word));
	if (!nr_sharer_words) {
		e.holder = word_holder(word);
		if (e.holder == WORD_LOST)
			e.holder = NODE_LOST;
		e.locker = word_locker(word);
		e.sharers.bits[0] = word & WORD_SHARERS;
		return e;
	}
	e.holder = (unsigned)(word >> WIDE_HOLDER_SHIFT) & WIDE_NODE_MASK;
	e.locker = (unsigned)(word >> WIDE_LOCKER_SHIFT) & WIDE_NODE_MASK;
	e.arrivals = (uint32_t)word;
	memcpy(e.sharers.bits, entry + sizeof(word),
	       nr_sharer_words * sizeof(uint64_t));
	return e;
}

/* Where the pages of a segment are at home. */
struct home_view {
	const struct dipc_arena_shm *shm;
	int32_t id;
	struct dipc_homes *homes[DIPC_NODES_MAX + 1]; /* by node */
};

/* Zeros as long as nobody has asked for them. */
static inline const uint8_t *home_find(const struct home_view *home,
				       unsigned page, bool is_data)
{
	static const uint8_t zeros[DIPC_PAGE_SIZE];
	unsigned node = dipc_shm_home_of(home->shm, page / CHUNK_PAGES);
	const void *entry, *data;

	if (!dipc_homes_look(home->homes[node], home->id, page, &entry, &data))
		return zeros;
	return is_data ? data : entry;
}

static inline const uint64_t *home_data(const struct home_view *home,
					unsigned page)
{
	return (const void *)home_find(home, page, true);
}

static inline struct home_entry home_entry(const struct home_view *home,
					   unsigned page)
{
	return home_entry_of(home_find(home, page, false),
			     home->shm->nr_sharer_words);
}

/* Unlocked; of the sharers the first 64. */
static inline void home_entry_expect(const struct home_view *home,
				     unsigned page, unsigned holder,
				     uint64_t sharers)
{
	struct home_entry e = home_entry(home, page);

	assert_int_equal(e.locker, 0);
	assert_int_equal(e.holder, holder);
	assert_int_equal(e.sharers.bits[0], sharers);
}

/* Nobody is named there. */
static inline void home_entry_expect_clear(const struct home_view *home,
					   uint64_t seed, unsigned page,
					   bool may_be_lost)
{
	struct home_entry e = home_entry(home, page);

	if (may_be_lost && e.holder == NODE_LOST)
		e.holder = 0;
	if (e.holder || e.locker || !dipc_nodeset_is_empty(&e.sharers))
		fail_msg("seed %llu: page %u: left behind: holder %u, locker "
			 "%u, sharers %llx",
			 (unsigned long long)seed, page, e.holder, e.locker,
			 (unsigned long long)e.sharers.bits[0]);
}

#endif
