/* SPDX-License-Identifier: BSD-2-Clause */
/* Message queues: the line of blocked senders, as Linux keeps it; MSG_COPY. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include <cmocka.h>

#include "tests/unit/protocol/msg_case.h"

/* Empty mq_small; the types of what was there, in order, are WANT. */
static void drain(const char *want)
{
	char got[16] = {0};
	unsigned i;

	for (i = 0; i < sizeof(got) - 1; i++) {
		if (mq_receive_from(mq_small, 1, 0, IPC_NOWAIT, 100) < 0)
			break;
		got[i] = (char)('0' + mq_got_type);
	}
	assert_string_equal(got, want);
}

/*
 * Who would have fitted, had another not been first, lines up again; who never
 * fitted keeps his place.
 */
static void line_main(void *arg)
{
	struct mq_caller c[5];

	(void)arg;
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(80), 0), 0);
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(20), 0), 0);
	mq_start_send(&c[0], mq_small, 2, 2, mq_text(50));
	mq_start_send(&c[1], mq_small, 3, 3, mq_text(40));
	mq_start_send(&c[2], mq_small, 1, 4, mq_text(90));
	mq_start_send(&c[3], mq_small, 2, 5, mq_text(70));
	mq_start_send(&c[4], mq_small, 3, 6, mq_text(85));
	/* 80 free: 50 goes in; 40 and 70 would have fitted, 90 and 85 not */
	assert_int_equal(mq_receive_from(mq_small, 1, 0, 0, 100), 80);
	mq_await(&c[0]);
	assert_int_equal(mq_check(mq_small), 4);
	/* the line is 90 85 40 70 now */
	assert_int_equal(mq_receive_from(mq_small, 1, 2, 0, 100), 50);
	mq_await(&c[1]);
	assert_int_equal(mq_check(mq_small), 3);
	assert_int_equal(mq_receive_from(mq_small, 1, 3, 0, 100), 40);
	mq_await(&c[3]);
	/* 90 85 again; all is empty for both, so the first of them */
	assert_int_equal(mq_receive_from(mq_small, 1, 1, 0, 100), 20);
	assert_int_equal(mq_receive_from(mq_small, 1, 5, 0, 100), 70);
	mq_await(&c[2]);
	assert_int_equal(mq_check(mq_small), 1);
	assert_int_equal(mq_receive_from(mq_small, 1, 4, 0, 100), 90);
	mq_await(&c[4]);
	drain("6");
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void line_of_senders(void **state)
{
	(void)state;
	mq_run(line_main);
}

/* Somebody in the middle of a line that has been rearranged gives up. */
static void gives_up_main(void *arg)
{
	struct mq_caller c[4];

	(void)arg;
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(60), 0), 0);
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(40), 0), 0);
	mq_start_send(&c[0], mq_small, 2, 2, mq_text(50));
	mq_start_send(&c[1], mq_small, 3, 3, mq_text(45));
	mq_start_send(&c[2], mq_small, 1, 4, mq_text(90));
	mq_start_send(&c[3], mq_small, 2, 5, mq_text(55));
	assert_int_equal(mq_receive_from(mq_small, 1, 0, 0, 100), 60);
	mq_await(&c[0]);
	assert_int_equal(mq_check(mq_small), 3); /* 90 45 55 */
	mq_cancel(&c[1]);
	assert_int_equal(c[1].ret, -EINTR);
	assert_int_equal(mq_check(mq_small), 2);
	drain("1245");
	mq_await(&c[3]);
	mq_await(&c[2]);
	assert_int_equal(mq_check(mq_small), 0);
}

static void sender_gives_up(void **state)
{
	(void)state;
	mq_run(gives_up_main);
}

