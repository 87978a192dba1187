/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of message queues share: a cluster of three nodes with two
 * queues, calls in short, and what must be true of a queue at rest.
 */
#ifndef DIPC_TESTS_MSG_CASE_H
#define DIPC_TESTS_MSG_CASE_H

#include "runtime/protocol/msg_private.h"
#include "tests/support/arena_fixture.h"

#define MQ_SMALL 100u /* qbytes of mq_small */

extern struct arena_fixture mq_fx;
extern struct dipc_msgs *mq_msgs[FIXTURE_NODES + 1];
extern struct dipc_pool *mq_referee_pool;
extern const struct dipc_cred mq_owner;
extern int32_t mq_id, mq_small; /* of the queues */

int mq_setup(void **state);
/* The same, with other nodes' requests coming in between. */
int mq_setup_slow(void **state);
int mq_teardown(void **state);
/* FN on a fiber, to the end. */
void mq_run(void (*fn)(void *));
void mq_pause(unsigned ms);

/* ---- calls at once; those without a queue are for mq_id and do not block */

int mq_send_to(int32_t q, unsigned node, int64_t type, const char *text,
	       int flags);
int mq_send(unsigned node, int64_t type, const char *text);
extern char mq_got[8192 + 1]; /* what came last, terminated */
extern int64_t mq_got_type;
int64_t mq_receive_from(int32_t q, unsigned node, int64_t type, int flags,
			size_t room);
int64_t mq_receive(unsigned node, int64_t type, int flags);
/* LEN < 128 letters; good until the next call. */
const char *mq_text(unsigned len);

/* ---- calls that block --------------------------------------------------- */

/* A call on a fiber of its own, to block and be looked at. */
struct mq_caller {
	unsigned node;
	int32_t q;
	bool is_receiver;
	int64_t type;
	int flags;
	size_t room;
	char text[128];
	struct dipc_cancel cancel;
	int64_t ret;
	bool is_done;
	unsigned order; /* when it returned */
};

void mq_caller_main(void *caller);
/* Begin, and see that it blocks. A receiver's ->room is kept unless 0. */
void mq_start_receive(struct mq_caller *c, unsigned node, int64_t type);
void mq_start_send(struct mq_caller *c, int32_t q, unsigned node, int64_t type,
		   const char *text);
void mq_await(const struct mq_caller *c);
/* Cancel, and wait for the end. */
void mq_cancel(struct mq_caller *c);

/* ---- looking ------------------------------------------------------------ */

struct dipc_arena_object *mq_queue(int32_t q);
/* Assert that lists and counters agree. How many calls are blocked on Q. */
unsigned mq_check(int32_t q);
/* Blocks that nobody has given back, after every node has flushed. */
unsigned mq_blocks_in_use(void);

#endif
