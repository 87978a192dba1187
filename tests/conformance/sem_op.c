// SPDX-License-Identifier: BSD-2-Clause
// semop and semtimedop.
#include "tests/conformance/sysv.h"

static void wait_and_wake(void)
{
	struct actor *a = actor_start(1), *b = actor_start(2);
	int set = a_semget(a, KEY(1), 1, IPC_CREAT | 0600, "set");

	a_semop(blocks(b), set, OPS({0, -1, 0}));
	a_getncnt(a, set, 0);
	a_semop(a, set, OPS({0, 1, 0}));
	finish(b);
	a_getpid(a, set, 0);
	a_getval(b, set, 0);
}

const struct conformance_case sem_op_cases[] = {
	{"sem_op.wait_and_wake", wait_and_wake},
	{0},
};
