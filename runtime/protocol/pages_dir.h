/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The directory: what the home keeps of each page, and the operations that
 * change it. docs/design/pages.md, "The word", has the bits and the rules.
 *
 * Most functions come in pairs: the first adds work requests to a transaction
 * on the page, which the caller may put a READ or WRITE of the contents
 * behind, or before; the second looks at what came back and must be called
 * only if the transaction succeeded.
 */
#ifndef DIPC_PROTOCOL_PAGES_DIR_H
#define DIPC_PROTOCOL_PAGES_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/protocol/fabric.h"

struct page;

/* ---- nodes -------------------------------------------------------------- */

#define ENTRY_NODES_MAX 1024u
#define NODESET_WORDS   (ENTRY_NODES_MAX / 64)

static_assert(NODESET_WORDS == DIPC_SHM_SHARER_WORDS_MAX,
	      "a nodeset has room for an entry's sharers");

/* Node n is bit (n - 1) % 64 of word (n - 1) / 64. */
struct nodeset {
	uint64_t bits[NODESET_WORDS];
};

bool dipc_nodeset_is_empty(const struct nodeset *set);
void dipc_nodeset_del(struct nodeset *set, unsigned node);
/* The first node after NODE (0: the first of all); 0: there is none. */
unsigned dipc_nodeset_next(const struct nodeset *set, unsigned node);

/* ---- the narrow word: up to 40 nodes ------------------------------------ */

#define WORD_SHARERS      ((1ull << DIPC_NODES_MAX) - 1)
#define WORD_HOLDER_SHIFT 40u
#define WORD_LOCKER_SHIFT 46u
#define WORD_NODE_MASK    63u
#define WORD_LOST         63u /* as holder: the only current copy is gone */

static_assert(DIPC_NODES_MAX <= WORD_HOLDER_SHIFT, "a bit for every node");
static_assert(DIPC_NODES_MAX < WORD_LOST, "node ids fit beside WORD_LOST");

static inline uint64_t word_bit(unsigned node)
{
	return 1ull << (node - 1);
}

static inline unsigned word_holder(uint64_t word)
{
	return (unsigned)(word >> WORD_HOLDER_SHIFT) & WORD_NODE_MASK;
}

static inline unsigned word_locker(uint64_t word)
{
	return (unsigned)(word >> WORD_LOCKER_SHIFT) & WORD_NODE_MASK;
}

/* WORD with another holder, or locker. */
static inline uint64_t word_set_holder(uint64_t word, unsigned node)
{
	word &= ~((uint64_t)WORD_NODE_MASK << WORD_HOLDER_SHIFT);
	return word | (uint64_t)node << WORD_HOLDER_SHIFT;
}

static inline uint64_t word_set_locker(uint64_t word, unsigned node)
{
	word &= ~((uint64_t)WORD_NODE_MASK << WORD_LOCKER_SHIFT);
	return word | (uint64_t)node << WORD_LOCKER_SHIFT;
}

/* ---- the wide word: up to ENTRY_NODES_MAX -------------------------------- */

/*
 * Behind it come the words of sharers, which nodesets are made of. Arrivals:
 * how many took a copy, or tried to, since the page was last one node's alone.
 */
#define WIDE_ARRIVALS     UINT32_MAX
#define WIDE_HOLDER_SHIFT 32u
#define WIDE_LOCKER_SHIFT 48u
#define WIDE_NODE_MASK    0xffffu
#define WIDE_LOST         0xffffu /* as holder */
/* Above it whoever arrives takes the lock, which sets it back. */
#define WIDE_ARRIVALS_MANY (1u << 31)

static_assert(ENTRY_NODES_MAX < WIDE_LOST, "node ids fit beside WIDE_LOST");

static inline uint64_t wide_word(unsigned locker, unsigned holder,
				 uint32_t arrivals)
{
	return (uint64_t)locker << WIDE_LOCKER_SHIFT |
	       (uint64_t)holder << WIDE_HOLDER_SHIFT | arrivals;
}

