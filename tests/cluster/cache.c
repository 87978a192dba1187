/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache KEY PAGES work WHO ROUNDS | sum | remove: more pages than a node may
 * keep. A worker adds to a word of a page that all share, and keeps a word of
 * its own there whose value it knows: in order, backwards and at random. It
 * prints how often it added, `sum` what is there.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "job.h"

#define WORDS 512u

static _Atomic uint64_t (*pages)[WORDS];
static uint64_t *mine; /* what our word of each page holds */

static void touch(long page, long who, bool is_write)
{
	/* at both ends of the page, so that half of it is not enough */
	_Atomic uint64_t *first = &pages[page][1 + who];
	_Atomic uint64_t *last = &pages[page][WORDS - 1 - who];

	if (atomic_load_explicit(first, memory_order_relaxed) != mine[page] ||
	    atomic_load_explicit(last, memory_order_relaxed) != ~mine[page])
		die("page %ld: not what node %ld wrote last", page, who);
	if (!is_write)
		return;
	mine[page]++;
	atomic_store_explicit(first, mine[page], memory_order_relaxed);
	atomic_store_explicit(last, ~mine[page], memory_order_relaxed);
	atomic_fetch_add_explicit(&pages[page][0], 1, memory_order_relaxed);
}

static unsigned long work(long nr, long who, long rounds)
{
	uint64_t random = 0x9e3779b97f4a7c15u * (uint64_t)(who + 1);
	unsigned long added = 0;
	bool is_write;
	long i, round, page;

	mine = calloc((size_t)nr, sizeof(*mine));
	if (!mine)
		die("no memory");
	for (i = 0; i < nr; i++)
		atomic_store_explicit(&pages[i][WORDS - 1 - who], ~0ull,
				      memory_order_relaxed);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < nr; i++) {
			random = random * 6364136223846793005u + 1;
			page = round % 3 == 0 ? i
			       : round % 3 == 1
				       ? nr - 1 - i
				       : (long)((random >> 33) % (uint64_t)nr);
			is_write = (random >> 20) % 3 == 0;
			touch(page, who, is_write);
			added += is_write;
		}
	}
	for (i = 0; i < nr; i++)
		touch(i, who, false);
	return added;
}

static uint64_t sum(long nr)
{
	uint64_t total = 0;
	long i;

	for (i = 0; i < nr; i++)
		total += atomic_load_explicit(&pages[i][0],
					      memory_order_relaxed);
	return total;
}

int main(int argc, char **argv)
{
	long key, nr;
	int id;

	if (argc < 4)
		die("cache KEY PAGES work WHO ROUNDS | sum | remove");
	key = number(argv[1]);
	nr = number(argv[2]);
	id = shmget((key_t)key, (size_t)nr * sizeof(*pages), IPC_CREAT | 0600);
	if (id < 0)
		die("shmget");
	if (!strcmp(argv[3], "remove")) {
		if (shmctl(id, IPC_RMID, NULL))
			die("IPC_RMID");
		return 0;
	}
	pages = shmat(id, NULL, 0);
	if ((void *)pages == (void *)-1)
		die("shmat");
	if (!strcmp(argv[3], "sum"))
		printf("%llu\n", (unsigned long long)sum(nr));
	else if (!strcmp(argv[3], "work") && argc == 6)
		printf("%lu\n", work(nr, number(argv[4]), number(argv[5])));
	else
		die("what is %s?", argv[3]);
	return 0;
}
