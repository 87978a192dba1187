/* SPDX-License-Identifier: BSD-2-Clause */
/* Message queues: what msgsnd(2) and msgrcv(2) promise, over several nodes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include <cmocka.h>

#include "tests/unit/protocol/msg_case.h"

/* Waits of one fiber for the wire: its round trips. */
static unsigned nr_parks;
static struct dipc_fiber *watched;
int __real_dipc_fiber_park(uint64_t deadline);
int __wrap_dipc_fiber_park(uint64_t deadline);

int __wrap_dipc_fiber_park(uint64_t deadline)
{
	if (dipc_fiber_self() == watched)
		nr_parks++;
	return __real_dipc_fiber_park(deadline);
}

#define assert_received(node, want, flags, type, text)                         \
	do {                                                                   \
		assert_int_equal(mq_receive(node, want, flags), strlen(text)); \
		assert_int_equal(mq_got_type, type);                           \
		assert_string_equal(mq_got, text);                             \
	} while (0)

/* ---- one after the other ------------------------------------------------ */

static void fifo_main(void *arg)
{
	struct dipc_arena_msg *q = &mq_queue(mq_id)->msg;

	(void)arg;
	assert_int_equal(mq_send(1, 5, "one"), 0);
	assert_int_equal(mq_send(2, 6, "two"), 0);
	assert_int_equal(mq_send(1, 7, ""), 0);
	assert_int_equal(q->qnum, 3);
	assert_int_equal(q->cbytes, 6);
	assert_int_equal(q->lspid, dipc_who(1, mq_owner.pid));
	assert_int_not_equal(q->stime, 0);
	mq_check(mq_id);
	assert_received(3, 0, 0, 5, "one");
	assert_received(1, 0, 0, 6, "two");
	mq_check(mq_id); /* waits for what is on its way */
	assert_int_equal(q->lrpid, dipc_who(1, mq_owner.pid));
	assert_received(3, 0, 0, 7, "");
	assert_int_equal(mq_receive(2, 0, 0), -ENOMSG);
	mq_check(mq_id);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void fifo(void **state)
{
	(void)state;
	mq_run(fifo_main);
}

static void types_main(void *arg)
{
	static const int64_t types[] = {4, 2, 9, 2, 7, 4};
	char text[] = "a";
	unsigned i;

	(void)arg;
	for (i = 0; i < 6; i++, text[0]++)
		assert_int_equal(mq_send(1 + i % 3, types[i], text), 0);
	mq_check(mq_id);
	assert_int_equal(mq_receive(2, 5, 0), -ENOMSG);
	assert_int_equal(mq_receive(2, -1, 0), -ENOMSG);
	assert_received(2, 7, 0, 7, "e"); /* from the middle */
	mq_check(mq_id);
	assert_received(2, -8, 0, 2, "b"); /* the lowest, the first of two */
	mq_check(mq_id);
	assert_received(2, 4, MSG_EXCEPT, 9, "c");
	assert_received(2, INT64_MIN, 0, 2, "d");
	mq_check(mq_id);
	assert_received(2, -4, 0, 4, "a");
	assert_received(2, -4, 0, 4, "f");
	mq_check(mq_id);
	assert_int_equal(mq_send(1, 3, "x"), 0);
	assert_int_equal(mq_send(1, 8, "y"), 0);
	assert_received(2, 8, 0, 8, "y"); /* the last */
	mq_check(mq_id);
	assert_int_equal(mq_send(1, 1, "z"), 0);
	assert_received(2, -8, 0, 1, "z");
	assert_received(2, 0, 0, 3, "x");
	mq_check(mq_id);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void types(void **state)
{
	(void)state;
	mq_run(types_main);
}

static void errors_main(void *arg)
{
	struct dipc_cred other = {.pid = 1, .uid = 11, .gid = 20};
	static char big[8193];

	(void)arg;
	assert_int_equal(mq_send(1, 1, "12345"), 0);
	assert_int_equal(mq_receive_from(mq_id, 2, 0, 0, 4), -E2BIG);
	assert_int_equal(mq_receive_from(mq_id, 2, 0, MSG_NOERROR, 4), 4);
	assert_string_equal(mq_got, "1234");
	assert_int_equal(mq_send(1, 0, "x"), -EINVAL);
	assert_int_equal(mq_send(1, -1, "x"), -EINVAL);
	assert_int_equal(dipc_msg_send(mq_msgs[1], mq_id, &mq_owner, 1, big,
				       8193, 0, NULL),
			 -EINVAL);
	assert_int_equal(mq_send_to(arena_fixture_id(&mq_fx, 2), 1, 1, "x", 0),
			 -EINVAL);
	assert_int_equal(mq_send_to(mq_id ^ 1 << 19, 1, 1, "x", 0), -EINVAL);
	assert_int_equal(mq_send_to(-1, 1, 1, "x", 0), -EINVAL);
	assert_int_equal(mq_receive_from(mq_id, 1, 0, 0, SIZE_MAX), -EINVAL);
	/* mode 0640: the group reads */
	assert_int_equal(
		dipc_msg_send(mq_msgs[1], mq_id, &other, 1, "x", 1, 0, NULL),
		-EACCES);
	assert_int_equal(dipc_msg_receive(mq_msgs[1], mq_id, &other, 0,
					  IPC_NOWAIT, mq_got, 1, &mq_got_type,
					  NULL),
			 -ENOMSG);
	other.gid = 21;
	assert_int_equal(dipc_msg_receive(mq_msgs[1], mq_id, &other, 0,
					  IPC_NOWAIT, mq_got, 1, &mq_got_type,
					  NULL),
			 -EACCES);
	/* full: by bytes, and by number */
	assert_int_equal(dipc_msg_send(mq_msgs[1], mq_small, &mq_owner, 1, big,
				       101, IPC_NOWAIT, NULL),
			 -EAGAIN);
	assert_int_equal(dipc_msg_send(mq_msgs[1], mq_small, &mq_owner, 1, big,
				       100, IPC_NOWAIT, NULL),
			 0);
	assert_int_equal(mq_send_to(mq_small, 2, 1, "x", IPC_NOWAIT), -EAGAIN);
	assert_int_equal(mq_send_to(mq_small, 2, 1, "", IPC_NOWAIT), 0);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 8192), 100);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 8192), 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void errors(void **state)
{
	(void)state;
	mq_run(errors_main);
}

