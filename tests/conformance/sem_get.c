// SPDX-License-Identifier: BSD-2-Clause
// semget.
#include "tests/conformance/sysv.h"

static void create(void)
{
	struct actor *a = actor_start(1), *b = actor_start(2);
	int set;

	a_semget(a, KEY(1), 3, 0600, "?");
	set = a_semget(a, KEY(1), 3, IPC_CREAT | 0640, "set");
	a_semget(b, KEY(1), 3, 0600, "set");
	a_semget(b, KEY(1), 0, 0, "set");
	a_semget(b, KEY(1), 3, IPC_CREAT | 0600, "set");
	a_semget(b, KEY(1), 3, IPC_CREAT | IPC_EXCL | 0600, "?");
	a_semget(b, KEY(1), 3, IPC_EXCL | 0600, "set");
	a_sem_stat(b, set);
	a_getall(b, set, 3);
	a_getpid(b, set, 0);
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

const struct conformance_case sem_get_cases[] = {
	{"sem_get.create", create},
	{"sem_get.everywhere", everywhere},
	{0},
};
