// SPDX-License-Identifier: BSD-2-Clause
// shmat and shmdt: addresses, flags, several attachments, the removed segment.
#include "tests/conformance/shm.h"

static void addresses(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 3 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat_hole(a, id, 0, 0, 0);
	a_shmat_hole(a, id, 1, 0, 0);
	a_shmat_hole(a, id, 1, 2 * PAGE, 0);
	a_shmat_hole(a, id, 1, -2 * PAGE, 0);
	a_shmat_hole(a, id, 1, 3 * PAGE, 0);
	a_shmat_hole(a, id, 2, 10 * PAGE + 8, 0);
	a_shmat_hole(a, id, 2, 10 * PAGE + 8, SHM_RND);
	a_shmat_hole(a, id, 3, 20 * PAGE - 1, SHM_RND);
	a_shmat_hole(a, id, 4, 30 * PAGE, SHM_RND);
	a_poke(a, 0, 2 * PAGE, 5);
	a_peek(a, 3, 2 * PAGE);
	a_peek(a, 4, 2 * PAGE);
	a_nattch(b, id);
	a_shmat_number(a, id, 5, 1, 0);
	a_shmat_number(a, id, 5, PAGE - 1, SHM_RND | SHM_REMAP);
	a_shmat_number(a, id, 5, 0, SHM_REMAP);
	a_shmat_number(a, id, 5, 0x800000000000, 0);
	a_shmat_number(a, id, 5, 0xffffffffffffe000, 0);
	a_shmat_number(a, id, 5, 0x7ffffffff000, 0);
	a_shmat_number(a, id, 5, 0x7fffffffd000, SHM_REMAP);
	a_nattch(b, id);
}

static void remap(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int one = a_shmget(a, KEY(0), 2 * PAGE, IPC_CREAT | 0600, "one");
	int two = a_shmget(b, KEY(1), 4 * PAGE, IPC_CREAT | 0600, "two");

	a_shmat_hole(a, one, 0, 4 * PAGE, 0);
	a_poke(a, 0, 0, 11);
	a_poke(a, 0, PAGE, 12);
	/* over the second half of it */
	a_shmat_hole(a, two, 1, 5 * PAGE, 0);
	a_shmat_hole(a, two, 1, 5 * PAGE, SHM_REMAP);
	a_peek(a, 0, 0);
	a_peek(a, 0, PAGE);
	a_nattch(a, one);
	a_nattch(a, two);
	/* over itself */
	a_shmat_hole(a, two, 2, 5 * PAGE, SHM_REMAP);
	a_nattch(a, two);
	/* over all of the first */
	a_shmat_hole(a, two, 3, 3 * PAGE, SHM_REMAP);
	a_nattch(b, one);
	a_nattch(b, two);
	a_poke(a, 3, 0, 13);
	a_shmat(b, two, 0, 0);
	a_peek(b, 0, 0);
	a_shmdt(a, 3, 0);
	a_shmdt(a, 2, 0);
	a_shmdt(a, 0, 0);
	a_nattch(b, one);
	a_nattch(b, two);
	a_shmat_over(b, one, 1, 0, PAGE, SHM_REMAP);
	a_peek(b, 1, 0);
	a_nattch(b, two);
	a_shmdt(b, 0, 0);
	a_nattch(b, two);
	a_nattch(b, one);
}

