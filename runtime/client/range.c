/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two copies of a sorted table. Locking: writers have the connection's lock.
 *
 * Memory ordering, RANGE_LATCH: readers use the copy that `latch` names by its
 * lowest bit, and start again if `latch` has moved meanwhile. A writer moves
 * it, changes the copy that nobody uses now, moves it again and changes the
 * other. So a handler that interrupts the writer reads the whole other copy
 * and waits for nobody. Fields are atomics, since a late reader may still look
 * at a copy that is being changed; what it read is then thrown away.
 *
 * Tables grow and are never freed, for the same late reader; their sizes
 * double, so what is lost is as much as is used.
 */
#include "runtime/client/range.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "runtime/base/sys.h"
#include "runtime/client/away.h"

#define FIRST_ROOM 32u

enum word {
	WORD_START,
	WORD_END,
	WORD_OFFSET,
	WORD_SIZE,
	WORD_NAME, /* id | attach << 32 */
	WORD_READONLY,
	WORD_DEV,
	WORD_INO,
	NR_WORDS,
};

struct table {
	_Atomic unsigned nr;
	unsigned room;
	_Atomic uint64_t (*entry)[NR_WORDS];
};

static _Atomic uint64_t first_entries[2][FIRST_ROOM][NR_WORDS];
static struct table first_table[2] = {
	{.room = FIRST_ROOM, .entry = first_entries[0]},
	{.room = FIRST_ROOM, .entry = first_entries[1]},
};
static struct table *_Atomic copy[2] = {&first_table[0], &first_table[1]};
static _Atomic unsigned latch; /* RANGE_LATCH */
/* All ranges lie between them; wider for an instant is harmless. */
_Atomic uintptr_t dipc_range_low = UINTPTR_MAX, dipc_range_high;

/* The writer's own, sorted by start. */
static struct dipc_range first_ranges[FIRST_ROOM];
static struct dipc_range *ranges = first_ranges;
static unsigned nr_ranges, room = FIRST_ROOM;

/* ---- asking ------------------------------------------------------------- */

static uint64_t word_get(const struct table *t, unsigned i, enum word word)
{
	return atomic_load_explicit(&t->entry[i][word], memory_order_relaxed);
}

/* The first entry of T that ends above ADDR; its `nr` if none does. */
static unsigned table_search(const struct table *t, unsigned nr, uintptr_t addr)
{
	unsigned first = 0;

	while (nr) {
		unsigned half = nr / 2;

		if (word_get(t, first + half, WORD_END) > addr) {
			nr = half;
		} else {
			first += half + 1;
			nr -= half + 1;
		}
	}
	return first;
}

static int table_next(const struct table *t, uintptr_t addr,
		      struct dipc_range *range)
{
	unsigned nr = atomic_load_explicit(&t->nr, memory_order_relaxed);
	unsigned i = table_search(t, nr, addr);
	uint64_t name;

	if (i == nr)
		return -ENOENT;
	name = word_get(t, i, WORD_NAME);
	range->start = (char *)(uintptr_t)word_get(t, i, WORD_START);
	range->len = word_get(t, i, WORD_END) - (uintptr_t)range->start;
	range->offset = word_get(t, i, WORD_OFFSET);
	range->segment_size = word_get(t, i, WORD_SIZE);
	range->id = (int32_t)(uint32_t)name;
	range->attach = (uint32_t)(name >> 32);
	range->is_readonly = word_get(t, i, WORD_READONLY);
	range->dev = word_get(t, i, WORD_DEV);
	range->ino = word_get(t, i, WORD_INO);
	return 0;
}

bool dipc_range_any(void)
{
	return atomic_load_explicit(&dipc_range_high, memory_order_relaxed) !=
	       0;
}

int dipc_range_next(const void *addr, struct dipc_range *range_out)
{
	struct dipc_range range;
	unsigned seen;
	int ret;

	if ((uintptr_t)addr >=
	    atomic_load_explicit(&dipc_range_high, memory_order_relaxed))
		return -ENOENT;
	do { /* RANGE_LATCH */
		seen = atomic_load_explicit(&latch, memory_order_acquire);
		ret = table_next(atomic_load_explicit(&copy[seen & 1],
						      memory_order_acquire),
				 (uintptr_t)addr, &range);
		atomic_thread_fence(memory_order_acquire);
	} while (atomic_load_explicit(&latch, memory_order_relaxed) != seen);
	if (ret == 0)
		*range_out = range;
	return ret;
}

