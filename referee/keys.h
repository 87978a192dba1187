/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each key means, and the life of the objects. Decisions are taken in
 * this process's memory, at one instant and before anything parks; the arena
 * only shows the result.
 */
#ifndef DIPC_REFEREE_KEYS_H
#define DIPC_REFEREE_KEYS_H

#include "referee/referee.h"
#include "runtime/base/lookup.h"

/* How long the creator of a segment may take; then somebody else may try. */
#define DIPC_KEYS_CREATE_NS (10 * DIPC_SEC)
/* From an object's end to the next one in its memory. */
#define DIPC_KEYS_GRACE_NS (1 * DIPC_SEC)
/* Who finds the arena full waits so long for room; it comes with each grace. */
#define DIPC_KEYS_ROOM_NS (4 * DIPC_SEC)

int dipc_keys_create(struct dipc_referee *ref, struct dipc_keys **keys_out);
/* Who waits for a creator gets -ENOLINK. */
void dipc_keys_stop(struct dipc_keys *keys);
/* Takes NULL. */
void dipc_keys_destroy(struct dipc_keys *keys);

/*
 * The three requests, of NODE in its life INCARNATION; see
 * runtime/base/lookup.h. Fiber. What returns goes into the answer's status.
 */
int dipc_keys_get(struct dipc_keys *keys, unsigned node, uint32_t incarnation,
		  const struct dipc_lookup_get *get,
		  struct dipc_lookup_got *got);
int dipc_keys_created(struct dipc_keys *keys, unsigned node,
		      uint32_t incarnation,
		      const struct dipc_lookup_created *created);
/* -EINVAL: no such object. -EIDRM: removed before. */
int dipc_keys_remove(struct dipc_keys *keys, int32_t id);

/*
 * That life of NODE is over and fenced: what it was creating fails, and the
 * segments at home there are removed. Fiber.
 */
void dipc_keys_node_gone(struct dipc_keys *keys, unsigned node,
			 uint32_t incarnation);
/* A node thinks that nobody is attached to the removed segment in SLOT. */
void dipc_keys_hint_reap(struct dipc_keys *keys, uint32_t slot);

#endif
