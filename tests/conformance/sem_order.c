// SPDX-License-Identifier: BSD-2-Clause
// Who of several sleepers is woken, and in which order, as Linux does it:
// first come first served, but who cannot be served is passed over.
#include "tests/conformance/sysv.h"

static struct actor *D, *E;

static int five_and_set(int nsems)
{
	int set = three_and_set(nsems);

	D = actor_start(1);
	E = actor_start(2);
	return set;
}

static void same_amount(void)
{
	int set = five_and_set(1);

	a_semop(blocks(C), set, OPS({0, -1, 0}));
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_semop(blocks(E), set, OPS({0, -1, 0}));
	a_semop(blocks(D), set, OPS({0, -1, 0}));
	a_getncnt(A, set, 0);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(C);
	still_blocked(B);
	a_semop(A, set, OPS({0, 2, 0}));
	finish(B);
	finish(E);
	still_blocked(D);
	a_getncnt(A, set, 0);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(D);
	a_getpid(A, set, 0);
}

/* A small one passes a large one that cannot be served. */
static void amounts(void)
{
	int set = five_and_set(1);

	a_semop(blocks(B), set, OPS({0, -3, 0}));
	a_semop(blocks(C), set, OPS({0, -1, 0}));
	a_semop(blocks(D), set, OPS({0, -2, 0}));
	a_semop(blocks(E), set, OPS({0, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(C);
	a_getval(A, set, 0);
	a_semop(A, set, OPS({0, 2, 0}));
	finish(D);
	still_blocked(E);
	a_semop(A, set, OPS({0, 3, 0}));
	finish(B);
	still_blocked(E);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(E);
	a_getval(A, set, 0);
}

/* What is there may be taken by who comes, though others wait for more. */
static void newcomer(void)
{
	int set = five_and_set(1);

	a_semop(A, set, OPS({0, 1, 0}));
	a_semop(blocks(B), set, OPS({0, -2, 0}));
	a_semop(C, set, OPS({0, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	still_blocked(B);
	a_semop(C, set, OPS({0, 1, 0}, {0, -1, 0}));
	still_blocked(B);
	a_semop(C, set, OPS({0, -1, 0}, {0, 2, 0}));
	finish(B);
	a_getval(A, set, 0);
}

/* An array and simple operations on one of its semaphores are in one line. */
static void arrays_in_line(void)
{
	int set = five_and_set(2);

	a_semop(A, set, OPS({1, 1, 0}));
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_semop(blocks(C), set, OPS({0, -1, 0}, {1, -1, 0}));
	a_semop(blocks(D), set, OPS({0, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(C);
	still_blocked(D);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(D);
	a_getall(A, set, 2);
}

static void array_passed_over(void)
{
	int set = five_and_set(2);

	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, -1, 0}));
	a_semop(blocks(C), set, OPS({0, -1, 0}));
	a_semop(blocks(D), set, OPS({1, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(C);
	a_semop(A, set, OPS({1, 1, 0}));
	finish(D);
	still_blocked(B);
	a_semop(blocks(C), set, OPS({0, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}, {1, 1, 0}));
	finish(B);
	still_blocked(C);
	a_getall(A, set, 2);
}

/* Each one that is served makes the next possible, whatever their order. */
static void chain(void)
{
	int set = five_and_set(4);

	a_semop(blocks(E), set, OPS({3, -1, 0}));
	a_semop(blocks(D), set, OPS({2, -1, 0}, {3, 1, 0}));
	a_semop(blocks(C), set, OPS({1, -1, 0}, {2, 1, 0}));
	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, 1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	finish(C);
	finish(D);
	finish(E);
	a_getall(A, set, 4);
}

/* After an array was served the line is looked at from its beginning. */
static void chain_restarts(void)
{
	int set = five_and_set(2);

	a_semop(blocks(D), set, OPS({1, -2, 0}, {0, 0, 0}));
	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, 2, 0}));
	a_semop(blocks(E), set, OPS({1, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	finish(D);
	still_blocked(E);
	a_getall(A, set, 2);
}

/* All that wait for zero are woken, before one of them changes it. */
static void zero_all(void)
{
	int set = five_and_set(1);

	a_semop(A, set, OPS({0, 1, 0}));
	a_semop(blocks(B), set, OPS({0, 0, 0}, {0, 1, 0}));
	a_semop(blocks(C), set, OPS({0, 0, 0}));
	a_semop(blocks(D), set, OPS({0, 0, 0}, {0, 1, 0}));
	a_semop(blocks(E), set, OPS({0, 0, 0}, {0, 0, 0}));
	a_getzcnt(A, set, 0);
	a_semop(A, set, OPS({0, -1, 0}));
	finish(C);
	finish(E);
	finish(B);
	still_blocked(D);
	a_getzcnt(A, set, 0);
	a_getval(A, set, 0);
	a_semop(A, set, OPS({0, -1, 0}));
	finish(D);
	a_getpid(A, set, 0);
}

/* A decrement that was served wakes those that wait for zero. */
static void zero_after_decrement(void)
{
	int set = five_and_set(1);

	a_semop(A, set, OPS({0, 2, 0}));
	a_semop(blocks(B), set, OPS({0, 0, 0}));
	a_semop(blocks(C), set, OPS({0, -3, 0}));
	a_semop(blocks(D), set, OPS({0, -1, 0}, {0, 0, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(C);
	finish(B);
	still_blocked(D);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(D);
	a_getval(A, set, 0);
}

/* Zero comes and goes while others are served: nobody saw it. */
static void zero_passes(void)
{
	int set = five_and_set(2);

	a_semop(A, set, OPS({0, 1, 0}));
	a_semop(blocks(B), set, OPS({0, 0, 0}));
	a_semop(blocks(C), set, OPS({0, -1, 0}, {1, -1, 0}, {0, 2, 0}));
	a_semop(A, set, OPS({1, 1, 0}));
	finish(C);
	still_blocked(B);
	a_getall(A, set, 2);
	a_semop(A, set, OPS({0, -2, 0}));
	finish(B);
}

/* Who gives up makes no hole, and no second place in the line. */
static void leaves_the_line(void)
{
	int set = five_and_set(1);

	actor_catch(B, SIGUSR1, 0);
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_semtimedop(blocks(C), set, OPS({0, -1, 0}), scaled_ms(900));
	a_semop(blocks(D), set, OPS({0, -1, 0}));
	actor_signal(B, SIGUSR1);
	finish(B);
	finish(C);
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_getncnt(A, set, 0);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(D);
	still_blocked(B);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	a_getval(A, set, 0);
}

static void killed_in_line(void)
{
	int set = five_and_set(1);

	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_semop(blocks(C), set, OPS({0, -1, SEM_UNDO}));
	a_semop(blocks(D), set, OPS({0, -1, 0}));
	actor_kill(B);
	actor_kill(C);
	until(1, a_getncnt(A, set, 0));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(D);
	a_getval(A, set, 0);
	a_getpid(A, set, 0);
}

static void setval_wakes(void)
{
	int set = five_and_set(2);

	a_semop(blocks(B), set, OPS({0, -2, 0}));
	a_semop(blocks(C), set, OPS({0, -2, 0}));
	a_semop(blocks(D), set, OPS({0, -2, 0}));
	a_setval(A, set, 0, 5);
	finish(B);
	finish(C);
	still_blocked(D);
	a_getval(A, set, 0);
	a_getpid(A, set, 0);
	a_semop(blocks(B), set, OPS({0, 0, 0}));
	a_setval(A, set, 0, 0);
	finish(B);
	a_getpid(A, set, 0);
	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, -1, 0}));
	a_setall(A, set, VALUES(2, 1));
	finish(D);
	still_blocked(B);
	a_setall(A, set, VALUES(2, 1));
	finish(B);
	a_getall(A, set, 2);
	a_getpid(A, set, 0);
	a_getpid(A, set, 1);
}

static void removed(void)
{
	int set = five_and_set(2);

	a_semop(A, set, OPS({1, 1, 0}));
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_semop(blocks(C), set, OPS({1, 0, 0}));
	a_semop(blocks(D), set, OPS({1, -1, 0}, {0, -1, SEM_UNDO}));
	a_semtimedop(blocks(E), set, OPS({0, -1, SEM_UNDO}), 60000);
	a_sem_rm(A, set);
	finish(B);
	finish(C);
	finish(D);
	finish(E);
	a_getval(B, set, 0);
	a_semop(B, set, OPS({0, 1, 0}));
}

const struct conformance_case sem_order_cases[] = {
	{"sem_order.same_amount", same_amount},
	{"sem_order.amounts", amounts},
	{"sem_order.newcomer", newcomer},
	{"sem_order.arrays_in_line", arrays_in_line},
	{"sem_order.array_passed_over", array_passed_over},
	{"sem_order.chain", chain},
	{"sem_order.chain_restarts", chain_restarts},
	{"sem_order.zero_all", zero_all},
	{"sem_order.zero_after_decrement", zero_after_decrement},
	{"sem_order.zero_passes", zero_passes},
	{"sem_order.leaves_the_line", leaves_the_line},
	{"sem_order.killed_in_line", killed_in_line},
	{"sem_order.setval_wakes", setval_wakes},
	{"sem_order.removed", removed},
	{0},
};
