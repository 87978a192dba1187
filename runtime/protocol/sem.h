/* SPDX-License-Identifier: BSD-2-Clause */
/* Semaphore sets on the arena; docs/design/sem.md. All functions: fiber. */
#ifndef DIPC_PROTOCOL_SEM_H
#define DIPC_PROTOCOL_SEM_H

#include <sys/types.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "runtime/protocol/waiter.h"

struct dipc_sems; /* a node's cache of words, and its service */

int dipc_sems_create(struct dipc_fabric *f, struct dipc_waiters *ws,
		     struct dipc_sems **sems_out);
void dipc_sems_destroy(struct dipc_sems *sems);

/*
 * semtimedop. DEADLINE: monotonic ns, DIPC_NEVER. 0, or -E2BIG -EACCES -EAGAIN
 * -EFBIG -EIDRM -EINTR -EINVAL -ENOMEM -ERANGE -ENOLINK. All or nothing.
 * SEM_UNDO is ignored.
 */
int dipc_sem_op(struct dipc_sems *sems, int32_t id,
		const struct dipc_cred *cred, const struct sembuf *ops,
		unsigned nr, uint64_t deadline, struct dipc_cancel *cancel);

/*
 * SEM_UNDO: the adjustments of one process of this node. Whoever makes a call
 * for it, or ends it, keeps it until that is over.
 */
struct dipc_sem_undoer;

int dipc_sem_undoer_create(struct dipc_sems *sems, uint32_t pid,
			   struct dipc_sem_undoer **undoer_out);
/* Forget it. NULL is allowed. */
void dipc_sem_undoer_destroy(struct dipc_sem_undoer *undoer);
/* Has it ever used SEM_UNDO on the set ID, which is still there? */
bool dipc_sem_undoer_holds(const struct dipc_sem_undoer *undoer, int32_t id);
bool dipc_sem_undoer_is_empty(const struct dipc_sem_undoer *undoer);
/* Has any other process of this node used it on any set? Cheap. */
bool dipc_sem_undoer_has_others(const struct dipc_sem_undoer *undoer);
/*
 * The process has ended: take everything back, newest set first. No call of it
 * is under way. 0, or the first error; what failed is lost. Fiber.
 */
int dipc_sem_undoer_run(struct dipc_sem_undoer *undoer);
/* dipc_sem_op() with operations that have SEM_UNDO. Also -ERANGE, -ENOMEM. */
int dipc_sem_op_undo(struct dipc_sems *sems, int32_t id,
		     const struct dipc_cred *cred,
		     struct dipc_sem_undoer *undoer, const struct sembuf *ops,
		     unsigned nr, uint64_t deadline,
		     struct dipc_cancel *cancel);

/*
 * Undo of a dead process: value += ADJ, held within 0..SEMVMX. ADJ is read
 * once the set is held.
 */
struct dipc_sem_adj {
	uint16_t num;
	int16_t adj;
};
int dipc_sem_undo(struct dipc_sems *sems, int32_t id, uint32_t pid,
		  const struct dipc_sem_adj *adj, unsigned nr);

/*
 * SETVAL (NUM, VALUES[0]), SETALL (NUM < 0, NR values). Clears adjustments on
 * all nodes, then wakes who can go on.
 */
int dipc_sem_set(struct dipc_sems *sems, int32_t id,
		 const struct dipc_cred *cred, int num,
		 const unsigned short *values, unsigned nr);
/* GETALL: *NR_OUT values into VALUES (room for MAX, else -E2BIG). */
int dipc_sem_get_all(struct dipc_sems *sems, int32_t id,
		     const struct dipc_cred *cred, unsigned short *values,
		     unsigned max, unsigned *nr_out);
/* GETVAL, GETPID, GETNCNT, GETZCNT: >= 0 or -errno. */
int dipc_sem_get(struct dipc_sems *sems, int32_t id,
		 const struct dipc_cred *cred, int num, int cmd);
/* GETPID's process with its node, as dipc_who() has it; 0: none yet. */
int dipc_sem_get_who(struct dipc_sems *sems, int32_t id,
		     const struct dipc_cred *cred, int num, uint32_t *who_out);

/*
 * This node has changed ID's slot (IPC_SET): no node believes any more what it
 * READ before. 0 or -ENOLINK.
 */
int dipc_sems_changed(struct dipc_sems *sems, int32_t id);
/*
 * This node has removed ID, whose `undoers` were UNDOERS: all forget the
 * adjustments. As far as they can be reached: it is a matter of memory only.
 */
void dipc_sems_removed(struct dipc_sems *sems, int32_t id, uint64_t undoers);
/* A peer's DIPC_REQ_SEM_*: answered at once. Not a fiber's privilege. */
void dipc_sems_request(struct dipc_sems *sems, struct dipc_incoming *in);

/*
 * referee: the set in SLOT has been marked removed; every waiter ends with
 * -EIDRM, and no word can be changed by a fast path any more.
 */
int dipc_sem_remove(struct dipc_fabric *f, uint32_t slot);
/*
 * referee: the node in SLOT's lock word is dead and fenced. Finish or drop what
 * it was doing, mend the queue, wake who can go on, unlock. 0 (also when the
 * lock is free), -EINVAL, -ENOLINK, -ENOMEM; may be called again after those.
 */
int dipc_sem_recover(struct dipc_fabric *f, uint32_t slot);
/*
 * referee: NODE is dead and fenced: none of its calls waits for the set in SLOT
 * any more. After the recovery of locks, before the node's id is given again.
 */
int dipc_sem_evict(struct dipc_fabric *f, uint32_t slot, unsigned node);
/* referee: the same for NODE's bits in `users` and `undoers`. */
int dipc_sem_drop_node(struct dipc_fabric *f, uint32_t slot, unsigned node);

#endif