/* ---- either ------------------------------------------------------------- */

/* For as many nodes as MAX_NODES; 0: the narrow word. */
unsigned dipc_entry_sharer_words(unsigned max_nodes);
/* Bytes. */
size_t dipc_entry_size(unsigned nr_sharer_words);

#define NODE_LOST UINT16_MAX /* what is the holder of a lost page */

/* Of pg's WORD; 0: none. */
unsigned dipc_entry_holder(struct page *pg, uint64_t word);
unsigned dipc_entry_locker(struct page *pg, uint64_t word);

/* ---- changing it -------------------------------------------------------- */

/* Of a transaction's buffer, for one of these; and for dipc_entry_lock(). */
#define ENTRY_BYTES      16u
#define ENTRY_LOCK_BYTES (ENTRY_BYTES + sizeof(struct nodeset))

/* Tell the directory of a copy; the contents are READ behind it. */
struct entry_arrival {
	const uint64_t *old;
};
void dipc_entry_arrive(struct page *pg, struct dipc_tx *tx,
		       struct entry_arrival *a);
/* True: the contents are good. False: pg->seen is locked, or has a holder. */
bool dipc_entry_arrived(struct page *pg, const struct entry_arrival *a);

/*
 * Lock the page, if it is as we think it is; claim it, to write, if nobody
 * else need be told. A READ behind it brings what the home has.
 */
struct entry_lock {
	const uint64_t *old;
	const uint64_t *sharers; /* wide: READ behind the CAS; NULL: not */
	uint64_t word, next;
	bool is_claim; /* nothing to unlock: we hold the page already */
};
/* Work requests that an arrival or a lock takes at most (to write: a claim). */
unsigned dipc_entry_ops(struct page *pg);
/* May a lock to write be a claim, as far as we know? */
bool dipc_entry_may_claim(struct page *pg);
void dipc_entry_lock(struct page *pg, struct dipc_tx *tx, bool is_write,
		     struct entry_lock *lk);
/* False: pg->seen is news. True: lk->word is what it was. */
bool dipc_entry_locked(struct page *pg, struct entry_lock *lk);
/* With the lock, to write: whom to tell if there is no holder. */
void dipc_entry_others(struct page *pg, const struct entry_lock *lk,
		       struct nodeset *others_out);
/* Unlock: HOLDER, maybe NODE_LOST, is the holder; we have a copy, if WANTS_COPY. */
void dipc_entry_publish(struct page *pg, struct dipc_tx *tx,
			const struct entry_lock *lk, unsigned holder,
			bool wants_copy);
void dipc_entry_published(struct page *pg, const struct entry_lock *lk,
			  unsigned holder, bool wants_copy);

/* The copy is gone: tell the directory. There is no second half. */
void dipc_entry_leave(struct page *pg, struct dipc_tx *tx);
/* The word as it is. */
const uint64_t *dipc_entry_look(struct page *pg, struct dipc_tx *tx);

/* We hold the page and have dropped it; the home is current. */
struct entry_return {
	const uint64_t *old;
	uint64_t guess;
};
void dipc_entry_return(struct page *pg, struct dipc_tx *tx,
		       struct entry_return *r);
/* True: the word does not name us any more. False: pg->seen is news. */
bool dipc_entry_returned(struct page *pg, const struct entry_return *r);

/* ---- at the home -------------------------------------------------------- */

/*
 * Take NODE, dead and fenced, out of NR entries in a row, at ENTRY here and at
 * AT through LINK, which is to ourselves. Fiber. 0, -ENOMEM or -ENOLINK.
 */
int dipc_entries_evict(struct dipc_link *link, struct dipc_remote at,
		       const uint8_t *entry, unsigned nr,
		       unsigned nr_sharer_words, unsigned node);

#endif
