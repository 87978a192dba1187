/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection to dipcd, for slot.c, which makes calls through it. */
#ifndef DIPC_CLIENT_CONN_H
#define DIPC_CLIENT_CONN_H

#include <pthread.h>

#include "runtime/base/local.h"
#include "runtime/client/identity.h"
#include "runtime/client/sock.h"

/*
 * Entries are never freed, and their addresses and mappings stay where they
 * are: a thread may look at one that has just been given up.
 */
struct dipc_client_conn {
	struct dipc_area *area; /* NULL: never used, in this process */
	const struct dipc_engine_page *engine;
	/* guarded by conn.c's lock, but for the descriptors of a live one */
	struct dipc_own_fd sock;
	struct dipc_own_fd bell; /* the engine's eventfd */
	struct dipc_identity identity;
	bool is_used;
	bool has_faults; /* its userfaultfd has been handed over */
	/* calls under way, by slot, and whether new ones may begin; see
	   CONN_RETIRE in conn.c */
	_Atomic uint64_t taken[DIPC_SLOTS / 64];
	_Atomic uint32_t is_retired;
	/* by slot, kernel's id of the thread that has it; 0: nobody, or not
	   for long (slot_pool.c) */
	_Atomic uint32_t owner[DIPC_SLOTS];
	/* by slot, the thread that is in a cancellation point; 0: none. CANCEL
	   in slot.c */
	_Atomic pthread_t cancellable[DIPC_SLOTS];
};

/* The calling thread's, after dipc_conn_use() gave 1. */
struct dipc_client_conn *dipc_conn_mine(void);
/* Any of this process that a fault can be told on, the thread's own first;
   NULL: none. A handler may ask. */
struct dipc_client_conn *dipc_conn_for_faults(void);
/* Is it still, and has not been given up? Asked with a slot of it taken. */
bool dipc_conn_is_mine(const struct dipc_client_conn *conn);
/* THREAD has been cancelled: its calls are to look. */
void dipc_conn_cancel(pthread_t thread);
/* The last call through a retired one has ended. */
void dipc_conn_reap(struct dipc_client_conn *conn);
/* Ring the engine's bell, if it sleeps. */
void dipc_conn_ring(const struct dipc_client_conn *conn);
/* Is dipcd still there? */
bool dipc_conn_is_alive(const struct dipc_client_conn *conn);

/* The cancelling of THREAD's calls through CONN (slot.c). */
void dipc_slot_cancel_thread(const struct dipc_client_conn *conn,
			     pthread_t thread);

/*
 * In the child of a fork: no slot is in use. True if it may return into a call
 * of its parent's, at whatever instruction, because a handler may have made it:
 * what looks at the area and the engine page there must find some.
 */
bool dipc_slot_after_fork(void);

#endif
