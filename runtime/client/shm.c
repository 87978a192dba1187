/* SPDX-License-Identifier: BSD-2-Clause */
/* shmget, dipc_shmget and shmctl; shmat and shmdt are in attach.c. */
#include "runtime/client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "dipc/dipc.h"
#include "runtime/client/copy.h"
#include "runtime/client/stat.h"

/* POLICY: NULL: nothing is said. */
static int shm_get(key_t key, size_t size, int flags,
		   const struct dipc_policy *policy)
{
	int use;

	if (!dipc_keys_match(key, flags, true))
		return dipc_get_kernel(DIPC_KIND_SHM, key, size, flags);
	use = dipc_conn_use();
	if (use == 0)
		return dipc_get_kernel(DIPC_KIND_SHM, key, size, flags);
	if (use < 0)
		return (int)dipc_posix_ret(use);
	return (int)dipc_posix_ret(
		dipc_get(DIPC_KIND_SHM, key, size, flags, policy));
}

DIPC_EXPORT int shmget(key_t key, size_t size, int flags)
{
	return shm_get(key, size, flags, NULL);
}

/* ---- options ------------------------------------------------------------ */

/* The public numbers are ours. */
static_assert(DIPC_HOMES_CREATOR == DIPC_POLICY_CREATOR &&
		      DIPC_HOMES_SPREAD == DIPC_POLICY_SPREAD,
	      "dipc.h");

/* Those of a program that was built with an earlier or later dipc.h, too. */
static int options_read(struct dipc_shm_options *o,
			const struct dipc_shm_options *user)
{
	static const size_t first = sizeof(o->size) + sizeof(o->homes);
	size_t size;

	memset(o, 0, sizeof(*o));
	if (dipc_copy_in(&size, &user->size, sizeof(size)))
		return -EFAULT;
	/* of a later one we know nothing: what is new there must be 0 */
	if (size < first || size > 4096)
		return -EINVAL;
	if (size > sizeof(*o)) {
		uint8_t rest[4096];
		size_t i, len = size - sizeof(*o);

		if (dipc_copy_in(rest, user + 1, len))
			return -EFAULT;
		for (i = 0; i < len; i++)
			if (rest[i])
				return -E2BIG;
		size = sizeof(*o);
	}
	return dipc_copy_in(o, user, size) ? -EFAULT : 0;
}

static int options_policy(const struct dipc_shm_options *o,
			  struct dipc_policy *policy)
{
	*policy = (struct dipc_policy){.homes = (uint8_t)o->homes};
	if (o->homes < 0 || o->homes >= DIPC_POLICY_HOMES_NR)
		return -EINVAL;
	if (o->transfer_unit == DIPC_UNIT_SEGMENT)
		policy->unit = DIPC_POLICY_UNIT_WHOLE;
	else
		policy->unit = dipc_policy_unit_of(o->transfer_unit);
	policy->block_chunks = dipc_policy_block_of(o->home_block);
	return (o->transfer_unit && !policy->unit) ||
			       (o->home_block && !policy->block_chunks)
		       ? -EINVAL
		       : 0;
}

DIPC_EXPORT int dipc_shmget(key_t key, size_t size, int flags,
			    const struct dipc_shm_options *options)
{
	struct dipc_policy policy = {0};
	struct dipc_shm_options o;
	int ret = 0;

	if (options)
		ret = options_read(&o, options);
	if (options && ret == 0)
		ret = options_policy(&o, &policy);
	if (ret)
		return (int)dipc_posix_ret(ret);
	return shm_get(key, size, flags | IPC_DIPC, &policy);
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
