/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Message queues when a node dies. Node 2 is cut off after each request of
 * what it does, fenced by that, and evicted; then nodes 1 and 3 go on, and
 * every message is accounted for.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include <cmocka.h>

#include "tests/support/slow_wire.h"
#include "tests/unit/protocol/msg_case.h"

#define VICTIM   2u
#define CALLERS  24u
#define MESSAGES 4096u
#define CUT_MAX  400u

enum fate {
	FATE_FLYING,
	FATE_SENT,
	FATE_FAILED,  /* nobody may ever see it */
	FATE_UNKNOWN, /* its sender died */
};

static struct mq_caller caller[CALLERS]; /* node 0: unused */
static unsigned nr_callers;
static unsigned number[CALLERS]; /* of the message, of a sender */
static struct {
	enum fate fate;
	unsigned nr_survivors, nr_victim; /* who received it, how often */
} message[MESSAGES];
static unsigned nr_messages, nr_dead_receivers;

static void reset(void)
{
	memset(caller, 0, sizeof(caller));
	memset(message, 0, sizeof(message));
	nr_callers = 0;
	nr_messages = 0;
	nr_dead_receivers = 0;
}

/* ---- accounting --------------------------------------------------------- */

/* A text of at least LEN bytes that says which message it is. */
static unsigned new_message(char *text, unsigned len)
{
	int n = snprintf(text, 16, "%u.", nr_messages);

	assert_true(nr_messages < MESSAGES);
	while ((unsigned)n < len)
		text[n++] = 'x';
	text[n] = '\0';
	return nr_messages++;
}

static void note_received(const char *text, unsigned node)
{
	unsigned nr = (unsigned)atoi(text);

	assert_true(nr < nr_messages);
	if (node == VICTIM)
		message[nr].nr_victim++;
	else
		message[nr].nr_survivors++;
}

static void note_sent(unsigned nr, int64_t ret)
{
	message[nr].fate = ret == 0          ? FATE_SENT
			   : ret == -ENOLINK ? FATE_UNKNOWN
					     : FATE_FAILED;
}

/* The slot's call is over: book it, free the slot. */
static void retire(unsigned i)
{
	struct mq_caller *c = &caller[i];

	assert_true(c->is_done);
	assert_true(c->ret >= 0 || c->ret == -EINTR || c->ret == -EAGAIN ||
		    (c->ret == -ENOLINK && c->node == VICTIM));
	if (!c->is_receiver)
		note_sent(number[i], c->ret);
	else if (c->ret >= 0)
		note_received(c->text, c->node);
	else if (c->ret == -ENOLINK)
		nr_dead_receivers++;
	memset(c, 0, sizeof(*c));
}

static void check_account(void)
{
	unsigned i, nr_lost = 0;

	for (i = 0; i < nr_messages; i++) {
		assert_true(message[i].nr_survivors <= 1);
		assert_true(message[i].nr_victim <= 1);
		if (message[i].fate == FATE_FAILED)
			assert_int_equal(message[i].nr_survivors +
						 message[i].nr_victim,
					 0);
		if (message[i].fate == FATE_SENT && !message[i].nr_survivors &&
		    !message[i].nr_victim)
			nr_lost++;
	}
	/* what a dying receiver had in hand goes with it, and no more */
	assert_true(nr_lost <= nr_dead_receivers);
}

/* ---- calls -------------------------------------------------------------- */

static void start(unsigned i, unsigned node, bool is_receiver, int64_t type,
		  unsigned len)
{
	struct mq_caller *c = &caller[i];

	memset(c, 0, sizeof(*c));
	c->node = node;
	c->q = mq_small;
	c->is_receiver = is_receiver;
	c->type = type;
	c->room = sizeof(c->text) - 1;
	if (!is_receiver)
		number[i] = new_message(c->text, len);
	arena_fixture_spawn(&mq_fx, mq_caller_main, c);
}

/* A survivor's call that blocks, or a message that lies in the queue. */
static void blocked(unsigned node, bool is_receiver, int64_t type, unsigned len)
{
	start(nr_callers++, node, is_receiver, type, len);
	mq_pause(2);
}

static int put(int64_t type, unsigned len)
{
	char text[128];
	unsigned nr = new_message(text, len);
	int ret = mq_send_to(mq_small, 1, type, text, IPC_NOWAIT);

	note_sent(nr, ret);
	return ret;
}

static int64_t take(void)
{
	int64_t ret;

	ret = mq_receive_from(mq_small, 3, 0, IPC_NOWAIT, 8192);
	if (ret >= 0)
		note_received(mq_got, 3);
	return ret;
}

/* ---- death -------------------------------------------------------------- */

