/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting, finding and stopping the daemons of a cluster's directory. */
#ifndef DIPC_CLI_DAEMON_H
#define DIPC_CLI_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/cli/dir.h"

#define DIPC_DAEMONS_MAX (DIPC_CLI_NODES + 1)

struct dipc_daemon {
	char name[16]; /* "referee", "node3" */
	pid_t pid;
	int pid_fd;      /* owned; -1: not running */
	int ready_fd;    /* owned; -1: not being started */
	off_t log_start; /* where its log began this time */
};

/*
 * Start NAME, detached, from DIR/NAME.conf; its pid file is there when this
 * returns. Ready it is only after dipc_daemons_await(). 0, or DIPC_EXIT_FAIL,
 * said.
 */
int dipc_daemon_start(const struct dipc_dir *dir, const char *name,
		      struct dipc_daemon *daemon_out);
/*
 * Wait until all are ready. 0, or DIPC_EXIT_FAIL when one ends before it is
 * (its last words are said), when TIMEOUT_MS are over, or after ^C.
 */
int dipc_daemons_await(const struct dipc_dir *dir, struct dipc_daemon *daemons,
		       unsigned nr, unsigned timeout_ms);
/* The running daemon NAME: true, and its pid_fd is open. */
bool dipc_daemon_find(const struct dipc_dir *dir, const char *name,
		      struct dipc_daemon *daemon_out);
/*
 * SIGTERM, a bounded wait, SIGKILL; each that had to be killed is said.
 * Releases all. DIPC_EXIT_FAIL if one is still there, said.
 */
int dipc_daemons_stop(const struct dipc_dir *dir, struct dipc_daemon *daemons,
		      unsigned nr);
/* Remove what a daemon that has ended left in DIR, its log excepted. */
void dipc_daemon_forget(const struct dipc_dir *dir, const char *name);
/* Close its descriptors; the daemon runs on. */
void dipc_daemon_release(struct dipc_daemon *daemon);

#endif
