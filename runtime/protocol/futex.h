/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Futexes on words in segments, docs/design/futex.md: the queues of the words
 * at home here, and the tickets of who waits on this node. One a node, the
 * loop's thread only; "Fiber" marks functions that may park.
 */
#ifndef DIPC_PROTOCOL_FUTEX_H
#define DIPC_PROTOCOL_FUTEX_H

#include "runtime/protocol/fabric.h"
#include "runtime/protocol/waiter.h"

struct dipc_futexes;

/* A word: the segment's identifier and the byte in it. */
struct dipc_futex_key {
	int32_t id;
	uint32_t home; /* the segment's */
	uint64_t off;
};

enum dipc_futex_state {
	DIPC_FUTEX_REGISTERING,
	DIPC_FUTEX_REGISTERED,
	DIPC_FUTEX_WOKEN,
};

#define DIPC_FUTEX_ANY UINT32_MAX /* all bits of a bitset */

/* Somebody who waits on this node. The caller's, from register to withdraw. */
struct dipc_futex_wait {
	struct dipc_list entry; /* private: by ticket */
	struct dipc_list user;  /* the caller's */
	void *owner;            /* the caller's, for may_take() */
	struct dipc_futex_key key;
	uint64_t ticket;
	uint32_t bitset; /* woken by a wake-up that shares a bit */
	enum dipc_futex_state state;
	struct dipc_fiber *fiber; /* in dipc_futex_sleep(), or NULL */
};

/*
 * Can WAIT's thread still use a wake-up? NULL for the whole function: always.
 * Must not park.
 */
typedef bool (*dipc_futex_may_take_fn)(const struct dipc_futex_wait *wait);

/* 0 or -ENOMEM. */
int dipc_futexes_create(struct dipc_fabric *f, dipc_futex_may_take_fn may_take,
			struct dipc_futexes **futexes_out);
/* Nobody waits any more. Takes NULL. */
void dipc_futexes_destroy(struct dipc_futexes *fs);

struct dipc_futexes_counters {
	uint64_t nr_waits;    /* registrations asked for here */
	uint64_t nr_wakes;    /* calls here */
	uint64_t nr_requests; /* messages sent for all that */
	uint64_t nr_passed;   /* wake-ups that one would not take */
};
const struct dipc_futexes_counters *
dipc_futexes_counters(const struct dipc_futexes *fs);
/* Waiters queued at this home on KEY. */
unsigned dipc_futexes_queued(const struct dipc_futexes *fs,
			     const struct dipc_futex_key *key);

/*
 * Queue WAIT (owner, bitset) for KEY; from here on a wake-up can reach it. The caller then
 * looks at the word, and sleeps or withdraws (LOOK-AFTER). Fiber. 0, -ENOMEM,
 * -ENOLINK: not queued, nothing to withdraw.
 */
int dipc_futex_register(struct dipc_futexes *fs,
			const struct dipc_futex_key *key,
			struct dipc_futex_wait *wait);
/*
 * Until woken, DEADLINE or CANCEL (may be NULL). Fiber. 0; -ETIMEDOUT or
 * -EINTR, WAIT is queued as before. It is to be withdrawn in every case.
 */
int dipc_futex_sleep(struct dipc_futexes *fs, struct dipc_futex_wait *wait,
		     uint64_t deadline, struct dipc_cancel *cancel);
/* WAIT is the caller's alone again. True: it had been woken (TAKEN-ONCE). */
bool dipc_futex_withdraw(struct dipc_futexes *fs, struct dipc_futex_wait *wait);
/*
 * Wake up to NR that share a bit with BITSET, in order. Fiber. How many, or
 * -ENOLINK: no home.
 */
int dipc_futex_wake(struct dipc_futexes *fs, const struct dipc_futex_key *key,
		    uint32_t bitset, uint32_t nr);

/* ---- what the fabric's events call -------------------------------------- */

/* DIPC_REQ_FUTEX_*. Answers IN, now or later. */
void dipc_futexes_request(struct dipc_futexes *fs, struct dipc_incoming *in);
/* The link to NODE is gone: waits on words at home there end. */
void dipc_futexes_lost(struct dipc_futexes *fs, unsigned node);
/* NODE is out of the cluster: whoever waits there waits no more. */
void dipc_futexes_evict(struct dipc_futexes *fs, unsigned node);
/* Segment ID, which was at home here, is no more. */
void dipc_futexes_forget(struct dipc_futexes *fs, int32_t id);

#endif
