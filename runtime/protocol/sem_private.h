/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared by the files that make up semaphore sets:
 *   sem.c	the cache of sets, semop: fast path and sleeping
 *   sem_batch.c	chains of requests
 *   sem_hold.c	holding a set: lock, freeze, try, commit
 *   sem_queue.c	its waiters: read, complete, link, unlink
 *   sem_ctl.c	semctl, undo
 *   sem_undo.c	the adjustments of this node's processes
 *   sem_peers.c	what nodes tell each other
 *   sem_recover.c	removal, and what a dead holder or sleeper left
 * docs/design/sem.md has the protocol and its invariants.
 */
#ifndef DIPC_PROTOCOL_SEM_PRIVATE_H
#define DIPC_PROTOCOL_SEM_PRIVATE_H

#include <uthash.h>

#include "runtime/protocol/sem.h"

#define SEM_VALUE_MAX 32767             /* SEMVMX */
#define SEM_TRUST     (100 * DIPC_MSEC) /* how long a READ slot is believed */
#define SEM_BUSY      (DIPC_SEM_FROZEN | DIPC_SEM_WAITERS)
#define SEM_PEEK      128u /* bytes of a record that mostly suffice */
#define SEM_PEEK_OPS                                                           \
	((SEM_PEEK - offsetof(struct dipc_arena_waiter, ops)) /                \
	 sizeof(struct dipc_arena_sembuf))

/* ---- the node's view ---------------------------------------------------- */

struct dipc_sems {
	struct dipc_fabric *fabric; /* borrowed */
	struct dipc_waiters *ws;    /* borrowed; NULL in the referee */
	struct sem_set *sets;       /* hash by slot; owned */
	uint32_t seq;               /* of the last stamp */
	uint64_t nr_forgets;        /* slots are to be READ again; guards a READ
				       that is under way */
	struct dipc_list undoers;   /* struct dipc_sem_undoer, borrowed */
	struct dipc_list undo_ops;  /* struct sem_undo_op, borrowed */
	unsigned nr_undo_sets;      /* of all undoers */
};

/* A semaphore that the running hold keeps stable; see struct sem_hold. */
struct sem_held {
	uint64_t at; /* the word in the arena, exact once is_stable */
	uint32_t num;
	uint32_t who;  /* did the last operation */
	int32_t value; /* decided; differs from `at` until committed */
	int32_t next;  /* scratch of the operation being tried */
	unsigned mark; /* == hold->mark: counted already */
	bool is_stable;
	bool is_altered; /* since the lock was taken */
	bool is_stamped; /* `who` is to be committed, even if value is the same */
	bool has_waiters; /* the waiters bit, as found */
	bool is_joined;   /* a waiter is being linked that touches it */
};

struct sem_word {
	uint64_t seen; /* last known word, 0: never */
	uint32_t held; /* 1 + index in set->held; guarded by the object's lock
			*/
};

/* What this node knows of one set. Freed when gone and unused. */
struct sem_set {
	int32_t id;
	uint32_t nr;
	uint32_t slot; /* key: one generation of a slot is cached at a time */
	unsigned nr_users;
	bool is_cached;               /* in sems->sets */
	bool is_gone;                 /* removed, or of an earlier generation */
	bool is_undoer;               /* our bit in `undoers` is set */
	uint64_t trusted_until;       /* mono ns, of `obj` */
	struct dipc_arena_object obj; /* as READ last */
	int64_t otime;                /* as last seen there, or written */
	uint64_t likely_first;        /* a waiter's record: worth a guess */
	struct sem_held *held;        /* owned, nr; guarded by the object's
					 lock, as is all of it */
	UT_hash_handle hh;
	struct sem_word word[];
};

/* sem.c */
int dipc_sem_set_get(struct dipc_sems *sems, int32_t id,
		     struct sem_set **set_out);
int dipc_sem_set_make(const struct dipc_arena_object *obj,
		      struct sem_set **set_out);
