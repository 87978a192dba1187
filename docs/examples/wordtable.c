/* SPDX-License-Identifier: BSD-2-Clause */
#include "wordtable.h"

#include "common.h"

#include <sys/ipc.h>
#include <sys/sem.h>

enum {
	SEM_POOL = WORDTABLE_STRIPES, /* semaphores 0 to 15: the stripes */
	INLINE_LEN = 16,
	PAGE_ENTRIES = 128,
	PAGE_BUCKETS = EX_PAGE / sizeof(uint32_t),
	HEAD_BUCKETS = 2, /* the head of a stripe takes the room of two */
};

/*
 * The segment: a page with the head, one with the pool, the stripes, each of
 * head->stripe_pages, then pages of entries. A stripe takes such a page from
 * the pool whenever its last one is full.
 */
struct wordtable_head { /* constant: a page that every node may keep */
	uint32_t text_size;
	uint32_t stripe_pages;
	uint32_t nr_buckets; /* of a stripe */
};

struct wordtable_pool {     /* guarded by SEM_POOL, taken last */
	uint32_t next_page; /* page 0 stays unused, so entry 0 means none */
};

struct stripe {        /* guarded by the semaphore of its number */
	uint32_t free; /* the entries from free to end are unused */
	uint32_t end;
	uint32_t bucket[]; /* first entry, or 0 */
};
_Static_assert(sizeof(struct stripe) == HEAD_BUCKETS * sizeof(uint32_t),
	       "stripe head");

struct wordtable_entry { /* a word; guarded by its stripe's semaphore */
	uint64_t count;
	uint32_t next; /* in this bucket; 0: last */
	uint32_t len;
	union {
		unsigned char word[INLINE_LEN]; /* in lower case */
		uint32_t at; /* a longer word: where the text has it */
	};
};
_Static_assert(sizeof(struct wordtable_entry) * PAGE_ENTRIES == EX_PAGE,
	       "entries fill a page");

bool same_word(const unsigned char *a, const unsigned char *b, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (lower(a[i]) != lower(b[i]))
			return false;
	return true;
}

/* --- locks -------------------------------------------------------------- */

static void sem_add(const struct wordtable *t, unsigned sem, short n)
{
	/* SEM_UNDO: a worker that is killed does not lock the others out. */
	struct sembuf op = {(unsigned short)sem, n, SEM_UNDO};

	ex_semop(t->sems, &op, 1);
}

void wordtable_lock(const struct wordtable *t, unsigned stripe)
{
	sem_add(t, stripe, -1);
}

void wordtable_unlock(const struct wordtable *t, unsigned stripe)
{
	sem_add(t, stripe, 1);
}

/* --- layout ------------------------------------------------------------- */

unsigned wordtable_stripe(uint64_t hash)
{
	return hash % WORDTABLE_STRIPES;
}

uint32_t wordtable_text_size(const struct wordtable *t)
{
	return t->head->text_size;
}

/* About one bucket for 64 bytes of text. */
static uint32_t stripe_pages(uint32_t text_size)
{
	return 1 + text_size / (64 * WORDTABLE_STRIPES * PAGE_BUCKETS);
}

static size_t entries_offset(uint32_t pages)
{
	return EX_PAGE * (2 + (size_t)pages * WORDTABLE_STRIPES);
}

/* So many different words fit into SIZE bytes: 26 short ones, and so on. */
static uint64_t max_words(uint64_t size)
{
	uint64_t nr = 0, kinds = 26, len = 1;

	while (size / (len + 1) >= kinds) {
		nr += kinds;
		size -= kinds * (len + 1);
		kinds *= 26;
		len++;
	}
	return nr + size / (len + 1) + 1;
}

/*
 * Room for the worst text: memory that is never touched costs nothing. Each
 * stripe may leave a page unfilled, and page 0 is not used.
 */
size_t wordtable_bytes(uint32_t text_size)
{
	size_t pages = 2 + WORDTABLE_STRIPES +
		       (size_t)max_words(text_size) / PAGE_ENTRIES;

	return entries_offset(stripe_pages(text_size)) + pages * EX_PAGE;
}

void wordtable_format(void *mem, uint32_t text_size)
{
	struct wordtable_head *head = mem;
	struct wordtable_pool *pool = (void *)((char *)mem + EX_PAGE);

	head->text_size = text_size;
	head->stripe_pages = stripe_pages(text_size);
	head->nr_buckets = head->stripe_pages * PAGE_BUCKETS - HEAD_BUCKETS;
	pool->next_page = 1;
}

void wordtable_open(struct wordtable *t, void *mem, const unsigned char *text,
		    int sems)
{
	char *base = mem;

	t->sems = sems;
	t->text = text;
	t->head = mem;
	t->pool = (void *)(base + EX_PAGE);
	t->entries = (void *)(base + entries_offset(t->head->stripe_pages));
}

/* --- words -------------------------------------------------------------- */

static struct stripe *stripe_at(const struct wordtable *t, unsigned s)
{
	char *base = (char *)t->head;

	return (void *)(base +
			EX_PAGE * (2 + (size_t)t->head->stripe_pages * s));
}

/* The next unused entry of a stripe. Called with the stripe's lock held. */
static uint32_t entry_take(struct wordtable *t, struct stripe *st)
{
	if (st->free == st->end) {
		sem_add(t, SEM_POOL, -1);
		st->free = t->pool->next_page++ * PAGE_ENTRIES;
		sem_add(t, SEM_POOL, 1);
		st->end = st->free + PAGE_ENTRIES;
	}
	return st->free++;
}

static const unsigned char *entry_word(const struct wordtable *t,
				       const struct wordtable_entry *e)
{
	return e->len <= INLINE_LEN ? e->word : t->text + e->at;
}

void wordtable_add(struct wordtable *t, const struct word *w)
{
	struct stripe *st = stripe_at(t, wordtable_stripe(w->hash));
	uint64_t b = w->hash / WORDTABLE_STRIPES % t->head->nr_buckets;
	struct wordtable_entry *e;
	uint32_t n, i;

	for (n = st->bucket[b]; n; n = e->next) {
		e = &t->entries[n];
		if (e->len == w->len &&
		    same_word(entry_word(t, e), w->at, w->len)) {
			e->count += w->count;
			return;
		}
	}

	n = entry_take(t, st);
	e = &t->entries[n];
	e->count = w->count;
	e->len = w->len;
	if (w->len > INLINE_LEN)
		e->at = (uint32_t)(w->at - t->text);
	else
		for (i = 0; i < w->len; i++)
			e->word[i] = lower(w->at[i]);
	e->next = st->bucket[b];
	st->bucket[b] = n;
}

uint64_t wordtable_next(const struct wordtable *t, uint32_t *pos,
			const unsigned char **at, uint32_t *len)
{
	uint32_t end = t->pool->next_page * PAGE_ENTRIES;
	uint32_t n = *pos ? *pos : PAGE_ENTRIES;

	while (n < end && t->entries[n].count == 0)
		n++;
	if (n == end)
		return 0;

	*pos = n + 1;
	*at = entry_word(t, &t->entries[n]);
	*len = t->entries[n].len;
	return t->entries[n].count;
}
