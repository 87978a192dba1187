/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wordtable.h - how often each word of a text occurs: a hash table in shared
 * memory, which many processes fill at the same time.
 *
 * It has WORDTABLE_STRIPES parts with a lock each. Each part also has pages of
 * its own. So who holds the lock has the pages to himself, and a page travels
 * between nodes only when the lock does.
 */
#ifndef DIPC_EXAMPLES_WORDTABLE_H
#define DIPC_EXAMPLES_WORDTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WORDTABLE_STRIPES = 16,
	/* Semaphores, each of value 1: one for each stripe and one more. */
	WORDTABLE_SEMS = WORDTABLE_STRIPES + 1,
};

/* A process's view of the table. All pointers go into segments. */
struct wordtable {
	int sems;
	const unsigned char *text;
	struct wordtable_head *head;
	struct wordtable_pool *pool;
	struct wordtable_entry *entries;
};

/* A word in the text; 'A' and 'a' are the same letter. */
struct word {
	const unsigned char *at;
	uint64_t hash;
	uint32_t len;
	uint32_t count;
	uint32_t next; /* for the owner's use */
};

static inline bool is_letter(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static inline unsigned char lower(unsigned char letter)
{
	return letter | 0x20;
}

/* LEN letters each. */
bool same_word(const unsigned char *a, const unsigned char *b, size_t len);

/* The size of the segment for the table of a text of TEXT_SIZE bytes. */
size_t wordtable_bytes(uint32_t text_size);

/*
 * Make the segment at MEM, all zeros as it is when new, an empty table. Then
 * each process, this one included, opens it.
 */
void wordtable_format(void *mem, uint32_t text_size);
void wordtable_open(struct wordtable *t, void *mem, const unsigned char *text,
		    int sems);

uint32_t wordtable_text_size(const struct wordtable *t);

/* The stripe of words with this hash, and its lock. A worker may block here. */
unsigned wordtable_stripe(uint64_t hash);
void wordtable_lock(const struct wordtable *t, unsigned stripe);
void wordtable_unlock(const struct wordtable *t, unsigned stripe);

/* Adds W's count to the word. Called with the lock of W's stripe held. */
void wordtable_add(struct wordtable *t, const struct word *w);

/*
 * Walks all words in no order: sets *AT to a word in lower case or in the
 * text, and *LEN. *POS is 0 at first. Returns the count; 0: that was the last.
 * No lock: nobody may be adding.
 */
uint64_t wordtable_next(const struct wordtable *t, uint32_t *pos,
			const unsigned char **at, uint32_t *len);

#endif
