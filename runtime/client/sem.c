/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/client.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <time.h>

#include "runtime/client/copy.h"
#include "runtime/client/stat.h"

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
	void *any;
};

DIPC_EXPORT int semget(key_t key, int nsems, int flags)
{
	int use;

	if (!dipc_keys_match(key, flags, false))
		return dipc_get_kernel(DIPC_KIND_SEM, key, (uint64_t)nsems,
				       flags);
	use = dipc_conn_use();
	if (use == 0)
		return dipc_get_kernel(DIPC_KIND_SEM, key, (uint64_t)nsems,
				       flags);
	if (use < 0)
		return (int)dipc_posix_ret(use);
	if (nsems < 0)
		return (int)dipc_posix_ret(-EINVAL);
	return (int)dipc_posix_ret(
		dipc_get(DIPC_KIND_SEM, key, (uint64_t)nsems, flags, NULL));
}

static uint64_t timeout_ns(const struct timespec *t)
{
	if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= 1000000000)
		return DIPC_TIMEOUT_BAD;
	if (t->tv_sec > 3000000000)
		return DIPC_TIMEOUT_NONE;
	return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

static int64_t sem_op(int id, struct sembuf *ops, size_t nr,
		      const struct timespec *timeout, uint32_t handlers)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_SEMOP,
				   .is_interruptible = true,
				   .handlers = handlers,
				   .is_users = true};
	struct timespec t;

	c.args.semop.timeout_ns = DIPC_TIMEOUT_NONE;
	if (timeout) {
		if (dipc_copy_in(&t, timeout, sizeof(t)))
			return -EFAULT;
		c.args.semop.timeout_ns = timeout_ns(&t);
	}
	nr = (uint32_t)nr; /* as the system call takes it */
	if (nr == 0)
		return -EINVAL;
	if (nr > DIPC_SLOT_PAYLOAD / sizeof(*ops))
		return -E2BIG;
	c.args.semop.id = id;
	c.args.semop.nr = (uint32_t)nr;
	c.in = ops;
	c.in_len = nr * sizeof(*ops);
	return dipc_slot_run(&c);
}

DIPC_EXPORT int semtimedop(int id, struct sembuf *ops, size_t nr,
			   const struct timespec *timeout)
{
	uint32_t handlers = dipc_handlers_run();
	int ours = dipc_id_is_ours(DIPC_KIND_SEM, id);

	if (ours == 0)
		return dipc_real()->semtimedop(id, ops, nr, timeout);
	if (ours < 0)
		return (int)dipc_posix_ret(ours);
	return (int)dipc_posix_ret(sem_op(id, ops, nr, timeout, handlers));
}

DIPC_EXPORT int semop(int id, struct sembuf *ops, size_t nr)
{
	uint32_t handlers = dipc_handlers_run();
	int ours = dipc_id_is_ours(DIPC_KIND_SEM, id);

	if (ours == 0)
		return dipc_real()->semop(id, ops, nr);
	if (ours < 0)
		return (int)dipc_posix_ret(ours);
	return (int)dipc_posix_ret(sem_op(id, ops, nr, NULL, handlers));
}

static int64_t sem_stat(int id, struct semid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct semid_ds ds;
	int64_t ret = dipc_ctl(DIPC_CALL_SEMCTL, id, IPC_STAT, &stat);

	if (ret < 0)
		return ret;
	dipc_stat_to_sem(&stat, &ds);
	return dipc_copy_out(buf, &ds, sizeof(ds));
}

static int64_t sem_set(int id, const struct semid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct semid_ds ds;

	if (dipc_copy_in(&ds, buf, sizeof(ds)))
		return -EFAULT;
	stat.uid = ds.sem_perm.uid;
	stat.gid = ds.sem_perm.gid;
	stat.mode = ds.sem_perm.mode & 0777;
	return dipc_ctl(DIPC_CALL_SEMCTL, id, IPC_SET, &stat);
}

/* SETALL and GETALL need to know how many there are. */
static int64_t sem_all(int id, int cmd, unsigned short *array)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_SEMCTL, .is_users = true};
	int64_t ret;

	c.args.ctl.id = id;
	c.args.ctl.cmd = cmd;
	if (cmd == GETALL) {
		c.out = array;
		c.out_max = DIPC_SLOT_PAYLOAD;
		return dipc_slot_run(&c);
	}
	/* without values it only answers how many there are */
	ret = dipc_slot_run(&c);
	if (ret < 0)
		return ret;
	c.in = array;
	c.in_len = (size_t)ret * sizeof(*array);
	return dipc_slot_run(&c);
}

static int64_t sem_ctl(int id, int num, int cmd, union semun arg)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_SEMCTL};
	int64_t ret;

	if (dipc_info_sem(id, cmd, arg.any, &ret))
		return ret;
	switch (cmd) {
	case IPC_STAT:
		return sem_stat(id, arg.buf);
	case IPC_SET:
		return sem_set(id, arg.buf);
	case IPC_RMID:
		return dipc_ctl(DIPC_CALL_SEMCTL, id, cmd, NULL);
	case SETALL:
	case GETALL:
		return sem_all(id, cmd, arg.array);
	default:
		c.args.ctl.id = id;
		c.args.ctl.cmd = cmd;
		c.args.ctl.num = num;
		c.args.ctl.value = cmd == SETVAL ? arg.val : 0;
		return dipc_slot_run(&c);
	}
}

DIPC_EXPORT int semctl(int id, int num, int cmd, ...)
{
	union semun arg;
	va_list ap;
	int ours;

	/* a caller may pass nothing; reading a register is harmless then */
	va_start(ap, cmd);
	arg = va_arg(ap, union semun);
	va_end(ap);
	ours = dipc_ctl_is_ours(DIPC_KIND_SEM, id, cmd);
	if (ours == 0)
		return dipc_real()->semctl(id, num, cmd, arg);
	if (ours < 0)
		return (int)dipc_posix_ret(ours);
	return (int)dipc_posix_ret(sem_ctl(id, num, cmd, arg));
}
