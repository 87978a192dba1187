// SPDX-License-Identifier: BSD-2-Clause
// semget.
#include "tests/conformance/sysv.h"

static void create(void)
{
	int set;

	three();
	a_semget(A, KEY(1), 3, 0600, "?");
	set = a_semget(A, KEY(1), 3, IPC_CREAT | 0640, "set");
	a_semget(B, KEY(1), 3, 0600, "set");
	a_semget(C, KEY(1), 0, 0, "set");
	a_semget(B, KEY(1), 3, IPC_CREAT | 0600, "set");
	a_semget(C, KEY(1), 3, IPC_CREAT | IPC_EXCL | 0600, "?");
	a_semget(B, KEY(1), 3, IPC_EXCL | 0600, "set");
	a_semget(B, KEY(1), 3, IPC_NOWAIT | 0600, "set");
	a_sem_stat(B, set);
	a_getall(C, set, 3);
	a_getpid(B, set, 0);
	a_getncnt(B, set, 0);
	a_getzcnt(C, set, 0);
}

/* Something is done at each place: run.sh looks for it in the nodes' counters. */
static void everywhere(void)
{
	int set = 0;

	for (int place = 1; place <= 3; place++) {
		struct actor *a = actor_start(place);

		if (place == 1)
			set = a_semget(a, IPC_PRIVATE, 1, 0600, "set");
		a_semop(a, set, OPS({0, 1, 0}));
		a_getval(a, set, 0);
	}
}

static void sizes(void)
{
	static const int bad[] = {0, -1, INT_MIN, 32001, 65536, INT_MAX};
	int set;

	three();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		a_semget(A, KEY(1), bad[i], IPC_CREAT | 0600, "?");
		a_semget(A, IPC_PRIVATE, bad[i], 0600, "?");
		a_semget(A, KEY(1), bad[i], 0600, "?");
	}
	set = a_semget(A, IPC_PRIVATE, 1, 0600, "one");
	a_getall(B, set, 1);
	set = a_semget(A, IPC_PRIVATE, 250, 0600, "many");
	a_getall(B, set, 250);
	a_semop(B, set, OPS({249, 7, 0}, {0, 1, 0}));
	a_getval(C, set, 249);
	a_semop(B, set, OPS({250, 7, 0}));
	a_sem_rm(C, set);
}

static void largest(void)
{
	static unsigned short values[32000];
	int set;

	three();
	set = a_semget(A, IPC_PRIVATE, 32000, 0600, "largest");
	a_semop(B, set, OPS({31999, 7, 0}));
	a_getval(C, set, 31999);
	a_getval(C, set, 32000);
	a_semop(B, set, OPS({32000, 7, 0}));
	for (int i = 0; i < 32000; i++)
		values[i] = (unsigned short)(i / 8000);
	a_setall(B, set, values, 32000);
	a_getall(C, set, 32000);
	values[31999] = 32768;
	a_setall(B, set, values, 32000);
	a_getall(A, set, 32000);
	a_sem_rm(C, set);
}

/* A set that is there: its size matters only if more is asked for. */
static void existing_size(void)
{
	static const int sizes[] = {0, 1, 2, 3, 4, 32000, 32001, -1, INT_MIN};

	three_and_set(3);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		a_semget(B, KEY(1), sizes[i], 0600, "set");
		a_semget(B, KEY(1), sizes[i], IPC_CREAT | 0600, "set");
		a_semget(B, KEY(1), sizes[i], IPC_CREAT | IPC_EXCL, "set");
	}
}

static void private_sets(void)
{
	int one, two;

	three();
	one = a_semget(A, IPC_PRIVATE, 1, 0600, "one");
	two = a_semget(A, IPC_PRIVATE, 1, 0600, "two");
	a_semget(A, IPC_PRIVATE, 1, IPC_EXCL | 0600, "three");
	a_semget(A, IPC_PRIVATE, 1, IPC_CREAT | IPC_EXCL, "four");
	a_semget(A, IPC_PRIVATE, 0, IPC_CREAT | 0600, "?");
	a_semop(B, one, OPS({0, 1, 0}));
	a_getval(C, one, 0);
	a_getval(C, two, 0);
	a_sem_stat(C, one);
}

/* Nine bits of the mode are kept; what is asked of another's set is checked. */
static void modes(void)
{
	struct actor *u;
	int set;

	three();
	u = actor_start_uid(2, UID_1);
	set = a_semget(A, KEY(1), 1, IPC_CREAT | 0x100000 | 0644, "set");
	a_sem_stat(B, set);
	a_semget(u, KEY(1), 1, 0, "set");
	a_semget(u, KEY(1), 1, 0400, "set");
	a_semget(u, KEY(1), 1, 0040, "set");
	a_semget(u, KEY(1), 1, 0004, "set");
	a_semget(u, KEY(1), 1, 0200, "set");
	a_semget(u, KEY(1), 1, 0002, "set");
	a_semget(u, KEY(1), 1, 0600, "set");
	a_semget(u, KEY(1), 1, 0100, "set");
	a_semget(u, KEY(1), 1, IPC_CREAT | 0600, "set");
	a_semget(u, KEY(1), 2, 0600, "set");
	a_semget(u, KEY(1), 1, IPC_CREAT | IPC_EXCL | 0600, "set");
	a_semget(C, KEY(1), 1, 0777, "set");
	set = a_semget(u, KEY(2), 1, IPC_CREAT | 0700, "the user's");
	a_sem_stat(C, set);
	a_sem_stat(u, set);
}

/* A key is free again, another kind's key is another's. */
static void again(void)
{
	int set = three_and_set(1);
	int queue;

	queue = a_msgget(B, KEY(1), IPC_CREAT | IPC_EXCL | 0600, "queue");
	a_semop(A, set, OPS({0, 5, 0}));
	a_sem_rm(B, set);
	a_semget(C, KEY(1), 1, 0600, "?");
	set = a_semget(C, KEY(1), 2, IPC_CREAT | IPC_EXCL | 0600, "new set");
	a_getall(A, set, 2);
	a_semget(A, KEY(1), 2, 0, "new set");
	a_msg_rm(C, queue);
	a_semget(B, KEY(1), 0, 0, "new set");
	a_msgget(B, KEY(1), 0, "?");
}

/* Three race for a key, again and again: one makes it, all get the same. */
static void race(void)
{
	int id[3];

	three();
	for (int i = 10; i < 40; i++) {
		struct actor *all[] = {A, B, C};

		for (int k = 0; k < 3; k++)
			a_semget(starts(all[k]), KEY(i), 1, IPC_CREAT | 0600,
				 "set");
		for (int k = 0; k < 3; k++)
			id[k] = (int)finish(all[k]);
		out("%s\n", id[0] == id[1] && id[1] == id[2] ? "the same"
							     : "different");
	}
}

const struct conformance_case sem_get_cases[] = {
	{"sem_get.create", create},
	{"sem_get.everywhere", everywhere},
	{"sem_get.sizes", sizes},
	{"sem_get.largest", largest},
	{"sem_get.existing_size", existing_size},
	{"sem_get.private_sets", private_sets},
	{"sem_get.modes", modes},
	{"sem_get.again", again},
	{"sem_get.race", race},
	{0},
};
