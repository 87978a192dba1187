/* SPDX-License-Identifier: BSD-2-Clause */
/* Many pages: read and written in order, attached, inherited. */
#include "page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#define NO_MEMORY ((void *)-1)

/* Role 0's part of it: LEN bytes, written and sent home. */
static int make_work(const struct bench_job *job, struct bench_run *run, int id,
		     char *map, size_t len)
{
	memset(map, 'x', len);
	/* the kernel's are where they are */
	if (job->flag && bench_segment_send_home(id, map))
		return -1;
	bench_run_ready(run);
	bench_run_hold(run);
	return bench_segment_remove(id);
}

static int seq_work(const struct bench_job *job, struct bench_run *run,
		    bool is_write)
{
	unsigned i, nr = bench_run_loops(run);
	void *map;
	int id;

	id = bench_segment_open(job, nr * BENCH_MIB, &map);
	if (id < 0)
		return -1;
	if (!job->role)
		return make_work(job, run, id, map, nr * BENCH_MIB);
	bench_run_ready(run);
	bench_run_begin(run);
	for (i = 0; i < nr; i++) {
		char *at = (char *)map + i * BENCH_MIB;

		if (is_write)
			memset(at, (int)i, BENCH_MIB);
		else
			bench_page_read_bytes(at, BENCH_MIB);
		bench_run_end(run);
	}
	return 0;
}

int bench_page_seq_read(const struct bench_job *job, struct bench_run *run)
{
	return seq_work(job, run, false);
}

int bench_page_seq_write(const struct bench_job *job, struct bench_run *run)
{
	return seq_work(job, run, true);
}

int bench_page_random_read(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr_pages = (unsigned)(job->size / BENCH_PAGE);
	unsigned *order;
	void *map;
	int id;

	id = bench_segment_open(job, job->size, &map);
	if (id < 0)
		return -1;
	if (!job->role)
		return make_work(job, run, id, map, job->size);
	order = bench_page_order(nr_pages);
	if (!order)
		return -1;
	bench_run_ready(run);
	bench_run_begin(run);
	for (i = 0; i < bench_run_loops(run); i++) {
		size_t at = (size_t)order[i % nr_pages] * BENCH_PAGE;

		bench_page_read_bytes((char *)map + at, BENCH_PAGE);
		bench_run_end(run);
	}
	free(order);
	return 0;
}

int bench_page_attach(const struct bench_job *job, struct bench_run *run)
{
	int flags = job->flag | IPC_CREAT | IPC_EXCL | SHM_NORESERVE | 0600;
	unsigned i, nr = bench_run_loops(run);
	int id = -1;
	char *map;

	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		bench_run_begin(run);
		id = shmget(job->key, job->size, flags);
		if (id < 0)
			return bench_fail("shmget");
		map = shmat(id, NULL, 0);
		if (map == NO_MEMORY) {
			bench_fail("shmat");
			break;
		}
		map[0] = 'x';
		if (shmdt(map)) {
			bench_fail("shmdt");
			break;
		}
		if (bench_segment_remove(id))
			return -1;
		bench_run_end(run);
	}
	if (i == nr)
		return 0;
	bench_segment_remove(id);
	return -1;
}

int bench_page_fork_once(struct bench_run *run)
{
	pid_t pid;

	bench_run_begin(run);
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return bench_fail("fork");
	bench_run_end(run);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

int bench_page_fork(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	void *map;
	int id;

	id = bench_segment_open(job, job->size, &map);
	if (id < 0)
		return -1;
	memset(map, 'x', job->size);
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		if (bench_page_fork_once(run))
			return -1;
	}
	return bench_segment_remove(id);
}
