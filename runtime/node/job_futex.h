/* SPDX-License-Identifier: BSD-2-Clause */
/* Waits of clients on futexes: what else than calls happens to them. */
#ifndef DIPC_NODE_JOB_FUTEX_H
#define DIPC_NODE_JOB_FUTEX_H

#include <stdbool.h>

struct dipc_client;
struct dipc_futex_wait;

/* For dipc_futexes_create(): does the process of WAIT still live? */
bool dipc_job_futex_may_take(const struct dipc_futex_wait *wait);
/* CLIENT is closed: withdraw what no call of it sleeps on; the calls, which
   are cancelled, withdraw the others. */
void dipc_job_futex_forget(struct dipc_client *client);

#endif
