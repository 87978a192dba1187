/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Identifiers of the kernel's objects that look like ours: those with
 * DIPC_ID_MARK, which the kernel gives when it has made very many objects, or
 * was told to (kernel.sem_next_id and its like). This process has them from
 * the kernel, so they are the kernel's; and where a number names an object of
 * each, the newer one of the two is made again under another.
 *
 * Memory ordering: entries are words of their own, relaxed. Who was given an
 * identifier by another thread was given the entry with it.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define KERNELS_MAX 256u /* remembered; then the oldest is forgotten */
#define TRIES_MAX   8u

static _Atomic uint64_t kernels[KERNELS_MAX]; /* kind << 32 | id */
static _Atomic unsigned nr_kernels;

static bool id_is_marked(int id)
{
	return id >= 0 && ((uint32_t)id & DIPC_ID_MARK);
}

static _Atomic uint64_t *kernels_find(enum dipc_kind kind, int id)
{
	uint64_t name = (uint64_t)kind << 32 | (uint32_t)id;
	unsigned i,
		nr = atomic_load_explicit(&nr_kernels, memory_order_relaxed);

	for (i = 0; i < nr && i < KERNELS_MAX; i++)
		if (atomic_load_explicit(&kernels[i], memory_order_relaxed) ==
		    name)
			return &kernels[i];
	return NULL;
}

static void kernels_add(enum dipc_kind kind, int id)
{
	unsigned i;

	if (kernels_find(kind, id))
		return;
	i = atomic_fetch_add_explicit(&nr_kernels, 1, memory_order_relaxed);
	atomic_store_explicit(&kernels[i % KERNELS_MAX],
			      (uint64_t)kind << 32 | (uint32_t)id,
			      memory_order_relaxed);
}

int dipc_id_is_ours(enum dipc_kind kind, int id)
{
	if (!id_is_marked(id) || kernels_find(kind, id))
		return 0;
	return dipc_conn_use();
}

/* ---- both sides of a kind ----------------------------------------------- */

static int kernel_get(enum dipc_kind kind, key_t key, uint64_t size, int flags)
{
	if (kind == DIPC_KIND_SHM)
		return dipc_real()->shmget(key, size, flags);
	if (kind == DIPC_KIND_SEM)
		return dipc_real()->semget(key, (int)size, flags);
	return dipc_real()->msgget(key, flags);
}

static void kernel_remove(enum dipc_kind kind, int id)
{
	if (kind == DIPC_KIND_SHM)
		dipc_real()->shmctl(id, IPC_RMID, NULL);
	else if (kind == DIPC_KIND_SEM)
		dipc_real()->semctl(id, 0, IPC_RMID);
	else
		dipc_real()->msgctl(id, IPC_RMID, NULL);
}

static bool kernel_has(enum dipc_kind kind, int id)
{
	union {
		struct shmid_ds shm;
		struct semid_ds sem;
		struct msqid_ds msg;
	} ds;
	int ret, saved = errno;

	if (kind == DIPC_KIND_SHM)
		ret = dipc_real()->shmctl(id, IPC_STAT, &ds.shm);
	else if (kind == DIPC_KIND_SEM)
		ret = dipc_real()->semctl(id, 0, IPC_STAT, &ds.sem);
	else
		ret = dipc_real()->msgctl(id, IPC_STAT, &ds.msg);
	if (ret < 0 && errno == EACCES)
		ret = 0;
	errno = saved;
	return ret == 0;
}

static enum dipc_local_call own_ctl(enum dipc_kind kind)
{
	return kind == DIPC_KIND_SHM   ? DIPC_CALL_SHMCTL
	       : kind == DIPC_KIND_SEM ? DIPC_CALL_SEMCTL
				       : DIPC_CALL_MSGCTL;
}

static enum dipc_local_call own_get(enum dipc_kind kind)
{
	return kind == DIPC_KIND_SHM   ? DIPC_CALL_SHMGET
	       : kind == DIPC_KIND_SEM ? DIPC_CALL_SEMGET
				       : DIPC_CALL_MSGGET;
}

static bool own_has(enum dipc_kind kind, int id)
{
	struct dipc_stat stat;
	int64_t ret;

	if (dipc_conn_use() <= 0)
		return false;
	ret = dipc_ctl(own_ctl(kind), id, IPC_STAT, &stat);
	return ret == 0 || ret == -EACCES;
}

/* ---- getting ------------------------------------------------------------ */

/* Was what such a call answers made by it? */
static bool get_makes(key_t key, int flags)
{
	return key == IPC_PRIVATE ||
	       (flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL);
}

static int64_t get_gives_up(void)
{
	dipc_conn_complain("an object of the kernel and one of the cluster "
			   "have the same identifier: remove one of them");
	return -ENOSPC;
}

int dipc_get_kernel(enum dipc_kind kind, key_t key, uint64_t size, int flags)
{
	unsigned tries;
	int id;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		id = kernel_get(kind, key, size, flags);
		if (!id_is_marked(id))
			return id;
		if (!own_has(kind, id)) {
			kernels_add(kind, id);
			return id;
		}
		if (!get_makes(key, flags))
			break;
		kernel_remove(kind, id);
	}
	return (int)dipc_posix_ret(get_gives_up());
}

int64_t dipc_get(enum dipc_kind kind, key_t key, uint64_t size, int flags,
		 const struct dipc_policy *policy)
{
	_Atomic uint64_t *kernels_entry;
	struct dipc_slot_call c = {.call = own_get(kind)};
	unsigned tries;
	int64_t id;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		c.args.get.key = key;
		c.args.get.flags = flags;
		c.args.get.size = size;
		c.args.get.policy = policy ? *policy : (struct dipc_policy){0};
		id = dipc_slot_run(&c);
		kernels_entry = id < 0 ? NULL : kernels_find(kind, (int)id);
		if (!kernels_entry)
			return id;
		if (!kernel_has(kind, (int)id)) {
			atomic_store_explicit(kernels_entry, 0,
					      memory_order_relaxed);
			return id;
		}
		if (!get_makes(key, flags))
			break;
		(void)dipc_ctl(own_ctl(kind), (int)id, IPC_RMID, NULL);
	}
	return get_gives_up();
}
