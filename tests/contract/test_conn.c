/* SPDX-License-Identifier: BSD-2-Clause */
/* Handshake, refusal, addresses, and closing. */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/log.h"

static void bytes_fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(seed + i * 3);
}

static void check_handshake(struct ct_state *s, size_t hello_len,
			    size_t reply_len)
{
	uint8_t hello[DIPC_HELLO_MAX], reply[DIPC_HELLO_MAX];
	struct ct_link *ab, *ba;

	bytes_fill(hello, sizeof(hello), 1);
	bytes_fill(reply, sizeof(reply), 99);
	s->b->reply = reply;
	s->b->reply_len = reply_len;
	s->b->newest = NULL;
	ab = ct_connect(s->a, dipc_transport_address(s->b->t), "other");
	/* the same again with the bytes of this test */
	CT_WAIT(ab->nr_established);
	s->b->newest = NULL;
	assert_int_equal(dipc_conn_connect(s->a->t,
					   dipc_transport_address(s->b->t),
					   hello_len ? hello : NULL, hello_len,
					   &ab->conn),
			 0);
	ab->nr_established = 0;
	dipc_conn_set_user(ab->conn, ab);
	CT_WAIT(ab->nr_established && s->b->newest &&
		s->b->newest->nr_established);
	ba = s->b->newest;
	assert_true(ba->is_acceptor);
	assert_int_equal(ba->hello_len, hello_len);
	assert_memory_equal(ba->hello, hello, hello_len);
	assert_int_equal(ab->hello_len, reply_len);
	assert_memory_equal(ab->hello, reply, reply_len);
	s->b->reply = NULL;
}

static void handshake__carries_bytes(void **state)
{
	struct ct_state *s = *state;
	uint8_t hello[DIPC_HELLO_MAX + 1] = {0};
	struct dipc_conn *conn;

	check_handshake(s, DIPC_HELLO_MAX, DIPC_HELLO_MAX);
	check_handshake(s, 0, 0);
	check_handshake(s, 1, DIPC_HELLO_MAX - 1);
	check_handshake(s, 20, 0);
	assert_int_equal(dipc_conn_connect(s->a->t,
					   dipc_transport_address(s->b->t),
					   hello, sizeof(hello), &conn),
			 -EINVAL);
}

static void refusal__is_ECONNREFUSED(void **state)
{
	struct ct_state *s = *state;
	struct ct_link *link;

	s->b->refuse = -EACCES;
	s->b->newest = NULL;
	link = ct_connect(s->a, dipc_transport_address(s->b->t), "no");
	CT_WAIT(link->nr_closed);
	assert_int_equal(link->reason, -ECONNREFUSED);
	assert_int_equal(link->nr_established, 0);
	ct_poll_for(20);
	assert_null(s->b->newest);
	/* and the next one may be taken */
	s->b->refuse = 0;
	ct_connect_to(s->a, s->b, &link);
}

static void nowhere__fails_to_connect(void **state)
{
	struct ct_state *s = *state;
	struct ct_node *c = ct_node_create();
	struct ct_link *link;
	char gone[128];

	snprintf(gone, sizeof(gone), "%s", dipc_transport_address(c->t));
	ct_node_destroy(c);
	link = ct_connect(s->a, gone, "nobody");
	CT_WAIT(link->nr_closed);
	assert_int_equal(link->nr_established, 0);
	assert_true(link->reason == -ECONNREFUSED ||
		    link->reason == -EHOSTUNREACH ||
		    link->reason == -ETIMEDOUT);
}

static void self__both_ends_work(void **state)
{
	struct ct_state *s = *state;
	struct ct_link *near, *far;
	struct dipc_wr wr;

	near = ct_connect_to(s->a, s->a, &far);
	assert_ptr_not_equal(near->conn, far->conn);
	wr = ct_faa(near, 0, 64, 5);
	assert_int_equal(ct_do(near, &wr, 1), 0);
	wr = ct_faa(far, 8, 64, 6);
	assert_int_equal(ct_do(far, &wr, 1), 0);
	assert_int_equal(*ct_word(s->a, 8), 5);
	assert_int_equal(*ct_word(s->a, 64), 11);
	wr = ct_imm(1);
	assert_int_equal(ct_do(near, &wr, 1), 0);
	wr = ct_imm(2);
	assert_int_equal(ct_do(far, &wr, 1), 0);
	CT_WAIT(near->nr_imm == 1 && far->nr_imm == 1);
	assert_int_equal(near->last_imm, 2);
	assert_int_equal(far->last_imm, 1);
	dipc_conn_close(near->conn);
	CT_WAIT(near->nr_closed && far->nr_closed);
	assert_int_equal(near->reason, 0);
	assert_int_equal(far->reason, -ENOLINK);
}

static void many__each_has_its_own_events(void **state)
{
	struct ct_state *s = *state;
	struct ct_link *ab[16], *ba[16];
	struct dipc_wr wr;
	unsigned i;

	for (i = 0; i < 16; i++)
		ab[i] = ct_connect_to(s->a, s->b, &ba[i]);
	for (i = 0; i < 16; i++) {
		wr = ct_imm(i);
		assert_int_equal(ct_do(ab[i], &wr, 1), 0);
	}
	for (i = 0; i < 16; i++)
		CT_WAIT(ba[i]->nr_imm == 1 && ba[i]->last_imm == i);
	for (i = 0; i < 16; i += 2)
		dipc_conn_close(ba[i]->conn);
	for (i = 0; i < 16; i += 2)
		CT_WAIT(ab[i]->nr_closed && ba[i]->nr_closed);
	for (i = 1; i < 16; i += 2) {
		wr = ct_faa(ab[i], 0, 0, 1);
		assert_int_equal(ct_do(ab[i], &wr, 1), 0);
	}
	assert_int_equal(*ct_word(s->b, 0), 8);
}

