/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A node dies in the middle of an operation on a set, after its first, second,
 * third... request. Wherever that is, recovery leaves the set as it was before
 * or as it should be after, no waiter forgotten, and everything usable.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/protocol/sem_private.h"
#include "tests/support/arena_fixture.h"
#include "tests/support/slow_wire.h"

#define NR_SEMS 4u
#define DOOMED  1u /* the node that dies */

static const struct fixture_object objects[] = {
	{.kind = DIPC_KIND_SEM, .mode = 0600, .nr = NR_SEMS},
};

static struct arena_fixture fx;
static struct dipc_sems *sems[FIXTURE_NODES + 1];
static const struct dipc_cred root = {.pid = 9};
static int32_t id;

/* A call on a fiber of its own. */
struct caller {
	unsigned node, nr;
	struct sembuf ops[2];
	uint64_t deadline;
	int ret;
	bool is_done;
};

static void caller_main(void *arg)
{
	struct caller *c = arg;

	c->ret = dipc_sem_op(sems[c->node], id, &root, c->ops, c->nr,
			     c->deadline, NULL);
	c->is_done = true;
}

static void call(struct caller *c)
{
	if (!c->deadline)
		c->deadline = DIPC_NEVER;
	arena_fixture_spawn(&fx, caller_main, c);
	dipc_fiber_sleep(DIPC_MSEC);
}

static void settle(void)
{
	dipc_fiber_sleep(3 * DIPC_MSEC);
}

static int op1(unsigned node, unsigned num, int op)
{
	struct sembuf sb = {(unsigned short)num, (short)op, 0};

	return dipc_sem_op(sems[node], id, &root, &sb, 1, DIPC_NEVER, NULL);
}

static int value(unsigned num)
{
	return dipc_sem_get(sems[3], id, &root, (int)num, GETVAL);
}

static void set_value(unsigned num, int v)
{
	unsigned short u = (unsigned short)v;

	assert_int_equal(dipc_sem_set(sems[3], id, &root, (int)num, &u, 1), 0);
}

/* ---- what is interrupted ------------------------------------------------ */

struct scenario {
	const char *name;
	void (*prepare)(void); /* by the other nodes; waiters go to w[] */
	int (*act)(void);      /* by the doomed node: 0 or -errno */
	/* after recovery; HAS_HAPPENED: act() returned 0 */
	void (*check)(bool has_happened);
};

static struct caller w[3];

static void wait_for(unsigned i, unsigned node, unsigned num, int op)
{
	w[i] = (struct caller){.node = node, .nr = 1};
	w[i].ops[0].sem_num = (unsigned short)num;
	w[i].ops[0].sem_op = (short)op;
	call(&w[i]);
	assert_false(w[i].is_done);
}

static void finish_waiter(unsigned i)
{
	uint64_t end = dipc_fabric_now(fx.node[3].fabric) + 3 * DIPC_SEC;

	while (!w[i].is_done && dipc_fabric_now(fx.node[3].fabric) < end)
		dipc_fiber_sleep(DIPC_MSEC);
	assert_true(w[i].is_done);
	assert_int_equal(w[i].ret, 0);
}

/* One V, one waiter. */
static void v_prepare(void)
{
	assert_int_equal(op1(DOOMED, 0, 1), 0);
	assert_int_equal(op1(DOOMED, 0, -1), 0);
	wait_for(0, 2, 0, -1);
}

static int v_act(void)
{
	return op1(DOOMED, 0, 1);
}

static void v_check(bool has_happened)
{
	assert_int_equal(value(0), 0); /* waiting with one there is lost */
	if (has_happened)
		assert_true(w[0].is_done);
	if (!w[0].is_done)
		assert_int_equal(op1(3, 0, 1), 0);
	finish_waiter(0);
	assert_int_equal(value(0), 0);
}

/* Two semaphores, nobody waits: a unit moves from one to the other. */
static void move_prepare(void)
{
	set_value(0, 3);
	set_value(1, 4);
}

static int move_act(void)
{
	struct sembuf ops[2] = {{0, -1, 0}, {1, 1, 0}};

	return dipc_sem_op(sems[DOOMED], id, &root, ops, 2, DIPC_NEVER, NULL);
}

