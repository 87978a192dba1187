/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by keys.c (finding and creating) and reaper.c (removing) only. */
#ifndef DIPC_REFEREE_KEYS_PRIVATE_H
#define DIPC_REFEREE_KEYS_PRIVATE_H

#define HASH_NONFATAL_OOM 1

#include <uthash.h>

#include "referee/keys.h"

/*
 *   FREE -> CREATING (segments: the creator makes their memory) -> PUBLISHING
 *        -> LIVE -> REMOVING -> REMOVED (segments: still attached) -> GRACE
 *        -> FREE
 *   CREATING -> FREE and PUBLISHING -> FREE: it failed.
 */
enum object_state {
	OBJECT_FREE,
	OBJECT_CREATING,
	OBJECT_PUBLISHING,
	OBJECT_LIVE,
	OBJECT_REMOVING,
	OBJECT_REMOVED,
	OBJECT_GRACE,
	OBJECT_STATES,
};

/* By slot; never moves, so that fibers may sleep in `created`. */
struct object {
	enum object_state state;
	enum dipc_kind kind;
	unsigned node; /* segments: creator */
	uint32_t incarnation;
	uint64_t homes; /* segments: bits of nodes that had joined by `born` */
	uint32_t born;
	uint64_t size;   /* bytes, or semaphores */
	bool is_counted; /* in the arena's usage */
	uint64_t since;  /* when `state` began, monotonic ns */
	bool is_busy;    /* a fiber is reaping or freeing it */
	struct key *key; /* NULL: IPC_PRIVATE, or not found any more */
	struct dipc_waitq created; /* who asked for the key meanwhile */
};

struct key_name {
	uint32_t kind;
	int32_t key;
};

struct key {
	struct key_name name;
	uint32_t slot;
	UT_hash_handle hh;
};

struct dipc_keys {
	struct dipc_referee *ref; /* borrowed */
	struct key *table;        /* owned, with its entries */
	struct object *objects;   /* owned; one a slot */
	uint32_t nr_slots;
	unsigned nr_in[OBJECT_STATES];
	struct dipc_waitq freed; /* who waits for the memory of an object */
	struct dipc_timer tick;  /* while something waits for its time */
	bool is_ticking;         /* the timer's fiber runs */
	bool is_stopping;
};

/* keys.c */
void dipc_object_enter(struct dipc_keys *k, struct object *obj,
		       enum object_state state);
/* Nobody finds it by its key any more. */
void dipc_object_unname(struct dipc_keys *k, struct object *obj);
/* Never published: slot and body are free again, who waited tries again. */
void dipc_object_abort(struct dipc_keys *k, struct object *obj);
uint32_t dipc_object_slot(const struct dipc_keys *k, const struct object *obj);
uint64_t dipc_object_offset(const struct dipc_keys *k,
			    const struct object *obj);

/* reaper.c */
/* Make sure that the tick comes. */
void dipc_reaper_need(struct dipc_keys *k);
void dipc_reaper_init(struct dipc_keys *k);
/* LIVE -> REMOVING -> ... as far as it goes now. Fiber. 0 or -ENOLINK. */
int dipc_object_remove(struct dipc_keys *k, struct object *obj);

#endif
