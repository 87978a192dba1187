/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/job.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/log.h"

/* ---- running ------------------------------------------------------------ */

static int64_t job_dispatch(struct dipc_job *job)
{
	switch ((enum dipc_local_call)job->call) {
	case DIPC_CALL_SHMGET:
	case DIPC_CALL_SHMCTL:
	case DIPC_CALL_SHM_SETTLE:
		return dipc_job_shm(job);
	case DIPC_CALL_SEMGET:
	case DIPC_CALL_SEMOP:
	case DIPC_CALL_SEMCTL:
		dipc_process_settle(job->client->process, &job->cancel);
		return dipc_job_sem(job);
	case DIPC_CALL_MSGGET:
	case DIPC_CALL_MSGSND:
	case DIPC_CALL_MSGRCV:
	case DIPC_CALL_MSGCTL:
		dipc_process_settle(job->client->process, &job->cancel);
		return dipc_job_msg(job);
	case DIPC_CALL_LS:
	case DIPC_CALL_STATUS:
	case DIPC_CALL_PAGES:
		return dipc_job_admin(job);
	case DIPC_CALL_PREFETCH:
	case DIPC_CALL_RELEASE:
		return dipc_job_pages(job);
	case DIPC_CALL_INFO:
	case DIPC_CALL_STAT_INDEX:
		return dipc_job_info(job);
	case DIPC_CALL_PID_NODE:
		return dipc_job_pid_node(job);
	case DIPC_CALL_FUTEX_REGISTER:
	case DIPC_CALL_FUTEX_SLEEP:
	case DIPC_CALL_FUTEX_WITHDRAW:
	case DIPC_CALL_FUTEX_WAKE:
		return dipc_job_futex(job);
	case DIPC_CALL_OWNER_SELF:
	case DIPC_CALL_OWNER_ALIVE:
		return dipc_job_owner(job);
	case DIPC_CALL_FAULT:
		break; /* it has no fiber */
	}
	return -ENOSYS;
}

void dipc_slot_answer(struct dipc_slot *slot, int64_t result)
{
	slot->result = result;
	/* LOCAL_DONE: the slot is the client's again once DONE is visible */
	atomic_store_explicit(&slot->state, DIPC_SLOT_DONE,
			      memory_order_seq_cst);
	if (atomic_load_explicit(&slot->is_waiting, memory_order_seq_cst))
		syscall(SYS_futex, &slot->state, FUTEX_WAKE, INT_MAX, NULL,
			NULL, 0);
}

static void job_finish(struct dipc_job *job, int64_t result)
{
	job->slot->type = job->type;
	job->slot->payload_len = job->payload_len;
	dipc_slot_answer(job->slot, result);
}

static void job_fiber(void *arg)
{
	struct dipc_job *job = arg;
	struct dipc_client *client = job->client;
	int64_t result = job_dispatch(job);

	/* cancelled by the end of the cluster here, not by a signal */
	if (result == -EINTR && job->node->is_stopping)
		result = -ENOLINK;

	client->jobs[job->index] = NULL;
	job_finish(job, result);
	free(job);
	dipc_process_job_end(client->process);
	dipc_client_put(client);
}

void dipc_job_start(struct dipc_client *client, unsigned index)
{
	struct dipc_slot *slot = &client->area->slot[index];
	struct dipc_job *job = client->jobs[index];

	if (job) { /* the bit again: a cancellation */
		if (atomic_load_explicit(&slot->must_cancel,
					 memory_order_relaxed))
			dipc_cancel_set(&job->cancel);
		return;
	}
	if (atomic_load_explicit(&slot->state, memory_order_acquire) !=
	    DIPC_SLOT_POSTED)
		return; /* a cancellation that came after the answer */
	if (slot->call == DIPC_CALL_FAULT) {
		atomic_store_explicit(&slot->state, DIPC_SLOT_RUNNING,
				      memory_order_relaxed);
		dipc_job_fault(client, slot);
		return;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		struct dipc_job none = {.slot = slot};

		job_finish(&none, -ENOMEM);
		return;
	}
	job->client = client;
	job->node = client->node;
	job->slot = slot;
	job->index = index;
	job->call = slot->call;
	memcpy(&job->args, &slot->args, sizeof(job->args));
	job->payload = client->area->payload[index];
	job->payload_len = slot->payload_len;
	job->has_fault = job->payload_len == DIPC_PAYLOAD_FAULT;
	if (job->has_fault)
		job->payload_len = 0;
	if (job->payload_len > DIPC_SLOT_PAYLOAD)
		job->payload_len = DIPC_SLOT_PAYLOAD;
	atomic_store_explicit(&slot->state, DIPC_SLOT_RUNNING,
			      memory_order_relaxed);
	if (dipc_fiber_spawn(dipc_loop_sched(client->node->loop), job_fiber,
			     job)) {
		job_finish(job, -ENOMEM);
		free(job);
		return;
	}
	job->cancel.is_set =
		atomic_load_explicit(&slot->must_cancel, memory_order_relaxed);
	client->jobs[index] = job;
	dipc_process_job_begin(client->process);
	dipc_client_get(client);
}

