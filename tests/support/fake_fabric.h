/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fabric.h for tests of one protocol: all nodes in one process, in virtual
 * time. A seed decides every delay; operations keep the order that
 * transport.h promises and no more: READs and WRITEs are torn, READs late,
 * requests and answers slow. Nodes can be crashed.
 */
#ifndef DIPC_TESTS_FAKE_FABRIC_H
#define DIPC_TESTS_FAKE_FABRIC_H

#include "runtime/protocol/fabric.h"

/* One world a program. MAX_DELAY_NS bounds each step of an operation. */
void fake_world_start(uint64_t seed, uint64_t max_delay_ns);
void fake_world_stop(void);
struct dipc_sched *fake_world_sched(void);
uint64_t fake_world_now(void);
uint64_t fake_world_random(uint64_t below);
/* The next NR transactions find no memory. */
void fake_world_no_memory(unsigned nr);
/*
 * Run until no fiber is left or UNTIL says stop (NULL: never). False:
 * LIMIT_NS of virtual time passed, or nothing will ever happen again.
 */
bool fake_world_run(bool (*until)(void), uint64_t limit_ns);

/*
 * What nodes that READ the arena find in SLOT, and in the node table: zeros at
 * first.
 */
struct dipc_arena_object *fake_world_object(uint32_t slot);
struct dipc_arena_node *fake_world_node(unsigned node);

struct dipc_fabric *fake_fabric_create(unsigned node,
				       const struct dipc_fabric_events *events,
				       void *arg);
/*
 * NODE stops: of what it had posted a part is still carried out, for up to
 * MAX_DELAY; everyone's links with it break. Its fibers run on, in vain.
 */
void fake_node_crash(unsigned node);
bool fake_node_is_dead(unsigned node);
/* When nothing of the dead NODE can land any more. */
uint64_t fake_node_fenced_at(unsigned node);

#endif
