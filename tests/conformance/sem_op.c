// SPDX-License-Identifier: BSD-2-Clause
// semop: arrays, values, errors. Who is woken first: sem_order.c.
#include "tests/conformance/sysv.h"

static void wait_and_wake(void)
{
	int set = three_and_set(1);

	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_getncnt(A, set, 0);
	a_semop(C, set, OPS({0, 1, 0}));
	finish(B);
	a_getpid(A, set, 0);
	a_getval(B, set, 0);
}

static void all_or_nothing(void)
{
	int set = three_and_set(3);

	a_setall(A, set, VALUES(1, 0, 5));
	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, -1, 0}, {2, -5, 0}));
	a_getall(A, set, 3);
	a_semop(C, set, OPS({0, -1, IPC_NOWAIT}));
	a_semop(C, set, OPS({1, 1, 0}));
	still_blocked(B);
	a_getall(A, set, 3);
	a_semop(C, set, OPS({0, 1, 0}));
	finish(B);
	a_getall(A, set, 3);
	a_semop(C, set, OPS({0, 3, 0}, {1, 4, 0}, {2, -1, IPC_NOWAIT}));
	a_getall(A, set, 3);
	a_semop(C, set, OPS({0, 3, 0}, {1, 4, 0}, {2, 32767, 0}, {2, 1, 0}));
	a_getall(A, set, 3);
	a_getpid(A, set, 0);
}

static void order_in_array(void)
{
	int set = three_and_set(1);

	a_semop(A, set, OPS({0, 1, 0}, {0, -1, 0}));
	a_semop(A, set, OPS({0, -1, IPC_NOWAIT}, {0, 1, 0}));
	a_semop(A, set, OPS({0, 1, 0}, {0, -1, IPC_NOWAIT}, {0, 0, 0}));
}

static void one_several_times(void)
{
	int set = three_and_set(2);

	a_semop(A, set, OPS({0, 2, 0}, {0, -1, 0}, {0, -1, 0}, {0, 0, 0}));
	a_semop(A, set, OPS({0, 0, IPC_NOWAIT}, {0, 1, 0}));
	a_semop(A, set, OPS({0, 0, IPC_NOWAIT}, {0, 1, 0}));
	a_getval(B, set, 0);
	a_semop(A, set, OPS({0, 1, 0}, {0, 0, IPC_NOWAIT}));
	a_semop(A, set, OPS({0, -1, 0}, {0, 0, 0}, {0, 5, 0}, {0, -2, 0}));
	a_getval(B, set, 0);
	a_semop(A, set,
		OPS({1, 1, 0}, {0, -3, 0}, {1, -1, 0}, {0, 0, 0}, {1, 0, 0}));
	a_getall(B, set, 2);
	/* what would be zero only in the middle blocks nobody */
	a_semop(A, set, OPS({0, 1, 0}));
	a_semop(blocks(B), set, OPS({0, 0, 0}));
	a_semop(A, set, OPS({0, -1, 0}, {0, 1, 0}));
	still_blocked(B);
	a_semop(A, set, OPS({0, 1, 0}, {0, -2, 0}));
	finish(B);
}

static void order_blocks(void)
{
	int set = three_and_set(1);

	a_semop(blocks(B), set, OPS({0, -1, 0}, {0, 1, 0}));
	a_getncnt(A, set, 0);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	a_getval(A, set, 0);
	/* never possible: only a signal or the removal ends it */
	a_semop(blocks(B), set, OPS({0, 1, 0}, {0, 0, 0}));
	a_getzcnt(A, set, 0);
	a_semop(A, set, OPS({0, -1, 0}));
	still_blocked(B);
	a_getval(A, set, 0);
	a_sem_rm(A, set);
	finish(B);
}

static void wait_for_zero(void)
{
	int set = three_and_set(2);

	a_semop(B, set, OPS({0, 0, 0}));
	a_getpid(A, set, 0);
	a_semop(A, set, OPS({0, 2, 0}));
	a_semop(B, set, OPS({0, 0, IPC_NOWAIT}));
	a_semop(blocks(B), set, OPS({0, 0, 0}));
	a_semop(blocks(C), set, OPS({1, 0, 0}, {0, 0, 0}));
	a_getzcnt(A, set, 0);
	a_getncnt(A, set, 0);
	a_getzcnt(A, set, 1);
	a_semop(A, set, OPS({0, -1, 0}));
	still_blocked(B);
	a_semop(A, set, OPS({0, -1, 0}));
	finish(B);
	finish(C);
	a_getzcnt(A, set, 0);
	a_getpid(A, set, 0);
	a_getpid(A, set, 1);
}

