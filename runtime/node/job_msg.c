/* SPDX-License-Identifier: BSD-2-Clause */
/* msgget, msgsnd, msgrcv and msgctl of a client. */
#include <errno.h>

#include "runtime/node/job.h"

static int64_t job_msgsnd(struct dipc_job *job)
{
	uint64_t len = job->args.msg.size;

	if (len > dipc_fabric_super(job->node->fabric)->msgmax)
		return -EINVAL;
	if (job->has_fault)
		return -EFAULT;
	if (len > job->payload_len)
		return -EINVAL;
	return dipc_msg_send(job->node->msgs, job->args.msg.id,
			     &job->client->cred, job->args.msg.type,
			     job->payload, (size_t)len, job->args.msg.flags,
			     &job->cancel);
}

static int64_t job_msgrcv(struct dipc_job *job)
{
	uint64_t room = job->args.msg.size;
	int64_t ret;

	if (room > DIPC_SLOT_PAYLOAD)
		room = DIPC_SLOT_PAYLOAD; /* no message is longer */
	ret = dipc_msg_receive(job->node->msgs, job->args.msg.id,
			       &job->client->cred, job->args.msg.type,
			       job->args.msg.flags, job->payload, (size_t)room,
			       &job->type, &job->cancel);
	job->payload_len = ret > 0 ? (uint32_t)ret : 0;
	return ret;
}

static int64_t job_msgctl(struct dipc_job *job)
{
	int64_t ret = dipc_job_ctl(job, DIPC_KIND_MSG);

	if (ret == 0 && job->args.ctl.cmd == IPC_SET)
		(void)dipc_msg_kick(job->node->msgs, job->args.ctl.id);
	return ret;
}

int64_t dipc_job_msg(struct dipc_job *job)
{
	struct dipc_lookup_got got;

	switch (job->call) {
	case DIPC_CALL_MSGGET:
		return dipc_job_get(job, DIPC_KIND_MSG, &got);
	case DIPC_CALL_MSGSND:
		return job_msgsnd(job);
	case DIPC_CALL_MSGRCV:
		return job_msgrcv(job);
	default:
		return job_msgctl(job);
	}
}