static void move_check(bool has_happened)
{
	if (has_happened)
		assert_int_equal(value(0), 2);
	assert_int_equal(value(0) + value(1), 7);
	assert_in_range(value(0), 2, 3);
}

/* Two semaphores raised, each with a waiter, and one who needs both. */
static void pair_prepare(void)
{
	wait_for(0, 2, 0, -1);
	w[1] = (struct caller){
		.node = 3, .nr = 2, .ops = {{0, -1, 0}, {1, -1, 0}}};
	call(&w[1]);
	wait_for(2, 2, 1, -1);
}

static int pair_act(void)
{
	struct sembuf ops[2] = {{0, 2, 0}, {1, 2, 0}};

	return dipc_sem_op(sems[DOOMED], id, &root, ops, 2, DIPC_NEVER, NULL);
}

static void pair_check(bool has_happened)
{
	unsigned i, nr = 0;

	settle();
	for (i = 0; i < 3; i++)
		nr += w[i].is_done;
	assert_true(nr == 3 || (nr == 0 && !has_happened));
	assert_int_equal(value(0), 0);
	assert_int_equal(value(1), 0);
	if (nr == 0) {
		assert_int_equal(op1(3, 0, 2), 0);
		assert_int_equal(op1(3, 1, 2), 0);
	}
	for (i = 0; i < 3; i++)
		finish_waiter(i);
	assert_int_equal(value(0), 0);
	assert_int_equal(value(1), 0);
}

/* SETALL, which also ends a wait for zero. */
static void setall_prepare(void)
{
	set_value(2, 7);
	wait_for(0, 2, 2, 0);
	wait_for(1, 3, 1, -5);
}

static int setall_act(void)
{
	const unsigned short all[NR_SEMS] = {1, 6, 0, 3};

	return dipc_sem_set(sems[DOOMED], id, &root, -1, all, NR_SEMS);
}

static void setall_check(bool has_happened)
{
	bool is_new = value(3) == 3;

	settle();
	if (has_happened)
		assert_true(is_new);
	assert_int_equal(value(0), is_new ? 1 : 0);
	assert_int_equal(value(1), is_new ? 1 : 0);
	assert_int_equal(value(2), is_new ? 0 : 7);
	assert_int_equal(value(3), is_new ? 3 : 0);
	assert_int_equal(w[0].is_done, is_new);
	assert_int_equal(w[1].is_done, is_new);
	if (!is_new) {
		set_value(2, 0);
		set_value(1, 6);
	}
	finish_waiter(0);
	finish_waiter(1);
}

/* The doomed node blocks behind another one: it links, sleeps, withdraws. */
static void block_prepare(void)
{
	wait_for(0, 2, 0, -1);
}

static int block_act(void)
{
	struct sembuf sb = {0, -1, 0};
	uint64_t deadline =
		dipc_fabric_now(fx.node[DOOMED].fabric) + 2 * DIPC_MSEC;

	return dipc_sem_op(sems[DOOMED], id, &root, &sb, 1, deadline, NULL);
}

static void block_check(bool has_happened)
{
	(void)has_happened;
	wait_for(1, 3, 0, -1);
	assert_int_equal(op1(3, 0, 2), 0);
	finish_waiter(0);
	finish_waiter(1);
	assert_int_equal(value(0), 0);
}

/* It withdraws from the middle, while others wait before and behind. */
static struct caller middle;

static void middle_prepare(void)
{
	wait_for(0, 2, 0, -1);
	middle = (struct caller){.node = DOOMED, .nr = 1, .ops = {{0, -1, 0}}};
	middle.deadline =
		dipc_fabric_now(fx.node[DOOMED].fabric) + 20 * DIPC_MSEC;
	call(&middle);
	wait_for(1, 3, 0, -1);
}

static int middle_act(void)
{
	while (!middle.is_done)
		dipc_fiber_sleep(DIPC_MSEC);
	return middle.ret == -EAGAIN ? 0 : middle.ret;
}

static void middle_check(bool has_happened)
{
	(void)has_happened;
	assert_int_equal(op1(3, 0, 2), 0);
	finish_waiter(0);
	finish_waiter(1);
	assert_int_equal(value(0), 0);
}

