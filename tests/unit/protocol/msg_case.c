/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/protocol/msg_case.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include <cmocka.h>

#include "tests/support/slow_wire.h"

#define QBYTES 16384u

static const struct fixture_object objects[] = {
	{.kind = DIPC_KIND_MSG,
	 .uid = 10,
	 .gid = 20,
	 .mode = 0640,
	 .qbytes = QBYTES},
	{.kind = DIPC_KIND_MSG, .uid = 10, .mode = 0600, .qbytes = MQ_SMALL},
	{.kind = DIPC_KIND_SEM, .mode = 0600, .nr = 1},
};

struct arena_fixture mq_fx;
struct dipc_msgs *mq_msgs[FIXTURE_NODES + 1];
struct dipc_pool *mq_referee_pool;
const struct dipc_cred mq_owner = {.pid = 4242, .uid = 10, .gid = 20};
int32_t mq_id, mq_small;

int mq_setup(void **state)
{
	unsigned i;

	(void)state;
	arena_fixture_start(&mq_fx, 3, objects, 3);
	for (i = 1; i <= mq_fx.nr_nodes; i++)
		assert_int_equal(dipc_msgs_create(mq_fx.node[i].fabric,
						  mq_fx.node[i].ws,
						  &mq_msgs[i]),
				 0);
	assert_int_equal(
		dipc_pool_create(mq_fx.referee.fabric, &mq_referee_pool), 0);
	mq_id = arena_fixture_id(&mq_fx, 0);
	mq_small = arena_fixture_id(&mq_fx, 1);
	return 0;
}

/* The same cases again, with other nodes' requests coming in between. */
int mq_setup_slow(void **state)
{
	mq_setup(state);
	slow_wire_start(mq_fx.loop, 12345);
	return 0;
}

int mq_teardown(void **state)
{
	unsigned i;

	(void)state;
	slow_wire_stop();
	for (i = 1; i <= mq_fx.nr_nodes; i++)
		dipc_msgs_destroy(mq_msgs[i]);
	dipc_pool_destroy(mq_referee_pool);
	arena_fixture_stop(&mq_fx);
	return 0;
}

/* ---- shorthands --------------------------------------------------------- */

int mq_send_to(int32_t q, unsigned node, int64_t type, const char *text,
	       int flags)
{
	return dipc_msg_send(mq_msgs[node], q, &mq_owner, type, text,
			     strlen(text), flags, NULL);
}

int mq_send(unsigned node, int64_t type, const char *text)
{
	return mq_send_to(mq_id, node, type, text, IPC_NOWAIT);
}

char mq_got[8192 + 1];
int64_t mq_got_type;

int64_t mq_receive_from(int32_t q, unsigned node, int64_t type, int flags,
			size_t room)
{
	int64_t ret;

	mq_got_type = 0;
	ret = dipc_msg_receive(mq_msgs[node], q, &mq_owner, type, flags, mq_got,
			       room, &mq_got_type, NULL);
	mq_got[ret > 0 ? ret : 0] = '\0';
	return ret;
}

int64_t mq_receive(unsigned node, int64_t type, int flags)
{
	return mq_receive_from(mq_id, node, type, flags | IPC_NOWAIT, 8192);
}

struct dipc_arena_object *mq_queue(int32_t q)
{
	return arena_fixture_object(&mq_fx, dipc_id_slot(q));
}

void mq_pause(unsigned ms)
{
	dipc_fiber_sleep(ms * DIPC_MSEC);
}

static unsigned returned;

void mq_caller_main(void *arg)
{
	struct mq_caller *c = arg;

	if (c->is_receiver)
		c->ret = dipc_msg_receive(mq_msgs[c->node], c->q, &mq_owner,
					  c->type, c->flags, c->text, c->room,
					  &c->type, &c->cancel);
	else
		c->ret = dipc_msg_send(mq_msgs[c->node], c->q, &mq_owner,
				       c->type, c->text, strlen(c->text),
				       c->flags, &c->cancel);
	c->is_done = true;
	c->order = ++returned;
}

void mq_start_receive(struct mq_caller *c, unsigned node, int64_t type)
{
	size_t room = c->room ? c->room : sizeof(c->text) - 1;

	memset(c, 0, sizeof(*c));
	c->node = node;
	c->q = mq_id;
	c->is_receiver = true;
	c->type = type;
	c->room = room;
	arena_fixture_spawn(&mq_fx, mq_caller_main, c);
	mq_pause(2);
	assert_false(c->is_done);
}

void mq_start_send(struct mq_caller *c, int32_t q, unsigned node, int64_t type,
		   const char *text)
{
	memset(c, 0, sizeof(*c));
	c->node = node;
	c->q = q;
	c->type = type;
	strcpy(c->text, text);
	arena_fixture_spawn(&mq_fx, mq_caller_main, c);
	mq_pause(2);
	assert_false(c->is_done);
}

