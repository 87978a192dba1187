/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which nodes are in the cluster. A node's life (INCARNATION) is:
 *
 *	FREE -> JOINING -> ALIVE -> GOING -> FREE
 *
 * GOING: it said good-bye, its TCP session was lost, or its heartbeat stood
 * still. It is fenced, and what it left in the arena is put right; only then
 * may its number be used again.
 */
#ifndef DIPC_REFEREE_MEMBERS_H
#define DIPC_REFEREE_MEMBERS_H

#include "referee/referee.h"
#include "runtime/base/lookup.h"

int dipc_members_create(struct dipc_referee *ref,
			struct dipc_members **members_out);
/* The loopback link is open: start watching heartbeats. */
void dipc_members_start(struct dipc_members *m);
void dipc_members_stop(struct dipc_members *m);
/* Takes NULL. */
void dipc_members_destroy(struct dipc_members *m);

/*
 * Let a node in. Fiber. JOINED is filled in but for its status, which is what
 * returns: 0; -EEXIST: that number is alive; -ENOSPC: all are; -EINVAL: no
 * such number; -EPROTONOSUPPORT: another transport; -ENOLINK.
 */
int dipc_members_join(struct dipc_members *m,
		      const struct dipc_lookup_join *join,
		      struct dipc_lookup_joined *joined);
/*
 * This life of NODE is over; HOW is DIPC_NODE_LEFT or DIPC_NODE_DEAD. Starts
 * the clean-up, which goes on by itself.
 */
void dipc_members_end(struct dipc_members *m, unsigned node,
		      uint32_t incarnation, enum dipc_node_state how);
/* Until NODE's clean-up is done, if one is going on. Fiber. */
void dipc_members_await(struct dipc_members *m, unsigned node);
bool dipc_members_is_alive(const struct dipc_members *m, unsigned node,
			   uint32_t incarnation);

/* Bits (node - 1) of those that are alive and had joined by INCARNATION. */
uint64_t dipc_members_alive(const struct dipc_members *m, uint32_t incarnation);
/* The last incarnation given out. */
uint32_t dipc_members_incarnation(const struct dipc_members *m);

/* The fabric's events. */
int dipc_members_admit(struct dipc_members *m, unsigned node,
		       uint32_t incarnation,
		       const uint8_t ticket[DIPC_TICKET_LEN]);
void dipc_members_lost(struct dipc_members *m, unsigned node);

#endif
