// SPDX-License-Identifier: BSD-2-Clause
// Bad pointers, and which error wins when several things are wrong.
#include "tests/conformance/sysv.h"

static const enum where bad[] = {AT_NULL, AT_UNMAPPED};

static void operations(void)
{
	int set = three_and_set(2);
	int size = sizeof(struct sembuf);

	for (int i = 0; i < 2; i++) {
		a_semop(at(B, bad[i]), set, OPS({0, 1, 0}));
		a_semtimedop(at(B, bad[i]), set, OPS({0, 1, 0}), 0);
	}
	a_semop(at_edge(B, size), set, OPS({0, 1, 0}));
	a_semop(at_edge(B, size - 1), set, OPS({0, 1, 0}));
	a_semop(at_edge(B, 1), set, OPS({0, 1, 0}));
	a_semop(at_edge(B, 2 * size), set, OPS({0, 1, 0}, {1, 1, 0}));
	a_semop(at_edge(B, 2 * size - 1), set, OPS({0, 1, 0}, {1, 1, 0}));
	a_semop(at_edge(B, size), set, OPS({0, 1, 0}, {1, 1, 0}));
	a_semop(at(B, AT_READONLY), set, OPS({0, 1, 0}, {1, 1, 0}));
	a_getall(A, set, 2);
}

static void timeouts(void)
{
	int set = three_and_set(1);

	a_semtimedop(timeout_at(B, AT_UNMAPPED), set, OPS({0, 1, 0}), 0);
	a_semtimedop(timeout_at(B, AT_UNMAPPED), set, OPS({0, -1, 0}), 0);
	a_semtimedop(timeout_at_edge(B, 15), set, OPS({0, 1, 0}), 0);
	a_semtimedop(timeout_at_edge(B, 8), set, OPS({0, 1, 0}), 0);
	a_semtimedop(timeout_at_edge(B, 16), set, OPS({0, 1, 0}), 0);
	a_semtimedop(timeout_at(B, AT_READONLY), set, OPS({0, 1, 0}), 0);
	a_semtimedop(timeout_at(B, AT_NULL), set, OPS({0, -1, 0}), 0);
	a_getval(A, set, 0);
}

static void semop_order(void)
{
	static struct sembuf ops[501];
	int set = three_and_set(1);
	struct actor *u = actor_start_uid(2, UID_1);
	struct timespec no_time = {-1, 0};

	/* too many, none, a pointer, an identifier */
	a_semop(at(A, AT_NULL), set, ops, 501);
	a_semop_nr(at(A, AT_NULL), set, ops, 1, 0);
	a_semop_nr(at(A, AT_NULL), -1, ops, 1, 0);
	a_semop(at(A, AT_NULL), -1, ops, 501);
	a_semop(at(A, AT_NULL), -1, OPS({0, 1, 0}));
	a_semop(at(A, AT_NULL), INT_MAX, OPS({0, 1, 0}));
	a_semop(A, -1, ops, 501);
	/* the limit: unreadable first of all, invalid after the operations */
	a_semtimedop(timeout_at(A, AT_UNMAPPED), set, ops, 501, 0);
	a_semtimedop(timeout_at(A, AT_UNMAPPED), -1, OPS({0, 1, 0}), 0);
	a_semtimedop_spec(A, set, ops, 501, no_time);
	a_semtimedop_spec(at(A, AT_NULL), set, OPS({0, 1, 0}), no_time);
	a_semtimedop_spec(A, INT_MAX, OPS({0, 1, 0}), no_time);
	a_semtimedop_spec(A, set, OPS({9, 1, 0}), no_time);
	a_semtimedop_spec(u, set, OPS({0, 1, 0}), no_time);
	/* numbers before permission, permission before the operation */
	a_semop(u, set, OPS({9, 1, 0}));
	a_semop(u, set, OPS({0, 1, 0}));
	a_semop(u, set, OPS({0, -1, IPC_NOWAIT}));
	a_semop(at(u, AT_NULL), set, OPS({0, 1, 0}));
	a_semop(u, set, ops, 501);
	a_getval(A, set, 0);
}

static void getall(void)
{
	int set = three_and_set(3);

	a_setall(A, set, VALUES(1, 2, 3));
	for (int i = 0; i < 2; i++) {
		a_getall(at(B, bad[i]), set, 3);
		a_setall(at(B, bad[i]), set, VALUES(4, 5, 6));
	}
	a_getall(at_edge(B, 6), set, 3);
	a_getall(at_edge(B, 5), set, 3);
	a_getall(at_edge(B, 2), set, 3);
	a_getall(at(B, AT_READONLY), set, 3);
	a_setall(at_edge(B, 5), set, VALUES(4, 5, 6));
	a_setall(at_edge(B, 1), set, VALUES(4, 5, 6));
	a_getall(C, set, 3);
	a_setall(at_edge(B, 6), set, VALUES(4, 5, 6));
	a_setall(at(B, AT_READONLY), set, VALUES(7, 8, 9));
	a_getall(C, set, 3);
}

static void stat_and_set(void)
{
	int set = three_and_set(1);
	int size = sizeof(struct semid_ds);

	for (int i = 0; i < 2; i++) {
		a_sem_stat(at(B, bad[i]), set);
		a_sem_set(at(B, bad[i]), set, 7, 7, 0640);
	}
	a_sem_stat(at_edge(B, size), set);
	a_sem_stat(at_edge(B, size - 1), set);
	a_sem_stat(at(B, AT_READONLY), set);
	a_sem_set(at_edge(B, size - 1), set, 7, 7, 0640);
	a_sem_stat(C, set);
	a_sem_set(at(B, AT_READONLY), set, 7, 7, 0640);
	a_sem_stat(C, set);
	/* removal looks at no pointer */
	a_sem_rm(B, set);
}

static void semctl_order(void)
{
	int set = three_and_set(2);
	struct actor *u = actor_start_uid(2, UID_1);

	a_getall(at(u, AT_NULL), set, 2);
	a_setall(at(u, AT_NULL), set, VALUES(1, 2));
	a_sem_stat(at(u, AT_NULL), set);
	a_sem_set(at(u, AT_NULL), set, 0, 0, 0);
	a_getall(at(B, AT_NULL), -1, 2);
	a_setall(at(B, AT_NULL), -1, VALUES(1, 2));
	a_sem_stat(at(B, AT_NULL), -1);
	a_sem_set(at(B, AT_NULL), -1, 0, 0, 0);
	a_getall(at(B, AT_NULL), INT_MAX, 2);
	a_sem_stat(at(B, AT_NULL), INT_MAX);
	a_sem_set(at(B, AT_NULL), INT_MAX, 0, 0, 0);
	a_sem_set(u, set, UINT_MAX, 0, 0);
	a_setall(u, set, VALUES(40000, 2));
	a_setval(u, set, 0, 40000);
	a_setval(u, set, 9, 1);
	a_getval(u, set, 9);
	a_setall(B, set, VALUES(40000, 2));
	a_sem_stat(A, set);
}

const struct conformance_case sem_bad_cases[] = {
	{"sem_bad.operations", operations},
	{"sem_bad.timeouts", timeouts},
	{"sem_bad.semop_order", semop_order},
	{"sem_bad.getall", getall},
	{"sem_bad.stat_and_set", stat_and_set},
	{"sem_bad.semctl_order", semctl_order},
	{0},
};
