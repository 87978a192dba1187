/* SPDX-License-Identifier: BSD-2-Clause */
/* The directory's operations: see pages_dir.h. */
#include "runtime/protocol/pages_dir.h"

#include <stdatomic.h>
#include <string.h>

#include "runtime/protocol/pages_private.h"

/* ---- nodes -------------------------------------------------------------- */

bool dipc_nodeset_is_empty(const struct nodeset *set)
{
	return dipc_nodeset_next(set, 0) == 0;
}

void dipc_nodeset_del(struct nodeset *set, unsigned node)
{
	set->bits[(node - 1) / 64] &= ~(1ull << (node - 1) % 64);
}

unsigned dipc_nodeset_next(const struct nodeset *set, unsigned node)
{
	unsigned i = node / 64;
	uint64_t bits;

	if (i >= NODESET_WORDS)
		return 0;
	bits = set->bits[i] & ~0ull << node % 64;
	while (!bits) {
		if (++i == NODESET_WORDS)
			return 0;
		bits = set->bits[i];
	}
	return i * 64 + (unsigned)__builtin_ctzll(bits) + 1;
}

/* ---- layouts ------------------------------------------------------------ */

unsigned dipc_entry_sharer_words(unsigned max_nodes)
{
	return max_nodes <= WORD_HOLDER_SHIFT ? 0 : (max_nodes + 63) / 64;
}

size_t dipc_entry_size(unsigned nr_sharer_words)
{
	return (1 + nr_sharer_words) * sizeof(uint64_t);
}

static unsigned page_me(struct page *pg)
{
	return page_segment(pg)->pages->node;
}

static bool page_is_wide(struct page *pg)
{
	return page_segment(pg)->shm.nr_sharer_words != 0;
}

unsigned dipc_entry_holder(struct page *pg, uint64_t word)
{
	unsigned holder = word_holder(word);

	if (page_is_wide(pg))
		return (unsigned)(word >> WIDE_HOLDER_SHIFT) & WIDE_NODE_MASK;
	return holder == WORD_LOST ? NODE_LOST : holder;
}

unsigned dipc_entry_locker(struct page *pg, uint64_t word)
{
	if (page_is_wide(pg))
		return (unsigned)(word >> WIDE_LOCKER_SHIFT) & WIDE_NODE_MASK;
	return word_locker(word);
}

/* ---- the wide entry's parts --------------------------------------------- */

static_assert(NODE_LOST == WIDE_LOST, "needs no translation");

static uint64_t wide_bit(unsigned node)
{
	return 1ull << (node - 1) % 64;
}

/* The word of sharers that NODE's bit is in; ENTRY: the first word. */
static struct dipc_remote wide_sharer_at(struct dipc_remote entry,
					 unsigned node)
{
	entry.addr += (1 + (node - 1) / 64) * sizeof(uint64_t);
	return entry;
}

static void wide_set_bit(struct page *pg, struct dipc_tx *tx)
{
	unsigned me = page_me(pg);

	if (pg->has_bit)
		return;
	dipc_tx_faa(tx, wide_sharer_at(dipc_page_word_at(pg), me),
		    wide_bit(me));
	pg->has_bit = true;
}

static void wide_clear_bit(struct page *pg, struct dipc_tx *tx)
{
	unsigned me = page_me(pg);

	dipc_tx_faa(tx, wide_sharer_at(dipc_page_word_at(pg), me),
		    pg->has_bit ? -wide_bit(me) : 0);
	pg->has_bit = false;
}

/* ARR-2: nobody else has arrived. */
static bool wide_is_ours(const struct page *pg, uint64_t word)
{
	return word == 0 || (word == 1 && pg->state == PAGE_S && pg->is_first);
}

static void wide_lock(struct page *pg, struct dipc_tx *tx, bool is_write,
		      struct entry_lock *lk)
{
	struct dipc_remote at = dipc_page_word_at(pg);
	unsigned me = page_me(pg), holder;

