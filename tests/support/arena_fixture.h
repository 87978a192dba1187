/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small cluster inside one test program: a referee that only serves memory,
 * and nodes 1..N with their waiter tables, all on one loop and shm.
 */
#ifndef DIPC_TESTS_ARENA_FIXTURE_H
#define DIPC_TESTS_ARENA_FIXTURE_H

#include "runtime/protocol/sem.h"
#include "runtime/protocol/waiter.h"

#define FIXTURE_NODES 4u

struct fixture_object {
	enum dipc_kind kind;
	uint32_t uid, gid;
	uint32_t mode;
	uint32_t nr;     /* semaphores */
	uint32_t qbytes; /* queue */
};

struct fixture_node {
	struct dipc_fabric *fabric; /* owned */
	struct dipc_waiters *ws;    /* owned */
	struct dipc_sems *sems;     /* the test's, as is futexes; with neither
				       it answers all with 0 */
	struct dipc_futexes *futexes;
	bool is_deaf; /* loses every wake-up */
	unsigned nr_wakes;
};

struct arena_fixture {
	char dir[64]; /* holds the sockets; removed in the end */
	struct dipc_loop *loop;
	struct fixture_node referee;
	struct fixture_node node[FIXTURE_NODES + 1]; /* [1..nr_nodes] */
	unsigned nr_nodes;
	struct dipc_region *arena;
	struct dipc_arena_super *super; /* in the arena, as all below */
	uint64_t body;                  /* next free byte */
};

/*
 * A formatted arena with OBJECTS in slots 0.. and NR_NODES nodes that have
 * opened it. Fails the test on any error.
 */
void arena_fixture_start(struct arena_fixture *fx, unsigned nr_nodes,
			 const struct fixture_object *objects, unsigned nr);
void arena_fixture_stop(struct arena_fixture *fx);
struct dipc_arena_object *arena_fixture_object(struct arena_fixture *fx,
					       uint32_t slot);
int32_t arena_fixture_id(struct arena_fixture *fx, uint32_t slot);
/* Mark the object in SLOT removed, as the referee does. */
void arena_fixture_remove(struct arena_fixture *fx, uint32_t slot);

/* FN(ARG) on a fiber, together with whatever it spawns, to the end. */
void arena_fixture_run(struct arena_fixture *fx, void (*fn)(void *), void *arg);
void arena_fixture_spawn(struct arena_fixture *fx, void (*fn)(void *),
			 void *arg);

#endif
