/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/litmus/notebook.h"

#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/cluster/job.h"

struct notebook *notebook_open(const char *file)
{
	int fd = open(file, O_RDWR | O_CREAT, 0600);
	void *at;

	if (fd < 0 || ftruncate(fd, sizeof(struct notebook)))
		die("%s", file);
	at = mmap(NULL, sizeof(struct notebook), PROT_READ | PROT_WRITE,
		  MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		die("%s", file);
	close(fd);
	return at;
}

void notebook_barrier(struct notebook *nb, unsigned nr, unsigned limit)
{
	uint32_t turn = atomic_load_explicit(&nb->turn, memory_order_acquire);
	uint64_t until = clock_ns() + limit * UINT64_C(1000000000);

	if (atomic_fetch_add_explicit(&nb->nr_in, 1, memory_order_acq_rel) +
		    1 ==
	    nr) {
		atomic_store_explicit(&nb->nr_in, 0, memory_order_relaxed);
		atomic_store_explicit(&nb->turn, turn + 1,
				      memory_order_release);
		return;
	}
	while (atomic_load_explicit(&nb->turn, memory_order_acquire) == turn) {
		if (clock_ns() > until)
			die("another process is missing");
		sched_yield();
	}
}

uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void clock_align(void)
{
	uint64_t slot = clock_ns() >> 16;

	while (clock_ns() >> 16 == slot)
		;
}

static uint64_t next_random(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

void clock_dither(uint64_t *random)
{
	uint64_t ns =
		next_random(random) % (UINT64_C(64) << next_random(random) % 9);
	uint64_t until = clock_ns() + ns;

	while (clock_ns() < until)
		;
}
