// SPDX-License-Identifier: BSD-2-Clause
// Processes that become somebody else: each call is checked with who they are.
#include "tests/conformance/shm.h"
#include "tests/conformance/sysv.h"

#include <grp.h>

enum what { EUID, EGID, UID_FOR_GOOD, GROUP };

struct become_arg {
	enum what what;
	int id;
};

static long op_become(void *blob, size_t len)
{
	const struct become_arg *arg = blob;
	gid_t group = (gid_t)arg->id;

	(void)len;
	switch (arg->what) {
	case EUID:
		return seteuid((uid_t)arg->id);
	case EGID:
		return setegid((gid_t)arg->id);
	case UID_FOR_GOOD:
		return setuid((uid_t)arg->id);
	case GROUP:
		return setgroups(arg->id ? 1 : 0, &group);
	}
	return -1;
}

static void becomes(struct actor *a, enum what what, int id)
{
	static const char *const names[] = {"seteuid", "setegid", "setuid",
					    "setgroups"};
	struct become_arg arg = {what, id};

	act(a, op_become, &arg, sizeof(arg), NULL, "%s(%d)", names[what], id);
}

static void user(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int set = a_semget(b, KEY(0), 2, IPC_CREAT | 0600, "set");
	int queue = a_msgget(b, KEY(0), IPC_CREAT | 0600, "queue");
	int seg = a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	a_semop(a, set, OPS({0, 1, 0}));
	a_shmat(a, seg, 0, 0);
	becomes(a, EUID, UID_1);
	a_semop(a, set, OPS({0, 1, 0}));
	a_getval(a, set, 0);
	a_setval(a, set, 0, 4);
	a_sem_rm(a, set);
	a_msgsnd(a, queue, 1, "text", IPC_NOWAIT);
	a_msgrcv(a, queue, 10, 0, IPC_NOWAIT);
	a_shm_stat(a, seg);
	a_shmat(a, seg, 1, 0);
	/* what is attached stays so */
	a_poke(a, 0, 0, 8);
	a_shmat(b, seg, 0, 0);
	a_peek(b, 0, 0);
	a_semget(a, KEY(0), 0, 0600, "set");
	a_semget(a, KEY(1), 1, IPC_CREAT | 0600, "own");
	becomes(a, EUID, 0);
	a_semop(a, set, OPS({0, 1, 0}));
	a_getval(a, set, 0);
	a_sem_stat(a, a_semget(a, KEY(1), 0, 0, "own"));
	becomes(a, UID_FOR_GOOD, UID_2);
	a_semop(a, set, OPS({0, 1, 0}));
	a_semget(a, KEY(1), 0, 0600, "own");
	a_peek(a, 0, 0);
	a_shmdt(a, 0, 0);
	a_shm_use(b, seg);
}

static void groups(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int set = a_semget(b, KEY(0), 1, IPC_CREAT | 0640, "set");
	int queue = a_msgget(b, KEY(0), IPC_CREAT | 0620, "queue");

	a_sem_set(b, set, 0, 2000, 0660);
	a_msg_set(b, queue, 0, 2001, 0620, 16384);
	becomes(a, EGID, 2000);
	becomes(a, EUID, UID_1);
	a_semop(a, set, OPS({0, 1, 0}));
	a_msgsnd(a, queue, 1, "text", IPC_NOWAIT);
	becomes(a, EUID, 0);
	becomes(a, EGID, 3000);
	becomes(a, GROUP, 2001);
	becomes(a, EUID, UID_1);
	a_semop(a, set, OPS({0, 1, 0}));
	a_msgsnd(a, queue, 1, "text", IPC_NOWAIT);
	a_msgrcv(a, queue, 10, 0, IPC_NOWAIT);
	becomes(a, EUID, 0);
	becomes(a, GROUP, 0);
	becomes(a, EUID, UID_1);
	a_msgsnd(a, queue, 1, "text", IPC_NOWAIT);
}

/* Adjustments belong to the process, whoever it is when it ends. */
static void undo_of_another(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int set = a_semget(b, KEY(0), 1, IPC_CREAT | 0600, "set");

	a_setval(b, set, 0, 5);
	a_semop(a, set, OPS({0, -3, SEM_UNDO}));
	becomes(a, UID_FOR_GOOD, UID_1);
	a_semop(a, set, OPS({0, -1, SEM_UNDO}));
	actor_exit(a);
	until(5, a_getval(b, set, 0));
}

/* A call that sleeps was checked; it goes on under its old name. */
static void while_asleep(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int set = a_semget(b, KEY(0), 1, IPC_CREAT | 0600, "set");

	a_semop(blocks(a), set, OPS({0, -1, 0}));
	a_sem_set(b, set, UID_1, UID_1, 0);
	still_blocked(a);
	a_semop(b, set, OPS({0, 1, 0}));
	finish(a);
}

const struct conformance_case cred_cases[] = {
	{"cred.user", user},
	{"cred.groups", groups},
	{"cred.undo_of_another", undo_of_another},
	{"cred.while_asleep", while_asleep},
	{0},
};
