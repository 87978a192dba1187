/* SPDX-License-Identifier: BSD-2-Clause */
/* semget, semop and semctl of a client. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/node/job.h"

#define OPS_INLINE 8u

/* The client's number: any. Too far away is never. */
static uint64_t deadline_of(const struct dipc_job *job)
{
	uint64_t now = dipc_fabric_now(job->node->fabric);
	uint64_t timeout = job->args.semop.timeout_ns;

	return timeout < DIPC_NEVER - now ? now + timeout : DIPC_NEVER;
}

static int64_t job_semop(struct dipc_job *job)
{
	struct dipc_process *process = job->client->process;
	struct sembuf few[OPS_INLINE], *ops = few;
	unsigned nr = job->args.semop.nr;
	uint64_t deadline = DIPC_NEVER;
	int ret;

	if (nr == 0)
		return -EINVAL;
	if (nr > dipc_fabric_super(job->node->fabric)->semopm)
		return -E2BIG;
	if (job->has_fault)
		return -EFAULT;
	if (job->payload_len < nr * sizeof(*ops) ||
	    job->args.semop.timeout_ns == DIPC_TIMEOUT_BAD)
		return -EINVAL;
	if (job->args.semop.timeout_ns != DIPC_TIMEOUT_NONE)
		deadline = deadline_of(job);
	if (nr > OPS_INLINE) {
		ops = malloc(nr * sizeof(*ops));
		if (!ops)
			return -ENOMEM;
	}
	memcpy(ops, job->payload, nr * sizeof(*ops));
	ret = dipc_sem_op_undo(job->node->sems, job->args.semop.id,
			       &job->client->cred, process->undo, ops, nr,
			       deadline, &job->cancel);
	if (ops != few)
		free(ops);
	return ret;
}

/*
 * Whether they will be allowed, in the order in which the kernel looks. How many
 * semaphores there are, or -errno.
 */
static int64_t sem_before_set(struct dipc_job *job, int num)
{
	struct dipc_arena_object obj;
	int ret;

	ret = dipc_object_read(job->node->fabric, job->args.ctl.id,
			       DIPC_KIND_SEM, &obj);
	if (ret)
		return ret == -EIDRM ? -EINVAL : ret;
	if (num >= 0 && (uint32_t)num >= obj.sem.nr)
		return -EINVAL;
	ret = dipc_object_allows(&obj, &job->client->cred, DIPC_WANT_WRITE);
	return ret ? ret : (int64_t)obj.sem.nr;
}

/* Without values: how many the client has to send. */
static int64_t sem_setall(struct dipc_job *job)
{
	unsigned nr = job->payload_len / (unsigned)sizeof(unsigned short);
	size_t len = nr * sizeof(unsigned short);
	int64_t ret = sem_before_set(job, -1);
	unsigned short *values;

	if (ret >= 0 && job->has_fault)
		return -EFAULT;
	if (ret < 0 || nr == 0)
		return ret;
	values = malloc(len);
	if (!values)
		return -ENOMEM;
	memcpy(values, job->payload, len);
	ret = dipc_sem_set(job->node->sems, job->args.ctl.id,
			   &job->client->cred, -1, values, nr);
	free(values);
	return ret;
}

static int64_t sem_setval(struct dipc_job *job)
{
	unsigned short value;
	int64_t ret;

	if (job->args.ctl.value < 0 ||
	    (uint64_t)job->args.ctl.value > DIPC_SEM_VALUE)
		return -ERANGE;
	if (job->args.ctl.num < 0)
		return -EINVAL;
	ret = sem_before_set(job, job->args.ctl.num);
	if (ret < 0)
		return ret;
	value = (unsigned short)job->args.ctl.value;
	return dipc_sem_set(job->node->sems, job->args.ctl.id,
			    &job->client->cred, job->args.ctl.num, &value, 1);
}

static int64_t sem_getall(struct dipc_job *job)
{
	unsigned short *values = (unsigned short *)(void *)job->payload;
	unsigned nr;
	int ret;

	ret = dipc_sem_get_all(job->node->sems, job->args.ctl.id,
			       &job->client->cred, values,
			       DIPC_SLOT_PAYLOAD / sizeof(*values), &nr);
	if (ret == 0)
		job->payload_len = nr * (unsigned)sizeof(*values);
	return ret;
}

/* The removal of a set takes with it what is to be undone on it. */
static int64_t sem_remove(struct dipc_job *job)
{
	struct dipc_arena_object obj;
	int64_t ret;

	ret = dipc_job_object(job, DIPC_KIND_SEM, &obj);
	if (ret == 0)
		ret = dipc_job_ctl(job, DIPC_KIND_SEM);
	if (ret == 0)
		dipc_sems_removed(job->node->sems, job->args.ctl.id,
				  obj.undoers);
	return ret;
}

static int64_t job_semctl(struct dipc_job *job)
{
	int64_t ret;

	switch (job->args.ctl.cmd) {
	case SETVAL:
		return sem_setval(job);
	case SETALL:
		return sem_setall(job);
	case GETALL:
		return sem_getall(job);
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
		return dipc_sem_get(job->node->sems, job->args.ctl.id,
				    &job->client->cred, job->args.ctl.num,
				    job->args.ctl.cmd);
	case IPC_RMID:
		return sem_remove(job);
	default:
		ret = dipc_job_ctl(job, DIPC_KIND_SEM);
		if (ret == 0 && job->args.ctl.cmd == IPC_SET)
			ret = dipc_sems_changed(job->node->sems,
						job->args.ctl.id);
		return ret;
	}
}

int64_t dipc_job_sem(struct dipc_job *job)
{
	struct dipc_lookup_got got;

	switch (job->call) {
	case DIPC_CALL_SEMGET:
		return dipc_job_get(job, DIPC_KIND_SEM, &got);
	case DIPC_CALL_SEMOP:
		return job_semop(job);
	default:
		return job_semctl(job);
	}
}