/* qbytes also bounds the number of messages, empty ones too. */
static void empty_main(void *arg)
{
	unsigned i;

	(void)arg;
	for (i = 0; i < MQ_SMALL; i++)
		assert_int_equal(
			mq_send_to(mq_small, 1 + i % 3, 1, "", IPC_NOWAIT), 0);
	assert_int_equal(mq_send_to(mq_small, 1, 1, "", IPC_NOWAIT), -EAGAIN);
	mq_check(mq_small);
	for (i = 0; i < MQ_SMALL; i++)
		assert_int_equal(mq_receive_from(mq_small, 2, 0, IPC_NOWAIT, 0),
				 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void empty_messages(void **state)
{
	(void)state;
	mq_run(empty_main);
}

static void sizes_main(void *arg)
{
	static const size_t sizes[] = {1,    7,    191,  192,  193, 256,
				       1984, 1985, 2048, 8191, 8192};
	static char text[8192];
	unsigned i, j;

	(void)arg;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (j = 0; j < sizes[i]; j++)
			text[j] = (char)('a' + (i + j) % 26);
		assert_int_equal(dipc_msg_send(mq_msgs[1], mq_id, &mq_owner, 1,
					       text, sizes[i], 0, NULL),
				 0);
		assert_int_equal(mq_receive(2, 0, 0), sizes[i]);
		assert_memory_equal(mq_got, text, sizes[i]);
	}
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void text_sizes(void **state)
{
	(void)state;
	mq_run(sizes_main);
}

/* ---- blocking ----------------------------------------------------------- */

static void direct_main(void *arg)
{
	struct dipc_arena_msg *q = &mq_queue(mq_id)->msg;
	struct mq_caller c[4] = {0};

	(void)arg;
	mq_start_receive(&c[0], 2, 0);
	assert_int_equal(mq_check(mq_id), 1);
	assert_int_equal(mq_send(1, 3, "hello"), 0);
	mq_await(&c[0]);
	assert_int_equal(c[0].ret, 5);
	assert_int_equal(c[0].type, 3);
	assert_string_equal(c[0].text, "hello");
	assert_int_equal(q->lrpid, dipc_who(2, mq_owner.pid));
	assert_int_not_equal(q->rtime, 0);
	mq_check(mq_id);

	/* in order of arrival, as far as the types fit */
	mq_start_receive(&c[0], 1, 9);
	mq_start_receive(&c[1], 2, 5);
	mq_start_receive(&c[2], 3, -6);
	mq_start_receive(&c[3], 1, 0);
	assert_int_equal(mq_check(mq_id), 4);
	assert_int_equal(mq_send(1, 5, "b"), 0);
	mq_await(&c[1]);
	assert_string_equal(c[1].text, "b");
	assert_int_equal(mq_check(mq_id), 3);
	assert_int_equal(mq_send(1, 5, "c"), 0);
	mq_await(&c[2]);
	assert_string_equal(c[2].text, "c");
	assert_int_equal(mq_check(mq_id), 2);
	assert_int_equal(mq_send(1, 9, "a"), 0);
	mq_await(&c[0]);
	assert_string_equal(c[0].text, "a");
	assert_false(c[3].is_done);
	assert_int_equal(mq_send(1, 1, "d"), 0);
	mq_await(&c[3]);
	assert_string_equal(c[3].text, "d");
	assert_int_equal(mq_check(mq_id), 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void waiting_receivers(void **state)
{
	(void)state;
	mq_run(direct_main);
}

static void small_room_main(void *arg)
{
	struct mq_caller c[3] = {{.room = 2}, {.room = 3}, {.room = 100}};

	(void)arg;
	mq_start_receive(&c[0], 1, 0);
	mq_start_receive(&c[1], 2, 7);
	mq_start_receive(&c[2], 3, 0);
	assert_int_equal(mq_send(1, 5, "text"), 0);
	mq_await(&c[0]);
	mq_await(&c[2]);
	assert_int_equal(c[0].ret, -E2BIG);
	assert_int_equal(c[2].ret, 4);
	assert_int_equal(mq_check(mq_id), 1);
	assert_int_equal(mq_send(1, 7, "text"), 0);
	mq_await(&c[1]);
	assert_int_equal(c[1].ret, -E2BIG);
	assert_int_equal(mq_check(mq_id), 0);
	assert_received(3, 0, 0, 7, "text");
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void receiver_without_room(void **state)
{
	(void)state;
	mq_run(small_room_main);
}

static void full_main(void *arg)
{
	struct mq_caller c[4];

	(void)arg;
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(60), 0), 0);
	assert_int_equal(mq_send_to(mq_small, 1, 2, mq_text(40), 0), 0);
	mq_start_send(&c[0], mq_small, 2, 3, mq_text(50));
	mq_start_send(&c[1], mq_small, 3, 4, mq_text(80));
	mq_start_send(&c[2], mq_small, 1, 5, mq_text(10));
	mq_start_send(&c[3], mq_small, 1, 6, mq_text(5));
	assert_int_equal(mq_check(mq_small), 4);
	/* 60 free: 50 and 10, in that order; 80 waits, and so does 5 */
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 60);
	mq_await(&c[0]);
	mq_await(&c[2]);
	assert_int_equal(c[0].ret, 0);
	assert_int_equal(c[2].ret, 0);
	assert_int_equal(mq_check(mq_small), 2);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 40);
	mq_await(&c[3]);
	assert_int_equal(mq_check(mq_small), 1);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 50);
	assert_int_equal(mq_got_type, 3);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 10);
	mq_await(&c[1]);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 5);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 80);
	assert_int_equal(mq_check(mq_small), 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void full_queue(void **state)
{
	(void)state;
	mq_run(full_main);
}

/* Linux asks whether a message fits before it looks for a receiver. */
static void full_waiting_main(void *arg)
{
	struct mq_caller r = {0}, s;

	(void)arg;
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(100), 0), 0);
	memset(&r, 0, sizeof(r));
	r = (struct mq_caller){.node = 3,
			       .q = mq_small,
			       .is_receiver = true,
			       .type = 2,
			       .room = 100};
	arena_fixture_spawn(&mq_fx, mq_caller_main, &r);
	mq_pause(2);
	assert_int_equal(mq_send_to(mq_small, 1, 2, "x", IPC_NOWAIT), -EAGAIN);
	mq_start_send(&s, mq_small, 2, 2, "late");
	assert_int_equal(mq_check(mq_small), 2);
	assert_int_equal(mq_receive_from(mq_small, 1, 1, 0, 100), 100);
	mq_await(&s);
	mq_await(&r);
	assert_int_equal(s.ret, 0);
	assert_string_equal(r.text, "late");
	assert_int_equal(mq_check(mq_small), 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void full_queue_with_receiver(void **state)
{
	(void)state;
	mq_run(full_waiting_main);
}

static void cancel_main(void *arg)
{
	struct mq_caller r[4] = {0}, s[3];
	unsigned i;

	(void)arg;
	for (i = 0; i < 4; i++)
		mq_start_receive(&r[i], 1 + i % 3, 0);
	mq_cancel(&r[0]); /* the first, one between, the last */
	assert_int_equal(mq_check(mq_id), 3);
	mq_cancel(&r[2]);
	assert_int_equal(mq_check(mq_id), 2);
	mq_cancel(&r[3]);
	assert_int_equal(mq_check(mq_id), 1);
	assert_int_equal(r[0].ret, -EINTR);
	assert_int_equal(r[2].ret, -EINTR);
	assert_int_equal(mq_send(3, 1, "x"), 0);
	mq_await(&r[1]);
	assert_int_equal(r[1].ret, 1);

	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(100), 0), 0);
	for (i = 0; i < 3; i++)
		mq_start_send(&s[i], mq_small, 1 + i, 1 + i, mq_text(50));
	mq_cancel(&s[1]);
	assert_int_equal(s[1].ret, -EINTR);
	assert_int_equal(mq_check(mq_small), 2);
	mq_cancel(&s[0]);
	assert_int_equal(mq_check(mq_small), 1);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 100);
	mq_await(&s[2]);
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 50);
	assert_int_equal(mq_got_type, 3);
	assert_int_equal(mq_check(mq_small), 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void cancelled_calls(void **state)
{
	(void)state;
	mq_run(cancel_main);
}

static void kick_main(void *arg)
{
	const struct dipc_stat stat = {.uid = 10, .mode = 0200, .size = 200};
	struct mq_caller r = {0}, s[2];

	(void)arg;
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(100), 0), 0);
	r = (struct mq_caller){.node = 3,
			       .q = mq_small,
			       .is_receiver = true,
			       .type = 9,
			       .room = 100};
	arena_fixture_spawn(&mq_fx, mq_caller_main, &r);
	mq_start_send(&s[0], mq_small, 2, 2, mq_text(100));
	mq_start_send(&s[1], mq_small, 2, 3, mq_text(20));
	assert_int_equal(dipc_object_set(mq_fx.node[1].fabric, mq_small,
					 DIPC_KIND_MSG, &mq_owner, &stat),
			 0);
	assert_int_equal(dipc_msg_kick(mq_msgs[1], mq_small), 0);
	mq_await(&r);
	assert_int_equal(r.ret, -EACCES); /* nobody may read any more */
	mq_pause(5);
	assert_true(s[0].is_done != s[1].is_done);
	assert_int_equal(mq_check(mq_small), 1);
	mq_queue(mq_small)->mode = 0600;
	assert_int_equal(mq_receive_from(mq_small, 2, 0, 0, 100), 100);
	mq_await(&s[0]);
	mq_await(&s[1]);
	assert_true(mq_receive_from(mq_small, 2, 0, 0, 100) > 0);
	assert_true(mq_receive_from(mq_small, 2, 0, 0, 100) > 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void ipc_set(void **state)
{
	(void)state;
	mq_run(kick_main);
}

static void remove_main(void *arg)
{
	struct mq_caller r[2] = {0}, s[2];
	unsigned i;

	(void)arg;
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(90), 0), 0);
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(10), 0), 0);
	for (i = 0; i < 2; i++) {
		r[i] = (struct mq_caller){.node = 1 + i,
					  .q = mq_small,
					  .is_receiver = true,
					  .type = 9 + i,
					  .room = 100};
		arena_fixture_spawn(&mq_fx, mq_caller_main, &r[i]);
		mq_start_send(&s[i], mq_small, 2 + i, 2, mq_text(50));
	}
	arena_fixture_remove(&mq_fx, dipc_id_slot(mq_small));
	assert_int_equal(dipc_msg_remove(mq_fx.referee.fabric, mq_referee_pool,
					 dipc_id_slot(mq_small)),
			 0);
	for (i = 0; i < 2; i++) {
		mq_await(&r[i]);
		mq_await(&s[i]);
		assert_int_equal(r[i].ret, -EIDRM);
		assert_int_equal(s[i].ret, -EIDRM);
	}
	/* EIDRM is only for who was there */
	assert_int_equal(mq_send_to(mq_small, 1, 1, "x", 0), -EINVAL);
	assert_int_equal(mq_receive_from(mq_small, 1, 0, 0, 1), -EINVAL);
	assert_int_equal(
		mq_receive_from(mq_small, 1, 0, MSG_COPY | IPC_NOWAIT, 1),
		-EINVAL);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void removal(void **state)
{
	(void)state;
	mq_run(remove_main);
}