static void remap_memory(void)
{
	struct actor *a = actor_start(1);
	int id = a_shmget(a, KEY(0), 2 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat_hole(a, id, 0, 0, 0);
	a_mmap_over(a, 0, 8 * PAGE, 8 * PAGE);
	a_peek(a, 0, 8 * PAGE);
	a_shmat_hole(a, id, 1, 7 * PAGE, 0);
	a_shmat_hole(a, id, 1, 7 * PAGE, SHM_REMAP);
	a_peek(a, 0, 8 * PAGE);
	a_poke(a, 0, PAGE, 3);
	a_peek(a, 1, PAGE);
	a_peek(a, 0, 9 * PAGE);
}

static void many(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(a, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	for (int r = 0; r < 8; r++)
		a_shmat(r % 2 ? a : b, id, r, r % 3 ? 0 : SHM_RDONLY);
	a_poke(a, 1, 100, 77);
	for (int r = 0; r < 8; r++)
		a_peek(r % 2 ? a : b, r, 100);
	a_poke(b, 6, 100, 78);
	a_poke(a, 7, 100, 79);
	for (int r = 0; r < 8; r++)
		a_peek(r % 2 ? a : b, r, 100);
	a_shm_use(b, id);
	for (int r = 0; r < 8; r++) {
		a_shmdt(r % 2 ? a : b, r, 0);
		a_shm_use(a, id);
	}
	a_shmdt(a, 7, 0);
}

static void detach_nonsense(void)
{
	struct actor *a = actor_start(1);
	int id = a_shmget(a, KEY(0), 3 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmdt_number(a, 0);
	a_shmdt_number(a, 1);
	a_shmdt_number(a, PAGE);
	a_shmdt_number(a, 0xfffffffffffff000);
	a_shmat_hole(a, id, 0, PAGE, 0);
	a_shmdt(a, 0, 1);
	a_shmdt(a, 0, PAGE);
	a_shmdt(a, 0, 2 * PAGE);
	a_shmdt(a, 0, 3 * PAGE);
	a_shmdt(a, 0, -PAGE);
	a_nattch(a, id);
	a_shmdt(a, 0, 0);
	a_shmdt(a, 0, 0);
	a_nattch(a, id);
	a_peek(a, 0, 0);
}

static void read_only(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(a, KEY(0), 2 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, SHM_RDONLY);
	a_shmat(b, id, 0, 0);
	a_peek(a, 0, 0);
	a_poke(a, 0, 0, 1);
	a_poke(b, 0, 0, 2);
	a_peek(a, 0, 0);
	a_poke(b, 0, 0, 3);
	a_peek(a, 0, 0);
	a_mprotect(a, 0, 0, PAGE, PROT_READ | PROT_WRITE);
	a_mprotect(a, 0, 0, PAGE, PROT_NONE);
	a_peek(a, 0, 0);
	a_mprotect(a, 0, 0, PAGE, PROT_READ);
	a_peek(a, 0, 0);
	a_poke(b, 0, 0, 4);
	a_peek(a, 0, 0);
	a_pread(a, 0, 0, 100);
	a_pwrite(a, 0, 0, 100);
	/* reading and writing in one process */
	a_shmat(a, id, 1, 0);
	a_poke(a, 1, 0, 5);
	a_peek(a, 0, 0);
	a_peek(b, 0, 0);
	a_poke(a, 0, 0, 6);
	a_shmdt(a, 1, 0);
	a_peek(a, 0, 0);
	a_poke(b, 0, 0, 7);
	a_peek(a, 0, 0);
}

static void removed_while_attached(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct actor *c = actor_start(3);
	int id = a_shmget(a, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_poke(a, 0, 0, 21);
	a_shm_rm(b, id);
	a_shm_stat(c, id);
	a_shmget(c, KEY(0), 0, 0, "seg");
	a_shmat(c, id, 0, 0);
	a_peek(c, 0, 0);
	a_poke(c, 0, 0, 22);
	a_peek(a, 0, 0);
	a_shm_use(b, id);
	a_shm_rm(b, id);
	a_shm_set(b, id, 0, 0, 0640);
	a_shm_use(b, id);
	a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "second");
	a_shmdt(a, 0, 0);
	a_shm_use(b, id);
	a_shmat(b, id, 0, SHM_RDONLY);
	a_peek(b, 0, 0);
	a_shmdt(c, 0, 0);
	a_peek(b, 0, 0);
	a_shmdt(b, 0, 0);
	a_shm_use(b, id);
	a_shm_use(a, id);
	a_shmat(a, id, 1, 0);
	a_shm_rm(c, id);
}

/* An identifier that is nobody's, for each call. */
static void bad_ids(void)
{
	static const int ids[] = {-1, 0x7fffffff, INT_MIN};
	struct actor *a = actor_start(1);
	int id = a_shmget(a, KEY(0), PAGE, IPC_CREAT | 0600, "gone");

	a_shm_rm(a, id);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]) + 1; i++) {
		int bad = i ? ids[i - 1] : id;

		if (i)
			name_object(OBJECT_SHM, bad, "bad");
		a_shmat(a, bad, 0, 0);
		a_shmat_number(a, bad, 0, 1, 0);
		a_shm_stat(a, bad);
		a_shm_set(a, bad, 0, 0, 0600);
		a_shm_rm(a, bad);
		a_shmctl(a, bad, SHM_LOCK, "SHM_LOCK");
		a_shmctl(a, bad, SHM_UNLOCK, "SHM_UNLOCK");
		a_shmctl(a, bad, 999, "999");
		a_shm_stat(at(a, AT_NULL), bad);
	}
}

const struct conformance_case shm_attach_cases[] = {
	{"shm_attach.addresses", addresses},
	{"shm_attach.remap", remap},
	{"shm_attach.remap_memory", remap_memory},
	{"shm_attach.many", many},
	{"shm_attach.detach_nonsense", detach_nonsense},
	{"shm_attach.read_only", read_only},
	{"shm_attach.removed_while_attached", removed_while_attached},
	{"shm_attach.bad_ids", bad_ids},
	{0},
};
