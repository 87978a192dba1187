/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of a connection's slots this process's threads use. No locks but, for
 * the last call through a retired connection, conn.c's; async-signal-safe.
 */
#ifndef DIPC_CLIENT_SLOT_POOL_H
#define DIPC_CLIENT_SLOT_POOL_H

#include "runtime/client/conn.h"

/* A slot for the calling thread, or -EAGAIN: all are taken. */
int dipc_slot_take(struct dipc_client_conn *conn);
void dipc_slot_give(struct dipc_client_conn *conn, unsigned slot);

/*
 * SLOT's call was ended by a handler while the thread was inside. The thread
 * keeps the slot, since it may still look at it: until it finds out
 * (dipc_slot_unpark), or, when the handler never returns there (longjmp), until
 * it makes its next call.
 */
void dipc_slot_park(struct dipc_client_conn *conn, unsigned slot);
void dipc_slot_unpark(void);

/*
 * All are taken: give back those of threads that have ended. BURY is called
 * for one whose call may still be under way.
 */
typedef void (*dipc_slot_bury_fn)(const struct dipc_client_conn *conn,
				  unsigned slot);
void dipc_slot_reclaim(struct dipc_client_conn *conn, dipc_slot_bury_fn bury);

void dipc_slot_pool_after_fork(void);

#endif
