// SPDX-License-Identifier: BSD-2-Clause
// Mappings of segments as programs treat them.
#include "tests/conformance/shm.h"

#include <sys/uio.h>
#include <sys/wait.h>

static void protection(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 3 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_poke(a, 0, PAGE, 1);
	a_mprotect(a, 0, PAGE, PAGE, PROT_READ);
	a_peek(a, 0, PAGE);
	a_poke(a, 0, PAGE, 2);
	a_poke(b, 0, PAGE, 3);
	a_peek(a, 0, PAGE);
	a_mprotect(a, 0, PAGE, PAGE, PROT_NONE);
	a_peek(a, 0, PAGE);
	a_poke(b, 0, PAGE, 4);
	a_peek(a, 0, 0);
	a_poke(a, 0, 2 * PAGE, 9);
	a_mprotect(a, 0, 0, 3 * PAGE, PROT_READ | PROT_WRITE);
	a_peek(a, 0, PAGE);
	a_poke(a, 0, PAGE, 5);
	a_peek(b, 0, PAGE);
	a_peek(b, 0, 2 * PAGE);
	a_mprotect(a, 0, 0, 4 * PAGE, PROT_READ);
	/* Linux counts the pieces that mprotect has made */
	deviates("Shared memory");
	a_nattch(b, id);
	a_shmdt(a, 0, 0);
	a_nattch(b, id);
	a_peek(a, 0, 0);
}

static void unmapping(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 4 * PAGE, IPC_CREAT | 0600, "seg");

	/* the middle */
	a_shmat(a, id, 0, 0);
	a_poke(a, 0, 0, 1);
	a_poke(a, 0, 3 * PAGE, 2);
	a_munmap(a, 0, PAGE, 2 * PAGE);
	a_peek(a, 0, PAGE);
	a_peek(a, 0, 0);
	a_peek(a, 0, 3 * PAGE);
	a_shmdt(a, 0, PAGE);
	a_shmdt(a, 0, 3 * PAGE);
	a_shmdt(a, 0, 0);
	a_peek(a, 0, 0);
	a_peek(a, 0, 3 * PAGE);
	a_nattch(b, id);
	/* the beginning */
	a_shmat(a, id, 1, 0);
	a_munmap(a, 1, 0, PAGE);
	a_peek(a, 1, PAGE);
	a_shmdt(a, 1, PAGE);
	a_shmdt(a, 1, 0);
	a_peek(a, 1, PAGE);
	a_nattch(b, id);
	/* the end */
	a_shmat(a, id, 2, 0);
	a_munmap(a, 2, 3 * PAGE, PAGE);
	a_peek(a, 2, 2 * PAGE);
	a_shmdt(a, 2, 0);
	a_nattch(b, id);
	/* all of it, without shmdt */
	a_shmat(a, id, 3, 0);
	a_nattch(b, id);
	a_munmap(a, 3, 0, 4 * PAGE);
	a_nattch(b, id);
	a_shmdt(a, 3, 0);
	a_peek(a, 3, 0);
	/* what was written is there */
	a_shmat(b, id, 0, 0);
	a_peek(b, 0, 0);
	a_peek(b, 0, 3 * PAGE);
}

static void something_else_over_it(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 4 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_poke(b, 0, PAGE, 5);
	a_peek(a, 0, PAGE);
	a_mmap_over(a, 0, PAGE, PAGE);
	a_peek(a, 0, PAGE);
	a_poke(a, 0, PAGE, 6);
	a_peek(b, 0, PAGE);
	a_poke(a, 0, 2 * PAGE, 7);
	a_peek(b, 0, 2 * PAGE);
	a_shmdt(a, 0, 0);
	a_peek(a, 0, PAGE);
	a_peek(a, 0, 2 * PAGE);
	a_shm_use(b, id);
}

static void moving(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 4 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat_hole(a, id, 0, 0, 0);
	/* so that it must move to grow */
	a_mmap_over(a, 0, 4 * PAGE, PAGE);
	a_shmat(b, id, 0, 0);
	a_poke(a, 0, 3 * PAGE, 8);
	a_mremap(a, 0, 0, 4 * PAGE, 6 * PAGE, 1);
	a_peek(a, 0, 0);
	a_peek(a, 1, 3 * PAGE);
	a_peek(a, 1, 4 * PAGE);
	a_poke(b, 0, 3 * PAGE, 9);
	a_peek(a, 1, 3 * PAGE);
	a_poke(a, 1, 0, 10);
	a_peek(b, 0, 0);
	a_nattch(b, id);
	a_mremap(a, 1, 0, 6 * PAGE, 2 * PAGE, 1);
	a_peek(a, 1, PAGE);
	a_peek(a, 1, 2 * PAGE);
	a_poke(b, 0, PAGE, 11);
	a_peek(a, 1, PAGE);
	a_shmdt(a, 0, 0);
	a_shmdt(a, 1, 0);
	a_nattch(b, id);
}

static void advice(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 4 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_poke(a, 0, 0, 1);
	a_poke(b, 0, PAGE, 2);
	a_madvise(a, 0, 0, 4 * PAGE, MADV_WILLNEED, "MADV_WILLNEED");
	a_peek(a, 0, PAGE);
	a_madvise(a, 0, 0, 4 * PAGE, MADV_DONTNEED, "MADV_DONTNEED");
	a_peek(a, 0, 0);
	a_peek(a, 0, PAGE);
	a_poke(a, 0, 0, 3);
	a_peek(b, 0, 0);
	a_madvise(a, 0, 0, 4 * PAGE, MADV_FREE, "MADV_FREE");
	a_madvise(a, 0, 0, 4 * PAGE, MADV_SEQUENTIAL, "MADV_SEQUENTIAL");
	a_madvise(a, 0, 0, 4 * PAGE, MADV_RANDOM, "MADV_RANDOM");
	a_madvise(a, 0, 0, 4 * PAGE, 9999, "9999");
	a_madvise(a, 0, 1, PAGE, MADV_DONTNEED, "MADV_DONTNEED");
	a_peek(a, 0, 0);
	a_poke(b, 0, 0, 4);
	a_peek(a, 0, 0);
}

