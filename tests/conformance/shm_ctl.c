// SPDX-License-Identifier: BSD-2-Clause
// shmctl: what IPC_STAT says, and when each of its fields changes.
#include "tests/conformance/shm.h"

static void fields(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct actor *c = actor_start(3);
	int id = a_shmget(a, KEY(0), 5000, IPC_CREAT | 01640, "seg");

	a_shm_stat(b, id);
	tick();
	a_shmat(b, id, 0, 0);
	a_shm_stat(c, id);
	tick();
	a_shmat(c, id, 0, SHM_RDONLY);
	a_shm_stat(a, id);
	tick();
	a_shmdt(b, 0, 0);
	a_shm_stat(a, id);
	tick();
	a_shm_set(a, id, UID_1, UID_2, 07677);
	a_shm_stat(b, id);
	tick();
	a_shmctl(a, id, SHM_LOCK, "SHM_LOCK");
	a_shm_stat(b, id);
	a_shmctl(a, id, SHM_LOCK, "SHM_LOCK");
	a_shm_set(a, id, UID_1, UID_2, 0600);
	a_shm_stat(b, id);
	a_shmctl(b, id, SHM_UNLOCK, "SHM_UNLOCK");
	a_shmctl(b, id, SHM_UNLOCK, "SHM_UNLOCK");
	a_shm_stat(c, id);
	tick();
	a_shm_rm(b, id);
	a_shm_stat(c, id);
	tick();
	a_shmdt(c, 0, 0);
	a_shm_stat(c, id);
}

static void locking(void)
{
	struct actor *one = actor_start_uid(1, UID_1);
	struct actor *two = actor_start_uid(2, UID_2);
	int id = a_shmget(one, KEY(0), PAGE, IPC_CREAT | 0666, "seg");

	a_shmctl(two, id, SHM_LOCK, "SHM_LOCK");
	a_shmctl(two, id, SHM_UNLOCK, "SHM_UNLOCK");
	a_shmctl(one, id, SHM_LOCK, "SHM_LOCK");
	a_shm_use(two, id);
	a_shmctl(one, id, SHM_UNLOCK, "SHM_UNLOCK");
	a_shm_use(two, id);
	/* the owner, who is not the creator */
	a_shm_set(one, id, UID_2, UID_2, 0666);
	a_shmctl(two, id, SHM_LOCK, "SHM_LOCK");
	a_shm_use(one, id);
	a_shmctl(one, id, SHM_UNLOCK, "SHM_UNLOCK");
}

static void pointers(void)
{
	struct actor *a = actor_start(1);
	struct actor *one = actor_start_uid(2, UID_1);
	int id = a_shmget(a, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	for (int where = AT_NULL; where <= AT_EDGE; where++) {
		a_shm_stat(at(a, (enum where)where), id);
		a_shm_set(at(a, (enum where)where), id, 0, 0, 0640);
		/* which error comes first */
		a_shm_stat(at(one, (enum where)where), id);
		a_shm_set(at(one, (enum where)where), id, 0, 0, 0640);
	}
	a_shmctl(at(a, AT_NULL), id, SHM_LOCK, "SHM_LOCK");
	a_shmctl(at(a, AT_NULL), id, SHM_UNLOCK, "SHM_UNLOCK");
	a_shm_stat(a, id);
	a_shmctl(a, id, 1234, "1234");
	a_shmctl(a, id, -1, "-1");
	a_shmctl(at(a, AT_UNMAPPED), id, IPC_RMID, "IPC_RMID");
}

static void set_ids(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(a, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	a_shm_set(b, id, (uid_t)-1, 0, 0600);
	a_shm_set(b, id, 0, (gid_t)-1, 0600);
	a_shm_stat(a, id);
	a_shm_set(b, id, 12345678, 87654321, 0);
	a_shm_stat(a, id);
}

const struct conformance_case shm_ctl_cases[] = {
	{"shm_ctl.fields", fields},
	{"shm_ctl.locking", locking},
	{"shm_ctl.pointers", pointers},
	{"shm_ctl.set_ids", set_ids},
	{0},
};
