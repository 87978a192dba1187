/* SPDX-License-Identifier: BSD-2-Clause */
/* shmget and shmctl of a client; shmat and shmdt are in segments.c. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/shm.h>

#include "runtime/node/job.h"
#include "runtime/node/segments.h"

static int64_t job_shmget(struct dipc_job *job)
{
	struct dipc_lookup_got got;
	int32_t id = dipc_job_get(job, DIPC_KIND_SHM, &got);
	int ret;

	if (id < 0 || !got.must_create)
		return id;
	ret = dipc_segments_created(job->node, id, job->args.get.size);
	return ret ? ret : id;
}

/* The pages themselves are as they were: swapping is the home's and the page
   cache's own business. */
static int64_t shm_lock(struct dipc_job *job)
{
	bool is_locked = job->args.ctl.cmd == SHM_LOCK;
	struct rlimit limit = {.rlim_cur = 1};

	/* who has just ended is not refused: nobody is there to see it */
	(void)prlimit((pid_t)job->client->cred.pid, RLIMIT_MEMLOCK, NULL,
		      &limit);
	return dipc_object_set_locked(job->node->fabric, job->args.ctl.id,
				      &job->client->cred, is_locked,
				      limit.rlim_cur > 0);
}

/*
 * A detach is counted by what is posted to the arena when the kernel tells of
 * it, before the program runs on: a READ behind it has seen it done.
 */
static int64_t shm_settle(struct dipc_job *job)
{
	uint64_t word;

	return dipc_arena_read(job->node->fabric, 0, &word, sizeof(word));
}

int64_t dipc_job_shm(struct dipc_job *job)
{
	if (job->call == DIPC_CALL_SHMGET)
		return job_shmget(job);
	if (job->call == DIPC_CALL_SHM_SETTLE)
		return shm_settle(job);
	/* who has ended here counts as such, whatever is asked */
	dipc_spaces_settle(dipc_segments_spaces(job->node->segments),
			   job->args.ctl.id);
	if (job->args.ctl.cmd == SHM_LOCK || job->args.ctl.cmd == SHM_UNLOCK)
		return shm_lock(job);
	return dipc_job_ctl(job, DIPC_KIND_SHM);
}
