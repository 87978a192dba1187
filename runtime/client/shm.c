/* SPDX-License-Identifier: BSD-2-Clause */
/* shmget and shmctl; shmat and shmdt are in attach.c. */
#include "runtime/client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "runtime/client/copy.h"
#include "runtime/client/stat.h"

DIPC_EXPORT int shmget(key_t key, size_t size, int flags)
{
	int use;

	if (!dipc_keys_match(key, flags, true))
		return dipc_get_kernel(DIPC_KIND_SHM, key, size, flags);
	use = dipc_conn_use();
	if (use == 0)
		return dipc_get_kernel(DIPC_KIND_SHM, key, size, flags);
	if (use < 0)
		return (int)dipc_posix_ret(use);
	return (int)dipc_posix_ret(dipc_get(DIPC_KIND_SHM, key, size, flags));
}

/* ---- control ------------------------------------------------------------ */

static int64_t shm_stat(int id, struct shmid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct shmid_ds ds;
	int64_t ret = dipc_ctl(DIPC_CALL_SHMCTL, id, IPC_STAT, &stat);

	if (ret < 0)
		return ret;
	dipc_stat_to_shm(&stat, &ds);
	return dipc_copy_out(buf, &ds, sizeof(ds));
}

static int64_t shm_set(int id, const struct shmid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct shmid_ds ds;

	if (dipc_copy_in(&ds, buf, sizeof(ds)))
		return -EFAULT;
	stat.uid = ds.shm_perm.uid;
	stat.gid = ds.shm_perm.gid;
	stat.mode = ds.shm_perm.mode & 0777;
	return dipc_ctl(DIPC_CALL_SHMCTL, id, IPC_SET, &stat);
}

static int64_t shm_ctl(int id, int cmd, struct shmid_ds *ds)
{
	int64_t ret;

	if (dipc_info_shm(id, cmd, ds, &ret))
		return ret;
	switch (cmd) {
	case IPC_STAT:
		return shm_stat(id, ds);
	case IPC_SET:
		return shm_set(id, ds);
	default:
		return dipc_ctl(DIPC_CALL_SHMCTL, id, cmd, NULL);
	}
}

DIPC_EXPORT int shmctl(int id, int cmd, struct shmid_ds *ds)
{
	int ours = dipc_ctl_is_ours(DIPC_KIND_SHM, id, cmd);

	if (ours == 0)
		return dipc_real()->shmctl(id, cmd, ds);
	if (ours < 0)
		return (int)dipc_posix_ret(ours);
	return (int)dipc_posix_ret(shm_ctl(id, cmd, ds));
}
