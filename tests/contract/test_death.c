/* SPDX-License-Identifier: BSD-2-Clause */
/* Peers that are killed, and peers that reach where they may not. */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define OPS_MAX 4096u

static struct ct_op ops[OPS_MAX];

/*
 * Until nothing more goes: a deaf peer's device may still take a thousand
 * WRITE_IMMs before its receives run out, so a full queue is given time to
 * drain before it counts as full.
 */
static unsigned post_until_full(struct ct_link *link)
{
	bool is_stuck = false;
	struct dipc_wr wr;
	unsigned n = 0;

	memset(ops, 0, sizeof(ops));
	while (n < OPS_MAX) {
		wr = ct_write_imm(link, 0, 0, 64, n);
		if (ct_post(link, &wr, 1, &ops[n]) != -EAGAIN) {
			is_stuck = false;
			n++;
			continue;
		}
		if (is_stuck)
			break;
		is_stuck = true;
		ct_poll_for(300);
	}
	assert_true(n < OPS_MAX);
	return n;
}

static void check_dead(struct ct_link *link, unsigned nr)
{
	unsigned i, nr_failed = 0;

	assert_int_equal(link->reason, -ENOLINK);
	for (i = 0; i < nr; i++) {
		assert_int_equal(ops[i].nr_done, 1);
		assert_true(ops[i].status == 0 || ops[i].status == -ENOLINK);
		nr_failed += ops[i].status != 0;
		/* once one has failed no later one has succeeded */
		assert_true(!nr_failed || ops[i].status);
	}
	assert_true(nr_failed > 0);
}

/* The peer is deaf, so that operations are outstanding when it dies. */
static void kill__outstanding_ops_fail_once(void **state)
{
	struct ct_state *s = *state;
	struct ct_link *link;
	struct dipc_wr wr;
	unsigned nr;
	pid_t pid;

	pid = ct_spawn(s->a, "deaf", 0, &link);
	nr = post_until_full(link);
	ct_kill(pid);
	CT_WAIT(link->nr_closed);
	check_dead(link, nr);
	/* the others live */
	wr = ct_faa(s->ab, 0, 0, 1);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
}

static void kill__sleeper_is_woken(void **state)
{
	struct ct_state *s = *state;
	struct ct_link *link;
	uint64_t start;
	unsigned nr;
	pid_t pid;

	pid = ct_spawn(s->a, "deaf", 0, &link);
	nr = post_until_full(link);
	ct_poll_for(20);
	ct_kill(pid);
	start = ct_now_ms();
	CT_WAIT_ASLEEP(link->nr_closed);
	assert_true(ct_now_ms() - start < 10000ull * ct_slow());
	check_dead(link, nr);
}

/* A peer that only writes to us; we have nothing outstanding. */
static void kill__in_the_middle_of_a_stream(void **state)
{
	struct ct_state *s = *state;
	unsigned round, rounds = ct_scaled(10);
	struct ct_link *link;
	struct dipc_wr wr;
	unsigned seen;
	pid_t pid;

	for (round = 0; round < rounds; round++) {
		pid = ct_spawn(s->a, "stream", 65536, &link);
		CT_WAIT(link->nr_imm >= 10 + round);
		ct_signal(pid, SIGKILL);
		/* as a protocol notices: something posted now fails */
		wr = ct_imm(round);
		while (!link->nr_closed && !ct_do(link, &wr, 1))
			ct_poll();
		CT_WAIT(link->nr_closed);
		assert_int_equal(link->reason, -ENOLINK);
		seen = link->nr_imm;
		ct_kill(pid);
		ct_poll_for(10);
		assert_int_equal(link->nr_imm, seen);
	}
}

/*
 * Stopped, perhaps in the middle of an operation: a close must end in bounded
 * time all the same, and when the peer goes on nothing of ours may change.
 */
static void stop__close_fences(void **state)
{
	static uint8_t before[65536];
	struct ct_state *s = *state;
	struct ct_link *link;
	unsigned round;
	pid_t pid;

	ct_expect_log(); /* a back end may have to use force */
	for (round = 0; round < 2; round++) {
		pid = ct_spawn(s->a, "stream", sizeof(before), &link);
		CT_WAIT(link->nr_imm >= 20);
		ct_signal(pid, SIGSTOP);
		dipc_conn_close(link->conn);
		CT_WAIT_ASLEEP(link->nr_closed);
		assert_int_equal(link->reason, 0);
		memcpy(before, s->a->mem->base, sizeof(before));
		ct_signal(pid, SIGCONT);
		ct_poll_for(50);
		assert_memory_equal(before, s->a->mem->base, sizeof(before));
		ct_kill(pid);
	}
}