/* The waiter it completes times out at about the same time. */
static void race_prepare(void)
{
	w[0] = (struct caller){.node = 2, .nr = 1, .ops = {{0, -1, 0}}};
	w[0].deadline = dipc_fabric_now(fx.node[2].fabric) + 3 * DIPC_MSEC;
	call(&w[0]);
	wait_for(1, 3, 0, -1);
}

static int race_act(void)
{
	dipc_fiber_sleep((unsigned)rand() % (2 * DIPC_MSEC));
	return op1(DOOMED, 0, 1);
}

static void race_check(bool has_happened)
{
	while (!w[0].is_done)
		settle();
	assert_true(w[0].ret == 0 || w[0].ret == -EAGAIN);
	if (has_happened)
		assert_true(w[0].ret == 0 || w[1].is_done);
	assert_false(w[0].ret == 0 && w[1].is_done);
	assert_int_equal(value(0), 0);
	if (!w[1].is_done)
		assert_int_equal(op1(3, 0, 1), 0);
	finish_waiter(1);
	assert_int_equal(value(0), 0);
}

/* SETVAL, while others hold adjustments, and one sleeps with SEM_UNDO. */
static struct dipc_sem_undoer *undoer[2]; /* of nodes 2 and 3 */

static int op_undo(unsigned node, unsigned num, int op)
{
	struct sembuf sb = {(unsigned short)num, (short)op, SEM_UNDO};

	return dipc_sem_op_undo(sems[node], id, &root, undoer[node - 2], &sb, 1,
				DIPC_NEVER, NULL);
}

static void clear_prepare(void)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(
			dipc_sem_undoer_create(sems[2 + i], 7, &undoer[i]), 0);
		assert_int_equal(op_undo(2 + i, 0, 5), 0);
	}
	assert_int_equal(op_undo(2, 1, 3), 0);
}

static bool is_acting;

/* The wire only eats requests; a real one breaks the connections as well. */
static void breaker_main(void *arg)
{
	unsigned i;

	(void)arg;
	while (is_acting && !slow_wire_missed())
		dipc_fiber_sleep(DIPC_MSEC / 4);
	for (i = 2; is_acting && i <= 3; i++)
		dipc_fabric_fence(fx.node[DOOMED].fabric, i, 1);
}

static int clear_act(void)
{
	unsigned short v = 50;
	int ret;

	is_acting = true;
	arena_fixture_spawn(&fx, breaker_main, NULL);
	ret = dipc_sem_set(sems[DOOMED], id, &root, 0, &v, 1);
	is_acting = false;
	return ret;
}

static void clear_check(bool has_happened)
{
	int left, v = value(0);
	unsigned i;

	assert_true(v == 10 || v == 50);
	if (has_happened)
		assert_int_equal(v, 50);
	for (i = 0; i < 2; i++) {
		assert_int_equal(dipc_sem_undoer_run(undoer[i]), 0);
		dipc_sem_undoer_destroy(undoer[i]);
	}
	/* once the value is set, all are cleared; before, some may be */
	left = value(0);
	assert_true(v == 50 ? left == 50 : left % 5 == 0 && left <= 10);
	assert_int_equal(value(1), 0);
}

static const struct scenario scenarios[] = {
	{"one V wakes one", v_prepare, v_act, v_check},
	{"a unit moves", move_prepare, move_act, move_check},
	{"two Vs wake three", pair_prepare, pair_act, pair_check},
	{"SETALL", setall_prepare, setall_act, setall_check},
	{"blocking", block_prepare, block_act, block_check},
	{"withdrawing", middle_prepare, middle_act, middle_check},
	{"V against a timeout", race_prepare, race_act, race_check},
	{"SETVAL clears", clear_prepare, clear_act, clear_check},
};

/* ---- dying at every step ------------------------------------------------ */

struct death {
	const struct scenario *scenario;
	uint64_t nr;    /* requests before the end */
	uint64_t twice; /* the first recovery's requests, UINT64_MAX: all */
	uint64_t missed;
};

