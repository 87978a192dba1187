// SPDX-License-Identifier: BSD-2-Clause
// Who may do what with a set.
#include "tests/conformance/sysv.h"

static struct actor *U, *V;

/* A set of A's (root), and two users elsewhere. */
static int set_and_users(int mode)
{
	int set;

	A = actor_start(1);
	U = actor_start_uid(2, UID_1);
	V = actor_start_uid(3, UID_2);
	set = a_semget(A, KEY(1), 2, IPC_CREAT | mode, "set");
	a_setall(A, set, VALUES(0, 5));
	return set;
}

static void each_call(struct actor *a, int set)
{
	a_getval(a, set, 0);
	a_getpid(a, set, 0);
	a_getncnt(a, set, 0);
	a_getzcnt(a, set, 0);
	a_getall(a, set, 2);
	a_sem_stat(a, set);
	a_semop(a, set, OPS({0, 0, 0}));
	a_semop(a, set, OPS({1, 0, IPC_NOWAIT}));
	a_semop(a, set, OPS({0, 0, 0}, {1, 1, 0}));
	a_semop(a, set, OPS({1, -1, SEM_UNDO}));
	a_semop(a, set, OPS({0, -1, IPC_NOWAIT}));
	a_semop(a, set, OPS({9, -1, 0}));
	a_semtimedop(a, set, OPS({0, -1, 0}), 0);
	a_setval(a, set, 0, 0);
	a_setval(a, set, 9, 0);
	a_setval(a, set, 0, 70000);
	a_setall(a, set, VALUES(0, 5));
	a_setall(a, set, VALUES(0, 50000));
}

static void nothing(void)
{
	int set = set_and_users(0600);

	each_call(U, set);
	a_sem_set(U, set, UID_1, UID_1, 0666);
	a_sem_rm(U, set);
	a_getall(A, set, 2);
}

static void others_read(void)
{
	int set = set_and_users(0604);

	each_call(U, set);
	a_getall(A, set, 2);
}

static void others_alter(void)
{
	int set = set_and_users(0602);

	each_call(U, set);
	a_getall(A, set, 2);
}

/* The group's bits count for its members, and then only those. */
static void group(void)
{
	int set = set_and_users(0640);

	a_sem_set(A, set, 0, UID_1, 0640);
	each_call(U, set);
	a_getval(V, set, 0);
	a_sem_set(A, set, 0, UID_1, 0604);
	a_getval(U, set, 0);
	a_getval(V, set, 0);
}

/* The owner's bits bind the owner; root is bound by none. */
static void owner(void)
{
	int set = set_and_users(0600);

	a_sem_set(A, set, UID_1, UID_1, 0066);
	each_call(U, set);
	a_getval(V, set, 0);
	a_semop(V, set, OPS({1, 1, 0}));
	a_getval(A, set, 0);
	a_semop(A, set, OPS({1, -1, 0}));
	/* but he may change them */
	a_sem_set(U, set, UID_1, UID_1, 0600);
	a_getval(U, set, 0);
	a_getval(V, set, 0);
	a_sem_set(V, set, UID_2, UID_2, 0600);
	a_sem_rm(V, set);
	a_sem_rm(U, set);
}

/* The creator stays creator when the set is given away. */
static void given_away(void)
{
	int set;

	set_and_users(0600);
	set = a_semget(U, KEY(2), 2, IPC_CREAT | 0600, "user's");
	a_setval(U, set, 0, 1);
	a_getval(V, set, 0);
	a_sem_set(V, set, UID_2, UID_2, 0600);
	a_sem_set(U, set, UID_2, UID_2, 0600);
	a_getval(V, set, 0);
	a_getval(U, set, 0);
	a_semop(U, set, OPS({0, 1, 0}));
	a_semop(V, set, OPS({0, 1, 0}));
	a_sem_stat(A, set);
	a_sem_set(V, set, 0, 0, 0600);
	a_getval(V, set, 0);
	a_sem_set(V, set, UID_2, UID_2, 0600);
	a_getval(U, set, 0);
	a_sem_rm(U, set);
}

/* Who sleeps is not disturbed by a new mode; the next call is. */
static void mode_while_asleep(void)
{
	int set = set_and_users(0666);

	a_semop(blocks(U), set, OPS({0, -1, 0}));
	a_sem_set(A, set, 0, 0, 0600);
	still_blocked(U);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(U);
	a_semop(U, set, OPS({1, -1, 0}));
	a_getall(A, set, 2);
}

/* A new mode counts at once, whatever a node remembers. */
static void mode_at_once(void)
{
	int set = set_and_users(0666);

	for (int i = 0; i < 5; i++) {
		a_semop(U, set, OPS({1, 1, 0}));
		a_semop(V, set, OPS({1, -1, 0}));
		a_sem_set(A, set, 0, 0, 0600);
		a_semop(U, set, OPS({1, 1, 0}));
		a_semop(V, set, OPS({1, -1, 0}));
		a_sem_set(A, set, 0, 0, 0666);
	}
	a_getall(A, set, 2);
}

static void removal(void)
{
	int set = set_and_users(0666);

	a_sem_rm(U, set);
	a_sem_set(U, set, UID_1, UID_1, 0666);
	a_sem_set(A, set, UID_1, 0, 0);
	a_sem_rm(V, set);
	a_sem_rm(U, set);
	a_sem_rm(U, set);
	a_getval(A, set, 0);
}

const struct conformance_case sem_perm_cases[] = {
	{"sem_perm.nothing", nothing},
	{"sem_perm.others_read", others_read},
	{"sem_perm.others_alter", others_alter},
	{"sem_perm.group", group},
	{"sem_perm.owner", owner},
	{"sem_perm.given_away", given_away},
	{"sem_perm.mode_while_asleep", mode_while_asleep},
	{"sem_perm.mode_at_once", mode_at_once},
	{"sem_perm.removal", removal},
	{0},
};
