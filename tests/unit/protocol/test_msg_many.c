/* SPDX-License-Identifier: BSD-2-Clause */
/* Message queues with many calls at a time: each message once, in order. */
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

/* ---- all at once -------------------------------------------------------- */

#define MANY_SENDERS 4u
#define MANY_EACH    1500u

struct many {
	unsigned nr;
	unsigned next[MANY_SENDERS]; /* per receiver: order of each sender */
};

static uint8_t many_seen[MANY_SENDERS][MANY_EACH];
static unsigned many_left, many_running, many_seed;

static void many_fill(char *text, size_t len, unsigned from, unsigned nr)
{
	const uint32_t head[2] = {from, nr};
	size_t i;

	for (i = 0; i < len; i++)
		text[i] = (char)(from + nr + i);
	memcpy(text, head, len < sizeof(head) ? len : sizeof(head));
}

static size_t many_len(unsigned *seed)
{
	static const unsigned top[] = {64, 1500, 8192};

	return 8 + (unsigned)rand_r(seed) % (top[rand_r(seed) % 3] - 7);
}

static void many_sender(void *arg)
{
	unsigned from = (unsigned)(uintptr_t)arg, i;
	unsigned seed = many_seed + from;
	char *text = malloc(8192);

	for (i = 0; i < MANY_EACH; i++) {
		size_t len = many_len(&seed);

		many_fill(text, len, from, i);
		assert_int_equal(dipc_msg_send(mq_msgs[1 + from % 3], mq_id,
					       &mq_owner, 1 + from, text, len,
					       0, NULL),
				 0);
	}
	free(text);
	many_running--;
}

/* Takes what comes; two of them by type, so that the middle is used too. */
static void many_receiver(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	char *text = malloc(8192), *want = malloc(8192);
	unsigned next[MANY_SENDERS] = {0};

	while (many_left) {
		int64_t wish = self < 2 ? 0 : -(int64_t)MANY_SENDERS;
		struct dipc_cancel none = {0};
		uint32_t head[2];
		int64_t ret, type;

		many_left--;
		ret = dipc_msg_receive(mq_msgs[1 + self % 3], mq_id, &mq_owner,
				       wish, 0, text, 8192, &type, &none);
		assert_in_range(ret, 8, 8192);
		memcpy(head, text, sizeof(head));
		assert_in_range(head[0], 0, MANY_SENDERS - 1);
		assert_in_range(head[1], next[head[0]], MANY_EACH - 1);
		assert_int_equal(type, 1 + head[0]);
		next[head[0]] = head[1] + 1;
		many_fill(want, (size_t)ret, head[0], head[1]);
		assert_memory_equal(text, want, (size_t)ret);
		assert_int_equal(many_seen[head[0]][head[1]], 0);
		many_seen[head[0]][head[1]] = 1;
	}
	free(text);
	free(want);
	many_running--;
}

static void many_main(void *arg)
{
	unsigned i;

	(void)arg;
	memset(many_seen, 0, sizeof(many_seen));
	many_left = MANY_SENDERS * MANY_EACH;
	many_running = 2 * MANY_SENDERS;
	many_seed++;
	for (i = 0; i < MANY_SENDERS; i++) {
		arena_fixture_spawn(&mq_fx, many_sender, (void *)(uintptr_t)i);
		arena_fixture_spawn(&mq_fx, many_receiver,
				    (void *)(uintptr_t)i);
	}
	while (many_running)
		mq_pause(1);
	assert_int_equal(mq_check(mq_id), 0);
	assert_int_equal(mq_queue(mq_id)->msg.qnum, 0);
	assert_int_equal(mq_blocks_in_use(), 0);
}

static void many(void **state)
{
	(void)state;
	mq_run(many_main);
}

/* Calls that give up at any time: nothing is lost, doubled or left behind. */
static struct mq_caller churn[24];

static void churn_main(void *arg)
{
	unsigned seed = 77, i, sent = 0, taken = 0, left;

	(void)arg;
	for (i = 0; i < 1500; i++) {
		struct mq_caller *c = &churn[(unsigned)rand_r(&seed) % 24];

		if (c->node && !c->is_done) {
			dipc_cancel_set(&c->cancel);
			dipc_fiber_yield();
			continue;
		}
		if (c->node && c->ret >= 0)
			*(c->is_receiver ? &taken : &sent) += 1;
		assert_true(!c->node || c->ret >= 0 || c->ret == -EINTR);
		memset(c, 0, sizeof(*c));
		c->node = 1 + (unsigned)rand_r(&seed) % 3;
		c->q = mq_small;
		c->is_receiver = rand_r(&seed) % 2;
		c->type = 1 + rand_r(&seed) % 3;
		c->room = 100;
		if (!c->is_receiver)
			strcpy(c->text,
			       mq_text(1 + (unsigned)rand_r(&seed) % 60));
		arena_fixture_spawn(&mq_fx, mq_caller_main, c);
		if (rand_r(&seed) % 4 == 0)
			dipc_fiber_sleep((unsigned)rand_r(&seed) % 100 *
					 DIPC_USEC);
	}
	for (i = 0; i < 24; i++) {
		if (churn[i].node && !churn[i].is_done)
			mq_cancel(&churn[i]);
		if (churn[i].node && churn[i].ret >= 0)
			*(churn[i].is_receiver ? &taken : &sent) += 1;
	}
	assert_int_equal(mq_check(mq_small), 0);
	left = mq_queue(mq_small)->msg.qnum;
	assert_int_equal(sent, taken + left);
	assert_int_equal(mq_blocks_in_use(), left);
}

static void cancelled_at_random(void **state)
{
	(void)state;
	memset(churn, 0, sizeof(churn));
	mq_run(churn_main);
}

#define CASES(with)                                                            \
	cmocka_unit_test_setup_teardown(many, with, mq_teardown),              \
		cmocka_unit_test_setup_teardown(cancelled_at_random, with,     \
						mq_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASES(mq_setup),
		CASES(mq_setup_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
