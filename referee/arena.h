/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Formatting the arena, and the referee's book of what is free in it: slots
 * and bodies. The layout is runtime/protocol/arena.h's.
 *
 * Everything here writes the arena with the CPU, so it writes only what no
 * node can find yet; a slot's `state` and `lock` are never touched but by
 * dipc_arena_publish_now(). Never parks, knows no fabric.
 */
#ifndef DIPC_REFEREE_ARENA_H
#define DIPC_REFEREE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/policy.h"
#include "runtime/protocol/arena.h"

struct dipc_arena_format_config {
	uint32_t nr_slots;
	uint64_t generation; /* not 0; differs from that of any start before */
	uint32_t msgmax, msgmnb, msgmni;
	uint32_t semmsl, semmns, semopm, semmni;
	uint64_t shmmax, shmall;
	uint32_t shmmni;
};

/* The smallest arena with NR_SLOTS slots that is of any use. */
size_t dipc_arena_min_size(uint32_t nr_slots);
/*
 * Make an arena of SIZE bytes at BASE (64-byte aligned). Memory that holds no
 * arena must be zero and is then touched as little as possible. 0; -EINVAL;
 * -ENOSPC: smaller than dipc_arena_min_size().
 */
int dipc_arena_format(void *base, size_t size,
		      const struct dipc_arena_format_config *config);

struct dipc_arena;

/* The book of the freshly formatted arena at BASE (borrowed). 0 or -errno. */
int dipc_arena_open(void *base, struct dipc_arena **arena_out);
/* Takes NULL. */
void dipc_arena_close(struct dipc_arena *arena);
struct dipc_arena_super *dipc_arena_get_super(struct dipc_arena *arena);
/* Where the referee's CPU may look at a slot or a node's entry. */
struct dipc_arena_object *dipc_arena_object_at(struct dipc_arena *arena,
					       uint32_t slot);
struct dipc_arena_node *dipc_arena_node_at(struct dipc_arena *arena,
					   unsigned node);
struct dipc_arena_waiter *dipc_arena_waiter_at(struct dipc_arena *arena,
					       unsigned node, unsigned index);

struct dipc_arena_owner {
	int32_t key;
	uint32_t uid, gid;
	uint32_t who;
	uint32_t mode; /* 9 bits */
	int64_t wall_s;
};

/*
 * Take a slot (and a body) and fill it in for a new object of SIZE bytes, or
 * semaphores. It can be found once its state word is published. A segment's
 * homes are filled in by dipc_arena_set_homes(). 0; -ENOSPC: no slot or no
 * room left.
 */
int dipc_arena_new(struct dipc_arena *arena, enum dipc_kind kind, uint64_t size,
		   const struct dipc_arena_owner *owner, uint32_t *slot_out);
/*
 * HOMES, bits of nodes, the first is HOME; BORN, see struct dipc_arena_shm;
 * what POLICY does not say is the least there is.
 */
void dipc_arena_set_homes(struct dipc_arena *arena, uint32_t slot,
			  uint64_t homes, unsigned home, uint32_t born,
			  const struct dipc_policy *policy);
/* What the state word becomes when the object of SLOT is published. */
uint64_t dipc_arena_state_of(const struct dipc_arena *arena, uint32_t slot);
/* Publish with the CPU: only while no node is connected (tests). */
void dipc_arena_publish_now(struct dipc_arena *arena, uint32_t slot);
/* The slot ID names in its present life. 0 or -EINVAL. */
int dipc_arena_find(const struct dipc_arena *arena, int32_t id,
		    uint32_t *slot_out);
int32_t dipc_arena_id_of(const struct dipc_arena *arena, uint32_t slot);
/*
 * Give slot and body back; the next object there has another generation. Its
 * state word must be 0 again, or never have been set.
 */
void dipc_arena_free(struct dipc_arena *arena, uint32_t slot);
/* Bytes of bodies, and slots, that are free. */
uint64_t dipc_arena_free_bytes(const struct dipc_arena *arena);
uint32_t dipc_arena_free_slots(const struct dipc_arena *arena);

#endif