/* ---- shared by the kinds ------------------------------------------------ */

/* What ipcget() of the kernel checks in an object that exists. */
static int get_check(struct dipc_job *job, enum dipc_kind kind, int32_t id)
{
	uint32_t mode = (uint32_t)job->args.get.flags;
	struct dipc_arena_object obj;
	uint64_t has;
	int ret;

	ret = dipc_object_read(job->node->fabric, id, kind, &obj);
	if (ret)
		return ret == -EINVAL ? -EIDRM : ret;
	has = kind == DIPC_KIND_SHM   ? obj.shm.size
	      : kind == DIPC_KIND_SEM ? obj.sem.nr
				      : UINT64_MAX;
	if (job->args.get.size > has)
		return -EINVAL;
	return dipc_object_allows(&obj, &job->client->cred,
				  (mode >> 6 | mode >> 3 | mode) & 7);
}

int32_t dipc_job_get(struct dipc_job *job, enum dipc_kind kind,
		     struct dipc_lookup_got *got_out)
{
	const struct dipc_cred *cred = &job->client->cred;
	struct dipc_lookup_get get = {
		.kind = kind,
		.key = job->args.get.key,
		.flags = (uint32_t)job->args.get.flags &
			 (IPC_CREAT | IPC_EXCL | 0777),
		.uid = cred->uid,
		.gid = cred->gid,
		.pid = cred->pid,
		.size = job->args.get.size,
	};
	int tries, ret = 0;

	if (kind == DIPC_KIND_SHM) {
		get.policy = job->args.get.policy;
		dipc_config_policy(job->node->conf, get.key, &get.policy);
	}

	/* an object removed while we look at it: ask again */
	for (tries = 0; tries < 8; tries++) {
		ret = dipc_lookup_get(job->node->lookup, &get, got_out);
		if (ret == 0)
			ret = got_out->status;
		if (ret)
			return ret;
		if (got_out->is_new || got_out->must_create)
			return got_out->id;
		ret = get_check(job, kind, got_out->id);
		if (ret != -EIDRM)
			break;
	}
	return ret ? ret : got_out->id;
}

int dipc_job_object(struct dipc_job *job, enum dipc_kind kind,
		    struct dipc_arena_object *obj_out)
{
	int ret = dipc_object_read(job->node->fabric, job->args.ctl.id, kind,
				   obj_out);

	if (ret != -EIDRM)
		return ret;
	if (kind == DIPC_KIND_SHM && (int64_t)obj_out->shm.nattch > 0)
		return 0;
	return -EINVAL;
}

static int64_t ctl_stat(struct dipc_job *job, enum dipc_kind kind)
{
	struct dipc_arena_object obj;
	struct dipc_stat stat;
	int ret;

	ret = dipc_job_object(job, kind, &obj);
	if (ret)
		return ret;
	ret = dipc_object_allows(&obj, &job->client->cred, DIPC_WANT_READ);
	if (ret)
		return ret;
	dipc_object_stat(&obj, &stat);
	if (obj.state & DIPC_OBJECT_REMOVED)
		stat.mode |= SHM_DEST;
	memcpy(job->payload, &stat, sizeof(stat));
	job->payload_len = sizeof(stat);
	return 0;
}

static int64_t ctl_set(struct dipc_job *job, enum dipc_kind kind)
{
	struct dipc_stat stat;

	if (job->payload_len < sizeof(stat))
		return -EINVAL;
	memcpy(&stat, job->payload, sizeof(stat));
	return dipc_object_set(job->node->fabric, job->args.ctl.id, kind,
			       &job->client->cred, &stat);
}

static int64_t ctl_remove(struct dipc_job *job, enum dipc_kind kind)
{
	struct dipc_arena_object obj;
	int ret;

	ret = dipc_job_object(job, kind, &obj);
	if (ret)
		return ret;
	ret = dipc_object_is_owner(&obj, &job->client->cred);
	if (ret)
		return ret;
	if (obj.state & DIPC_OBJECT_REMOVED)
		return 0; /* again, while attached: as the kernel has it */
	ret = dipc_lookup_remove(job->node->lookup, job->args.ctl.id);
	return ret == -EIDRM ? -EINVAL : ret; /* another was faster */
}

int64_t dipc_job_ctl(struct dipc_job *job, enum dipc_kind kind)
{
	switch (job->args.ctl.cmd) {
	case IPC_STAT:
		return ctl_stat(job, kind);
	case IPC_SET:
		return ctl_set(job, kind);
	case IPC_RMID:
		return ctl_remove(job, kind);
	default:
		return -EINVAL;
	}
}