/* A lost hint must cost time only. */
static void deaf_main(void *arg)
{
	struct mq_caller c = {0};

	(void)arg;
	mq_start_receive(&c, 2, 0);
	mq_fx.node[2].is_deaf = true;
	assert_int_equal(mq_send(1, 3, "hello"), 0);
	mq_await(&c);
	assert_int_equal(c.ret, 5);
}

static void lost_hint(void **state)
{
	(void)state;
	mq_run(deaf_main);
}

/* ---- blocks ------------------------------------------------------------- */

static void exhaust_main(void *arg)
{
	unsigned nr = (1u << 20) / 16384, i;
	static char big[8192];
	int ret = 0;

	(void)arg;
	mq_queue(mq_id)->msg.qbytes = 1u << 30;
	/* the text of 8 KiB fits the largest class only */
	for (i = 0; ret == 0; i++)
		ret = dipc_msg_send(mq_msgs[1 + i % 2], mq_id, &mq_owner, 1,
				    big, sizeof(big), IPC_NOWAIT, NULL);
	assert_int_equal(ret, -ENOMEM);
	/* each node had some in hand when the last was gone */
	assert_in_range(i - 1, nr - 12, nr);
	for (; i > 1; i--)
		assert_int_equal(mq_receive(3, 0, 0), sizeof(big));
	assert_int_equal(mq_receive(3, 0, 0), -ENOMSG);
	assert_int_equal(mq_blocks_in_use(), 0);
	assert_int_equal(dipc_msg_send(mq_msgs[1], mq_id, &mq_owner, 1, big,
				       sizeof(big), 0, NULL),
			 0);
	assert_int_equal(mq_receive(3, 0, 0), sizeof(big));
}

