// SPDX-License-Identifier: BSD-2-Clause
// semctl, and identifiers that mean nothing any more.
#include "tests/conformance/sysv.h"

static void values(void)
{
	static const int bad[] = {-1, 32768, 65535, INT_MAX, INT_MIN};
	int set = three_and_set(2);

	a_setval(A, set, 0, 32767);
	a_getval(B, set, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		a_setval(B, set, 0, bad[i]);
	a_getval(C, set, 0);
	a_setval(B, set, 2, 1);
	a_setval(B, set, -1, 1);
	a_setval(B, set, INT_MAX, 1);
	a_setval(B, set, 2, 32768);
	a_getval(C, set, 2);
	a_getval(C, set, -1);
	a_getval(C, set, INT_MIN);
	a_getpid(C, set, 2);
	a_getncnt(C, set, 2);
	a_getzcnt(C, set, -1);
}

static void all(void)
{
	int set = three_and_set(3);

	a_setall(B, set, VALUES(1, 32767, 3));
	a_getall(C, set, 3);
	a_setall(B, set, VALUES(4, 32768, 6));
	a_getall(C, set, 3);
	a_setall(B, set, VALUES(4, 5, 65535));
	a_getall(C, set, 3);
	/* one number more than there are is not looked at */
	a_setall(B, set, VALUES(7, 8, 9, 65535));
	a_getall(C, set, 4);
	/* the number of a semaphore is not looked at */
	a_semctl(C, set, -1, IPC_RMID, "IPC_RMID");
	a_getall(C, set, 3);
	a_setall(B, set, VALUES(1, 2, 3));
	a_setall(B, set, VALUES(1, 32768, 3));
}

static void ipc_set(void)
{
	int set = three_and_set(1);

	a_sem_set(B, set, 7, 8, 0640);
	a_sem_stat(C, set);
	a_sem_set(B, set, 0, 0, 07777);
	a_sem_stat(C, set);
	a_sem_set(B, set, UINT_MAX, 0, 0600);
	a_sem_set(B, set, 0, UINT_MAX, 0600);
	a_sem_stat(C, set);
	a_sem_set(B, set, 5, 6, 0);
	a_sem_stat(C, set);
	/* the key stays */
	a_semget(C, KEY(1), 1, 0, "set");
	a_getval(C, set, 0);
}

static void commands(void)
{
	static const int bad[] = {-1,
				  4,
				  5,
				  6,
				  7,
				  8,
				  9,
				  10,
				  21,
				  1000,
				  0x100 | IPC_STAT,
				  0x100 | IPC_RMID};
	int set = three_and_set(1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[20];

		snprintf(text, sizeof(text), "%d", bad[i]);
		a_semctl(A, set, 0, bad[i], text);
		a_semctl(A, -1, 0, bad[i], text);
	}
}

static void all_calls(struct actor *a, int id)
{
	a_getval(a, id, 0);
	a_getpid(a, id, 0);
	a_getncnt(a, id, 0);
	a_getzcnt(a, id, 0);
	a_getall(a, id, 1);
	a_setval(a, id, 0, 1);
	a_setval(a, id, 0, 40000);
	a_setval(a, id, 99, 0);
	a_setall(a, id, VALUES(1));
	a_sem_stat(a, id);
	a_sem_set(a, id, 0, 0, 0600);
	a_semop(a, id, OPS({0, 1, 0}));
	a_semop(a, id, OPS({0, 1, SEM_UNDO}));
	a_semop(a, id, OPS({9, 1, 0}));
	a_semop(a, id, OPS({0, -1, IPC_NOWAIT}));
	a_semop_nr(a, id, OPS({0, 1, 0}), 0);
	a_semop_nr(a, id, OPS({0, 1, 0}), 501);
	a_semtimedop(a, id, OPS({0, 1, 0}), 0);
	a_sem_rm(a, id);
}

/* After its removal an identifier means nothing, on every node at once. */
static void stale(void)
{
	int set = three_and_set(1);

	/* each has used it, and may remember something of it */
	a_semop(A, set, OPS({0, 1, 0}));
	a_semop(B, set, OPS({0, 1, SEM_UNDO}));
	a_semop(C, set, OPS({0, 1, 0}));
	a_getval(B, set, 0);
	a_sem_rm(A, set);
	all_calls(B, set);
	all_calls(A, set);
	all_calls(C, set);
}

/* The same key again, perhaps the same place in the table: another set. */
static void stale_and_new(void)
{
	int set = three_and_set(1);
	int new_set;

	a_semop(B, set, OPS({0, 1, 0}));
	a_semop(C, set, OPS({0, 1, 0}));
	a_sem_rm(A, set);
	new_set = a_semget(B, KEY(1), 1, IPC_CREAT | 0600, "new set");
	a_semop(C, set, OPS({0, 1, 0}));
	a_semop(B, set, OPS({0, -1, 0}));
	all_calls(C, set);
	a_getall(C, new_set, 1);
	a_semop(C, new_set, OPS({0, 5, 0}));
	a_getval(A, new_set, 0);
}

static void not_an_id(void)
{
	static const int ids[] = {-1, INT_MIN, INT_MAX};

	three();
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		all_calls(B, ids[i]);
}

/* Removed while others work on it: each call works, or says that it is gone. */
struct hammer {
	int id;
	int bad_errno;
};

static long op_hammer(void *blob, size_t len)
{
	struct hammer *arg = blob;
	struct sembuf up = {0, 1, 0};
	struct sembuf down = {0, -1, 0};

	(void)len;
	for (;;) {
		if (semop(arg->id, &down, 1) < 0)
			break;
		if (semop(arg->id, &up, 1) < 0)
			break;
	}
	arg->bad_errno = errno == EIDRM || errno == EINVAL ? 0 : errno;
	return 0;
}

static void show_hammer(long ret, const void *blob, size_t len)
{
	const struct hammer *arg = blob;

	(void)len;
	out("%ld %s", ret, arg->bad_errno ? errno_name(arg->bad_errno) : "");
}

static void removed_under_load(void)
{
	int set = three_and_set(1);
	struct hammer arg = {set, 0};
	struct actor *D = actor_start(1);

	a_semop(A, set, OPS({0, 1, 0}));
	act(starts(B), op_hammer, &arg, sizeof(arg), show_hammer, "work");
	act(starts(C), op_hammer, &arg, sizeof(arg), show_hammer, "work");
	act(starts(D), op_hammer, &arg, sizeof(arg), show_hammer, "work");
	sleep_ms(100);
	a_sem_rm(A, set);
	finish(B);
	finish(C);
	finish(D);
}

const struct conformance_case sem_ctl_cases[] = {
	{"sem_ctl.values", values},
	{"sem_ctl.all", all},
	{"sem_ctl.ipc_set", ipc_set},
	{"sem_ctl.commands", commands},
	{"sem_ctl.stale", stale},
	{"sem_ctl.stale_and_new", stale_and_new},
	{"sem_ctl.not_an_id", not_an_id},
	{"sem_ctl.removed_under_load", removed_under_load},
	{0},
};
