/* SPDX-License-Identifier: BSD-2-Clause */
/* A call from a request slot, on its own fiber. */
#ifndef DIPC_NODE_JOB_H
#define DIPC_NODE_JOB_H

#include "runtime/node/client.h"

struct dipc_job {
	struct dipc_client *client;
	struct dipc_node *node;
	struct dipc_slot *slot; /* shared: read once, into what follows */
	unsigned index;
	uint32_t call;
	union dipc_call_args args;
	uint32_t payload_len; /* in: checked; out: bytes of the answer */
	uint8_t *payload;     /* shared: DIPC_SLOT_PAYLOAD bytes that change
				 under our hands; copy before checking */
	bool has_fault;       /* in: the payload could not be read: -EFAULT,
				 but in the kernel's order of checks */
	int64_t type;         /* msgrcv's answer */
	struct dipc_cancel cancel;
};

/* Take what the client posted in slot INDEX and start its fiber. */
void dipc_job_start(struct dipc_client *client, unsigned index);
/* Give SLOT back to the client, with what else the answer has filled in. */
void dipc_slot_answer(struct dipc_slot *slot, int64_t result);
/* DIPC_CALL_FAULT in SLOT. Does not park. */
void dipc_job_fault(struct dipc_client *client, struct dipc_slot *slot);

/* One handler a kind: the result, or -errno. Fiber. */
int64_t dipc_job_shm(struct dipc_job *job);
int64_t dipc_job_sem(struct dipc_job *job);
int64_t dipc_job_msg(struct dipc_job *job);
int64_t dipc_job_admin(struct dipc_job *job);
int64_t dipc_job_futex(struct dipc_job *job);
int64_t dipc_job_owner(struct dipc_job *job);
int64_t dipc_job_info(struct dipc_job *job);
int64_t dipc_job_pid_node(struct dipc_job *job);
int64_t dipc_job_pages(struct dipc_job *job);

/*
 * Objects in slots FIRST to END - 1, as READ, removed ones that programs may
 * still see included (marked in `state`), KIND or any (0). EACH returns false
 * to stop. The slot to go on from, or -errno. Fiber.
 */
int64_t dipc_job_walk(struct dipc_fabric *f, uint32_t first, uint32_t end,
		      enum dipc_kind kind,
		      bool (*each)(void *arg,
				   const struct dipc_arena_object *obj),
		      void *arg);
/* Where a walk over all objects may end. Fiber. 0 or -errno. */
int dipc_job_walk_end(struct dipc_fabric *f, uint32_t *end_out);

/*
 * What the three *get calls share: the referee's decision, then the checks of
 * an object that was there. SIZE_OF: what the object has, for a request that
 * wants more (-EINVAL). Returns the id or -errno; *IS_NEW_OUT: this call made
 * it and, for a segment, must complete it.
 */
int32_t dipc_job_get(struct dipc_job *job, enum dipc_kind kind,
		     struct dipc_lookup_got *got_out);
/*
 * READ the object of a *ctl call. One that is removed is gone for new calls
 * (-EINVAL), but for a segment that somebody still has attached.
 */
int dipc_job_object(struct dipc_job *job, enum dipc_kind kind,
		    struct dipc_arena_object *obj_out);
/* IPC_STAT, IPC_SET and IPC_RMID; -EINVAL for another command. */
int64_t dipc_job_ctl(struct dipc_job *job, enum dipc_kind kind);

#endif
