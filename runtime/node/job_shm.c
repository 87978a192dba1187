/* SPDX-License-Identifier: BSD-2-Clause */
/* shmget and shmctl of a client; shmat and shmdt are in segments.c. */
#include <errno.h>
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
	ret = dipc_segments_home(job->node, id, job->args.get.size);
	return ret ? ret : id;
}

/* Pages of a segment are never swapped by us: locking them changes nothing. */
static int64_t shm_lock(struct dipc_job *job)
{
	struct dipc_arena_object obj;
	int ret;

	ret = dipc_object_read(job->node->fabric, job->args.ctl.id,
			       DIPC_KIND_SHM, &obj);
	if (ret)
		return ret;
	return dipc_object_is_owner(&obj, &job->client->cred);
}

int64_t dipc_job_shm(struct dipc_job *job)
{
	if (job->call == DIPC_CALL_SHMGET)
		return job_shmget(job);
	/* who has ended here counts as such, whatever is asked */
	dipc_spaces_settle(dipc_segments_spaces(job->node->segments),
			   job->args.ctl.id);
	if (job->args.ctl.cmd == SHM_LOCK || job->args.ctl.cmd == SHM_UNLOCK)
		return shm_lock(job);
	return dipc_job_ctl(job, DIPC_KIND_SHM);
}