	lk->word = pg->seen & ~((uint64_t)WIDE_NODE_MASK << WIDE_LOCKER_SHIFT);
	lk->is_claim = is_write && wide_is_ours(pg, lk->word);
	lk->next = lk->is_claim ? wide_word(0, me, 0)
				: lk->word | wide_word(me, 0, 0);
	wide_set_bit(pg, tx);
	lk->old = dipc_tx_cas(tx, at, lk->word, lk->next);
	holder = dipc_entry_holder(pg, lk->word);
	lk->sharers = NULL;
	if (lk->is_claim || !is_write || holder)
		return;
	/* behind the CAS: who has a copy was there before it (race 7w) */
	at.addr += sizeof(uint64_t);
	lk->sharers = dipc_tx_read(tx, at,
				   page_segment(pg)->shm.nr_sharer_words *
					   sizeof(uint64_t));
}

/* What the unlocked word says of arrivals, but for those to come. */
static uint32_t wide_arrivals_of(unsigned holder)
{
	/* without a holder: two, so that neither takes the page for its own */
	return holder ? 0 : 2;
}

static uint64_t wide_delta(struct page *pg, const struct entry_lock *lk,
			   unsigned holder)
{
	return wide_word(0, holder, wide_arrivals_of(holder)) - lk->word -
	       wide_word(page_me(pg), 0, 0);
}

/* ---- sharers ------------------------------------------------------------ */

/* What the word may be now, unlocked. Our own bit we know: rule A. */
static uint64_t page_guess(struct page *pg)
{
	uint64_t bit = word_bit(page_me(pg));
	uint64_t word = word_set_locker(pg->seen, 0) & ~bit;

	return pg->has_bit ? word | bit : word;
}

void dipc_entry_arrive(struct page *pg, struct dipc_tx *tx,
		       struct entry_arrival *a)
{
	if (page_is_wide(pg)) {
		/* the bit first: who is counted can be found (ARR-1) */
		wide_set_bit(pg, tx);
		a->old = dipc_tx_faa(tx, dipc_page_word_at(pg), 1);
		return;
	}
	a->old = dipc_tx_faa(tx, dipc_page_word_at(pg),
			     pg->has_bit ? 0 : word_bit(page_me(pg)));
	pg->has_bit = true;
}

bool dipc_entry_arrived(struct page *pg, const struct entry_arrival *a)
{
	if (page_is_wide(pg)) {
		pg->seen = *a->old + 1;
		pg->is_first = pg->seen == 1;
		return pg->seen < WIDE_ARRIVALS_MANY;
	}
	pg->seen = *a->old | word_bit(page_me(pg));
	return !word_locker(pg->seen) && !word_holder(pg->seen);
}

void dipc_entry_leave(struct page *pg, struct dipc_tx *tx)
{
	uint64_t bit = word_bit(page_me(pg));

	if (page_is_wide(pg)) {
		wide_clear_bit(pg, tx);
		return;
	}
	dipc_tx_faa(tx, dipc_page_word_at(pg), pg->has_bit ? -bit : 0);
	pg->has_bit = false;
	pg->seen &= ~bit;
}

const uint64_t *dipc_entry_look(struct page *pg, struct dipc_tx *tx)
{
	return dipc_tx_faa(tx, dipc_page_word_at(pg), 0);
}

/* ---- the lock ----------------------------------------------------------- */

unsigned dipc_entry_ops(struct page *pg)
{
	return page_is_wide(pg) ? 2 : 1;
}

bool dipc_entry_may_claim(struct page *pg)
{
	if (page_is_wide(pg))
		return wide_is_ours(pg, pg->seen & ~((uint64_t)WIDE_NODE_MASK
						     << WIDE_LOCKER_SHIFT));
	return !(page_guess(pg) & ~word_bit(page_me(pg)));
}

void dipc_entry_lock(struct page *pg, struct dipc_tx *tx, bool is_write,
		     struct entry_lock *lk)
{
	unsigned me = page_me(pg);

	if (page_is_wide(pg)) {
		wide_lock(pg, tx, is_write, lk);
		return;
	}
	lk->sharers = NULL;
	lk->word = page_guess(pg);
	lk->is_claim = is_write && dipc_entry_may_claim(pg);
	lk->next = lk->is_claim ? word_set_holder(word_bit(me), me)
				: word_set_locker(lk->word, me);
	lk->old = dipc_tx_cas(tx, dipc_page_word_at(pg), lk->word, lk->next);
}

bool dipc_entry_locked(struct page *pg, struct entry_lock *lk)
{
	if (*lk->old != lk->word) {
		pg->seen = *lk->old;
		return false;
	}
	pg->seen = lk->next;
	if (lk->is_claim) {
		/* not before: a CAS that fails names nobody, and the word may
		   name a dead node that had our number */
		pg->was_holder = true;
		pg->has_bit = true;
		pg->is_first = false;
	}
	return true;
}

