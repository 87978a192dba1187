/* SPDX-License-Identifier: BSD-2-Clause */
/* dipcd's engine as a whole: what its parts share. One thread. */
#ifndef DIPC_NODE_NODE_H
#define DIPC_NODE_NODE_H

#include <stdbool.h>

#include "runtime/base/config.h"
#include "runtime/base/local.h"
#include "runtime/base/loop.h"
#include "runtime/node/lookup.h"
#include "runtime/protocol/futex.h"
#include "runtime/protocol/msg.h"
#include "runtime/protocol/pages.h"
#include "runtime/protocol/sem.h"

struct dipc_segments;

struct dipc_node {
	const struct dipc_config *conf; /* borrowed */
	struct dipc_loop *loop;         /* owned, as all below */
	struct dipc_fabric *fabric;
	struct dipc_lookup *lookup;
	struct dipc_waiters *waiters;
	struct dipc_sems *sems;
	struct dipc_msgs *msgs;
	struct dipc_segments *segments;
	struct dipc_futexes *futexes;
	uint32_t last_unseen; /* threads named without being seen, owner.c */
	struct dipc_list clients;    /* struct dipc_client */
	struct dipc_list *next_idle; /* of them: where polling goes on */
	struct dipc_list processes;  /* struct dipc_process */
	struct dipc_watch deaths;    /* epoll of the processes' pidfds */
	uint64_t nr_deaths;          /* found so far */
	unsigned nr_dying;           /* of them, not forgotten yet */
	unsigned nr_jobs;            /* calls of all processes */
	struct dipc_waitq buried;    /* woken when one is forgotten */
	struct dipc_watch listener;  /* the Unix socket */
	struct dipc_watch by_name;   /* the same; see DIPC_LOCAL_NAME */
	uint64_t name;               /* its number, 0: there is none */
	struct dipc_watch signals;
	struct dipc_poller slots;
	struct dipc_timer pulse;
	struct dipc_engine_page *page; /* shared with clients and keeper */
	int page_fd;
	int uffd_dev; /* /dev/userfaultfd for clients, -1: not to be had */
	int keeper;   /* socket, -1: none (tests) */
	int ready_fd; /* -1: none */
	uint32_t incarnation;
	uint32_t heartbeat_ms;
	uint64_t heartbeat;
	uint64_t epoch;   /* as last seen in the arena */
	bool must_check;  /* the table changed while it was read */
	bool is_checking; /* a membership fiber runs */
	uint64_t known[DIPC_NODES_MAX + 1]; /* their state words */
	uint8_t secret[32];
	bool is_serving;
	bool is_stopping;
	int status; /* what the engine exits with */
};

/* The engine's life; the exit status. */
int dipc_node_run(const struct dipc_config *conf, int keeper, int ready_fd);
/* End the engine: STATUS 0 is a clean stop. */
void dipc_node_stop(struct dipc_node *node, int status);
/*
 * Wait until NODE, whose link broke, is out of the cluster by the referee's
 * word, and fence it here. Fiber. 0; -EAGAIN: it is in, try it again; -ENOLINK.
 */
int dipc_node_await_fenced(struct dipc_node *node, unsigned other);
/* PID has ended: look for address spaces that went with it. */
void dipc_node_process_gone(struct dipc_node *node, uint32_t pid);

#endif