/* IPC_NOWAIT counts for the operation that cannot be done. */
static void nowait_on_some(void)
{
	int set = three_and_set(3);

	a_semop(B, set, OPS({0, -1, IPC_NOWAIT}, {1, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	a_semop(blocks(B), set, OPS({0, -1, IPC_NOWAIT}, {1, -1, 0}));
	a_semop(C, set, OPS({1, 1, 0}));
	finish(B);
	a_getall(A, set, 3);
	/* while it sleeps, the operation with IPC_NOWAIT becomes impossible */
	a_semop(A, set, OPS({0, 1, 0}));
	a_semop(blocks(B), set, OPS({0, -1, IPC_NOWAIT}, {1, -1, 0}));
	a_semop(C, set, OPS({0, -1, 0}));
	finish(B);
	a_getall(A, set, 3);
}

/* So does one that becomes too large while it sleeps. */
static void erange_while_asleep(void)
{
	int set = three_and_set(2);

	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, 32767, 0}));
	a_semop(C, set, OPS({1, 1, 0}));
	still_blocked(B);
	a_semop(C, set, OPS({0, 1, 0}));
	finish(B);
	a_getall(A, set, 2);
	a_getncnt(A, set, 0);
}

static void erange(void)
{
	int set = three_and_set(2);

	a_semop(A, set, OPS({0, 32767, 0}));
	a_semop(B, set, OPS({0, 1, 0}));
	a_semop(B, set, OPS({0, 1, IPC_NOWAIT}));
	a_semop(B, set, OPS({1, 1, 0}, {0, 1, 0}));
	a_semop(B, set, OPS({0, -1, 0}, {0, 1, 0}));
	a_semop(B, set, OPS({0, 1, 0}, {0, -1, 0}));
	a_getall(C, set, 2);
	a_semop(B, set, OPS({0, -32767, 0}));
	a_semop(B, set, OPS({0, -32768, IPC_NOWAIT}));
	a_semop(B, set, OPS({0, 32767, 0}, {0, -32767, 0}, {1, 32767, 0}));
	a_semop(B, set, OPS({1, -32768, IPC_NOWAIT}));
	a_semop(B, set, OPS({1, -1, 0}, {1, 2, 0}));
	a_getall(C, set, 2);
	/* the first one that fails says how */
	a_semop(B, set, OPS({0, -1, IPC_NOWAIT}, {1, 1, 0}));
	a_semop(B, set, OPS({1, 1, 0}, {0, -1, IPC_NOWAIT}));
}

static void numbers(void)
{
	static struct sembuf ops[501];
	int set = three_and_set(2);

	for (int i = 0; i < 501; i++) {
		ops[i].sem_num = (unsigned short)(i % 2);
		ops[i].sem_op = 1;
	}
	a_semop(A, set, OPS({2, 1, 0}));
	a_semop(A, set, OPS({0, 1, 0}, {65535, 1, 0}));
	a_semop(A, set, OPS({0, -1, IPC_NOWAIT}, {2, 1, 0}));
	a_semop(A, set, OPS({0, 0, 0}, {2, 0, 0}));
	a_semop(A, set, OPS({0, 1, 0x4}, {0, -1, 0x2000 | IPC_NOWAIT}));
	a_semop_nr(A, set, ops, 1, 0);
	a_semop(A, set, ops, 500);
	a_getall(B, set, 2);
	a_semop(A, set, ops, 501);
	a_semop_nr(A, set, ops, 1, 100000);
	a_semop_nr(A, set, ops, 1, (size_t)UINT32_MAX);
	a_semop_nr(A, set, ops, 1, (size_t)UINT32_MAX + 2);
	a_getall(B, set, 2);
}

