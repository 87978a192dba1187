/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared pages: fetched for reading, taken for writing, fought for. */
#include "bench.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#define PAGE      4096u
#define SPIN      200u  /* looks at the word between two sched_yield() */
#define LEAP      7919u /* a prime: so the next fault is not the next page */
#define NO_MEMORY ((void *)-1)

static int segment_open(const struct bench_job *job, size_t size,
			void **map_out)
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

static int segment_remove(int id)
{
	return shmctl(id, IPC_RMID, NULL) ? bench_fail("IPC_RMID") : 0;
}

/* ---- misses ------------------------------------------------------------- */

/* Page number I of NR in an order that no read-ahead follows. */
static size_t page_offset(unsigned i, unsigned nr)
{
	return (size_t)i * LEAP % nr * PAGE;
}

/*
 * Role 0 makes the segment (so it is its home) and writes every page; role 1
 * touches each once. NR is not a multiple of LEAP, so that all are met.
 */
static int miss_work(const struct bench_job *job, struct bench_run *run,
		     bool is_write)
{
	unsigned i, nr = bench_run_loops(run);
	_Atomic uint64_t *word;
	void *map;
	int id;

	nr += nr % LEAP == 0;
	id = segment_open(job, (size_t)nr * PAGE, &map);
	if (id < 0)
		return -1;
	if (!job->role) {
		for (i = 0; i < nr; i++)
			memset((char *)map + (size_t)i * PAGE, 'x', PAGE);
		bench_run_ready(run);
		bench_run_hold(run);
		return segment_remove(id);
	}
	bench_run_ready(run);
	for (i = 0; i < bench_run_loops(run); i++) {
		word = (void *)((char *)map + page_offset(i, nr));
		bench_run_begin(run);
		if (is_write)
			atomic_store_explicit(word, i, memory_order_relaxed);
		else
			(void)atomic_load_explicit(word, memory_order_relaxed);
		bench_run_end(run);
	}
	return 0;
}

static int read_miss_work(const struct bench_job *job, struct bench_run *run)
{
	return miss_work(job, run, false);
}

static int write_miss_work(const struct bench_job *job, struct bench_run *run)
{
	return miss_work(job, run, true);
}

/*
 * The floor: what the kernel alone needs to put a page of bytes under a
 * mapping, a fault on a hole of a memfd and the copy.
 */
static int memfd_work(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	static char source[PAGE];
	size_t size;
	char *map;
	int fd;

	(void)job;
	nr += nr % LEAP == 0;
	size = (size_t)nr * PAGE;
	memset(source, 'x', sizeof(source));
	fd = memfd_create("dipc-bench", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		return bench_fail("memfd_create");
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return bench_fail("mmap");
	madvise(map, size, MADV_NOHUGEPAGE); /* EINVAL: the kernel has none */
	bench_run_ready(run);
	for (i = 0; i < bench_run_loops(run); i++) {
		bench_run_begin(run);
		memcpy(map + page_offset(i, nr), source, PAGE);
		bench_run_end(run);
	}
	return 0;
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

static int pingpong_work(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	_Atomic uint64_t *word;
	void *map;
	int id;

	id = segment_open(job, PAGE, &map);
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
	return segment_remove(id);
}

const struct bench bench_page[] = {
	{
		.name = "page.read_miss",
		.what = "first read of a page that the other node has written",
		.count = 500,
		.side =
			{
				{"dipc", read_miss_work, 2, true, 0, 0},
				{"raw READ 4096", bench_raw_read, 1, false,
				 PAGE, 1},
				{"memfd fault", memfd_work, 1, false, 0, 0},
			},
	},
	{
		.name = "page.write_miss",
		.what = "first write to a page that the other node has written",
		.count = 500,
		.side =
			{
				{"dipc", write_miss_work, 2, true, 0, 0},
				{"raw READ 4096", bench_raw_read, 1, false,
				 PAGE, 1},
				{"memfd fault", memfd_work, 1, false, 0, 0},
			},
	},
	{
		.name = "page.pingpong",
		.what = "a word changed there and back",
		.count = 200,
		.side =
			{
				{"dipc", pingpong_work, 2, true, 0, 0},
				{"local memory", pingpong_work, 2, false, 0, 0},
			},
	},
	{.name = NULL},
};
