/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared by the files that make up message queues:
 *   msg.c	   send, receive, and their sleeping
 *   msg_hold.c    holding a queue: lock, chain of writes, list of messages
 *   msg_waiter.c  its blocked receivers and senders
 *   msg_recover.c removal, IPC_SET, and what a dead holder or sleeper left
 *   pool.c	   blocks
 * docs/design/msg.md has the protocol and its invariants, INV-*.
 */
#ifndef DIPC_PROTOCOL_MSG_PRIVATE_H
#define DIPC_PROTOCOL_MSG_PRIVATE_H

#include "runtime/protocol/msg.h"
#include "runtime/protocol/pool.h"

#define MSG_HEAD sizeof(struct dipc_arena_message)
/* What of a waiter's record a message call uses. */
#define RECORD_HEAD offsetof(struct dipc_arena_waiter, more_ops)
/* Room for writes in a chain of a hold, and how many. */
#define HOLD_BYTES  1024u
#define HOLD_WRITES (DIPC_TX_MAX - 4u)

struct dipc_msgs {
	struct dipc_fabric *fabric; /* borrowed */
	struct dipc_waiters *ws;    /* borrowed */
	struct dipc_pool *pool;     /* owned */
};

/* What a receiver wants, as records carry it. */
struct msg_wish {
	int64_t type;
	uint32_t flags; /* MSG_EXCEPT */
	uint32_t room;  /* UINT32_MAX with MSG_NOERROR */
};

/*
 * One fiber's time with a queue's lock. `obj` is what the object is to be;
 * writes gather in `tx` and go out, with the object's own part, when something
 * must come after them, and with the unlocking at the end. An error sticks:
 * after it nothing is written any more, and recovery has the rest.
 */
struct msg_hold {
	struct dipc_fabric *fabric; /* borrowed */
	struct dipc_lock lock;
	struct dipc_arena_object obj;
	bool is_changed; /* obj.msg differs from the arena's */
	int status;
	struct dipc_tx tx; /* tx.link NULL: not begun */
};

/* A message of the queue, found by walking. */
struct msg_found {
	uint64_t off;
	uint64_t prev; /* 0: it is the first */
	int64_t type;
	uint32_t len;
};

/* ---- holding: msg_hold.c ------------------------------------------------ */

/*
 * Lock the queue ID; RIDE (may be NULL) goes along. Fiber. 0, -EINVAL, -EIDRM,
 * -ENOLINK; held only on 0.
 */
int dipc_msg_hold_lock(struct msg_hold *h, struct dipc_fabric *f, int32_t id,
		       const struct dipc_lock_ride *ride);
/* Go on with a lock and object that the caller has obtained. */
void dipc_msg_hold_init(struct msg_hold *h, struct dipc_fabric *f,
			const struct dipc_lock *lock);
void dipc_msg_hold_write(struct msg_hold *h, uint64_t off, const void *src,
			 size_t len);
/* Post what has gathered: later operations of this link come after it. */
void dipc_msg_hold_post(struct msg_hold *h);
/* READ LEN bytes, after what has gathered. Fiber. 0 or the hold's status. */
int dipc_msg_hold_read(struct msg_hold *h, uint64_t off, void *dst, size_t len);
/* The end: write, unlock; not waited for. 0 or -ENOLINK. */
int dipc_msg_hold_finish(struct msg_hold *h);
/*
 * The same, waited for, and to be followed by dipc_msg_hold_end(). Fiber. 0:
 * it is so in the arena.
 */
int dipc_msg_hold_commit(struct msg_hold *h);
void dipc_msg_hold_end(struct msg_hold *h);
/*
 * A READ that goes along with the commit: filled then, valid until the end.
 * The first thing in a chain. NULL: the hold's status.
 */
const void *dipc_msg_hold_peek(struct msg_hold *h, uint64_t off, size_t len);
/* -EIO, logged: what was READ at OFF makes no sense. */
int dipc_msg_damaged(const struct msg_hold *h, uint64_t off);

/* Linux's msg_fits_inqueue(). */
bool dipc_msg_fits(const struct dipc_arena_msg *q, uint64_t len);
/* Linux's testmsg(). */
bool dipc_msg_matches(int64_t type, const struct msg_wish *wish);
/*
 * The message that WISH gets. Fiber. 1, 0 (none), or the hold's status.
 */
int dipc_msg_find(struct msg_hold *h, const struct msg_wish *wish,
		  struct msg_found *found_out);
/* The message at place INDEX, from 0. Fiber. 1, 0, or the hold's status. */
int dipc_msg_find_nth(struct msg_hold *h, int64_t index,
		      struct msg_found *found_out);
/* Append the message at OFF, written already; its `next` is 0. */
void dipc_msg_append(struct msg_hold *h, uint64_t off, int64_t type,
		     uint32_t len);
/* Take back the append of the message at OFF, which came after PREV. */
void dipc_msg_unappend(struct msg_hold *h, uint64_t prev, uint32_t len);
/* Unlink FOUND, whose header is HEAD. */
void dipc_msg_unlink(struct msg_hold *h, const struct msg_found *found,
		     const struct dipc_arena_message *head);

/* ---- waiters: msg_waiter.c ---------------------------------------------- */

/* Append W to the queue's receivers; its call has the pid PID. */
void dipc_msg_link_receiver(struct msg_hold *h, struct dipc_waiter *w,
			    const struct msg_wish *wish, uint32_t pid);
/* Append W, who wants to send the message at OFF, to its senders. */
void dipc_msg_link_sender(struct msg_hold *h, struct dipc_waiter *w,
			  uint64_t off, int64_t type, uint32_t len,
			  uint32_t pid);
/*
 * Give the message at OFF to the first blocked receiver that wants it; those
 * before whom it is too long for end with -E2BIG. Fiber. 1: it is his now,
 * 0: nobody's, or the hold's status.
 */
int dipc_msg_deliver(struct msg_hold *h, uint64_t off, int64_t type,
		     uint32_t len);
/*
 * Room was made: put in the messages of blocked senders that fit, in order; who
 * would have fitted, had another not been first, goes to the end of the line.
 * MUST_RETRY: let those senders try themselves instead. Fiber.
 */
void dipc_msg_admit(struct msg_hold *h, bool must_retry);
/* Every blocked receiver tries again. Fiber. */
void dipc_msg_expunge(struct msg_hold *h);
/*
 * The record W, cancelled, out of the queue ID's lists. Fiber. 0; -EIDRM: the
 * queue is gone; -ENOLINK: it must not be put back.
 */
int dipc_msg_withdraw(struct dipc_msgs *msgs, int32_t id,
		      const struct dipc_waiter *w, bool is_receiver);

/* The result that tells a receiver which message it got, and back. */
static inline int32_t msg_result(uint64_t off)
{
	return (int32_t)(off / DIPC_BLOCK_GRAIN);
}

static inline uint64_t msg_of_result(int32_t result)
{
	return (uint64_t)result * DIPC_BLOCK_GRAIN;
}

#endif