/* Its address can be taken over at once. */
static void kill__address_is_free_again(void **state)
{
	struct ct_state *s = *state;
	struct ct_hello hello;
	struct ct_link *link;
	struct ct_node *heir;
	char address[64] = "";
	pid_t pid;

	pid = ct_spawn(s->a, "deaf", 0, &link);
	memcpy(&hello, link->hello, sizeof(hello));
	memcpy(address, hello.note, sizeof(hello.note));
	ct_kill(pid);
	CT_WAIT(link->nr_closed);
	assert_int_equal(ct_node_try(address, &heir), 0);
	ct_connect_to(s->a, heir, &link);
}

/* ---- forbidden accesses ------------------------------------------------- */

/* WR breaks a connection of its own, and that one only. */
static void check_forbidden(struct ct_state *s, struct ct_link *link,
			    struct ct_link *far, struct dipc_wr wr)
{
	struct dipc_wr fine = ct_faa(s->ab, 0, 0, 1);
	struct ct_op op, behind;
	int ret;

	assert_int_equal(ct_post(link, &wr, 1, &op), -EINPROGRESS);
	ret = ct_post(link, &fine, 1, &behind);
	CT_WAIT(link->nr_closed && far->nr_closed);
	assert_int_equal(op.nr_done, 1);
	assert_int_equal(op.status, -EREMOTEIO);
	if (ret == -EINPROGRESS)
		assert_int_equal(behind.status, -ENOLINK);
	else
		assert_int_equal(ret, -ENOLINK);
	assert_int_equal(link->reason, -ENOLINK);
	assert_int_equal(far->reason, -ENOLINK);
	assert_int_equal(ct_do(s->ab, &fine, 1), 0);
}

static void forbidden__beyond_the_region(void **state)
{
	static const enum dipc_wr_op ops_tried[] = {DIPC_WR_WRITE,
						    DIPC_WR_READ};
	static const uint64_t starts[] = {CT_MEM - 4, CT_MEM, CT_MEM + 4096,
					  -4096ull};
	struct ct_state *s = *state;
	struct ct_link *link, *far;
	struct dipc_wr wr;
	unsigned i, k;

	ct_expect_log();
	for (i = 0; i < 4; i++)
		for (k = 0; k < 2; k++) {
			link = ct_connect_to(s->a, s->b, &far);
			wr = ct_write(link, 0, 0, 8);
			wr.op = ops_tried[k];
			wr.remote.addr += starts[i];
			check_forbidden(s, link, far, wr);
		}
	link = ct_connect_to(s->a, s->b, &far);
	check_forbidden(s, link, far, ct_faa(link, 0, CT_MEM, 1));
}

static void forbidden__forged_rkey(void **state)
{
	struct ct_state *s = *state;
	struct ct_link *link, *far;
	struct dipc_wr wr;
	unsigned bit;

	ct_expect_log();
	for (bit = 0; bit < 32; bit += 5) {
		link = ct_connect_to(s->a, s->b, &far);
		wr = ct_write(link, 0, 0, 8);
		wr.remote.rkey ^= 1u << bit;
		check_forbidden(s, link, far, wr);
	}
}

static void forbidden__destroyed_region(void **state)
{
	struct ct_state *s = *state;
	struct dipc_region *region, *other;
	struct ct_link *link, *far;
	struct dipc_wr wr;

	ct_expect_log();
	link = ct_connect_to(s->a, s->b, &far);
	assert_int_equal(dipc_region_create(s->b->t, NULL, 65536, &region), 0);
	wr = ct_write(link, 0, 0, 64);
	wr.remote = region->remote;
	memset(s->a->mem->base, 3, 64);
	assert_int_equal(ct_do(link, &wr, 1), 0);
	assert_int_equal(region->base[63], 3);
	dipc_region_destroy(region);
	/* likely in the same place */
	assert_int_equal(dipc_region_create(s->b->t, NULL, 65536, &other), 0);
	check_forbidden(s, link, far, wr);
	assert_int_equal(other->base[63], 0);
	dipc_region_destroy(other);
}

int ct_run_death(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(kill__outstanding_ops_fail_once),
		CT_TEST(kill__sleeper_is_woken),
		CT_TEST(kill__in_the_middle_of_a_stream),
		CT_TEST(stop__close_fences),
		CT_TEST(kill__address_is_free_again),
		CT_TEST(forbidden__beyond_the_region),
		CT_TEST(forbidden__forged_rkey),
		CT_TEST(forbidden__destroyed_region),
	};

	return cmocka_run_group_tests_name("death", tests, NULL, NULL);
}
