// SPDX-License-Identifier: BSD-2-Clause
// shmget: sizes, keys, modes, and which errno wins.
#include "tests/conformance/shm.h"

static void sizes(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id;

	a_shmget(a, KEY(0), 0, IPC_CREAT | 0600, "none");
	a_shmget(a, KEY(0), 0, 0, "none");
	id = a_shmget(a, KEY(0), 1, IPC_CREAT | 0600, "one");
	a_shmget(b, KEY(0), 0, 0, "one");
	a_shmget(b, KEY(0), 1, 0, "one");
	a_shmget(b, KEY(0), 2, 0, "one");
	a_shmget(b, KEY(0), 2, IPC_CREAT | 0600, "one");
	a_shm_stat(b, id);
	/* the whole page is there, and zero */
	a_shmat(b, id, 0, 0);
	a_sum(b, 0, 0, PAGE);
	a_poke(b, 0, PAGE - 1, 9);
	a_shmat(a, id, 0, 0);
	a_peek(a, 0, PAGE - 1);
	a_peek(a, 0, 0);
	a_shmget(a, KEY(1), (size_t)-1, IPC_CREAT | 0600, "huge");
	a_shmget(a, KEY(1), (size_t)-1, 0, "huge");
	a_shmget(a, KEY(0), (size_t)-1, 0, "huge");
	id = a_shmget(a, KEY(2), 3 * PAGE + 5, IPC_CREAT | 0600, "odd");
	a_shm_stat(a, id);
	a_shmget(b, KEY(2), 3 * PAGE + 5, 0, "odd");
	a_shmget(b, KEY(2), 3 * PAGE + 6, 0, "odd");
	a_shmget(b, KEY(2), 4 * PAGE, 0, "odd");
}

static void keys(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct actor *c = actor_start(3);
	int id, again;

	a_shmget(a, KEY(0), PAGE, 0600, "nothing");
	a_shmget(a, KEY(0), PAGE, IPC_EXCL | 0600, "nothing");
	id = a_shmget(a, KEY(0), PAGE, IPC_CREAT | IPC_EXCL | 0600, "seg");
	a_shmget(b, KEY(0), PAGE, IPC_CREAT | IPC_EXCL | 0600, "other");
	a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg");
	a_shmget(c, KEY(0), PAGE, IPC_EXCL, "seg");
	a_shmget(c, KEY(0), 2 * PAGE, IPC_CREAT | IPC_EXCL, "seg");
	a_shmget(b, IPC_PRIVATE, PAGE, 0600, "private 1");
	a_shmget(b, IPC_PRIVATE, PAGE, IPC_CREAT | IPC_EXCL | 0600,
		 "private 2");
	a_shmget(b, IPC_PRIVATE, 0, 0600, "private 3");
	a_shm_rm(c, id);
	a_shm_stat(a, id);
	a_shmat(b, id, 0, 0);
	a_shm_rm(b, id);
	a_shmget(a, KEY(0), PAGE, 0600, "seg");
	again = a_shmget(b, KEY(0), 2 * PAGE, IPC_CREAT | 0640, "second");
	out("a new identifier: %s\n", again != id ? "yes" : "no");
	a_shm_stat(c, again);
	a_shm_stat(c, id);
}

static void modes(void)
{
	struct actor *root = actor_start(1);
	struct actor *one = actor_start_uid(2, UID_1);
	struct actor *two = actor_start_uid(3, UID_2);
	int id;

	id = a_shmget(one, KEY(0), PAGE, IPC_CREAT | 0640, "of one");
	a_shm_stat(one, id);
	a_shmget(two, KEY(0), 0, 0, "of one");
	a_shmget(two, KEY(0), 0, 0400, "of one");
	a_shmget(two, KEY(0), 0, 0004, "of one");
	a_shmget(two, KEY(0), 2 * PAGE, 0600, "of one");
	a_shmget(two, KEY(0), 0, IPC_CREAT | IPC_EXCL | 0600, "of one");
	a_shm_stat(two, id);
	a_shmat(two, id, 0, 0);
	a_shmat(two, id, 0, SHM_RDONLY);
	a_shm_set(two, id, UID_2, UID_2, 0666);
	a_shm_rm(two, id);
	a_shmctl(two, id, SHM_LOCK, "SHM_LOCK");
	a_shmget(root, KEY(0), 0, 0600, "of one");
	a_shm_stat(root, id);
	a_shmat(root, id, 0, 0);
	a_shm_set(one, id, UID_1, UID_1, 0644);
	a_shmat(two, id, 0, 0);
	a_shmat(two, id, 0, SHM_RDONLY);
	a_shmat(two, id, 1, SHM_RDONLY | SHM_EXEC);
	a_poke(root, 0, 7, 42);
	a_peek(two, 0, 7);
	a_poke(two, 0, 7, 43);
	/* given away: the creator keeps his rights */
	a_shm_set(one, id, UID_2, UID_2, 0600);
	a_shm_stat(two, id);
	a_shm_stat(one, id);
	a_shmat(two, id, 2, 0);
	a_poke(two, 2, 7, 43);
	a_peek(root, 0, 7);
	a_shm_set(two, id, UID_2, UID_2, 0111);
	a_shmat(two, id, 3, SHM_RDONLY);
	a_shmat(one, id, 3, SHM_RDONLY);
	a_shm_stat(one, id);
	a_shm_rm(one, id);
	a_shm_use(root, id);
}

static void modes_exec(void)
{
	struct actor *one = actor_start_uid(1, UID_1);
	struct actor *two = actor_start_uid(2, UID_2);
	int id;

	id = a_shmget(one, KEY(0), PAGE, IPC_CREAT | 0755, "program");
	a_shmat(two, id, 0, SHM_RDONLY | SHM_EXEC);
	a_shmat(two, id, 1, SHM_EXEC);
	a_shmat(one, id, 0, SHM_EXEC);
	a_shm_set(one, id, UID_1, UID_1, 0644);
	a_shmat(one, id, 1, SHM_EXEC);
	a_shmat(two, id, 2, SHM_RDONLY | SHM_EXEC);
}

static void raced(void)
{
	struct actor *a[3] = {actor_start(1), actor_start(2), actor_start(3)};
	int id[3], nr_made = 0;

	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 3; i++)
			a_shmget(starts(a[i]), KEY(round), PAGE,
				 IPC_CREAT | 0600, "seg");
		for (int i = 0; i < 3; i++)
			id[i] = (int)finish(a[i]);
		nr_made += id[0] == id[1] && id[1] == id[2];
		a_shm_rm(a[round % 3], id[0]);
	}
	out("one segment for all: %d of 10\n", nr_made);
}

const struct conformance_case shm_get_cases[] = {
	{"shm_get.sizes", sizes}, {"shm_get.keys", keys},
	{"shm_get.modes", modes}, {"shm_get.modes_exec", modes_exec},
	{"shm_get.raced", raced}, {0},
};