static void close__is_seen_on_both_sides(void **state)
{
	struct ct_state *s = *state;
	struct dipc_conn *conn = s->ab->conn;
	struct dipc_wr wr = ct_imm(1);
	struct ct_op op;

	dipc_conn_close(conn);
	dipc_conn_close(conn);
	assert_int_equal(s->ab->nr_closed, 0); /* not inside the call */
	assert_int_equal(ct_post(s->ab, &wr, 1, &op), -ENOLINK);
	CT_WAIT(s->ab->nr_closed && s->ba->nr_closed);
	assert_int_equal(s->ab->reason, 0);
	assert_int_equal(s->ba->reason, -ENOLINK);
	ct_poll_for(20); /* neither runs again: on_closed() checks */
}

static void close__while_connecting(void **state)
{
	struct ct_state *s = *state;
	struct dipc_wr wr = ct_imm(1);
	struct ct_op op;
	struct ct_link *link;

	link = ct_connect(s->a, dipc_transport_address(s->b->t), "early");
	assert_int_equal(ct_post(link, &wr, 1, &op), -EINVAL); /* too early */
	dipc_conn_close(link->conn);
	CT_WAIT(link->nr_closed);
	assert_int_equal(link->reason, 0);
	assert_int_equal(link->nr_established, 0);
	ct_poll_for(50);
}

/* What was sent and completed before a close still arrives ahead of it. */
static void close__after_imm_delivers_it(void **state)
{
	struct ct_state *s = *state;
	struct dipc_wr wr;
	unsigned i;

	for (i = 0; i < 20; i++) {
		wr = ct_imm(i);
		assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	}
	dipc_conn_close(s->ab->conn);
	CT_WAIT(s->ba->nr_closed);
	assert_int_equal(s->ba->nr_imm, 20);
}

static void close__fails_outstanding_once(void **state)
{
	struct ct_state *s = *state;
	static struct ct_op op[4096];
	unsigned i, n;
	struct dipc_wr wr;
	int ret;

	for (n = 0; n < 4096; n++) {
		wr = ct_imm(n);
		ret = ct_post(s->ab, &wr, 1, &op[n]);
		if (ret == -EAGAIN)
			break;
	}
	assert_true(n < 4096);
	dipc_conn_close(s->ab->conn);
	CT_WAIT(s->ab->nr_closed && s->ba->nr_closed);
	for (i = 0; i < n; i++) {
		assert_int_equal(op[i].nr_done, 1);
		assert_true(op[i].status == 0 || op[i].status == -ENOLINK);
	}
}

/* A process writes all the while: once closed() ran, nothing changes. */
static void close__fences(void **state)
{
	struct ct_state *s = *state;
	static uint8_t before[65536];
	struct ct_link *link;
	unsigned round, rounds = ct_scaled(10);
	pid_t pid;

	for (round = 0; round < rounds; round++) {
		pid = ct_spawn(s->a, "stream", sizeof(before), &link);
		CT_WAIT(link->nr_imm >= 20);
		dipc_conn_close(link->conn);
		CT_WAIT(link->nr_closed);
		memcpy(before, s->a->mem->base, sizeof(before));
		ct_poll_for(20);
		assert_memory_equal(before, s->a->mem->base, sizeof(before));
		ct_join(pid);
	}
}

static void listen__in_use(void **state)
{
	struct ct_state *s = *state;
	struct ct_node *c;

	ct_expect_log();
	assert_int_equal(ct_node_try(dipc_transport_address(s->b->t), &c),
			 -EADDRINUSE);
	/* The one that was there is unharmed. */
	ct_connect_to(s->a, s->b, &s->ba);
}

static void listen__again_after_destroy(void **state)
{
	struct ct_state *s = *state;
	struct ct_node *c = ct_node_create(), *d;
	struct ct_link *link;
	char address[128];

	snprintf(address, sizeof(address), "%s", dipc_transport_address(c->t));
	ct_connect_to(s->a, c, &link);
	ct_node_destroy(c);
	assert_int_equal(ct_node_try(address, &d), 0);
	assert_string_equal(dipc_transport_address(d->t), address);
	ct_connect_to(s->a, d, &link);
}

static void create__bad_arguments(void **state)
{
	struct dipc_transport_config config = {.kind = "smoke",
					       .listen = "signals"};
	struct dipc_transport *t;

	(void)state;
	assert_int_equal(dipc_transport_create(&config, &t), -EINVAL);
	dipc_transport_destroy(NULL);
	dipc_region_destroy(NULL);
}

int ct_run_conn(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(handshake__carries_bytes),
		CT_TEST(refusal__is_ECONNREFUSED),
		CT_TEST(nowhere__fails_to_connect),
		CT_TEST(self__both_ends_work),
		CT_TEST(many__each_has_its_own_events),
		CT_TEST(close__is_seen_on_both_sides),
		CT_TEST(close__while_connecting),
		CT_TEST(close__after_imm_delivers_it),
		CT_TEST(close__fails_outstanding_once),
		CT_TEST(close__fences),
		CT_TEST(listen__in_use),
		CT_TEST(listen__again_after_destroy),
		CT_TEST(create__bad_arguments),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
