/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared pages: fetched for reading, taken for writing, fought for. */
#include "page.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#define SPIN      200u /* looks at the word between two sched_yield() */
#define NO_MEMORY ((void *)-1)

/* ---- what they share ---------------------------------------------------- */

int bench_segment_open(const struct bench_job *job, size_t size, void **map_out)
{
	int id, flags = job->flag | 0600;

	if (!job->role)
		flags |= IPC_CREAT | IPC_EXCL;
	id = shmget(job->key, size, flags);
	if (id < 0)
		return bench_fail("shmget");
	*map_out = shmat(id, NULL, 0);
	if (*map_out == NO_MEMORY)
		return bench_fail("shmat");
	return id;
}

int bench_segment_remove(int id)
{
	return shmctl(id, IPC_RMID, NULL) ? bench_fail("IPC_RMID") : 0;
}

int bench_segment_send_home(int id, const void *map)
{
	struct shmid_ds ds;

	if (shmdt(map))
		return bench_fail("shmdt");
	/* its node counts as attached until all is there */
	do {
		usleep(1000);
		if (shmctl(id, IPC_STAT, &ds))
			return bench_fail("IPC_STAT");
	} while (ds.shm_nattch);
	return 0;
}

unsigned *bench_page_order(unsigned nr)
{
	unsigned *order = malloc(nr * sizeof(*order));
	uint64_t random = 0x9e3779b97f4a7c15u;
	unsigned i, k;

	if (!order) {
		bench_fail("room for the order of pages");
		return NULL;
	}
	for (i = 0; i < nr; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		k = (unsigned)(random % (i + 1));
		order[i] = order[k];
		order[k] = i;
	}
	return order;
}

/* Where sums go, so that nobody finds the reading superfluous. */
static uint64_t sink;

void bench_page_read_bytes(const char *from, size_t len)
{
	const uint64_t *word = (const void *)from;
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < len / sizeof(*word); i++)
		sum += word[i];
	sink += sum;
}

void bench_page_touch(struct bench_run *run, void *map, unsigned page,
		      bool is_write)
{
	_Atomic uint64_t *word =
		(void *)((char *)map + (size_t)page * BENCH_PAGE);

	bench_run_begin(run);
	if (is_write)
		atomic_store_explicit(word, page, memory_order_relaxed);
	else
		(void)atomic_load_explicit(word, memory_order_relaxed);
	bench_run_end(run);
}

/* ---- one page at a time ------------------------------------------------- */

enum before {
	NOTHING,
	READS,
	WRITES,
	WRITES_HOME, /* and detaches */
};

static void touch_all(char *map, unsigned nr, enum before what)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		_Atomic uint64_t *word = (void *)(map + (size_t)i * BENCH_PAGE);

		if (what == WRITES || what == WRITES_HOME)
			memset(map + (size_t)i * BENCH_PAGE, 'x', BENCH_PAGE);
		else if (what == READS)
			(void)atomic_load_explicit(word, memory_order_relaxed);
	}
}

/*
 * Role 0 makes the segment, so its node is the home. WHAT[] is what comes
 * before: of role 0, of those between it and the last, and of the last, which
 * then touches each page once.
 */
static int touch_work(const struct bench_job *job, struct bench_run *run,
		      const enum before what[3], bool is_write)
{
	unsigned i, nr = bench_run_loops(run), last = job->nr_roles - 1;
	enum before mine = what[job->role == last ? 2 : job->role > 0];
	unsigned *order;
	void *map;
	int id;

	id = bench_segment_open(job, (size_t)nr * BENCH_PAGE, &map);
	if (id < 0)
		return -1;
	touch_all(map, nr, mine);
	if (mine == WRITES_HOME && bench_segment_send_home(id, map))
		return -1;
	if (job->role < last) {
		bench_run_ready(run);
		bench_run_hold(run);
		return job->role ? 0 : bench_segment_remove(id);
	}
	order = bench_page_order(nr);
	if (!order)
		return -1;
	bench_run_ready(run);
	for (i = 0; i < nr; i++)
		bench_page_touch(run, map, order[i], is_write);
	free(order);
	return 0;
}

int bench_page_read(const struct bench_job *job, struct bench_run *run)
{
	static const enum before what[] = {WRITES_HOME, NOTHING, NOTHING};

	return touch_work(job, run, what, false);
}

int bench_page_write(const struct bench_job *job, struct bench_run *run)
{
	static const enum before what[] = {WRITES_HOME, NOTHING, NOTHING};

	return touch_work(job, run, what, true);
}

int bench_page_read_modified(const struct bench_job *job, struct bench_run *run)
{
	static const enum before what[] = {NOTHING, WRITES, NOTHING};

	return touch_work(job, run, what, false);
}

int bench_page_write_modified(const struct bench_job *job,
			      struct bench_run *run)
{
	static const enum before what[] = {NOTHING, WRITES, NOTHING};

	return touch_work(job, run, what, true);
}

int bench_page_upgrade(const struct bench_job *job, struct bench_run *run)
{
	static const enum before what[] = {NOTHING, NOTHING, READS};

	return touch_work(job, run, what, true);
}

int bench_page_invalidate(const struct bench_job *job, struct bench_run *run)
{
	static const enum before what[] = {READS, READS, READS};

	return touch_work(job, run, what, true);
}

/* ---- one word, two writers ---------------------------------------------- */

static void word_await(_Atomic uint64_t *word, uint64_t value)
{
	unsigned spins = 0;

	/* acquire: as any program would that hands over more than the word */
	while (atomic_load_explicit(word, memory_order_acquire) != value) {
		if (++spins % SPIN == 0)
			sched_yield();
	}
}

int bench_page_pingpong(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	_Atomic uint64_t *word;
	void *map;
	int id;

	id = bench_segment_open(job, BENCH_PAGE, &map);
	if (id < 0)
		return -1;
	word = map;
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		if (job->role) {
			word_await(word, 2ull * i + 1);
			atomic_store_explicit(word, 2ull * i + 2,
					      memory_order_release);
			continue;
		}
		bench_run_begin(run);
		atomic_store_explicit(word, 2ull * i + 1, memory_order_release);
		word_await(word, 2ull * i + 2);
		bench_run_end(run);
	}
	if (job->role)
		return 0;
	bench_run_hold(run);
	return bench_segment_remove(id);
}