static bool victim_is_quiet(void)
{
	bool is_quiet = true;
	unsigned i;

	for (i = 0; i < CALLERS; i++) {
		if (caller[i].node != VICTIM || caller[i].is_done)
			continue;
		dipc_cancel_set(&caller[i].cancel);
		is_quiet = false;
	}
	return is_quiet;
}

/* Everything of node 2 ends; then the referee does its part. */
static void bury(void)
{
	uint32_t slot = dipc_id_slot(mq_small);
	unsigned i;

	for (i = 0; i < 1000 && !victim_is_quiet(); i++)
		mq_pause(1);
	assert_true(victim_is_quiet());
	mq_pause(2);
	if (mq_queue(mq_small)->lock >> 56 == VICTIM)
		assert_int_equal(dipc_msg_recover(mq_fx.referee.fabric, slot),
				 0);
	assert_int_equal(dipc_msg_evict(mq_fx.referee.fabric, slot, VICTIM), 0);
	/* a hint may have died with the node; every change of membership has
	   the others look again */
	dipc_waiters_hint(mq_fx.node[1].ws, UINT32_MAX);
	dipc_waiters_hint(mq_fx.node[3].ws, UINT32_MAX);
	for (i = 0; i < CALLERS; i++)
		if (caller[i].node == VICTIM)
			retire(i);
}

/* Bring every survivor's call to its end, empty the queue, do the books. */
static void finish(void)
{
	unsigned i, round, left = 1;

	for (i = 0; i < CALLERS; i++)
		while (caller[i].cancel.is_set && !caller[i].is_done)
			mq_pause(1);
	(void)mq_check(mq_small);
	for (round = 0; round < 200 && left; round++) {
		left = 0;
		for (i = 0; i < CALLERS; i++) {
			if (!caller[i].node)
				continue;
			if (caller[i].is_done) {
				retire(i);
				continue;
			}
			left++;
			/* a queue full of other types lets nothing in */
			if (!caller[i].is_receiver ||
			    put(caller[i].type > 0 ? caller[i].type : 1, 5))
				(void)take();
		}
		mq_pause(1);
	}
	assert_int_equal(left, 0);
	while (take() >= 0)
		continue;
	assert_int_equal(mq_check(mq_small), 0);
	assert_int_equal(mq_queue(mq_small)->msg.qnum, 0);
	check_account();
}

/* ---- one call, cut off after each request ------------------------------- */

static struct {
	void (*before)(void);
	bool is_receiver;
	bool is_cancel; /* it blocks before, and is cancelled */
	int64_t type;
	unsigned len;
	unsigned cut;
	bool is_over; /* the cut came too late */
} sweep;

static void sweep_main(void *arg)
{
	struct dipc_transport *t =
		dipc_fabric_transport(mq_fx.node[VICTIM].fabric);
	struct mq_caller *victim = &caller[CALLERS - 1];
	unsigned i;

	(void)arg;
	reset();
	sweep.before();
	if (sweep.is_cancel) {
		start(CALLERS - 1, VICTIM, sweep.is_receiver, sweep.type,
		      sweep.len);
		mq_pause(2);
		assert_false(victim->is_done);
		/* somebody behind it */
		blocked(3, sweep.is_receiver, sweep.type, sweep.len);
	}
	slow_wire_cut(t, sweep.cut);
	if (sweep.is_cancel)
		dipc_cancel_set(&victim->cancel);
	else
		start(CALLERS - 1, VICTIM, sweep.is_receiver, sweep.type,
		      sweep.len);
	for (i = 0; i < 10 && !victim->is_done && !slow_wire_missed(); i++)
		mq_pause(1);
	bury();
	sweep.is_over = slow_wire_missed() == 0;
	finish();
	slow_wire_cut(t, UINT64_MAX);
}

static void run_sweep(void (*before)(void), bool is_receiver, bool is_cancel,
		      int64_t type, unsigned len)
{
	sweep.before = before;
	sweep.is_receiver = is_receiver;
	sweep.is_cancel = is_cancel;
	sweep.type = type;
	sweep.len = len;
	sweep.is_over = false;
	for (sweep.cut = 0; !sweep.is_over; sweep.cut++) {
		assert_true(sweep.cut < CUT_MAX);
		mq_setup(NULL);
		slow_wire_start(mq_fx.loop, sweep.cut + 1);
		mq_run(sweep_main);
		mq_teardown(NULL);
	}
}

static void nothing(void)
{
}

static void three_messages(void)
{
	(void)put(1, 10);
	(void)put(2, 20);
	(void)put(3, 30);
}

static void full(void)
{
	(void)put(1, 50);
	(void)put(2, 50);
}