void dipc_sem_set_put(struct dipc_sems *sems, struct sem_set *set);
void dipc_sem_set_trust(struct sem_set *set,
			const struct dipc_arena_object *obj, uint64_t when);
struct sem_set *dipc_sem_set_find(struct dipc_sems *sems, int32_t id);
/* An operation was done now: `otime` says so when this returns. Fiber. */
void dipc_sem_note_otime(struct dipc_sems *sems, struct sem_set *set);

/* ---- words -------------------------------------------------------------- */

uint64_t dipc_sem_word_make(struct dipc_sems *sems, int32_t value,
			    uint64_t flags, uint32_t who);

static inline int32_t sem_word_value(uint64_t word)
{
	return (int32_t)(word & DIPC_SEM_VALUE);
}

static inline uint32_t sem_word_who(uint64_t word)
{
	return (uint32_t)(word >> DIPC_SEM_WHO_SHIFT) &
	       ((1u << DIPC_WHO_BITS) - 1);
}

/* A process of this node. */
static inline uint32_t sem_who(const struct dipc_sems *sems, uint32_t pid)
{
	return dipc_who(dipc_fabric_node(sems->fabric), pid);
}

static inline uint64_t sem_word_off(const struct sem_set *set, uint32_t num)
{
	return set->obj.sem.words + 8ull * num;
}

static inline uint64_t sem_slot_off(struct dipc_fabric *f,
				    const struct sem_set *set)
{
	return dipc_object_off(dipc_fabric_super(f), dipc_id_slot(set->id));
}

/* ---- chains ------------------------------------------------------------- */

/*
 * Requests without a limit: what fills a transaction is posted, the last one
 * is waited for. Order holds over all. CAS results are checked on the last.
 */
struct sem_batch {
	struct dipc_fabric *fabric;
	struct dipc_tx tx;
	size_t room;
	int status;         /* first error; everything after it is dropped */
	unsigned nr_posted; /* chains */
	unsigned nr_checks;
	struct {
		const uint64_t *old;
		uint64_t want;
	} check[DIPC_TX_MAX];
};

void dipc_sem_batch_init(struct sem_batch *b, struct dipc_fabric *f);
void dipc_sem_batch_write(struct sem_batch *b, uint64_t off, const void *src,
			  size_t len);
/* A CAS that cannot fail, the word being ours to change. */
void dipc_sem_batch_cas(struct sem_batch *b, uint64_t off, uint64_t compare,
			uint64_t swap);
/* A CAS whose old value is wanted: NULL after an error. */
const uint64_t *dipc_sem_batch_try(struct sem_batch *b, uint64_t off,
				   uint64_t compare, uint64_t swap);
/* 0, -ENOLINK (also: a checked CAS failed: the lock was taken from us). */
int dipc_sem_batch_run(struct sem_batch *b);
/* The same in two steps. */
void dipc_sem_batch_start(struct sem_batch *b);
int dipc_sem_batch_wait(struct sem_batch *b);
void dipc_sem_batch_end(struct sem_batch *b);

/* ---- holding ------------------------------------------------------------ */

/* A waiter in the list, as READ. */
struct sem_queued {
	uint64_t off;
	uint64_t next;
	uint32_t seq;
	uint16_t node, index;
	uint32_t who;
	bool is_gone;
	bool is_complex; /* several operations, or a wait for zero */
	bool is_alter;
	unsigned refused; /* operation that is -ERANGE; nr: none */
	unsigned nr;
	struct dipc_arena_sembuf ops[];
};

/*
 * One fiber's time with the object's lock. Values are decided here and then
 * committed; every word in set->held is stable once hold_lock returned.
 */