static void removing_pages(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct actor *c = actor_start(3);
	int id = a_shmget(b, KEY(0), 4 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_shmat(c, id, 0, 0);
	a_poke(a, 0, 0, 1);
	a_poke(b, 0, PAGE, 2);
	a_poke(c, 0, 2 * PAGE, 3);
	a_peek(a, 0, PAGE);
	a_madvise(a, 0, 0, 3 * PAGE, MADV_REMOVE, "MADV_REMOVE");
	a_peek(a, 0, 0);
	a_peek(a, 0, PAGE);
	a_peek(b, 0, PAGE);
	a_peek(c, 0, 0);
	a_peek(c, 0, 2 * PAGE);
	a_poke(b, 0, PAGE, 4);
	a_peek(a, 0, PAGE);
}

static void buffers(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 16 * PAGE, IPC_CREAT | 0600, "seg");

	/* in a hole, so that it is known what comes after the end */
	a_shmat_hole(a, id, 0, 0, 0);
	a_shmat(b, id, 0, 0);
	a_pread(a, 0, 100, 3 * PAGE);
	a_sum(b, 0, 0, 4 * PAGE);
	a_poke(b, 0, 200, 1);
	a_pwrite(a, 0, 100, 3 * PAGE);
	a_pread(b, 0, 200, 5 * PAGE);
	a_pwrite(a, 0, 0, 8 * PAGE);
	/* the end of the segment */
	a_pread(a, 0, 15 * PAGE + 100, PAGE);
	a_sum(b, 0, 15 * PAGE, PAGE);
	a_shmat(a, id, 1, SHM_RDONLY);
	a_pread(a, 1, 0, 100);
	a_pwrite(a, 1, 0, 8 * PAGE);
}

static long fn_mlock(char *addr, size_t len)
{
	return mlock(addr, len);
}

static long fn_munlock(char *addr, size_t len)
{
	return munlock(addr, len);
}

static long fn_lock_all(char *addr, size_t len)
{
	(void)addr;
	return mlockall((int)len);
}

static long fn_unlock_all(char *addr, size_t len)
{
	(void)addr;
	(void)len;
	return munlockall();
}

static void locked_memory(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), 4 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_poke(b, 0, 0, 1);
	a_run(a, fn_mlock, 0, 0, 4 * PAGE, "mlock");
	a_peek(a, 0, 0);
	a_poke(b, 0, 0, 2);
	a_peek(a, 0, 0);
	a_poke(a, 0, 0, 3);
	a_peek(b, 0, 0);
	a_run(a, fn_munlock, 0, 0, 4 * PAGE, "munlock");
	a_run(a, fn_lock_all, 0, 0, MCL_CURRENT | MCL_FUTURE, "mlockall");
	a_shmat(a, id, 1, 0);
	a_peek(a, 1, 0);
	a_poke(b, 0, 0, 4);
	a_peek(a, 1, 0);
	a_poke(a, 1, PAGE, 5);
	a_peek(b, 0, PAGE);
	a_run(a, fn_unlock_all, 0, 0, 0, "munlockall");
	a_shmdt(a, 1, 0);
	a_nattch(b, id);
}

/* Another process reads and writes here with process_vm_readv and writev. */
static long fn_reach_in(char *addr, size_t len)
{
	pid_t parent = getpid(), child;
	int status;

	child = fork();
	if (child == 0) {
		char buf[64];
		struct iovec here = {buf, 8};
		struct iovec there = {addr, 8};

		if (munmap(addr, len) < 0)
			_exit(1);
		if (process_vm_readv(parent, &here, 1, &there, 1, 0) != 8)
			_exit(2);
		buf[1] = (char)(buf[0] + 1);
		if (process_vm_writev(parent, &here, 1, &there, 1, 0) != 8)
			_exit(3);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		return -1;
	return WEXITSTATUS(status) * 1000 + addr[0] * 10 + addr[1];
}

static void reached_into(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_poke(b, 0, 0, 5);
	a_run(a, fn_reach_in, 0, 0, PAGE, "reach in");
	a_peek(b, 0, 1);
	a_nattch(b, id);
}

/* 4 MiB written on one node and read on another, page after page. */
static void large(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct actor *c = actor_start(3);
	size_t size = 4u << 20;
	int id = a_shmget(b, KEY(0), size, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_shmat(c, id, 0, 0);
	a_pread(a, 0, 0, size / 8);
	a_pread(b, 0, (long)size / 2, size / 8);
	a_sum(c, 0, 0, size);
	a_sum(a, 0, 0, size);
	a_shmdt(a, 0, 0);
	a_shmdt(b, 0, 0);
	a_sum(c, 0, 0, size);
}

const struct conformance_case shm_map_cases[] = {
	{"shm_map.protection", protection},
	{"shm_map.unmapping", unmapping},
	{"shm_map.something_else_over_it", something_else_over_it},
	{"shm_map.moving", moving},
	{"shm_map.advice", advice},
	{"shm_map.removing_pages", removing_pages},
	{"shm_map.buffers", buffers},
	{"shm_map.locked_memory", locked_memory},
	{"shm_map.reached_into", reached_into},
	{"shm_map.large", large},
	{0},
};
