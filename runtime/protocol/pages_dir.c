/* SPDX-License-Identifier: BSD-2-Clause */
/* The directory's operations: see pages_dir.h. */
#include "runtime/protocol/pages_dir.h"

#include <stdatomic.h>

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

/* ---- sharers ------------------------------------------------------------ */

static unsigned page_me(struct page *pg)
{
	return page_segment(pg)->pages->node;
}

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
	a->old = dipc_tx_faa(tx, dipc_page_word_at(pg),
			     pg->has_bit ? 0 : word_bit(page_me(pg)));
	pg->has_bit = true;
}

bool dipc_entry_arrived(struct page *pg, const struct entry_arrival *a)
{
	pg->seen = *a->old | word_bit(page_me(pg));
	return !word_locker(pg->seen) && !word_holder(pg->seen);
}

void dipc_entry_leave(struct page *pg, struct dipc_tx *tx)
{
	uint64_t bit = word_bit(page_me(pg));

	dipc_tx_faa(tx, dipc_page_word_at(pg), pg->has_bit ? -bit : 0);
	pg->has_bit = false;
	pg->seen &= ~bit;
}

const uint64_t *dipc_entry_look(struct page *pg, struct dipc_tx *tx)
{
	return dipc_tx_faa(tx, dipc_page_word_at(pg), 0);
}

/* ---- the lock ----------------------------------------------------------- */

void dipc_entry_lock(struct page *pg, struct dipc_tx *tx, bool is_write,
		     struct entry_lock *lk)
{
	unsigned me = page_me(pg);

	lk->word = page_guess(pg);
	lk->is_claim = is_write && !(lk->word & ~word_bit(me));
	if (lk->is_claim) {
		lk->next = word_set_holder(word_bit(me), me);
		pg->was_holder = true;
	} else {
		lk->next = word_set_locker(lk->word, me);
	}
	lk->old = dipc_tx_cas(tx, dipc_page_word_at(pg), lk->word, lk->next);
}

bool dipc_entry_locked(struct page *pg, struct entry_lock *lk)
{
	if (*lk->old != lk->word) {
		pg->seen = *lk->old;
		return false;
	}
	pg->seen = lk->next;
	if (lk->is_claim)
		pg->has_bit = true;
	return true;
}

void dipc_entry_others(struct page *pg, const struct entry_lock *lk,
		       struct nodeset *others_out)
{
	others_out->bits[0] = lk->word & WORD_SHARERS & ~word_bit(page_me(pg));
}

void dipc_entry_publish(struct page *pg, struct dipc_tx *tx,
			const struct entry_lock *lk, unsigned holder,
			bool wants_copy)
{
	unsigned me = page_me(pg);
	uint64_t delta;

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

	pg->has_bit = pg->has_bit || wants_copy;
	pg->was_holder = pg->was_holder || holder == me;
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

	r->guess = word_set_holder(page_guess(pg), me);
	r->old = dipc_tx_cas(tx, dipc_page_word_at(pg), r->guess,
			     word_set_holder(r->guess & ~word_bit(me), 0));
}

bool dipc_entry_returned(struct page *pg, const struct entry_return *r)
{
	if (*r->old == r->guess) {
		pg->has_bit = false;
		return true;
	}
	/* recalled meanwhile, if it does not name us */
	if (word_holder(*r->old) != page_me(pg))
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

int dipc_entry_evict(struct dipc_link *link, struct dipc_remote at,
		     const uint8_t *entry, unsigned node)
{
	const uint64_t *old;
	struct dipc_tx tx;
	uint64_t word, found;
	int ret;

	/*
	 * EVICT_1 relaxed: a guess for the CAS. It cannot miss NODE, which is
	 * fenced: its fields only go away.
	 */
	word = atomic_load_explicit(
		(const _Atomic uint64_t *)(const void *)entry,
		memory_order_relaxed);
	/* our own WRITEs aside, only atomics change it: through a link, too */
	while (word_evict(word, node) != word) {
		ret = dipc_tx_begin(&tx, link, ENTRY_BYTES);
		if (ret)
			return ret;
		old = dipc_tx_cas(&tx, at, word, word_evict(word, node));
		ret = dipc_tx_run(&tx);
		found = ret ? 0 : *old;
		dipc_tx_end(&tx);
		if (ret)
			return ret;
		if (found == word)
			break;
		word = found;
	}
	return 0;
}