struct sem_hold {
	struct dipc_sems *sems;
	struct sem_set *set;
	struct dipc_lock lock;
	struct dipc_arena_object obj;
	unsigned nr_held;
	unsigned mark;
	bool is_covered; /* uncommitted values are in a valid redo */
	bool is_queue_changed;
	bool has_woken; /* somebody's operations were done */
	/* for the locking chain */
	const struct dipc_arena_sembuf *ops; /* borrowed; NULL: all words */
	unsigned nr_ops;
	uint64_t lock_started;
	uint64_t peek_off; /* a record READ along, 0: none */
	const void *peek_at;
	union {
		struct dipc_arena_waiter record; /* of peek_off */
		uint8_t raw[SEM_PEEK];
	} peek;
	bool has_peek;
	struct {
		const uint64_t *result;
		uint64_t guess, frozen; /* frozen 0: only looked at */
	} rode[DIPC_LOCK_RIDE];
	unsigned nr_rode;
	/* the list, in order, as far as it was read */
	struct sem_queued **queue; /* owned, entries too */
	unsigned nr_queued, room_queued;
	uint64_t next_unread; /* 0: the end was reached */
};

/*
 * Lock SET and make the words of OPS (NULL: all) stable. MUST_LIVE: -EIDRM or
 * -EINVAL when the set is removed. PEEK: a record to READ along, or 0. 0,
 * those, -ENOLINK; held only on 0, and then ended by finish or abandon.
 */
int dipc_sem_hold_lock(struct sem_hold *h, struct dipc_sems *sems,
		       struct sem_set *set, const struct dipc_arena_sembuf *ops,
		       unsigned nr, bool must_live, uint64_t peek);
/* Another semaphore, known to carry the waiters bit. 0 or -ENOLINK. */
int dipc_sem_hold_more(struct sem_hold *h, const struct dipc_arena_sembuf *ops,
		       unsigned nr);
struct sem_held *dipc_sem_held(struct sem_hold *h, uint32_t num);
/* NUM, READ as WORD; to be frozen next. */
void dipc_sem_hold_add(struct sem_hold *h, uint32_t num, uint64_t word);
/* Freeze what is held and not stable. */
int dipc_sem_hold_freeze(struct sem_hold *h);
/*
 * perform_atomic_semop() of Linux: 0 possible (in ->next), 1 would block,
 * -EAGAIN, -ERANGE: also at operation REFUSED, for its adjustment (NR: none).
 * BLOCKING_OUT (may be NULL): the operation at fault.
 */
int dipc_sem_hold_try(struct sem_hold *h, const struct dipc_arena_sembuf *ops,
		      unsigned nr, unsigned refused, unsigned *blocking_out);
/* Decide what was tried, for WHO. */
void dipc_sem_hold_apply(struct sem_hold *h,
			 const struct dipc_arena_sembuf *ops, unsigned nr,
			 uint32_t who);
/* Append what makes the decided values true, words staying stable. */
void dipc_sem_hold_commit(struct sem_hold *h, struct sem_batch *b);
/* Append a redo record for OPS (as tried) done to waiter Q with RESULT. */
void dipc_sem_hold_redo(struct sem_hold *h, struct sem_batch *b,
			const struct sem_queued *q, int32_t result);
/*
 * Commit, let the words go, unlock, run B (which may have requests already).
 * 0 or -ENOLINK. IS_POISON: leave all words frozen for ever.
 */
int dipc_sem_hold_finish(struct sem_hold *h, struct sem_batch *b,
			 bool is_poison);
/* After an error: forget; what is left in the arena is recovery's. */
void dipc_sem_hold_abandon(struct sem_hold *h);

/* ---- SEM_UNDO: sem_undo.c ----------------------------------------------- */

#define SEM_EPOCH_MASK 0x7fffffffu
#define SEM_UNDO_FEW   8u

/* A call with SEM_UNDO, from before it can be done until it is noted. */
struct sem_undo_op {
	struct dipc_list entry; /* sems->undo_ops */
	struct dipc_sem_undoer *undoer;
	int32_t id;
	const struct dipc_arena_sembuf *ops; /* borrowed */
	unsigned nr;
	bool is_prepared;
	uint32_t *cleared; /* for each: the epoch of the last clearing */
	uint32_t few[SEM_UNDO_FEW];
};

/*
 * OP has undoer, ops and nr. Room for what it may add, and this node's bit in
 * `undoers`. Fiber. 0 (then end it), -ENOMEM, -ENOLINK.
 */
