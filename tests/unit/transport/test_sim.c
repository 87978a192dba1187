/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The world of transport/sim as such: what things cost, that a seed decides,
 * and crashes at a chosen moment. That it keeps the transport's contract is
 * tests/contract's matter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "transport/sim/sim.h"

#define MEM      8192u
#define NODES    3u
#define LATENCY  1000u
#define MESSAGE  100u
#define ATOMIC   50u
#define BYTES_NS 4u /* bytes a nanosecond */

struct node {
	struct dipc_transport *t;
	struct dipc_region *mem;
	struct dipc_conn *conn; /* to node 0 */
	struct dipc_op op;
	unsigned nr_done, nr_closed;
	int status;
	uint64_t done_at;
};

static struct dipc_sim *sim;
static struct node nodes[NODES];
static uint64_t hash;

static void on_event(void *arg, const struct dipc_sim_event *event)
{
	const uint64_t parts[] = {event->at,   event->kind, event->node,
				  event->peer, event->op,   event->word};
	unsigned i;

	(void)arg;
	for (i = 0; i < 6; i++)
		hash = (hash ^ parts[i]) * 0x100000001b3u;
}

static int on_accept(void *arg, struct dipc_conn *conn, const void *hello,
		     size_t hello_len, void *reply, size_t *reply_len_out)
{
	struct node *n = arg;

	(void)conn;
	(void)hello;
	(void)hello_len;
	memcpy(reply, &n->mem->remote, sizeof(n->mem->remote));
	*reply_len_out = sizeof(n->mem->remote);
	return 0;
}

static void on_established(void *arg, struct dipc_conn *conn, const void *reply,
			   size_t reply_len)
{
	(void)arg;
	(void)conn;
	(void)reply;
	(void)reply_len;
}

static void on_imm(void *arg, struct dipc_conn *conn, uint32_t imm)
{
	(void)arg;
	(void)conn;
	(void)imm;
}

static void on_closed(void *arg, struct dipc_conn *conn, int reason)
{
	struct node *n = arg;

	(void)reason;
	if (conn == n->conn)
		n->nr_closed++;
}

static const struct dipc_transport_events events = {
	.accept = on_accept,
	.established = on_established,
	.imm = on_imm,
	.closed = on_closed,
};

static void on_done(struct dipc_op *op, int status)
{
	struct node *n = dipc_container_of(op, struct node, op);

	n->nr_done++;
	n->status = status;
	n->done_at = dipc_sim_now(sim);
}

/* Until nothing more happens. */
static void drain(void)
{
	unsigned i;

	do
		for (i = 0; i < NODES; i++)
			while (dipc_transport_poll(nodes[i].t, 64))
				;
	while (dipc_sim_step(sim));
}

static void start(uint64_t seed, uint64_t jitter_ns)
{
	struct dipc_sim_config config = {
		.seed = seed,
		.cost = {.latency_ns = LATENCY,
			 .bytes_per_s = BYTES_NS * DIPC_SEC,
			 .message_ns = MESSAGE,
			 .atomic_ns = ATOMIC,
			 .jitter_ns = jitter_ns},
		.linger_ns = jitter_ns,
		.on_event = on_event,
	};
	unsigned i;

	hash = 1;
	memset(nodes, 0, sizeof(nodes));
	assert_int_equal(dipc_sim_create(&config, &sim), 0);
	for (i = 0; i < NODES; i++) {
		char address[16];
		struct dipc_transport_config tc = {
			.kind = "sim",
			.listen = address,
			.events = &events,
			.arg = &nodes[i],
		};

		snprintf(address, sizeof(address), "sim:%u", i);
		assert_int_equal(dipc_transport_create(&tc, &nodes[i].t), 0);
		assert_int_equal(dipc_region_create(nodes[i].t, NULL, MEM,
						    &nodes[i].mem),
				 0);
		nodes[i].op.done = on_done;
		assert_int_equal(dipc_conn_connect(nodes[i].t, "sim:0", NULL, 0,
						   &nodes[i].conn),
				 0);
	}
	drain();
}

static void stop(void)
{
	unsigned i;

	for (i = 0; i < NODES; i++) {
		dipc_region_destroy(nodes[i].mem);
		dipc_transport_destroy(nodes[i].t);
	}
	dipc_sim_destroy(sim);
}

