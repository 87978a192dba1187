// SPDX-License-Identifier: BSD-2-Clause
// Queue calls: as the driver writes them, and as the actor makes them.
#include "tests/conformance/sysv.h"

#define TEXT_MAX 70000

struct get_arg {
	key_t key;
	int flags;
};

static long op_msgget(void *blob, size_t len)
{
	struct get_arg *arg = blob;

	(void)len;
	return msgget(arg->key, arg->flags);
}

static const char *get_name;

static void show_get(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	if (strcmp(object_name(OBJECT_MSG, (int)ret), get_name) != 0)
		name_object(OBJECT_MSG, (int)ret, get_name);
	out("%s", get_name);
}

int a_msgget(struct actor *a, key_t key, int flags, const char *name)
{
	struct get_arg arg = {key, flags};

	get_name = name;
	return (int)act(a, op_msgget, &arg, sizeof(arg), show_get,
			"msgget(%s, %s)", key_name(key), get_flags(flags));
}

int three_and_queue(void)
{
	three();
	return a_msgget(A, KEY(1), IPC_CREAT | 0600, "queue");
}

/* ---- msgsnd, msgrcv -------------------------------------------------------*/

struct msg_arg {
	int id;
	int flags;
	size_t size;
	long type; /* that is asked for */
	struct pointer pointer;
	size_t text_len;
	/* what the call sees */
	long mtype;
	char text[TEXT_MAX];
};

static size_t msg_len(const struct msg_arg *arg)
{
	return offsetof(struct msg_arg, text) + arg->text_len;
}

static long op_msgsnd(void *blob, size_t len)
{
	struct msg_arg *arg = blob;
	const void *msg;

	(void)len;
	msg = pointer_place(arg->pointer, &arg->mtype,
			    sizeof(arg->mtype) + arg->text_len);
	return msgsnd(arg->id, msg, arg->size, arg->flags);
}

static long op_msgrcv(void *blob, size_t len)
{
	struct msg_arg *arg = blob;
	size_t size = sizeof(arg->mtype) + arg->text_len;
	long ret;
	void *msg;
	int err;

	(void)len;
	msg = pointer_place(arg->pointer, &arg->mtype, size);
	ret = msgrcv(arg->id, msg, arg->size, arg->type, arg->flags);
	err = errno;
	pointer_fetch(arg->pointer, msg, &arg->mtype, size);
	errno = err;
	return ret;
}

static long run_msgsnd(struct actor *a, struct msg_arg *arg)
{
	const char *where;
	char size[32] = "";

	arg->pointer = take_pointer(a);
	where = pointer_text(arg->pointer);
	if (arg->size != arg->text_len)
		snprintf(size, sizeof(size), ", %zd", arg->size);
	return act(a, op_msgsnd, arg, msg_len(arg), NULL,
		   "msgsnd(%s, %s%s%ld %s%s, %s)",
		   object_name(OBJECT_MSG, arg->id), where ? where : "",
		   where ? ": " : "", arg->mtype,
		   text_name(arg->text, arg->text_len), size,
		   msg_flags(arg->flags));
}

long a_msgsnd(struct actor *a, int id, long type, const char *text, int flags)
{
	static struct msg_arg arg;

	arg.id = id;
	arg.flags = flags;
	arg.size = strlen(text);
	arg.text_len = arg.size;
	arg.mtype = type;
	memcpy(arg.text, text, arg.size);
	return run_msgsnd(a, &arg);
}

long a_msgsnd_nr(struct actor *a, int id, long type, char letter, size_t size,
		 int flags)
{
	static struct msg_arg arg;

	arg.id = id;
	arg.flags = flags;
	arg.size = size;
	arg.text_len = size <= TEXT_MAX ? size : 8;
	arg.mtype = type;
	memset(arg.text, letter, arg.text_len);
	return run_msgsnd(a, &arg);
}

static void show_msg(long ret, const void *blob, size_t len)
{
	const struct msg_arg *arg = blob;

	(void)len;
	out("%ld: %ld %s", ret, arg->mtype,
	    text_name(arg->text, (size_t)ret <= arg->text_len ? (size_t)ret
							      : arg->text_len));
}

