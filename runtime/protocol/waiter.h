/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * This node's waiter records in the arena: taken by a call that must block,
 * linked into the object's list, completed by whoever makes it possible.
 */
#ifndef DIPC_PROTOCOL_WAITER_H
#define DIPC_PROTOCOL_WAITER_H

#include "runtime/protocol/object.h"

struct dipc_waiters; /* one a node */

int dipc_waiters_create(struct dipc_fabric *f, struct dipc_waiters **ws_out);
void dipc_waiters_destroy(struct dipc_waiters *ws);

/* Offset of record INDEX of NODE. */
uint64_t dipc_waiter_off(const struct dipc_arena_super *super, unsigned node,
			 uint32_t index);

static inline uint64_t dipc_waiter_state(enum dipc_waiter_status status,
					 uint32_t seq, int32_t result)
{
	return (uint64_t)status | (uint64_t)(seq & 0xffffffu) << 8 |
	       (uint64_t)(uint32_t)result << 32;
}

static inline enum dipc_waiter_status dipc_waiter_status(uint64_t state)
{
	return (enum dipc_waiter_status)(state & 0xffu);
}

static inline uint32_t dipc_waiter_seq(uint64_t state)
{
	return (uint32_t)(state >> 8) & 0xffffffu;
}

/* How a blocked call ends early: the node sets it and wakes the fiber. */
struct dipc_cancel {
	bool is_set;              /* give up: a signal, or the process died */
	struct dipc_fiber *fiber; /* sleeping in the call; NULL: not blocked */
};

/* From a handler: make the call return -EINTR unless it was completed. */
void dipc_cancel_set(struct dipc_cancel *cancel);

struct dipc_waiter {
	struct dipc_waiters *ws;
	uint32_t index;
	uint32_t seq;
	uint64_t off; /* of the record in the arena */
	struct dipc_fiber *fiber;
	bool is_hinted;
};

/* Who finds no free record tries without one, and looks again after this. */
#define DIPC_RECORD_WAIT DIPC_SEC

/* A free record; waits for one until DEADLINE. Fiber. 0, -EAGAIN, -EINTR. */
int dipc_waiter_get(struct dipc_waiters *ws, uint64_t deadline,
		    struct dipc_cancel *cancel, struct dipc_waiter *w_out);
/* The record must be in no list. */
void dipc_waiter_put(struct dipc_waiter *w);
/*
 * The state word of a pending record of this life. The owner WRITES it with
 * the rest of the record, before it links it.
 */
uint64_t dipc_waiter_pending(const struct dipc_waiter *w);
/*
 * Sleep until done, DEADLINE or cancel; looks at the record on a hint and once
 * a second. Fiber. 0: done, RESULT_OUT is what the completer put. -EAGAIN
 * (deadline) or -EINTR: cancelled, the record is ours but still in the
 * object's list. -ENOLINK: the arena was out of reach for DIPC_PATIENCE; the
 * record must not be put back, since nobody knows what became of it.
 */
#define DIPC_PATIENCE (10 * DIPC_SEC)

int dipc_waiter_sleep(struct dipc_waiter *w, uint64_t deadline,
		      struct dipc_cancel *cancel, int32_t *result_out);
/*
 * Complete somebody's record: CAS pending -> done(RESULT). Called with the
 * object's lock held. Fiber. 1: ours, the node is to be woken; 0: it was
 * cancelled; -ENOLINK.
 */
int dipc_waiter_complete(struct dipc_fabric *f, uint64_t off,
			 const struct dipc_arena_waiter *record,
			 int32_t result);
/* A WRITE_IMM named waiter INDEX (or UINT32_MAX: look at all). */
void dipc_waiters_hint(struct dipc_waiters *ws, uint32_t index);

#endif
