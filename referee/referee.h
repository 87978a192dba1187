/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The referee as a whole: what its parts share. One process, one thread, one
 * loop. server.c speaks TCP, members.c knows the nodes, keys.c the objects,
 * arena.c the memory.
 */
#ifndef DIPC_REFEREE_REFEREE_H
#define DIPC_REFEREE_REFEREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "referee/arena.h"
#include "runtime/base/config.h"
#include "runtime/base/ticket.h"
#include "runtime/protocol/fabric.h"

struct dipc_keys;
struct dipc_members;
struct dipc_pool;
struct dipc_server;

struct dipc_referee {
	const struct dipc_config *conf; /* borrowed */
	struct dipc_loop *loop;         /* borrowed */
	struct dipc_sched *sched;       /* borrowed */
	/* told once: 0 ready, or -errno (logged) and of no use */
	void (*ready)(void *arg, int status);
	void *ready_arg;
	/* owned, in the order they are made */
	uint8_t key[DIPC_KEY_LEN];
	uint8_t secret[DIPC_SECRET_LEN];
	struct dipc_server *server;
	struct dipc_fabric *fabric;
	struct dipc_region *region;
	int arena_fd; /* holds the lock on arena-file; -1: none */
	bool has_made_file;
	struct dipc_arena *arena;
	struct dipc_pool *pool; /* takes back message blocks */
	struct dipc_members *members;
	struct dipc_keys *keys;
	bool is_ready;
	bool is_stopping;
};

/*
 * Everything up to the point where the loop has to run; READY tells when nodes
 * can come. 0, or -errno with one line in ERR (SIZE bytes) that names the
 * cause, the setting and the way out; ERR is empty when that was logged.
 */
int dipc_referee_create(const struct dipc_config *conf, struct dipc_loop *loop,
			void (*ready)(void *arg, int status), void *arg,
			char *err, size_t size,
			struct dipc_referee **referee_out);
/* Let go of the nodes; the fibers then end by themselves. */
void dipc_referee_stop(struct dipc_referee *ref);
/* Stopped, and no fiber is left (dipc_sched_alive). Takes NULL. */
void dipc_referee_destroy(struct dipc_referee *ref);
/* The TCP port it listens on. */
unsigned dipc_referee_port(const struct dipc_referee *ref);

#endif
