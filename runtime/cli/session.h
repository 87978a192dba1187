/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection to one dipcd, one call at a time, as runtime/base/local.h
 * says. The client library's own connection is the process's and chosen once;
 * this command talks to one node after the other.
 */
#ifndef DIPC_CLI_SESSION_H
#define DIPC_CLI_SESSION_H

#include <stdint.h>

#include "runtime/base/local.h"

struct dipc_session;

/*
 * 0, or -errno: -ENOENT no socket there (no dipcd), -ECONNREFUSED (a dead
 * one's), -ETIMEDOUT (it hangs), -EPROTO (not a dipcd of this version).
 */
int dipc_session_open(const char *socket, struct dipc_session **session_out);
/* Takes NULL. */
void dipc_session_close(struct dipc_session *session);
uint32_t dipc_session_node(const struct dipc_session *session);

int dipc_session_status(struct dipc_session *session,
			struct dipc_status *status_out);
/* Every object of the cluster; ROWS are the caller's to free. */
int dipc_session_ls(struct dipc_session *session, struct dipc_ls_row **rows_out,
		    unsigned *nr_out);
/*
 * What the node counts of its segments; the first is its sum over all. STATS
 * are the caller's to free.
 */
int dipc_session_pages(struct dipc_session *session,
		       struct dipc_page_stat **stats_out, unsigned *nr_out);
/* IPC_RMID. -EPERM, -EIDRM, -EINVAL as shmctl(2). */
int dipc_session_rm(struct dipc_session *session,
		    const struct dipc_ls_row *row);

#endif
