/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include "runtime/client/copy.h"
#include "runtime/client/stat.h"

#define COPY_READS 8192u /* msgmax, as the kernel begins with */

DIPC_EXPORT int msgget(key_t key, int flags)
{
	int use;

	if (!dipc_keys_match(key, flags, false))
		return dipc_get_kernel(DIPC_KIND_MSG, key, 0, flags);
	use = dipc_conn_use();
	if (use == 0)
		return dipc_get_kernel(DIPC_KIND_MSG, key, 0, flags);
	if (use < 0)
		return (int)dipc_posix_ret(use);
	return (int)dipc_posix_ret(
		dipc_get(DIPC_KIND_MSG, key, 0, flags, NULL));
}

static int64_t msg_send(int id, const void *msgp, size_t size, int flags,
			uint32_t handlers)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_MSGSND,
				   .is_interruptible = true,
				   .is_cancel_point = true,
				   .handlers = handlers};
	long type;

	if (dipc_copy_in(&type, msgp, sizeof(type)))
		return -EFAULT;
	if (size > DIPC_SLOT_PAYLOAD)
		return -EINVAL; /* beyond any msgmax */
	if (type < 1)
		return -EINVAL;
	c.args.msg.id = id;
	c.args.msg.flags = flags;
	c.args.msg.type = type;
	c.args.msg.size = size;
	c.is_users = true;
	c.in = (const char *)msgp + sizeof(type);
	c.in_len = size;
	return dipc_slot_run(&c);
}

DIPC_EXPORT int msgsnd(int id, const void *msgp, size_t size, int flags)
{
	uint32_t handlers = dipc_handlers_run();
	int ours = dipc_id_is_ours(DIPC_KIND_MSG, id);

	if (ours == 0)
		return dipc_real()->msgsnd(id, msgp, size, flags);
	if (ours < 0)
		return (int)dipc_posix_ret(ours);
	return (int)dipc_posix_ret(msg_send(id, msgp, size, flags, handlers));
}

/* MSG_COPY: the kernel reads the room for the text before it looks for one. */
static int copy_room(const void *msgp, size_t size)
{
	const char *at = msgp;
	char part[256];

	if (size > COPY_READS)
		size = COPY_READS;
	while (size) {
		size_t n = size < sizeof(part) ? size : sizeof(part);

		if (dipc_copy_in(part, at, n))
			return -EFAULT;
		at += n;
		size -= n;
	}
	return 0;
}

static int64_t msg_receive(int id, void *msgp, size_t size, long type,
			   int flags, uint32_t handlers)
{
	struct dipc_slot_call c = {.call = DIPC_CALL_MSGRCV,
				   .is_interruptible = true,
				   .is_cancel_point = true,
				   .handlers = handlers,
				   .is_users = true,
				   .has_type = true};

	if ((ssize_t)size < 0)
		return -EINVAL;
	if ((flags & MSG_COPY) && (flags & IPC_NOWAIT) &&
	    !(flags & MSG_EXCEPT) && copy_room(msgp, size))
		return -EFAULT;
	c.args.msg.id = id;
	c.args.msg.flags = flags;
	c.args.msg.type = type;
	c.args.msg.size = size;
	c.out = msgp;
	c.out_max = size;
	return dipc_slot_run(&c);
}

DIPC_EXPORT ssize_t msgrcv(int id, void *msgp, size_t size, long type,
			   int flags)
{
	uint32_t handlers = dipc_handlers_run();
	int ours = dipc_id_is_ours(DIPC_KIND_MSG, id);

	if (ours == 0)
		return dipc_real()->msgrcv(id, msgp, size, type, flags);
	if (ours < 0)
		return dipc_posix_ret(ours);
	return dipc_posix_ret(
		msg_receive(id, msgp, size, type, flags, handlers));
}

static int64_t msg_stat(int id, struct msqid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct msqid_ds ds;
	int64_t ret = dipc_ctl(DIPC_CALL_MSGCTL, id, IPC_STAT, &stat);

	if (ret < 0)
		return ret;
	dipc_stat_to_msg(&stat, &ds);
	return dipc_copy_out(buf, &ds, sizeof(ds));
}

static int64_t msg_set(int id, const struct msqid_ds *buf)
{
	struct dipc_stat stat = {0};
	struct msqid_ds ds;

	if (dipc_copy_in(&ds, buf, sizeof(ds)))
		return -EFAULT;
	stat.uid = ds.msg_perm.uid;
	stat.gid = ds.msg_perm.gid;
	stat.mode = ds.msg_perm.mode & 0777;
	stat.size = ds.msg_qbytes;
	return dipc_ctl(DIPC_CALL_MSGCTL, id, IPC_SET, &stat);
}

static int64_t msg_ctl(int id, int cmd, struct msqid_ds *ds)
{
	int64_t ret;

	if (dipc_info_msg(id, cmd, ds, &ret))
		return ret;
	switch (cmd) {
	case IPC_STAT:
		return msg_stat(id, ds);
	case IPC_SET:
		return msg_set(id, ds);
	default:
		return dipc_ctl(DIPC_CALL_MSGCTL, id, cmd, NULL);
	}
}

DIPC_EXPORT int msgctl(int id, int cmd, struct msqid_ds *ds)
{
	int ours = dipc_ctl_is_ours(DIPC_KIND_MSG, id, cmd);

	if (ours == 0)
		return dipc_real()->msgctl(id, cmd, ds);
	if (ours < 0)
		return (int)dipc_posix_ret(ours);
	return (int)dipc_posix_ret(msg_ctl(id, cmd, ds));
}