static void no_more_blocks(void **state)
{
	(void)state;
	mq_run(exhaust_main);
}

/* ---- costs -------------------------------------------------------------- */

static unsigned trips;

static void trips_begin(void)
{
	mq_pause(2); /* a pool may be working ahead */
	watched = dipc_fiber_self();
	nr_parks = 0;
}

#define assert_trips(max)                                                      \
	do {                                                                   \
		trips = nr_parks;                                              \
		assert_in_range(trips, 1, max);                                \
	} while (0)

static void trips_main(void *arg)
{
	struct mq_caller c = {0};
	unsigned i;

	(void)arg;
	assert_int_equal(mq_send(1, 1, "warm"), 0);
	assert_int_equal(mq_receive(2, 0, 0), 4);
	for (i = 0; i < 10; i++) {
		trips_begin();
		assert_int_equal(mq_send(1, 1 + i, "text"), 0);
		assert_trips(2);
	}
	for (i = 0; i < 10; i++) {
		trips_begin();
		assert_int_equal(mq_receive(2, 0, 0), 4);
		assert_trips(2);
	}
	trips_begin();
	assert_int_equal(mq_receive(2, 0, 0), -ENOMSG);
	assert_trips(1);
	/* to a receiver who waits: that is no blocking either */
	mq_start_receive(&c, 2, 0);
	trips_begin();
	assert_int_equal(mq_send(1, 1, "text"), 0);
	assert_trips(2);
	mq_await(&c);
}