static void post(unsigned node, enum dipc_wr_op op, uint32_t len)
{
	struct node *n = &nodes[node];
	struct dipc_wr wr = {.op = op,
			     .len = len,
			     .local = n->mem->base,
			     .region = n->mem,
			     .remote = nodes[0].mem->remote,
			     .arg = 1};

	n->done_at = 0;
	assert_int_equal(dipc_conn_post(n->conn, &wr, 1, &n->op), -EINPROGRESS);
}

/* Poll as soon as anything happens, so that done_at is exact. */
static void drain_at_once(void)
{
	unsigned i;

	while (dipc_sim_step(sim))
		for (i = 0; i < NODES; i++)
			dipc_transport_poll(nodes[i].t, 64);
}

static void cost__is_as_modelled(void **state)
{
	const uint64_t page = 4096 / BYTES_NS;
	const struct dipc_sim_counters *c;
	uint64_t since;

	(void)state;
	start(1, 0);
	since = dipc_sim_now(sim);
	post(1, DIPC_WR_READ, 4096);
	drain_at_once();
	/* out, in; bytes out of the target, and in again */
	assert_int_equal(nodes[1].done_at - since,
			 2 * LATENCY + 4 * MESSAGE + 2 * page);
	since = dipc_sim_now(sim);
	post(1, DIPC_WR_WRITE, 4096);
	drain_at_once();
	assert_int_equal(nodes[1].done_at - since,
			 2 * LATENCY + 2 * MESSAGE + 2 * page);
	since = dipc_sim_now(sim);
	post(1, DIPC_WR_FAA, 8);
	drain_at_once();
	assert_int_equal(nodes[1].done_at - since,
			 2 * LATENCY + 2 * MESSAGE + ATOMIC);
	c = dipc_sim_counters(sim, 0);
	assert_int_equal(c->nr_in, 3);
	assert_int_equal(c->nr_atomics, 1);
	stop();
}

/* Two at once: the second waits for the first, at the port that they share. */
static void cost__a_hot_port_queues(void **state)
{
	(void)state;
	start(1, 0);
	post(1, DIPC_WR_FAA, 8);
	post(2, DIPC_WR_FAA, 8);
	drain_at_once();
	assert_int_equal(nodes[2].done_at - nodes[1].done_at, MESSAGE + ATOMIC);
	stop();
}

static uint64_t trace_of(uint64_t seed)
{
	unsigned i;

	start(seed, 5000);
	for (i = 0; i < 20; i++) {
		post(1 + i % 2, DIPC_WR_READ, 4096);
		drain_at_once();
	}
	stop();
	return hash;
}

static void seed__decides(void **state)
{
	(void)state;
	assert_true(trace_of(5) == trace_of(5));
	assert_true(trace_of(5) != trace_of(6));
}

static uint64_t word_of_node0(void)
{
	uint64_t word;

	memcpy(&word, nodes[0].mem->base, 8);
	return word;
}

/* The second of three chains, at each of its moments. */
static void crash__at_a_moment(void **state)
{
	static const enum dipc_sim_moment moments[] = {DIPC_SIM_BEFORE_POST,
						       DIPC_SIM_AFTER_POST,
						       DIPC_SIM_BEFORE_DONE};
	unsigned i, k;

	(void)state;
	for (i = 0; i < 3; i++) {
		start(3 + i, 0);
		dipc_sim_crash_at(sim, 1, moments[i], 2);
		for (k = 0; k < 3; k++) {
			post(1, DIPC_WR_FAA, 8);
			drain();
		}
		assert_true(dipc_sim_is_dead(sim, 1));
		assert_true(dipc_sim_is_off(sim, 1));
		assert_int_equal(nodes[1].nr_done, 1);
		if (moments[i] == DIPC_SIM_BEFORE_POST)
			assert_int_equal(word_of_node0(), 1);
		else if (moments[i] == DIPC_SIM_BEFORE_DONE)
			assert_int_equal(word_of_node0(), 2);
		else
			assert_in_range(word_of_node0(), 1, 2);
		stop();
	}
}

static void break__fails_and_closes_both(void **state)
{
	(void)state;
	start(9, 0);
	post(1, DIPC_WR_READ, 4096);
	dipc_sim_break(sim, 1, 0);
	drain();
	assert_int_equal(nodes[1].nr_done, 1);
	assert_int_equal(nodes[1].status, -ENOLINK);
	assert_int_equal(nodes[1].nr_closed, 1);
	assert_int_equal(nodes[2].nr_closed, 0);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cost__is_as_modelled),
		cmocka_unit_test(cost__a_hot_port_queues),
		cmocka_unit_test(seed__decides),
		cmocka_unit_test(crash__at_a_moment),
		cmocka_unit_test(break__fails_and_closes_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