bool dipc_range_overlaps(const void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr;
	uintptr_t end = start + len < start ? UINTPTR_MAX : start + len;
	struct dipc_range range;

	if (start >= atomic_load_explicit(&dipc_range_high,
					  memory_order_relaxed) ||
	    end <= atomic_load_explicit(&dipc_range_low, memory_order_relaxed))
		return false;
	return dipc_range_next(addr, &range) == 0 &&
	       (uintptr_t)range.start < end;
}

int dipc_range_find(const void *addr, struct dipc_range *range_out)
{
	uintptr_t at = (uintptr_t)addr;
	struct dipc_range range;

	if (at >= atomic_load_explicit(&dipc_range_high,
				       memory_order_relaxed) ||
	    at < atomic_load_explicit(&dipc_range_low, memory_order_relaxed))
		return -ENOENT;
	if (dipc_range_next(addr, &range) || (uintptr_t)range.start > at)
		return -ENOENT;
	range.offset += at - (uintptr_t)range.start;
	*range_out = range;
	return 0;
}

/* ---- publishing --------------------------------------------------------- */

static void word_set(struct table *t, unsigned i, enum word word,
		     uint64_t value)
{
	atomic_store_explicit(&t->entry[i][word], value, memory_order_relaxed);
}

static void table_fill(struct table *t)
{
	unsigned i;

	for (i = 0; i < nr_ranges; i++) {
		const struct dipc_range *r = &ranges[i];

		word_set(t, i, WORD_START, (uintptr_t)r->start);
		word_set(t, i, WORD_END, (uintptr_t)r->start + r->len);
		word_set(t, i, WORD_OFFSET, r->offset);
		word_set(t, i, WORD_SIZE, r->segment_size);
		word_set(t, i, WORD_NAME,
			 (uint32_t)r->id | (uint64_t)r->attach << 32);
		word_set(t, i, WORD_READONLY, r->is_readonly);
		word_set(t, i, WORD_DEV, r->dev);
		word_set(t, i, WORD_INO, r->ino);
	}
	atomic_store_explicit(&t->nr, nr_ranges, memory_order_relaxed);
}

/* From now on readers use the other copy. RANGE_LATCH */
static void latch_move(void)
{
	unsigned now = atomic_load_explicit(&latch, memory_order_relaxed);

	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&latch, now + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void ranges_publish(void)
{
	uintptr_t new_low = UINTPTR_MAX, new_high = 0;
	unsigned i;

	if (nr_ranges) {
		const struct dipc_range *last = &ranges[nr_ranges - 1];

		new_low = (uintptr_t)ranges[0].start;
		new_high = (uintptr_t)last->start + last->len;
	}
	/* wider first, narrower last */
	if (new_low <
	    atomic_load_explicit(&dipc_range_low, memory_order_relaxed))
		atomic_store_explicit(&dipc_range_low, new_low,
				      memory_order_relaxed);
	if (new_high >
	    atomic_load_explicit(&dipc_range_high, memory_order_relaxed))
		atomic_store_explicit(&dipc_range_high, new_high,
				      memory_order_relaxed);
	for (i = 0; i < 2; i++) {
		latch_move(); /* away from copy i: it rests at 0 */
		table_fill(
			atomic_load_explicit(&copy[i], memory_order_relaxed));
	}
	atomic_store_explicit(&dipc_range_low, new_low, memory_order_relaxed);
	atomic_store_explicit(&dipc_range_high, new_high, memory_order_relaxed);
}

/* ---- room --------------------------------------------------------------- */

/* Not through libc's symbol: that is ours, and asks us. */
static void *memory_new(size_t bytes)
{
	void *map = dipc_away_mmap(bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1);

	return dipc_sys_mmap_error(map) ? NULL : map;
}

int dipc_range_reserve(unsigned nr)
{
	size_t entry_size = sizeof(uint64_t[NR_WORDS]);
	struct dipc_range *bigger;
	struct table *tables[2];
	unsigned i, want = room;

	if (nr_ranges + nr <= room)
		return 0;
	while (want < nr_ranges + nr)
		want *= 2;
	bigger = memory_new(want * sizeof(*ranges));
	for (i = 0; i < 2; i++) {
		tables[i] = memory_new(sizeof(*tables[i]) + want * entry_size);
		if (!tables[i])
			return -ENOMEM;
		tables[i]->room = want;
		tables[i]->entry = (void *)(tables[i] + 1);
	}
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger, ranges, nr_ranges * sizeof(*ranges));
	ranges = bigger;
	room = want;
	for (i = 0; i < 2; i++) {
		latch_move(); /* away from copy i: it rests at 0 */
		table_fill(tables[i]);
		atomic_store_explicit(&copy[i], tables[i],
				      memory_order_release);
	}
	return 0;
}