/* A mode that came while he was waiting binds a sender when his turn comes. */
static void mode_main(void *arg)
{
	const struct dipc_cred root = {.has_sys_admin = true};
	struct dipc_stat stat = {
		.uid = 10, .gid = 20, .mode = 0440, .size = MQ_SMALL};
	struct mq_caller c[2];

	(void)arg;
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(90), 0), 0);
	mq_start_send(&c[0], mq_small, 2, 2, mq_text(50));
	mq_start_send(&c[1], mq_small, 3, 3, mq_text(60));
	assert_int_equal(dipc_object_set(mq_fx.node[1].fabric, mq_small,
					 DIPC_KIND_MSG, &root, &stat),
			 0);
	assert_int_equal(dipc_msg_kick(mq_msgs[1], mq_small), 0);
	assert_int_equal(mq_check(mq_small), 2);
	assert_int_equal(mq_receive_from(mq_small, 1, 0, 0, 100), 90);
	mq_await(&c[0]);
	mq_await(&c[1]);
	assert_int_equal(c[0].ret, -EACCES);
	assert_int_equal(c[1].ret, -EACCES);
	drain("");
	/* and one that allows it does not */
	stat.mode = 0600;
	assert_int_equal(dipc_object_set(mq_fx.node[1].fabric, mq_small,
					 DIPC_KIND_MSG, &root, &stat),
			 0);
	assert_int_equal(mq_send_to(mq_small, 1, 1, mq_text(90), 0), 0);
	mq_start_send(&c[0], mq_small, 2, 2, mq_text(50));
	assert_int_equal(dipc_object_set(mq_fx.node[1].fabric, mq_small,
					 DIPC_KIND_MSG, &root, &stat),
			 0);
	mq_start_send(&c[1], mq_small, 3, 3, mq_text(60));
	assert_int_equal(mq_receive_from(mq_small, 1, 0, 0, 100), 90);
	mq_await(&c[0]);
	assert_int_equal(c[0].ret, 0);
	assert_int_equal(mq_receive_from(mq_small, 1, 0, 0, 100), 50);
	mq_await(&c[1]);
	drain("3");
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void new_mode(void **state)
{
	(void)state;
	mq_run(mode_main);
}

static int64_t copy(int64_t index, int flags, size_t room)
{
	return mq_receive_from(mq_id, 2, index, MSG_COPY | IPC_NOWAIT | flags,
			       room);
}

static void copy_main(void *arg)
{
	struct dipc_cred other = {.pid = 1, .uid = 11, .gid = 21};
	const struct dipc_arena_msg *q = &mq_queue(mq_id)->msg;

	(void)arg;
	assert_int_equal(copy(0, 0, 9), -ENOMSG);
	assert_int_equal(mq_send(1, 7, "one"), 0);
	assert_int_equal(mq_send(3, 5, ""), 0);
	assert_int_equal(mq_send(2, 6, "three"), 0);
	assert_int_equal(copy(0, 0, 9), 3);
	assert_string_equal(mq_got, "one");
	assert_int_equal(mq_got_type, 7);
	assert_int_equal(copy(1, 0, 0), 0);
	assert_int_equal(mq_got_type, 5);
	assert_int_equal(copy(2, MSG_NOERROR, 5), 5);
	assert_string_equal(mq_got, "three");
	assert_int_equal(copy(3, 0, 9), -ENOMSG);
	assert_int_equal(copy(-1, 0, 9), -ENOMSG);
	assert_int_equal(copy(2, 0, 4), -E2BIG);
	assert_int_equal(copy(2, MSG_NOERROR, 4), -EINVAL);
	assert_int_equal(copy(0, MSG_EXCEPT, 9), -EINVAL);
	assert_int_equal(mq_receive_from(mq_id, 1, 0, MSG_COPY, 9), -EINVAL);
	assert_int_equal(dipc_msg_receive(mq_msgs[1], mq_id, &other, 0,
					  MSG_COPY | IPC_NOWAIT, mq_got, 9,
					  &mq_got_type, NULL),
			 -EACCES);
	/* nothing has happened to the queue */
	mq_pause(1);
	assert_int_equal(q->qnum, 3);
	assert_int_equal(q->lrpid, 0);
	assert_int_equal(q->rtime, 0);
	assert_int_equal(mq_receive(1, 0, 0), 3);
	assert_int_equal(copy(1, 0, 9), 5);
	assert_int_equal(mq_receive(1, 0, 0), 0);
	assert_int_equal(mq_receive(1, 0, 0), 5);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void copies(void **state)
{
	(void)state;
	mq_run(copy_main);
}

#define CASES(with)                                                            \
	cmocka_unit_test_setup_teardown(line_of_senders, with, mq_teardown),   \
		cmocka_unit_test_setup_teardown(sender_gives_up, with,         \
						mq_teardown),                  \
		cmocka_unit_test_setup_teardown(new_mode, with, mq_teardown),  \
		cmocka_unit_test_setup_teardown(copies, with, mq_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASES(mq_setup),
		CASES(mq_setup_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