long a_msgrcv(struct actor *a, int id, size_t size, long type, int flags)
{
	static struct msg_arg arg;
	const char *where;

	arg.id = id;
	arg.flags = flags;
	arg.size = size;
	arg.type = type;
	arg.text_len = size <= TEXT_MAX ? size : 8;
	arg.pointer = take_pointer(a);
	arg.mtype = -7;
	memset(arg.text, '?', arg.text_len);
	where = pointer_text(arg.pointer);
	return act(a, op_msgrcv, &arg, msg_len(&arg), show_msg,
		   "msgrcv(%s, %s%s%zd, %ld, %s)", object_name(OBJECT_MSG, id),
		   where ? where : "", where ? ", " : "", size, type,
		   msg_flags(flags));
}

/* ---- msgctl ---------------------------------------------------------------*/

struct ctl_arg {
	int id;
	int cmd;
	struct pointer pointer;
	struct msqid_ds ds;
};

static long op_msgctl(void *blob, size_t len)
{
	struct ctl_arg *arg = blob;
	struct msqid_ds *ds;
	long ret;
	int err;

	(void)len;
	ds = pointer_place(arg->pointer, &arg->ds, sizeof(arg->ds));
	ret = msgctl(arg->id, arg->cmd, ds);
	err = errno;
	pointer_fetch(arg->pointer, ds, &arg->ds, sizeof(arg->ds));
	errno = err;
	return ret;
}

static void show_stat(long ret, const void *blob, size_t len)
{
	const struct ctl_arg *arg = blob;
	const struct msqid_ds *ds = &arg->ds;
	const struct ipc_perm *perm = &ds->msg_perm;

	(void)len;
	out("%ld: %s %u:%u of %u:%u %#o qnum %lu cbytes %lu qbytes %lu "
	    "lspid %s lrpid %s stime %s rtime %s ctime %s",
	    ret, key_name(perm->__key), perm->uid, perm->gid, perm->cuid,
	    perm->cgid, perm->mode, ds->msg_qnum, ds->__msg_cbytes,
	    ds->msg_qbytes, pid_name(ds->msg_lspid), pid_name(ds->msg_lrpid),
	    time_name(ds->msg_stime), time_name(ds->msg_rtime),
	    time_name(ds->msg_ctime));
}

static void show_use(long ret, const void *blob, size_t len)
{
	const struct ctl_arg *arg = blob;
	const struct msqid_ds *ds = &arg->ds;

	(void)len;
	out("%ld: qnum %lu cbytes %lu lspid %s lrpid %s", ret, ds->msg_qnum,
	    ds->__msg_cbytes, pid_name(ds->msg_lspid), pid_name(ds->msg_lrpid));
}

static void show_count(long ret, const void *blob, size_t len)
{
	const struct ctl_arg *arg = blob;

	(void)len;
	out("%ld: qnum %lu cbytes %lu", ret, arg->ds.msg_qnum,
	    arg->ds.__msg_cbytes);
}

static long run_msgctl(struct actor *a, struct ctl_arg *arg, show_fn *show,
		       const char *text)
{
	const char *where;

	arg->pointer = take_pointer(a);
	where = pointer_text(arg->pointer);
	return act(a, op_msgctl, arg, sizeof(*arg), show, "msgctl(%s, %s%s%s)",
		   object_name(OBJECT_MSG, arg->id), text, where ? ", " : "",
		   where ? where : "");
}

long a_msg_stat(struct actor *a, int id)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_STAT};

	return run_msgctl(a, &arg, show_stat, "IPC_STAT");
}

long a_msg_use(struct actor *a, int id)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_STAT};

	return run_msgctl(a, &arg, show_use, "IPC_STAT");
}

long a_msg_count(struct actor *a, int id)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_STAT};

	return run_msgctl(a, &arg, show_count, "IPC_STAT");
}

long a_msg_set(struct actor *a, int id, uid_t uid, gid_t gid, int mode,
	       size_t qbytes)
{
	struct ctl_arg arg = {.id = id, .cmd = IPC_SET};
	char text[100];

	arg.ds.msg_perm.uid = uid;
	arg.ds.msg_perm.gid = gid;
	arg.ds.msg_perm.mode = (unsigned short)mode;
	arg.ds.msg_qbytes = qbytes;
	snprintf(text, sizeof(text), "IPC_SET, %u:%u %#o qbytes %zu", uid, gid,
		 (unsigned)mode, qbytes);
	return run_msgctl(a, &arg, NULL, text);
}

long a_msg_rm(struct actor *a, int id)
{
	return a_msgctl(a, id, IPC_RMID, "IPC_RMID");
}

long a_msgctl(struct actor *a, int id, int cmd, const char *cmd_name)
{
	struct ctl_arg arg = {.id = id, .cmd = cmd};

	return run_msgctl(a, &arg, NULL, cmd_name);
}
