/* SPDX-License-Identifier: BSD-2-Clause */
/* What the child of a fork has to forget; called by conn.c with the lock. */
#ifndef DIPC_CLIENT_FORK_H
#define DIPC_CLIENT_FORK_H

/* The parent's other threads, and the slots they held, are not here. */
void dipc_slot_after_fork(void);

#endif