static void check_usable(void)
{
	const struct dipc_arena_object *obj = arena_fixture_object(&fx, 0);
	const uint64_t *words = (const void *)(fx.arena->base + obj->sem.words);
	unsigned i;

	/* what a dead node left frozen goes with the next operation */
	for (i = 0; i < NR_SEMS; i++)
		set_value(i, 1);
	settle();
	for (i = 0; i < NR_SEMS; i++) {
		assert_int_equal(words[i] & SEM_BUSY, 0);
		assert_int_equal(op1(2, i, -1), 0);
		assert_int_equal(value(i), 0);
	}
	assert_int_equal(obj->lock, 0);
	assert_int_equal(obj->sem.first, 0);
	assert_int_equal(obj->sem.last, 0);
	assert_int_equal(obj->sem.nr_waiters, 0);
	assert_int_equal(obj->sem.nr_complex, 0);
}

static void die(void *arg)
{
	struct death *d = arg;
	struct dipc_fabric *referee = fx.referee.fabric;
	int ret;

	memset(w, 0, sizeof(w));
	d->scenario->prepare();
	slow_wire_cut(dipc_fabric_transport(fx.node[DOOMED].fabric), d->nr);
	ret = d->scenario->act();
	settle();
	d->missed = slow_wire_missed();
	if (d->twice != UINT64_MAX) {
		/* the recovering one dies as well; another comes */
		slow_wire_cut(dipc_fabric_transport(referee), d->twice);
		(void)dipc_sem_recover(referee, 0);
		settle();
		slow_wire_cut(NULL, UINT64_MAX);
	}
	assert_int_equal(dipc_sem_recover(referee, 0), 0);
	assert_int_equal(dipc_sem_evict(referee, 0, DOOMED), 0);
	/* a wake-up may have died with the node: the change of membership makes
	   every node look again */
	dipc_waiters_hint(fx.node[2].ws, UINT32_MAX);
	dipc_waiters_hint(fx.node[3].ws, UINT32_MAX);
	settle();
	d->scenario->check(ret == 0);
	check_usable();
}

/* How many requests the operation would still have made. */
static uint64_t die_after(const struct scenario *scenario, uint64_t nr,
			  uint64_t twice, unsigned seed)
{
	struct death d = {.scenario = scenario, .nr = nr, .twice = twice};
	unsigned i;

	slow_wire_drop();
	arena_fixture_start(&fx, 3, objects, 1);
	for (i = 1; i <= fx.nr_nodes; i++) {
		assert_int_equal(dipc_sems_create(fx.node[i].fabric,
						  fx.node[i].ws, &sems[i]),
				 0);
		fx.node[i].sems = sems[i];
	}
	id = arena_fixture_id(&fx, 0);
	slow_wire_start(fx.loop, seed);
	arena_fixture_run(&fx, die, &d);
	slow_wire_stop();
	for (i = 1; i <= fx.nr_nodes; i++)
		dipc_sems_destroy(sems[i]);
	arena_fixture_stop(&fx);
	return d.missed;
}

static void sweep(const struct scenario *scenario)
{
	unsigned nr = 0;
	uint64_t missed;

	do {
		print_message("%s: dies after %u\n", scenario->name, nr);
		missed = die_after(scenario, nr, UINT64_MAX, nr + 1);
		nr++;
		assert_true(nr < 200);
	} while (missed);
}

/* The recovery is interrupted too, at a few places each. */
static void sweep_twice(const struct scenario *scenario)
{
	unsigned nr = 0, twice;
	uint64_t missed;

	do {
		for (twice = 1; twice < 24; twice += 5)
			missed = die_after(scenario, nr, twice, nr + twice);
		nr++;
	} while (missed);
}

static void each_step__is_recovered(void **state)
{
	const struct scenario *scenario = *state;

	sweep(scenario);
}

static void each_step__recovery_is_repeatable(void **state)
{
	const struct scenario *scenario = *state;

	sweep_twice(scenario);
}

int main(void)
{
#define T(i)                                                                   \
	cmocka_unit_test_prestate(each_step__is_recovered,                     \
				  (void *)&scenarios[i])
#define T2(i)                                                                  \
	cmocka_unit_test_prestate(each_step__recovery_is_repeatable,           \
				  (void *)&scenarios[i])
	const struct CMUnitTest tests[] = {
		T(0), T(1), T(2),  T(3),  T(4),  T(5),
		T(6), T(7), T2(1), T2(2), T2(3),
	};
#undef T
#undef T2

	return cmocka_run_group_tests(tests, NULL, NULL);
}
