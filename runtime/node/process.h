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
	struct dipc_list entry;  /* node->processes */
	struct dipc_node *node;  /* borrowed */
	struct dipc_watch watch; /* its pidfd: readable when it is gone */
	struct dipc_list undo;   /* struct undo_set, owned */
	uint32_t pid;
	unsigned nr_refs; /* connections and running calls */
	bool is_gone;
};

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
 * Make room for the adjustments of OPS before they are done, so that noting
 * them cannot fail: -ENOMEM; -ERANGE when an adjustment leaves +-32767.
 */
int dipc_process_undo_prepare(struct dipc_process *process, int32_t id,
			      const struct sembuf *ops, unsigned nr);
/* OPS were done: each with SEM_UNDO is to be taken back. */
void dipc_process_undo_note(struct dipc_process *process, int32_t id,
			    const struct sembuf *ops, unsigned nr);
/* SETVAL (NUM >= 0), SETALL or removal (NUM < 0) of ID: forget, everywhere on
   this node. */
void dipc_process_undo_clear(struct dipc_node *node, int32_t id, int num);

#endif