int dipc_sem_undo_begin(struct sem_undo_op *op, struct dipc_sems *sems,
			struct sem_set *set);
void dipc_sem_undo_end(struct sem_undo_op *op);
/* The first operation whose adjustment would leave the range; nr: none. */
unsigned dipc_sem_undo_refused(const struct sem_undo_op *op);
/* A lone CAS for it is posted now. */
void dipc_sem_undo_posting(struct sem_undo_op *op);
/* It was done: by that CAS, or under the lock in EPOCH. */
void dipc_sem_undo_note(struct sem_undo_op *op, bool is_lone, uint32_t epoch);
/* SETVAL of NUM (-1: SETALL) began EPOCH: forget, on this node. */
void dipc_sem_undo_clear(struct dipc_sems *sems, int32_t id, int num,
			 uint32_t epoch);
/* ID was removed. */
void dipc_sem_undo_drop(struct dipc_sems *sems, int32_t id);

/* ---- peers: sem_peers.c ------------------------------------------------- */

/* Set this node's bit in the word at OFF, last seen as GUESS. 0, -ENOLINK. */
int dipc_sem_mask_set(struct dipc_sems *sems, uint64_t off, uint64_t guess);
/*
 * With the set held, and NUM's word (-1: all) stable: a new undo epoch, and
 * adjustments cleared on all nodes. Fiber. 0, -ENOLINK.
 */
int dipc_sem_peers_clear(struct sem_hold *h, int num);

/* ---- waiters ------------------------------------------------------------ */

/* Complete, in order, every waiter that has become possible. 0, -ENOLINK. */
int dipc_sem_queue_wake(struct sem_hold *h);
/* Entry I in Q_OUT, NULL behind the last. 0, -ENOLINK; -ENOMEM, -EPROTO. */
int dipc_sem_queue_at(struct sem_hold *h, unsigned i,
		      struct sem_queued **q_out);
/*
 * What a waiter's record says of RESULT: of success, the undo epoch in which it
 * was done, so that its node knows which clearings came after it.
 */
static inline int32_t sem_told(const struct sem_hold *h, int32_t result)
{
	return result ? result
		      : (int32_t)(h->obj.sem.undo_epoch & SEM_EPOCH_MASK);
}

/* End Q with RESULT; with RESULT 0 its operations were tried last. */
int dipc_sem_queue_complete(struct sem_hold *h, struct sem_queued *q,
			    int32_t result);
/* Append the writes that take Q, read into the queue, out of the list. */
void dipc_sem_queue_unlink(struct sem_hold *h, struct sem_batch *b,
			   struct sem_queued *q);
void dipc_sem_queue_free(struct sem_hold *h);
/* Does a waiter that is left touch NUM? The whole list has been read. */
bool dipc_sem_queue_touches(const struct sem_hold *h, uint32_t num);
bool dipc_sem_ops_alter(const struct dipc_arena_sembuf *ops, unsigned nr);

/* A blocked semop: its record, and those with the rest of its operations. */
struct sem_sleeper {
	struct dipc_waiter *w; /* owned array; [0] is the one in the list */
	unsigned nr;
	bool is_linked; /* a chain that links it was posted */
};

int dipc_sem_sleeper_get(struct sem_sleeper *s, struct dipc_waiters *ws,
			 unsigned nr_ops, uint64_t deadline,
			 struct dipc_cancel *cancel);
void dipc_sem_sleeper_put(struct sem_sleeper *s);
/* Append: write the records, link them at the end. H's words will wait. */
void dipc_sem_sleeper_link(struct sem_hold *h, struct sem_sleeper *s,
			   const struct dipc_arena_sembuf *ops, unsigned nr,
			   unsigned refused, uint32_t pid, struct sem_batch *b);
/* A cancelled record out of the list. 0 or -ENOLINK. */
int dipc_sem_sleeper_withdraw(struct dipc_sems *sems, struct sem_set *set,
			      struct sem_sleeper *s,
			      const struct dipc_arena_sembuf *ops, unsigned nr);

#endif