/* All 500, and the last one cannot be done. */
static void many(void)
{
	static struct sembuf ops[500];
	int set = three_and_set(250);

	for (int i = 0; i < 500; i++) {
		ops[i].sem_num = (unsigned short)(i / 2);
		ops[i].sem_op = i % 2 ? -1 : 2;
	}
	ops[499].sem_op = -3;
	a_semop(blocks(B), set, ops, 500);
	a_getall(A, set, 250);
	a_getncnt(A, set, 249);
	a_getncnt(A, set, 248);
	a_semop(C, set, OPS({249, 1, 0}));
	finish(B);
	a_getall(A, set, 250);
	a_getpid(A, set, 17);
}

/* Who acted last: all that are named, also those that only waited for zero. */
static void pids(void)
{
	int set = three_and_set(3);

	a_semop(A, set, OPS({0, 1, 0}, {1, 0, 0}));
	for (int i = 0; i < 3; i++)
		a_getpid(B, set, i);
	a_semop(B, set, OPS({2, 1, 0}, {1, -1, IPC_NOWAIT}));
	for (int i = 0; i < 3; i++)
		a_getpid(B, set, i);
	a_semop(C, set, OPS({1, 1, 0}, {1, -1, 0}));
	a_getpid(B, set, 1);
	a_semop(blocks(B), set, OPS({0, -2, 0}, {2, 0, 0}));
	a_getpid(A, set, 0);
	a_getpid(A, set, 2);
	a_semop(C, set, OPS({0, 1, 0}));
	finish(B);
	a_getpid(A, set, 0);
	a_getpid(A, set, 2);
	a_getpid(A, set, 1);
	a_setval(A, set, 1, 5);
	a_getpid(B, set, 1);
	a_getpid(B, set, 0);
	a_setall(C, set, VALUES(1, 2, 3));
	for (int i = 0; i < 3; i++)
		a_getpid(B, set, i);
}

/* Only the semaphore that cannot be had counts a sleeper, and it changes. */
static void counts(void)
{
	int set = three_and_set(3);
	int i;

	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, -1, 0}, {2, 0, 0}));
	for (i = 0; i < 3; i++)
		a_getncnt(A, set, i);
	a_semop(A, set, OPS({2, 1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	for (i = 0; i < 3; i++)
		a_getncnt(A, set, i);
	for (i = 0; i < 3; i++)
		a_getzcnt(A, set, i);
	a_semop(A, set, OPS({1, 1, 0}));
	for (i = 0; i < 3; i++)
		a_getncnt(A, set, i);
	for (i = 0; i < 3; i++)
		a_getzcnt(A, set, i);
	a_semop(blocks(C), set, OPS({2, -5, 0}));
	a_getncnt(A, set, 2);
	a_getzcnt(A, set, 2);
	a_semop(A, set, OPS({0, -1, 0}));
	for (i = 0; i < 3; i++)
		a_getncnt(A, set, i);
	for (i = 0; i < 3; i++)
		a_getzcnt(A, set, i);
	a_semop(A, set, OPS({0, 1, 0}, {2, -1, 0}));
	finish(B);
	still_blocked(C);
	a_getall(A, set, 3);
}

static void simple_and_array(void)
{
	int set = three_and_set(2);

	/* B's array changes what C's simple operation waits for */
	a_semop(blocks(C), set, OPS({1, -1, 0}));
	a_semop(blocks(B), set, OPS({0, -1, 0}, {1, 1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	finish(C);
	a_getall(A, set, 2);
	a_getpid(A, set, 0);
	a_getpid(A, set, 1);
}

const struct conformance_case sem_op_cases[] = {
	{"sem_op.wait_and_wake", wait_and_wake},
	{"sem_op.all_or_nothing", all_or_nothing},
	{"sem_op.order_in_array", order_in_array},
	{"sem_op.one_several_times", one_several_times},
	{"sem_op.order_blocks", order_blocks},
	{"sem_op.wait_for_zero", wait_for_zero},
	{"sem_op.nowait_on_some", nowait_on_some},
	{"sem_op.erange_while_asleep", erange_while_asleep},
	{"sem_op.erange", erange},
	{"sem_op.numbers", numbers},
	{"sem_op.many", many},
	{"sem_op.pids", pids},
	{"sem_op.counts", counts},
	{"sem_op.simple_and_array", simple_and_array},
	{0},
};
