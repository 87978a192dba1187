/* SPDX-License-Identifier: BSD-2-Clause */
/* Back-pressure, slow receivers, and sleeping. */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX 20000u

/* imm must come as 0, 1, 2... */
static void count_in_order(struct ct_link *link, uint32_t imm)
{
	unsigned *nr_bad = link->owner->user;

	*nr_bad += imm != link->nr_imm - 1;
}

/* Post imms from FROM until there is no room. How many ops there are then. */
static unsigned fill(struct ct_link *link, struct ct_op *op, unsigned from)
{
	struct dipc_wr wr;
	unsigned n;
	int ret;

	for (n = from; n < OPS_MAX; n++) {
		wr = ct_imm(n);
		ret = ct_post(link, &wr, 1, &op[n]);
		if (ret == -EAGAIN)
			break;
		assert_true(ret == 0 || ret == -EINPROGRESS);
	}
	assert_true(n < OPS_MAX); /* there is a limit */
	return n;
}

static void check_all_done(const struct ct_op *op, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		assert_int_equal(op[i].nr_done, 1);
		assert_int_equal(op[i].status, 0);
		assert_true(!i || op[i].serial > op[i - 1].serial);
	}
}

/* The receiver does not poll meanwhile: only A is driven. */
static void fill__completes_once_and_in_order(void **state)
{
	struct ct_state *s = *state;
	struct ct_op *op = calloc(OPS_MAX, sizeof(*op));
	unsigned round, nr, nr_bad = 0;

	assert_non_null(op);
	s->b->user = &nr_bad;
	s->b->on_imm = count_in_order;
	nr = fill(s->ab, op, 0);
	for (round = 0; round < 3; round++) {
		CT_WAIT(!s->ab->nr_outstanding);
		check_all_done(op, nr);
		nr = fill(s->ab, op, nr);
	}
	CT_WAIT(!s->ab->nr_outstanding && s->ba->nr_imm == nr);
	check_all_done(op, nr);
	assert_int_equal(nr_bad, 0);
	free(op);
}

/* What is posted behind a blocked chain must not overtake it. */
static void fill__others_queue_behind(void **state)
{
	struct ct_state *s = *state;
	struct ct_op *op = calloc(OPS_MAX, sizeof(*op));
	unsigned nr, nr_bad = 0;
	struct dipc_wr wr[2];
	struct ct_op last;
	int ret;

	assert_non_null(op);
	s->b->user = &nr_bad;
	s->b->on_imm = count_in_order;
	nr = fill(s->ab, op, 0);
	wr[0] = ct_faa(s->ab, 0, 0, 1);
	wr[1] = ct_imm(nr);
	CT_WAIT((ret = ct_post(s->ab, wr, 2, &last)) != -EAGAIN);
	assert_true(ret == 0 || ret == -EINPROGRESS);
	CT_WAIT(last.nr_done && s->ba->nr_imm == nr + 1);
	check_all_done(op, nr);
	assert_int_equal(last.status, 0);
	assert_int_equal(*ct_word(s->b, 0), 1);
	assert_int_equal(nr_bad, 0);
	free(op);
}

struct again {
	struct dipc_op op;
	struct ct_link *link;
	unsigned left;
	unsigned nr_done;
};

/* Posts itself again from inside done(). */
static void again_done(struct dipc_op *base, int status)
{
	struct again *again = dipc_container_of(base, struct again, op);
	struct dipc_wr wr = ct_faa(again->link, 0, 0, 1);
	int ret = 0;

	assert_int_equal(status, 0);
	again->nr_done++;
	while (!ret && again->left) {
		again->left--;
		ret = dipc_conn_post(again->link->conn, &wr, 1, &again->op);
		again->nr_done += !ret;
	}
	assert_true(!ret || ret == -EINPROGRESS);
}

static void done__may_post_again(void **state)
{
	struct ct_state *s = *state;
	struct again again = {.op.done = again_done, .link = s->ab};
	unsigned nr = ct_scaled(1000);

	again.left = nr - 1;
	*ct_word(s->b, 0) = 0;
	struct dipc_wr wr = ct_faa(s->ab, 0, 0, 1);
	int ret = dipc_conn_post(s->ab->conn, &wr, 1, &again.op);

	if (!ret)
		again_done(&again.op, 0);
	CT_WAIT(again.nr_done == nr);
	assert_int_equal(*ct_word(s->b, 0), nr);
}

