/* SPDX-License-Identifier: BSD-2-Clause */
/* Semaphores: a P and V that nobody contends for, and a hand-over. */
#include "bench.h"

#include <sys/ipc.h>
#include <sys/sem.h>

#define NR_SEMS 2

static int set_open(const struct bench_job *job)
{
	int flags = job->flag | 0600;
	int id, i;

	if (job->role)
		return semget(job->key, NR_SEMS, flags);
	id = semget(job->key, NR_SEMS, flags | IPC_CREAT | IPC_EXCL);
	/* Linux makes them 0, POSIX promises nothing */
	for (i = 0; id >= 0 && i < NR_SEMS; i++) {
		if (semctl(id, i, SETVAL, 0))
			return -1;
	}
	return id;
}

static int sem_step(int id, unsigned short num, short op)
{
	struct sembuf sb = {.sem_num = num, .sem_op = op};

	return semop(id, &sb, 1);
}

static int free_work(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	int id = set_open(job);

	if (id < 0 || sem_step(id, 0, 1))
		return bench_fail("semget");
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		bench_run_begin(run);
		if (sem_step(id, 0, -1) || sem_step(id, 0, 1))
			return bench_fail("semop");
		bench_run_end(run);
	}
	return semctl(id, 0, IPC_RMID) ? bench_fail("IPC_RMID") : 0;
}

static int pingpong_work(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	int id = set_open(job);

	if (id < 0)
		return bench_fail("semget");
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		if (job->role) {
			if (sem_step(id, 0, -1) || sem_step(id, 1, 1))
				return bench_fail("semop");
			continue;
		}
		bench_run_begin(run);
		if (sem_step(id, 0, 1) || sem_step(id, 1, -1))
			return bench_fail("semop");
		bench_run_end(run);
	}
	if (job->role)
		return 0;
	bench_run_hold(run);
	return semctl(id, 0, IPC_RMID) ? bench_fail("IPC_RMID") : 0;
}

const struct bench bench_sem[] = {
	{
		.name = "sem.free",
		.what = "P and V, nobody else there",
		.count = 3000,
		.side =
			{
				{.name = "dipc",
				 .work = free_work,
				 .nr_roles = 1,
				 .is_on_nodes = true},
				{.name = "kernel",
				 .work = free_work,
				 .nr_roles = 1},
				{.name = "raw 2 CAS",
				 .work = bench_raw_cas,
				 .nr_roles = 1,
				 .size = 8,
				 .per_sample = 2},
			},
	},
	{
		.name = "sem.pingpong",
		.what = "two hand-overs, there and back",
		.count = 1000,
		.side =
			{
				{.name = "dipc",
				 .work = pingpong_work,
				 .nr_roles = 2,
				 .is_on_nodes = true},
				{.name = "kernel",
				 .work = pingpong_work,
				 .nr_roles = 2},
			},
	},
	{.name = NULL},
};
