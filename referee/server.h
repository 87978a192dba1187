/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TCP side: sessions of nodes, and the requests that come in on them. A
 * session that has not joined within seconds, or one too many of those, is
 * dropped; only who holds the cluster's key gets as far as a request.
 */
#ifndef DIPC_REFEREE_SERVER_H
#define DIPC_REFEREE_SERVER_H

#include "referee/referee.h"

/* Sessions that have not joined; above it the oldest is dropped. */
#define DIPC_SERVER_HALF_OPEN 128u
/* Requests of one node at a time; above it its session is dropped. */
#define DIPC_SERVER_REQUESTS 4096u

/* Bind and listen as REF's configuration says. As dipc_referee_create(). */
int dipc_server_create(struct dipc_referee *ref, char *err, size_t size,
		       struct dipc_server **server_out);
/* Take connections from now on. 0 or -errno. */
int dipc_server_start(struct dipc_server *server);
/* Close the port and every session; their nodes are not declared dead. */
void dipc_server_stop(struct dipc_server *server);
/* No request is running any more. Takes NULL. */
void dipc_server_destroy(struct dipc_server *server);
unsigned dipc_server_port(const struct dipc_server *server);
/* Node NODE was evicted: its session goes. */
void dipc_server_drop(struct dipc_server *server, unsigned node,
		      uint32_t incarnation);

#endif
