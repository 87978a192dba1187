/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A large cluster in a simulated world (transport/sim): node 0 has an arena
 * with a node table and nothing else, nodes 1.. run the real fabric and the
 * real page protocol. Pagers only know which pages are there: what a kernel
 * takes for a fault is not part of this. One world at a time.
 */
#ifndef DIPC_TESTS_SCALE_WORLD_H
#define DIPC_TESTS_SCALE_WORLD_H

#include "runtime/protocol/homes.h"
#include "runtime/protocol/pages_private.h"
#include "transport/sim/sim.h"

#define SCALE_NODES_MAX ENTRY_NODES_MAX
#define SCALE_HOMES_MAX 32u  /* nodes that can be homes */
#define SCALE_PAGES     512u /* of a segment: one chunk */

struct scale_node {
	unsigned id;
	struct dipc_fabric *fabric;
	struct dipc_pages *pages;
	struct dipc_homes *homes; /* NULL: nothing is at home there */
	uint64_t arg;             /* a scenario's */
};

/* What a node has of a segment. */
struct scale_view {
	struct dipc_pager base;
	struct scale_node *node;
	struct dipc_segment *seg;
	struct dipc_waitq changed;
	uint8_t state[SCALE_PAGES]; /* 0, 1 there, 2 writable */
};

struct scale_segment {
	int32_t id;
	unsigned home;
	struct dipc_arena_shm shm;
	struct scale_view *view[SCALE_NODES_MAX + 1]; /* owned */
};

struct scale_world {
	unsigned nr_nodes;
	unsigned max_nodes; /* what the layout of directories follows from */
	struct dipc_sim *sim;
	struct dipc_fabric *referee;
	struct dipc_region *arena;
	struct scale_node node[SCALE_NODES_MAX + 1];
	unsigned nr_busy; /* fibers that scale_run() waits for */
	uint64_t join_ns; /* until all had opened the arena */
};

extern struct scale_world world;

/* Ends the program. */
void scale_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

void scale_start(unsigned nr_nodes, unsigned max_nodes,
		 const struct dipc_sim_cost *cost);
void scale_stop(void);
/* A fiber on NODE that scale_run() waits for; it ends with scale_end(). */
void scale_spawn(unsigned node, void (*fn)(void *), void *arg);
void scale_end(void);
void scale_run(void);

/* A segment at home on HOME, open nowhere yet. */
struct scale_segment *scale_segment_create(unsigned home);
/* It must be open nowhere; its memory stays until scale_stop(). */
void scale_segment_destroy(struct scale_segment *s);
/* The home's entry of PAGE. */
uint64_t *scale_segment_entry(struct scale_segment *s, unsigned page);
/* Fiber. The node's view, opened and its chunk located if need be. */
struct scale_view *scale_view_open(struct scale_segment *s, unsigned node);
/* Runs the world until nobody has S open. */
void scale_segment_close(struct scale_segment *s);
/* Fiber. How long it took, in ns; 0 if nothing was needed. */
uint64_t scale_access(struct scale_view *view, unsigned page, bool is_write);

#endif