/* Full, and others want to send: two that one receive lets in, one not. */
static void full_with_senders(void)
{
	full();
	blocked(1, false, 4, 20);
	blocked(3, false, 5, 60);
	blocked(1, false, 6, 30);
}

/* One receive lets one in; two go to the end of the line for that. */
static void full_with_a_line(void)
{
	full();
	blocked(1, false, 4, 40);
	blocked(3, false, 5, 30);
	blocked(1, false, 6, 60);
	blocked(3, false, 7, 45);
}

static void two_receivers(void)
{
	blocked(1, true, 0, 0);
	blocked(3, true, 0, 0);
}

static void mixed_receivers(void)
{
	blocked(1, true, 9, 0);
	blocked(3, true, 5, 0);
	blocked(1, true, 0, 0);
}

static void send__append(void **state)
{
	(void)state;
	run_sweep(nothing, false, false, 1, 10);
	run_sweep(three_messages, false, false, 1, 10);
}

static void send__deliver(void **state)
{
	(void)state;
	run_sweep(two_receivers, false, false, 5, 10);
	run_sweep(mixed_receivers, false, false, 5, 10);
}

static void send__block(void **state)
{
	(void)state;
	run_sweep(full, false, false, 7, 10);
	run_sweep(full_with_senders, false, false, 7, 10);
}

static void send__cancel(void **state)
{
	(void)state;
	run_sweep(full, false, true, 7, 10);
	run_sweep(full_with_senders, false, true, 7, 10);
}

static void receive__unlink(void **state)
{
	(void)state;
	run_sweep(three_messages, true, false, 0, 0);
	run_sweep(three_messages, true, false, 2, 0);
	run_sweep(three_messages, true, false, 3, 0);
	run_sweep(full_with_senders, true, false, 2, 0);
}

static void receive__only(void **state)
{
	(void)state;
	run_sweep(nothing, true, false, 0, 0);
}

static void receive__admit(void **state)
{
	(void)state;
	run_sweep(full_with_senders, true, false, 0, 0);
	run_sweep(full_with_a_line, true, false, 0, 0);
	run_sweep(full_with_a_line, true, false, 2, 0);
}

static void receive__block(void **state)
{
	(void)state;
	run_sweep(mixed_receivers, true, false, 7, 0);
	run_sweep(nothing, true, true, 7, 0);
}

static void receive__cancel(void **state)
{
	(void)state;
	run_sweep(nothing, true, true, 0, 0);
	run_sweep(mixed_receivers, true, true, 0, 0);
}

/* ---- everything at any time --------------------------------------------- */

static unsigned seed;

static void churn(unsigned steps, unsigned nr_nodes, const unsigned *nodes)
{
	unsigned i;

	while (steps--) {
		i = (unsigned)rand_r(&seed) % CALLERS;
		if (caller[i].node && !caller[i].is_done) {
			dipc_cancel_set(&caller[i].cancel);
			dipc_fiber_yield();
			continue;
		}
		if (caller[i].node)
			retire(i);
		start(i, nodes[(unsigned)rand_r(&seed) % nr_nodes],
		      rand_r(&seed) % 2, 1 + rand_r(&seed) % 3,
		      (unsigned)rand_r(&seed) % 60);
		if (rand_r(&seed) % 4 == 0)
			dipc_fiber_sleep((unsigned)rand_r(&seed) % 100 *
					 DIPC_USEC);
	}
}

static void churn_main(void *arg)
{
	static const unsigned all[] = {1, 2, 3}, rest[] = {1, 3};
	struct dipc_transport *t =
		dipc_fabric_transport(mq_fx.node[VICTIM].fabric);

	(void)arg;
	reset();
	churn(100, 3, all);
	slow_wire_cut(t, (unsigned)rand_r(&seed) % 300);
	/* no call of the dead returns while it waits for a lock */
	while (!slow_wire_missed()) {
		churn(1, 3, all);
		dipc_fiber_sleep(10 * DIPC_USEC);
	}
	bury();
	churn(100, 2, rest);
	finish();
	slow_wire_cut(t, UINT64_MAX);
}

static void any_time(void **state)
{
	unsigned i;

	(void)state;
	for (i = 1; i <= 40; i++) {
		seed = i;
		mq_setup(NULL);
		slow_wire_start(mq_fx.loop, i);
		mq_run(churn_main);
		mq_teardown(NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(send__append),
		cmocka_unit_test(send__deliver),
		cmocka_unit_test(send__block),
		cmocka_unit_test(send__cancel),
		cmocka_unit_test(receive__unlink),
		cmocka_unit_test(receive__only),
		cmocka_unit_test(receive__admit),
		cmocka_unit_test(receive__block),
		cmocka_unit_test(receive__cancel),
		cmocka_unit_test(any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