static void round_trips(void **state)
{
	(void)state;
	mq_run(trips_main);
}

#define CASES(with)                                                            \
	cmocka_unit_test_setup_teardown(fifo, with, mq_teardown),              \
		cmocka_unit_test_setup_teardown(types, with, mq_teardown),     \
		cmocka_unit_test_setup_teardown(errors, with, mq_teardown),    \
		cmocka_unit_test_setup_teardown(empty_messages, with,          \
						mq_teardown),                  \
		cmocka_unit_test_setup_teardown(text_sizes, with,              \
						mq_teardown),                  \
		cmocka_unit_test_setup_teardown(waiting_receivers, with,       \
						mq_teardown),                  \
		cmocka_unit_test_setup_teardown(receiver_without_room, with,   \
						mq_teardown),                  \
		cmocka_unit_test_setup_teardown(full_queue, with,              \
						mq_teardown),                  \
		cmocka_unit_test_setup_teardown(full_queue_with_receiver,      \
						with, mq_teardown),            \
		cmocka_unit_test_setup_teardown(cancelled_calls, with,         \
						mq_teardown),                  \
		cmocka_unit_test_setup_teardown(ipc_set, with, mq_teardown),   \
		cmocka_unit_test_setup_teardown(removal, with, mq_teardown),   \
		cmocka_unit_test_setup_teardown(lost_hint, with, mq_teardown), \
		cmocka_unit_test_setup_teardown(no_more_blocks, with,          \
						mq_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASES(mq_setup),
		CASES(mq_setup_slow),
		cmocka_unit_test_setup_teardown(round_trips, mq_setup_slow,
						mq_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
