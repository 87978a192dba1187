/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A local process, from its first connection until its pid is gone: who it
 * is, and what SEM_UNDO has to take back when it ends. It outlives its
 * connections, since exec keeps both pid and undo.
 */
#ifndef DIPC_NODE_PROCESS_H
#define DIPC_NODE_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/loop.h"
#include "runtime/protocol/sem.h"

struct dipc_node;

struct dipc_process {
	struct dipc_list entry;       /* node->processes */
	struct dipc_node *node;       /* borrowed */
	struct dipc_sem_undoer *undo; /* owned */
	int pidfd;                    /* in node->deaths; owned */
	uint32_t pid;
	unsigned nr_refs; /* connections and running calls */
	unsigned nr_jobs; /* running calls */
	uint64_t death;   /* it has ended: the how manieth; 0: it lives */
};

/* Once, before the first process. 0 or -errno. */
int dipc_processes_open(struct dipc_node *node);
/* Find or make. 0 or -errno (-ESRCH: it has ended already). */
int dipc_process_get(struct dipc_node *node, uint32_t pid,
		     struct dipc_process **process_out);
void dipc_process_ref(struct dipc_process *process);
void dipc_process_put(struct dipc_process *process);

/*
 * Who connected SOCK, as the kernel noted it then: nothing that the process
 * has become since, by exec of a set-uid program say, gives it anything. Only
 * root is asked which capabilities it has now: others would have had time to
 * become somebody who has them. Root of another user namespace is not root.
 * GROUPS is allocated. 0 or -errno.
 */
int dipc_process_cred(int sock, struct dipc_cred *cred_out,
		      uint32_t **groups_out);

/*
 * Whatever has ended on this node before now has given back what it held, and
 * its calls are over: so a parent that has waited for its child finds it done.
 * SELF is who asks. One system call if nobody has ended, none if nobody else
 * uses SEM_UNDO or has a call under way. Fiber.
 */
void dipc_process_settle(struct dipc_process *self,
			 const struct dipc_cancel *cancel);
/* A call of the process, from the moment it was taken up to its answer. */
void dipc_process_job_begin(struct dipc_process *process);
void dipc_process_job_end(struct dipc_process *process);

#endif
