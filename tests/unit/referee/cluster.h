/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A referee and make-believe nodes in one process, on one loop. A test's
 * steps run on a fiber; see cluster_run().
 */
#ifndef DIPC_TESTS_REFEREE_CLUSTER_H
#define DIPC_TESTS_REFEREE_CLUSTER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>

#include "referee/referee.h"
#include "runtime/node/lookup.h"

struct cluster {
	struct dipc_loop *loop;
	struct dipc_sched *sched;
	struct dipc_config conf;
	struct dipc_referee *ref;
	int status; /* of the referee's start; 1: not known yet */
	char dir[64];
	char key[96], shm[96], where[32];
};

/* A node that has joined. Without a fabric it beats no heart. */
struct fake {
	struct cluster *c;
	struct dipc_lookup *lookup;
	struct dipc_lookup_joined joined;
	struct dipc_fabric *fabric;
	char shm[112];
	bool is_lost;
	bool must_beat;
	bool is_beating;
};

/* cmocka's set-up and tear-down: *state is a struct cluster with 64 slots. */
int cluster_setup(void **state);
int cluster_teardown(void **state);
/* Run FN(ARG) on a fiber until it and what it spawned have ended. */
void cluster_run(struct cluster *c, void (*fn)(void *), void *arg);

/* Fibers, as all below. 0 or -errno. WANT: node id, 0 any. */
int fake_join(struct cluster *c, unsigned want, struct fake *n);
/* And a fabric with a beating heart. */
int fake_connect(struct fake *n);
/* The process dies. */
void fake_die(struct fake *n);
void fake_leave(struct fake *n);
/* got->id and the rest; returns the status. */
int fake_get(struct fake *n, uint32_t kind, int32_t key, uint32_t flags,
	     uint64_t size, struct dipc_lookup_got *got);
/* CREATED for the segment GOT with PAGES pages. */
int fake_created(struct fake *n, int32_t id, int status, uint32_t pages);
struct dipc_arena_object *object_of(struct cluster *c, int32_t id);
/* Until *word & mask == want, at most MS. */
bool await_word(struct cluster *c, const uint64_t *word, uint64_t mask,
		uint64_t want, unsigned ms);

#endif
