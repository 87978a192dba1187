/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grow KEY INDEX NR COUNT: NR processes share one page; this one increments
 * its own word COUNT times, without atomics, and in between reads the words of
 * the others: none may ever go back. At the end every word must be COUNT.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "job.h"

#define MAX_WORDS 64

struct page {
	volatile uint64_t word[MAX_WORDS];
	volatile uint64_t done[MAX_WORDS];
};

static void look_at_others(const struct page *page, uint64_t *seen, long nr)
{
	long i;

	for (i = 0; i < nr; i++) {
		uint64_t now = page->word[i];

		if (now < seen[i])
			die("word %ld went back from %lu to %lu", i,
			    (unsigned long)seen[i], (unsigned long)now);
		seen[i] = now;
	}
}

static int all_done(const struct page *page, long nr)
{
	long i;

	for (i = 0; i < nr; i++)
		if (!page->done[i])
			return 0;
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t seen[MAX_WORDS] = {0};
	struct page *page;
	long i, n, index, nr, count;
	int id;

	if (argc != 5)
		die("usage: grow KEY INDEX NR COUNT");
	index = number(argv[2]);
	nr = number(argv[3]);
	count = number(argv[4]);
	if (nr > MAX_WORDS || index >= nr)
		die("too many");
	id = shmget((key_t)number(argv[1]), sizeof(*page),
		    IPC_CREAT | IPC_DIPC | 0600);
	if (id < 0)
		die("shmget");
	page = shmat(id, NULL, 0);
	if (page == (void *)-1)
		die("shmat");
	await_go();
	for (n = 0; n < count; n++) {
		page->word[index]++;
		if (n % 64 == 0)
			look_at_others(page, seen, nr);
	}
	page->done[index] = 1;
	while (!all_done(page, nr)) {
		look_at_others(page, seen, nr);
		sched_yield();
	}
	for (i = 0; i < nr; i++)
		if (page->word[i] != (uint64_t)count)
			die("word %ld is %lu, not %ld", i,
			    (unsigned long)page->word[i], count);
	if (shmdt(page))
		die("shmdt");
	printf("grow %ld: %ld words of %ld\n", index, nr, count);
	return 0;
}