void mq_await(const struct mq_caller *c)
{
	unsigned i;

	for (i = 0; i < 2000 && !c->is_done; i++)
		mq_pause(1);
	assert_true(c->is_done);
}

void mq_cancel(struct mq_caller *c)
{
	dipc_cancel_set(&c->cancel);
	mq_await(c);
}

static void *at(uint64_t off)
{
	return mq_fx.arena->base + off;
}

/* ---- what must always be true of a queue at rest ------------------------ */

static uint32_t check_messages(const struct dipc_arena_msg *q)
{
	const struct dipc_arena_message *m;
	uint64_t off = q->first, last = 0, bytes = 0, len = q->first_len;
	int64_t type = q->first_type;
	uint32_t nr = 0;

	for (; off; off = m->next) {
		m = at(off);
		assert_int_equal(m->len, len);
		assert_int_equal(m->type, type);
		last = off;
		len = m->next_len;
		type = m->next_type;
		bytes += m->len;
		nr++;
	}
	assert_int_equal(q->last, last);
	assert_int_equal(q->qnum, nr);
	assert_int_equal(q->cbytes, bytes);
	return nr;
}

static unsigned check_waiters(int32_t q, uint64_t off, uint64_t last)
{
	const struct dipc_arena_waiter *w;
	uint64_t prev = 0;
	unsigned nr = 0;

	for (; off; off = w->next) {
		w = at(off);
		assert_int_equal(w->id, q);
		assert_int_equal(w->prev, prev);
		assert_int_equal(w->is_linked, 1);
		assert_int_equal(dipc_waiter_status(w->state),
				 DIPC_WAITER_PENDING);
		prev = off;
		nr++;
	}
	assert_int_equal(prev, last);
	return nr;
}

static void check_wish(const struct dipc_arena_msg *q)
{
	const struct dipc_arena_waiter *w = at(q->rcv_first);

	if (!q->rcv_first || !q->wish.state)
		return;
	assert_int_equal(q->wish.state, w->state);
	assert_int_equal(q->wish.next, w->next);
	assert_int_equal(q->wish.type, w->type);
	assert_int_equal(q->wish.room, w->size);
	assert_int_equal(q->wish.flags, w->flags);
	assert_int_equal(q->wish.pid, w->pid);
	assert_int_equal(q->wish.node, w->node);
	assert_int_equal(q->wish.index, w->index);
}

/* What was posted and not waited for lands. */
static void settle(int32_t id_)
{
	unsigned i;

	for (i = 0; i < 100 && mq_queue(id_)->lock; i++)
		mq_pause(1);
	assert_int_equal(mq_queue(id_)->lock, 0);
}

/* Returns how many calls are blocked on it. */
unsigned mq_check(int32_t id_)
{
	const struct dipc_arena_msg *q = &mq_queue(id_)->msg;
	const struct dipc_arena_waiter *w;
	unsigned nr;
	uint64_t off;

	settle(id_);
	(void)check_messages(q);
	nr = check_waiters(id_, q->rcv_first, q->rcv_last) +
	     check_waiters(id_, q->snd_first, q->snd_last);
	check_wish(q);
	for (off = q->snd_first; off; off = w->next) {
		w = at(off);
		assert_true(w->size >= q->snd_min);
		assert_true(w->size <= q->snd_max);
		assert_false(dipc_msg_fits(q, w->size));
	}
	return nr;
}

/* Blocks that the pools have handed out and nobody has given back. */
unsigned mq_blocks_in_use(void)
{
	unsigned i, n = 0;

	for (i = 1; i <= mq_fx.nr_nodes; i++)
		assert_int_equal(dipc_msgs_flush(mq_msgs[i]), 0);
	assert_int_equal(dipc_pool_flush(mq_referee_pool), 0);
	mq_pause(2);
	for (i = 0; i < DIPC_POOL_CLASSES; i++) {
		const struct dipc_arena_pool *p = &mq_fx.super->pool[i];
		uint64_t begin = p->end - (1ull << 20);
		uint64_t off = p->head & 0xffffffffffull;

		n += (unsigned)(((p->bump < p->end ? p->bump : p->end) -
				 begin) /
				p->block_size);
		while (off) {
			const struct dipc_arena_batch *b = at(off);

			assert_in_range(b->nr, 1, p->batch);
			n -= b->nr;
			off = b->next;
		}
	}
	return n;
}

void mq_run(void (*fn)(void *))
{
	arena_fixture_run(&mq_fx, fn, NULL);
}

const char *mq_text(unsigned len)
{
	static char text[128];

	memset(text, 'x', len);
	text[len] = '\0';
	return text;
}
