/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc_pid_node(3): the processes that an object remembers, with their nodes. */
#include <errno.h>

#include "runtime/node/job.h"

static int who_shm(struct dipc_job *job, bool is_creator, uint32_t *who_out)
{
	struct dipc_arena_object obj;
	int ret;

	ret = dipc_job_object(job, DIPC_KIND_SHM, &obj);
	if (ret == 0)
		ret = dipc_object_allows(&obj, &job->client->cred,
					 DIPC_WANT_READ);
	if (ret == 0)
		*who_out = (uint32_t)(is_creator ? obj.shm.pids
						 : obj.shm.pids >> 32);
	return ret;
}

static int who_msg(struct dipc_job *job, bool is_sender, uint32_t *who_out)
{
	struct dipc_arena_object obj;
	int ret;

	ret = dipc_job_object(job, DIPC_KIND_MSG, &obj);
	if (ret == 0)
		ret = dipc_object_allows(&obj, &job->client->cred,
					 DIPC_WANT_READ);
	if (ret == 0)
		*who_out = is_sender ? obj.msg.lspid : obj.msg.lrpid;
	return ret;
}

int64_t dipc_job_pid_node(struct dipc_job *job)
{
	int which = job->args.ctl.cmd;
	uint32_t who = 0;
	int ret = -EINVAL;

	switch (which) {
	case DIPC_LOCAL_PID_SHM_CREATOR:
	case DIPC_LOCAL_PID_SHM_LAST:
		ret = who_shm(job, which == DIPC_LOCAL_PID_SHM_CREATOR, &who);
		break;
	case DIPC_LOCAL_PID_MSG_SENDER:
	case DIPC_LOCAL_PID_MSG_RECEIVER:
		ret = who_msg(job, which == DIPC_LOCAL_PID_MSG_SENDER, &who);
		break;
	case DIPC_LOCAL_PID_SEM:
		ret = dipc_sem_get_who(job->node->sems, job->args.ctl.id,
				       &job->client->cred, job->args.ctl.num,
				       &who);
		break;
	}
	if (ret)
		return ret;
	return (int64_t)dipc_who_node(who) << 32 | dipc_who_pid(who);
}
