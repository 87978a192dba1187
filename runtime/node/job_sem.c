/* SPDX-License-Identifier: BSD-2-Clause */
/* semget, semop and semctl of a client. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/node/job.h"

#define OPS_INLINE 8u

static bool ops_have_undo(const struct sembuf *ops, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		if (ops[i].sem_flg & SEM_UNDO)
			return true;
	return false;
}

static int semop_run(struct dipc_job *job, const struct sembuf *ops,
		     unsigned nr, uint64_t deadline)
{
	struct dipc_process *process = job->client->process;
	bool has_undo = ops_have_undo(ops, nr);
	int32_t id = job->args.semop.id;
	int ret;

	if (has_undo) {
		ret = dipc_process_undo_prepare(process, id, ops, nr);
		if (ret)
			return ret;
	}
	ret = dipc_sem_op(job->node->sems, id, &job->client->cred, ops, nr,
			  deadline, &job->cancel);
	if (ret == 0 && has_undo)
		dipc_process_undo_note(process, id, ops, nr);
	return ret;
}

static int64_t job_semop(struct dipc_job *job)
{
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
		deadline = dipc_fabric_now(job->node->fabric) +
			   job->args.semop.timeout_ns;
	if (nr > OPS_INLINE) {
		ops = malloc(nr * sizeof(*ops));
		if (!ops)
			return -ENOMEM;
	}
	memcpy(ops, job->payload, nr * sizeof(*ops));
	ret = semop_run(job, ops, nr, deadline);
	if (ops != few)
		free(ops);
	return ret;
}

/*
 * SETVAL and SETALL clear adjustments before the new values let anybody go on,
 * whose own adjustments must stay: so look first whether they will be allowed.
 * How many semaphores there are, or -errno.
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
	dipc_process_undo_clear(job->node, job->args.ctl.id, -1);
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
	dipc_process_undo_clear(job->node, job->args.ctl.id, job->args.ctl.num);
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
	default:
		ret = dipc_job_ctl(job, DIPC_KIND_SEM);
		if (ret == 0 && job->args.ctl.cmd == IPC_RMID)
			dipc_process_undo_clear(job->node, job->args.ctl.id,
						-1);
		if (ret == 0 && job->args.ctl.cmd == IPC_SET)
			dipc_sems_forget(job->node->sems, job->args.ctl.id);
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