/* A process that takes them slowly; we sleep when there is no room. */
static void flood__slow_receiver(void **state)
{
	struct ct_state *s = *state;
	unsigned n, nr = ct_scaled(100000);
	struct ct_op *op = calloc(nr + 1, sizeof(*op));
	struct ct_link *sink;
	struct dipc_wr wr;
	pid_t pid;
	int ret;

	assert_non_null(op);
	pid = ct_spawn(s->a, "sink", 100, &sink);
	for (n = 0; n <= nr; n++) {
		wr = ct_imm(n < nr ? n : UINT32_MAX);
		CT_WAIT_ASLEEP((ret = ct_post(sink, &wr, 1, &op[n])) !=
			       -EAGAIN);
		assert_true(ret == 0 || ret == -EINPROGRESS);
	}
	CT_WAIT_ASLEEP(!sink->nr_outstanding && sink->nr_imm);
	assert_int_equal(sink->last_imm, nr);
	check_all_done(op, nr + 1);
	dipc_conn_close(sink->conn);
	CT_WAIT(sink->nr_closed);
	ct_join(pid);
	free(op);
}

/* Both asleep between any two imms. */
static void sleep__ping_pong(void **state)
{
	struct ct_state *s = *state;
	unsigned n, nr = ct_scaled(2000);
	struct ct_link *echo;
	struct dipc_wr wr;
	pid_t pid;

	pid = ct_spawn(s->a, "echo", 0, &echo);
	for (n = 1; n <= nr; n++) {
		wr = ct_imm(n);
		assert_int_equal(ct_do(echo, &wr, 1), 0);
		CT_WAIT_ASLEEP(echo->nr_imm == n);
		assert_int_equal(echo->last_imm, n);
	}
	dipc_conn_close(echo->conn);
	CT_WAIT_ASLEEP(echo->nr_closed);
	ct_join(pid);
}

static void settle(struct ct_node *node)
{
	CT_WAIT(!dipc_transport_poll(node->t, 64) &&
		!dipc_transport_arm(node->t) && !ct_fd_wait(node, 0));
}

static void sleep__idle_makes_no_wakeups(void **state)
{
	struct ct_state *s = *state;

	ct_poll_for(50);
	settle(s->a);
	settle(s->b);
	assert_int_equal(ct_fd_wait(s->a, 300), 0);
	assert_int_equal(ct_fd_wait(s->b, 0), 0);
}

/* Work that came before arm() is never slept over. */
static void sleep__work_before_arm(void **state)
{
	struct ct_state *s = *state;
	unsigned n, nr = ct_scaled(200);
	struct dipc_wr wr;

	for (n = 1; n <= nr; n++) {
		settle(s->b);
		dipc_transport_poll(s->b->t, 64); /* disarm */
		wr = ct_imm(n);
		/* Only A is polled: B learns of it by arm() or by the fd. */
		struct ct_op op;
		uint64_t deadline = ct_deadline();

		assert_true(ct_post(s->ab, &wr, 1, &op) != -EAGAIN);
		while (!op.nr_done && ct_now_ms() < deadline)
			dipc_transport_poll(s->a->t, 64);
		assert_true(dipc_transport_arm(s->b->t) > 0 ||
			    ct_fd_wait(s->b, 1000 * ct_slow()) == 1);
		CT_WAIT(s->ba->nr_imm == n);
	}
}

static void sleep__close_wakes(void **state)
{
	struct ct_state *s = *state;

	settle(s->b);
	dipc_conn_close(s->ab->conn);
	uint64_t deadline = ct_deadline();
	while (!s->ab->nr_closed && ct_now_ms() < deadline)
		dipc_transport_poll(s->a->t, 64);
	assert_int_equal(ct_fd_wait(s->b, 5000 * ct_slow()), 1);
	CT_WAIT_ASLEEP(s->ba->nr_closed);
	assert_int_equal(s->ba->reason, -ENOLINK);
}

int ct_run_flow(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(fill__completes_once_and_in_order),
		CT_TEST(fill__others_queue_behind),
		CT_TEST(done__may_post_again),
		CT_TEST(flood__slow_receiver),
		CT_TEST(sleep__ping_pong),
		CT_TEST(sleep__idle_makes_no_wakeups),
		CT_TEST(sleep__work_before_arm),
		CT_TEST(sleep__close_wakes),
	};

	return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
