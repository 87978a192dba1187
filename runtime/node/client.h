/* SPDX-License-Identifier: BSD-2-Clause */
/* One connection of a client process: its socket, its request slots. */
#ifndef DIPC_NODE_CLIENT_H
#define DIPC_NODE_CLIENT_H

#include "runtime/node/node.h"
#include "runtime/node/process.h"

struct dipc_job;
struct dipc_space;

struct dipc_client {
	struct dipc_list entry;       /* node->clients, busy ones in front */
	struct dipc_area *polled;     /* = area while it is to be looked at */
	struct dipc_node *node;       /* borrowed */
	struct dipc_process *process; /* a reference */
	struct dipc_cred cred;        /* as at the connect */
	uint32_t *groups;             /* owned; cred.groups */
	struct dipc_watch watch;      /* the socket */
	/*
	 * The eventfd this client rings; fd -1 before HELLO. Of its own, since
	 * who has it can read it, fill it and make it block. Edge-triggered and
	 * never read, so that none of that touches the engine.
	 */
	struct dipc_watch bell;
	struct dipc_area *area;   /* owned mapping, shared with the client */
	struct dipc_space *space; /* its userfaultfd; NULL before FAULTS.
				     Borrowed: ends with the address space */
	/* between ATTACH and MAPPED; a reference, and counted in nattch */
	struct dipc_segment *attaching;
	bool attaching_readonly;
	bool is_attaching;                 /* a fiber works on an ATTACH */
	struct dipc_job *jobs[DIPC_SLOTS]; /* running; owned by their fibers */
	unsigned nr_jobs;                  /* and socket requests, faults */
	unsigned nr_faults;                /* job_fault.c */
	struct dipc_list futex_waits;      /* struct dipc_futex_wait, owned */
	unsigned nr_futex_waits;
	unsigned nr_prefetches; /* that nobody waits for */
	bool is_closed;
};

/* The socket at conf->socket. 0 or -errno, cause logged. */
int dipc_clients_listen(struct dipc_node *node);
/* Stop listening, remove the socket, drop every client. */
void dipc_clients_close(struct dipc_node *node);
/* PROCESS has ended: so have its connections. */
void dipc_clients_drop(struct dipc_node *node,
		       const struct dipc_process *process);
/* Answer on the socket, with NR descriptors. */
void dipc_client_reply(struct dipc_client *client,
		       const struct dipc_sock_msg *msg, const int *fds,
		       unsigned nr);
/* A fiber works for the client: it stays, even closed, until put. */
void dipc_client_get(struct dipc_client *client);
void dipc_client_put(struct dipc_client *client);

#endif
