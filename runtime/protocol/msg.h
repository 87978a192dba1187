/* SPDX-License-Identifier: BSD-2-Clause */
/* Message queues on the arena; docs/design/msg.md. All functions: fiber. */
#ifndef DIPC_PROTOCOL_MSG_H
#define DIPC_PROTOCOL_MSG_H

#include "runtime/protocol/waiter.h"

struct dipc_msgs;
struct dipc_pool; /* this node's leased blocks, pool.h */

int dipc_msgs_create(struct dipc_fabric *f, struct dipc_waiters *ws,
		     struct dipc_msgs **msgs_out);
void dipc_msgs_destroy(struct dipc_msgs *msgs);
/* Before leaving: give the blocks leased here back. 0 or -ENOLINK. */
int dipc_msgs_flush(struct dipc_msgs *msgs);

/*
 * msgsnd. FLAGS: IPC_NOWAIT. 0, or -EACCES -EAGAIN -EIDRM (removed while this
 * call was blocked) -EINTR -EINVAL -ENOMEM -ENOLINK.
 */
int dipc_msg_send(struct dipc_msgs *msgs, int32_t id,
		  const struct dipc_cred *cred, int64_t type, const void *text,
		  size_t len, int flags, struct dipc_cancel *cancel);
/*
 * msgrcv with all of Linux's types and flags. Length of the text put into TEXT (room for LEN), type in *TYPE_OUT; or -E2BIG -EACCES
 * -EIDRM -EINTR -EINVAL -ENOMSG -ENOLINK.
 */
int64_t dipc_msg_receive(struct dipc_msgs *msgs, int32_t id,
			 const struct dipc_cred *cred, int64_t type, int flags,
			 void *text, size_t len, int64_t *type_out,
			 struct dipc_cancel *cancel);
/* After IPC_SET raised qbytes: blocked senders may fit now. */
int dipc_msg_kick(struct dipc_msgs *msgs, int32_t id);

/* referee: the queue in SLOT was marked removed; its waiters end with -EIDRM,
   its messages go back to the pool. */
int dipc_msg_remove(struct dipc_fabric *f, struct dipc_pool *pool,
		    uint32_t slot);
/*
 * referee: the node in SLOT's lock word is dead and fenced. Mend the lists,
 * let who can go on go on, unlock. 0 (also when the lock is free), -EINVAL,
 * -ENOLINK, -ENOMEM; may be called again after those.
 */
int dipc_msg_recover(struct dipc_fabric *f, uint32_t slot);
/*
 * referee: NODE is dead and fenced: none of its calls waits for the queue in
 * SLOT any more. After the recovery of locks, before the node's id is given
 * again.
 */
int dipc_msg_evict(struct dipc_fabric *f, uint32_t slot, unsigned node);

#endif
