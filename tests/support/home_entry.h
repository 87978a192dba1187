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

static inline struct home_entry home_entry(const struct dipc_home *home,
					   unsigned page)
{
	return home_entry_of(
		home->region->base +
			page * dipc_entry_size(home->nr_sharer_words),
		home->nr_sharer_words);
}

/* Unlocked; of the sharers the first 64. */
static inline void home_entry_expect(const struct dipc_home *home,
				     unsigned page, unsigned holder,
				     uint64_t sharers)
{
	struct home_entry e = home_entry(home, page);

	assert_int_equal(e.locker, 0);
	assert_int_equal(e.holder, holder);
	assert_int_equal(e.sharers.bits[0], sharers);
}

/* Nobody is named there. */
static inline void home_entry_expect_clear(const struct dipc_home *home,
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