void dipc_entry_others(struct page *pg, const struct entry_lock *lk,
		       struct nodeset *others_out)
{
	unsigned i, me = page_me(pg);

	memset(others_out, 0, sizeof(*others_out));
	if (page_is_wide(pg)) {
		for (i = 0; i < page_segment(pg)->shm.nr_sharer_words; i++)
			others_out->bits[i] = lk->sharers[i];
	} else {
		others_out->bits[0] = lk->word & WORD_SHARERS;
	}
	dipc_nodeset_del(others_out, me);
}

void dipc_entry_publish(struct page *pg, struct dipc_tx *tx,
			const struct entry_lock *lk, unsigned holder,
			bool wants_copy)
{
	unsigned me = page_me(pg);
	uint64_t delta;

	if (page_is_wide(pg)) {
		dipc_tx_faa(tx, dipc_page_word_at(pg),
			    wide_delta(pg, lk, holder));
		return;
	}
	if (holder == NODE_LOST)
		holder = WORD_LOST;
	delta = ((uint64_t)holder - word_holder(lk->word)) << WORD_HOLDER_SHIFT;
	delta -= (uint64_t)me << WORD_LOCKER_SHIFT;
	if (wants_copy && !pg->has_bit)
		delta += word_bit(me);
	dipc_tx_faa(tx, dipc_page_word_at(pg), delta);
}

void dipc_entry_published(struct page *pg, const struct entry_lock *lk,
			  unsigned holder, bool wants_copy)
{
	unsigned me = page_me(pg), was = word_holder(lk->word);

	pg->was_holder = pg->was_holder || holder == me;
	if (page_is_wide(pg)) {
		pg->is_first = false;
		pg->seen = wide_word(0, holder, wide_arrivals_of(holder));
		return;
	}
	pg->has_bit = pg->has_bit || wants_copy;
	if (holder == NODE_LOST)
		holder = WORD_LOST;
	pg->seen = word_set_holder(word_set_locker(pg->seen, 0), holder);
	/* whom we told to drop his copy has taken his bit back */
	if (holder == me && !was)
		pg->seen &= ~WORD_SHARERS;
	else if (holder == me && was != me)
		pg->seen &= ~word_bit(was);
}

/* ---- giving back -------------------------------------------------------- */

void dipc_entry_return(struct page *pg, struct dipc_tx *tx,
		       struct entry_return *r)
{
	unsigned me = page_me(pg);

	if (page_is_wide(pg)) {
		/* nobody else has a copy (INV-4): who comes counts from 0 */
		r->guess = wide_word(0, me, (uint32_t)pg->seen);
		r->old = dipc_tx_cas(tx, dipc_page_word_at(pg), r->guess, 0);
		if (pg->has_bit)
			wide_clear_bit(pg, tx);
		return;
	}
	r->guess = word_set_holder(page_guess(pg), me);
	r->old = dipc_tx_cas(tx, dipc_page_word_at(pg), r->guess,
			     word_set_holder(r->guess & ~word_bit(me), 0));
}

bool dipc_entry_returned(struct page *pg, const struct entry_return *r)
{
	if (*r->old == r->guess) {
		if (page_is_wide(pg))
			pg->seen = 0;
		else
			pg->has_bit = false;
		return true;
	}
	/* recalled meanwhile, if it does not name us */
	if (dipc_entry_holder(pg, *r->old) != page_me(pg))
		return true;
	pg->seen = *r->old;
	return false;
}

/* ---- at the home -------------------------------------------------------- */

/* WORD without NODE; as it is if recovery leaves it to somebody else. */
static uint64_t word_evict(uint64_t word, unsigned node)
{
	unsigned locker = word_locker(word);

	word &= ~word_bit(node);
	if (locker == node)
		word = word_set_locker(word, 0);
	/* rule B: another's lock means that he will find the holder dead */
	if (word_holder(word) == node && (!locker || locker == node))
		word = word_set_holder(word, WORD_LOST);
	return word;
}

static uint64_t wide_evict(uint64_t word, unsigned node)
{
	unsigned locker = (unsigned)(word >> WIDE_LOCKER_SHIFT);
	unsigned holder =
		(unsigned)(word >> WIDE_HOLDER_SHIFT) & WIDE_NODE_MASK;

	if (locker == node)
		locker = 0;
	if (holder == node && !locker)
		holder = WIDE_LOST;
	return wide_word(locker, holder, (uint32_t)word);
}

