/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keeper: dipcd's parent process. It holds a duplicate of every memfd and
 * userfaultfd of the engine and does nothing else until the engine dies or
 * hangs; then it empties every memfd, so that each blocked fault and each
 * later access ends in SIGBUS, and goes too. Without it the kernel would
 * unregister the engine's userfaultfds and hand out pages of zeros.
 */
#ifndef DIPC_NODE_KEEPER_H
#define DIPC_NODE_KEEPER_H

#include <stdint.h>
#include <sys/types.h>

enum dipc_keep_kind {
	DIPC_KEEP_MEMFD = 1,
	DIPC_KEEP_FAULTS, /* a userfaultfd */
	DIPC_KEEP_PAGE,   /* the engine page: its heartbeat is watched */
};

/* Engine's side: a socket to the keeper. Neither call ever fails loudly: a
   keeper that is gone takes the engine with it (PR_SET_PDEATHSIG). */
void dipc_keeper_add(int sock, enum dipc_keep_kind kind, uint32_t id, int fd);
void dipc_keeper_del(int sock, enum dipc_keep_kind kind, uint32_t id);

/*
 * Keeper's side: watch over ENGINE until it ends; the exit status for the
 * whole. HANG_MS: an engine page that stands still for so long means it hangs.
 */
int dipc_keeper_run(int sock, pid_t engine, unsigned hang_ms);

#endif
