/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of threads, by which a lock says who has it, and whether the thread of
 * a name still runs: docs/design/futex.md, *Owners*.
 */
#ifndef DIPC_NODE_OWNER_H
#define DIPC_NODE_OWNER_H

#include <stdint.h>

#include "runtime/node/node.h"

/* Thread TID of process PID, both of this node. Never 0, bit 63 is 0. */
uint64_t dipc_owner_name(struct dipc_node *node, uint32_t pid, uint32_t tid);
/* OWNER is of this node: does it run? Does not park. 1 or 0. */
int dipc_owner_is_here(struct dipc_node *node, uint64_t owner);
/* Of any node. Fiber. 1, 0, -ENOLINK (cannot tell now), -EINVAL. */
int dipc_owner_is_alive(struct dipc_node *node, uint64_t owner);

#endif