/*
 * EVICT_1 relaxed: a guess for the CAS, or a bit that only a dead node could
 * change. It cannot miss the node, which is fenced: its fields only go away.
 */
static uint64_t entry_load(const uint8_t *at)
{
	return atomic_load_explicit((const _Atomic uint64_t *)(const void *)at,
				    memory_order_relaxed);
}

static uint64_t entry_next(uint64_t word, unsigned nr_sharer_words,
			   unsigned node)
{
	return nr_sharer_words ? wide_evict(word, node)
			       : word_evict(word, node);
}

/* The word alone, whoever else is at work on it. Fiber. */
static int entry_evict_word(struct dipc_link *link, struct dipc_remote at,
			    uint64_t word, unsigned nr_sharer_words,
			    unsigned node)
{
	const uint64_t *old;
	struct dipc_tx tx;
	uint64_t next, found;
	int ret;

	for (;;) {
		next = entry_next(word, nr_sharer_words, node);
		if (next == word)
			return 0;
		ret = dipc_tx_begin(&tx, link, ENTRY_BYTES);
		if (ret)
			return ret;
		old = dipc_tx_cas(&tx, at, word, next);
		ret = dipc_tx_run(&tx);
		found = ret ? 0 : *old;
		dipc_tx_end(&tx);
		if (ret || found == word)
			return ret;
		word = found;
	}
}

#define EVICT_BATCH DIPC_TX_MAX

/* Atomics of several entries in one doorbell; the fiber's, on its stack. */
struct evict {
	struct dipc_tx tx;
	unsigned nr; /* CASes of words */
	struct dipc_remote at[EVICT_BATCH];
	uint64_t word[EVICT_BATCH];
	const uint64_t *old[EVICT_BATCH];
};

static void evict_add(struct evict *e, struct dipc_remote at,
		      const uint8_t *entry, unsigned nr_sharer_words,
		      unsigned node)
{
	uint64_t word = entry_load(entry);
	uint64_t next = entry_next(word, nr_sharer_words, node);
	struct dipc_remote sharer;

	if (nr_sharer_words) {
		sharer = wide_sharer_at(at, node);
		if (entry_load(entry + (sharer.addr - at.addr)) &
		    wide_bit(node))
			dipc_tx_faa(&e->tx, sharer, -wide_bit(node));
	}
	if (next == word)
		return;
	e->at[e->nr] = at;
	e->word[e->nr] = word;
	e->old[e->nr] = dipc_tx_cas(&e->tx, at, word, next);
	e->nr++;
}

/* Fiber. Carry out what was added; what was too late is done one by one. */
static int evict_flush(struct evict *e, struct dipc_link *link,
		       unsigned nr_sharer_words, unsigned node)
{
	uint64_t found[EVICT_BATCH];
	unsigned i, nr = e->nr;
	int ret = e->tx.nr ? dipc_tx_run(&e->tx) : 0;

	for (i = 0; i < nr && ret == 0; i++)
		found[i] = *e->old[i];
	dipc_tx_end(&e->tx);
	for (i = 0; i < nr && ret == 0; i++)
		if (found[i] != e->word[i])
			ret = entry_evict_word(link, e->at[i], found[i],
					       nr_sharer_words, node);
	return ret;
}

int dipc_entries_evict(struct dipc_link *link, struct dipc_remote at,
		       const uint8_t *entry, unsigned nr,
		       unsigned nr_sharer_words, unsigned node)
{
	size_t size = dipc_entry_size(nr_sharer_words);
	struct evict e;
	int ret = 0;

	/* our own WRITEs aside, only atomics change it: through a link, too */
	while (nr && ret == 0) {
		ret = dipc_tx_begin(&e.tx, link,
				    EVICT_BATCH * sizeof(uint64_t));
		if (ret)
			return ret;
		e.nr = 0;
		/* room for a bit and a word */
		for (; nr && dipc_tx_room(&e.tx) >= 2; nr--) {
			evict_add(&e, at, entry, nr_sharer_words, node);
			at.addr += size;
			entry += size;
		}
		ret = evict_flush(&e, link, nr_sharer_words, node);
	}
	return ret;
}
