/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The home's side of the page protocol: this node's part of the memory of
 * segments that are at home here, docs/design/pages.md, "Homes". A chunk gets
 * its memory, directory and contents, when some node first asks where it is.
 */
#ifndef DIPC_PROTOCOL_HOMES_H
#define DIPC_PROTOCOL_HOMES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/protocol/fabric.h"

struct dipc_homes; /* one a node */
struct dipc_homemem_usage;

struct dipc_homes_config {
	struct dipc_fabric *fabric; /* borrowed */
	/* of the cluster: the directory's entries need room for them; 0:
	   DIPC_NODES_MAX */
	unsigned max_nodes;
	/* Bytes this machine has to give; NULL: no end. */
	uint64_t (*available)(void *arg);
	/* Segment ID is no more. NULL: nobody wants to know. */
	void (*over)(void *arg, int32_t id);
	void *arg;
};

/* 0 or -ENOMEM. */
int dipc_homes_create(const struct dipc_homes_config *config,
		      struct dipc_homes **homes_out);
/* At once, with all memory: no node may use it any more. Takes NULL. */
void dipc_homes_destroy(struct dipc_homes *homes);
/*
 * DIPC_REQ_CHUNK. Answers IN, now or, when the segment must be looked up in
 * the arena first, later: 0 and the place; -ENOMEM: no memory now; -EAGAIN;
 * -EIDRM: no such segment, or this node is not that chunk's home.
 */
void dipc_homes_request(struct dipc_homes *homes, struct dipc_incoming *in);
/*
 * DIPC_REQ_FORGET: the segment has died on the asker, who lives. Take his
 * traces away in this segment, as evict() does. Answers IN later: 0; -EAGAIN:
 * not now. A fiber of its own waits until nothing of an earlier link of his
 * can land any more.
 */
void dipc_homes_forget(struct dipc_homes *homes, struct dipc_incoming *in);
/*
 * This node is a home of segment ID, which the arena describes as SHM: needs
 * to be said only to be told by over(). 0 or -ENOMEM.
 */
int dipc_homes_add(struct dipc_homes *homes, int32_t id,
		   const struct dipc_arena_shm *shm);
/*
 * Free the memory of segments whose object is gone, on a fiber of its own.
 * Cheap when there are none. Fiber; once a second, and not while this node
 * may have missed that another died: what a dead node's device still writes
 * must not land in memory of another segment.
 */
void dipc_homes_reap(struct dipc_homes *homes);
/*
 * NODE is dead and fenced here, so that nothing of it can land any more: take
 * its bits and locks away, mark lost what only it had. Must be done before
 * NODE may come back. Fiber. 0; -EINVAL: no such node; else logged, for each
 * segment that keeps traces: -ENOLINK, -ENOMEM (for ten seconds on end).
 */
int dipc_homes_evict(struct dipc_homes *homes, unsigned node);
void dipc_homes_usage(const struct dipc_homes *homes,
		      struct dipc_homemem_usage *usage_out);
/*
 * What the home has of PAGE, for tests: its entry in the directory and its
 * contents, borrowed. False: there is no memory for it yet.
 */
bool dipc_homes_look(const struct dipc_homes *homes, int32_t id, uint64_t page,
		     const void **entry_out, const void **data_out);

#endif