/* ---- changing ----------------------------------------------------------- */

/* The first range that ends above ADDR. */
static unsigned ranges_search(const char *addr)
{
	unsigned i = 0;

	while (i < nr_ranges && ranges[i].start + ranges[i].len <= addr)
		i++;
	return i;
}

static void ranges_insert(unsigned at, const struct dipc_range *range)
{
	memmove(&ranges[at + 1], &ranges[at],
		(nr_ranges - at) * sizeof(*ranges));
	ranges[at] = *range;
	nr_ranges++;
}

/* Let a range end at ADDR. False: no room, and it goes on. */
static bool ranges_cut(const char *addr)
{
	unsigned i = ranges_search(addr);
	struct dipc_range tail;
	size_t head;

	if (i == nr_ranges || ranges[i].start >= addr)
		return true;
	if (nr_ranges == room)
		return false;
	tail = ranges[i];
	head = (size_t)(addr - tail.start);
	tail.start += head;
	tail.offset += head;
	tail.len -= head;
	ranges[i].len = head;
	ranges_insert(i + 1, &tail);
	return true;
}

/* Without room the end stays in: too much is harmless, too little is not. */
static void ranges_drop(const char *start, const char *end)
{
	unsigned first, last;

	if (!ranges_cut(end) || !ranges_cut(start))
		return;
	first = ranges_search(start);
	for (last = first; last < nr_ranges && ranges[last].start < end;)
		last++;
	memmove(&ranges[first], &ranges[last],
		(nr_ranges - last) * sizeof(*ranges));
	nr_ranges -= last - first;
}

int dipc_range_add(const struct dipc_range *range)
{
	if (dipc_range_reserve(3))
		return -ENOMEM;
	ranges_drop(range->start, range->start + range->len);
	ranges_insert(ranges_search(range->start), range);
	ranges_publish();
	return 0;
}

void dipc_range_remove(const void *start, size_t len)
{
	(void)dipc_range_reserve(2);
	ranges_drop(start, (const char *)start + len);
	ranges_publish();
}

unsigned dipc_range_count(const void *start, size_t len)
{
	unsigned i = ranges_search(start);
	unsigned nr = 0;

	while (i + nr < nr_ranges &&
	       ranges[i + nr].start < (const char *)start + len)
		nr++;
	return nr;
}

void dipc_range_move(const void *from, size_t len, const void *to)
{
	const char *start = from, *end = start + len;
	struct dipc_range piece;
	unsigned i;

	ranges_drop(to, (const char *)to + len);
	if (!ranges_cut(start) || !ranges_cut(end))
		return; /* the caller made no room */
	/* one by one: each is put where it is sorted in */
	for (i = ranges_search(start);
	     i < nr_ranges && ranges[i].start < end;) {
		piece = ranges[i];
		ranges_drop(piece.start, piece.start + piece.len);
		piece.start = (char *)(uintptr_t)to + (piece.start - start);
		ranges_insert(ranges_search(piece.start), &piece);
		i = ranges_search(start);
	}
	ranges_publish();
}
