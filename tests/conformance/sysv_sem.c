// SPDX-License-Identifier: BSD-2-Clause
// Semaphore calls: as the driver writes them, and as the actor makes them.
#include "tests/conformance/sysv.h"

#define SEMS_MAX 32000
#define OPS_MAX  1100

struct actor *A, *B, *C;

void three(void)
{
	A = actor_start(1);
	B = actor_start(2);
	C = actor_start(3);
}

int three_and_set(int nsems)
{
	three();
	return a_semget(A, KEY(1), nsems, IPC_CREAT | 0600, "set");
}

struct get_arg {
	key_t key;
	int nsems;
	int flags;
};

static long op_semget(void *blob, size_t len)
{
	struct get_arg *arg = blob;

	(void)len;
	return semget(arg->key, arg->nsems, arg->flags);
}

static const char *get_name;

static void show_get(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	/* what was found already has a name */
	if (strcmp(object_name(OBJECT_SEM, (int)ret), get_name) != 0)
		name_object(OBJECT_SEM, (int)ret, get_name);
	out("%s", get_name);
}

int a_semget(struct actor *a, key_t key, int nsems, int flags, const char *name)
{
	struct get_arg arg = {key, nsems, flags};

	get_name = name;
	return (int)act(a, op_semget, &arg, sizeof(arg), show_get,
			"semget(%s, %d, %s)", key_name(key), nsems,
			get_flags(flags));
}

/* ---- semop ----------------------------------------------------------------*/

struct op_arg {
	int id;
	int is_timed;
	size_t nsops;
	size_t nr; /* of ops[] */
	struct timespec timeout;
	struct pointer pointer;
	struct pointer timeout_pointer;
	struct sembuf ops[OPS_MAX];
};

static long op_semop(void *blob, size_t len)
{
	struct op_arg *arg = blob;
	struct sembuf *ops;
	struct timespec *timeout;

	(void)len;
	ops = pointer_place(arg->pointer, arg->ops,
			    arg->nr * sizeof(arg->ops[0]));
	if (!arg->is_timed)
		return semop(arg->id, ops, arg->nsops);
	timeout = pointer_place(arg->timeout_pointer, &arg->timeout,
				sizeof(arg->timeout));
	return semtimedop(arg->id, ops, arg->nsops, timeout);
}

static void print_ops(char *s, size_t size, const struct op_arg *arg)
{
	const struct sembuf *op = arg->ops;
	size_t at = 0;

	s[0] = 0;
	if (pointer_text(arg->pointer))
		at += (size_t)snprintf(s, size,
				       "%s: ", pointer_text(arg->pointer));
	for (size_t i = 0; i < arg->nr && i < 8; i++, op++) {
		at += (size_t)snprintf(s + at, size - at, "%s{%u,%d",
				       i ? " " : "", op->sem_num, op->sem_op);
		if (op->sem_flg)
			at += (size_t)snprintf(s + at, size - at, ",%s",
					       sem_flags(op->sem_flg));
		at += (size_t)snprintf(s + at, size - at, "}");
	}
	if (arg->nr > 8)
		at += (size_t)snprintf(s + at, size - at, " ...");
	if (arg->nr > 8 || arg->nr != arg->nsops)
		snprintf(s + at, size - at, ", %zu", arg->nsops);
}

static long run_semop(struct actor *a, struct op_arg *arg)
{
	static char ops[1000];
	char timeout[80] = "";
	const char *at;

	arg->pointer = take_pointer(a);
	arg->timeout_pointer = take_timeout_pointer(a);
	print_ops(ops, sizeof(ops), arg);
	at = pointer_text(arg->timeout_pointer);
	if (arg->is_timed && at)
		snprintf(timeout, sizeof(timeout), ", %s", at);
	else if (arg->is_timed)
		snprintf(timeout, sizeof(timeout), ", %ld s %ld ns",
			 (long)arg->timeout.tv_sec, arg->timeout.tv_nsec);
	return act(a, op_semop, arg,
		   offsetof(struct op_arg, ops) + arg->nr * sizeof(arg->ops[0]),
		   NULL, "%s(%s, %s%s)", arg->is_timed ? "semtimedop" : "semop",
		   object_name(OBJECT_SEM, arg->id), ops, timeout);
}

long a_semop_nr(struct actor *a, int id, const struct sembuf *ops, size_t nr,
		size_t nsops)
{
	static struct op_arg arg;

	if (nr > OPS_MAX)
		complain("too many operations");
	arg.id = id;
	arg.is_timed = 0;
	arg.nr = nr;
	arg.nsops = nsops;
	memcpy(arg.ops, ops, nr * sizeof(*ops));
	return run_semop(a, &arg);
}

long a_semop(struct actor *a, int id, const struct sembuf *ops, size_t nsops)
{
	return a_semop_nr(a, id, ops, nsops, nsops);
}

long a_semtimedop_spec(struct actor *a, int id, const struct sembuf *ops,
		       size_t nsops, struct timespec timeout)
{
	static struct op_arg arg;

	arg.id = id;
	arg.is_timed = 1;
	arg.nr = nsops;
	arg.nsops = nsops;
	arg.timeout = timeout;
	memcpy(arg.ops, ops, nsops * sizeof(*ops));
	return run_semop(a, &arg);
}

long a_semtimedop(struct actor *a, int id, const struct sembuf *ops,
		  size_t nsops, long timeout)
{
	struct timespec ts = {timeout / 1000, timeout % 1000 * 1000000};

	return a_semtimedop_spec(a, id, ops, nsops, ts);
}

/* ---- semctl ---------------------------------------------------------------*/

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

struct ctl_arg {
	int id;
	int num;
	int cmd;
	int value;
};

static long op_semctl(void *blob, size_t len)
{
	struct ctl_arg *arg = blob;
	union semun un = {.val = arg->value};

	(void)len;
	return semctl(arg->id, arg->num, arg->cmd, un);
}

long a_semctl(struct actor *a, int id, int num, int cmd, const char *cmd_name)
{
	struct ctl_arg arg = {id, num, cmd, 0};

	return act(a, op_semctl, &arg, sizeof(arg), NULL, "semctl(%s, %d, %s)",
		   object_name(OBJECT_SEM, id), num, cmd_name);
}

long a_getval(struct actor *a, int id, int num)
{
	return a_semctl(a, id, num, GETVAL, "GETVAL");
}

long a_getncnt(struct actor *a, int id, int num)
{
	return a_semctl(a, id, num, GETNCNT, "GETNCNT");
}

long a_getzcnt(struct actor *a, int id, int num)
{
	return a_semctl(a, id, num, GETZCNT, "GETZCNT");
}

static void show_pid(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	out("%s", pid_name((pid_t)ret));
}

long a_getpid(struct actor *a, int id, int num)
{
	struct ctl_arg arg = {id, num, GETPID, 0};

	return act(a, op_semctl, &arg, sizeof(arg), show_pid,
		   "semctl(%s, %d, GETPID)", object_name(OBJECT_SEM, id), num);
}

long a_setval(struct actor *a, int id, int num, int value)
{
	struct ctl_arg arg = {id, num, SETVAL, value};

	return act(a, op_semctl, &arg, sizeof(arg), NULL,
		   "semctl(%s, %d, SETVAL, %d)", object_name(OBJECT_SEM, id),
		   num, value);
}

long a_sem_rm(struct actor *a, int id)
{
	return a_semctl(a, id, 0, IPC_RMID, "IPC_RMID");
}

struct all_arg {
	int id;
	int nr;
	int cmd;
	struct pointer pointer;
	unsigned short values[SEMS_MAX];
};

static size_t all_len(const struct all_arg *arg)
{
	return offsetof(struct all_arg, values) +
	       (size_t)arg->nr * sizeof(arg->values[0]);
}

static long op_all(void *blob, size_t len)
{
	struct all_arg *arg = blob;
	union semun un;
	size_t size = (size_t)arg->nr * sizeof(arg->values[0]);
	long ret;
	int err;

	(void)len;
	un.array = pointer_place(arg->pointer, arg->values, size);
	ret = semctl(arg->id, 0, arg->cmd, un);
	err = errno;
	pointer_fetch(arg->pointer, un.array, arg->values, size);
	errno = err;
	return ret;
}

static void show_all(long ret, const void *blob, size_t len)
{
	const struct all_arg *arg = blob;

	(void)len;
	out("%ld:", ret);
	for (int i = 0, n; i < arg->nr; i += n) {
		for (n = 1; i + n < arg->nr; n++)
			if (arg->nr <= 16 ||
			    arg->values[i + n] != arg->values[i])
				break;
		if (n > 1)
			out(" %d times", n);
		out(" %d", arg->values[i]);
	}
}

static long run_all(struct actor *a, struct all_arg *arg, show_fn *show)
{
	const char *where;

	arg->pointer = take_pointer(a);
	where = pointer_text(arg->pointer);
	return act(a, op_all, arg, all_len(arg), show, "semctl(%s, %s%s%s)",
		   object_name(OBJECT_SEM, arg->id),
		   arg->cmd == GETALL ? "GETALL" : "SETALL", where ? ", " : "",
		   where ? where : "");
}

long a_getall(struct actor *a, int id, int nr)
{
	static struct all_arg arg;

	arg.id = id;
	arg.nr = nr;
	arg.cmd = GETALL;
	memset(arg.values, 0xff, (size_t)nr * sizeof(arg.values[0]));
	return run_all(a, &arg, show_all);
}

long a_setall(struct actor *a, int id, const unsigned short *values, size_t nr)
{
	static struct all_arg arg;

	arg.id = id;
	arg.nr = (int)nr;
	arg.cmd = SETALL;
	memcpy(arg.values, values, nr * sizeof(*values));
	return run_all(a, &arg, NULL);
}

struct stat_arg {
	int id;
	int cmd;
	struct pointer pointer;
	struct semid_ds ds;
};

static long op_stat(void *blob, size_t len)
{
	struct stat_arg *arg = blob;
	union semun un;
	long ret;
	int err;

	(void)len;
	un.buf = pointer_place(arg->pointer, &arg->ds, sizeof(arg->ds));
	ret = semctl(arg->id, 0, arg->cmd, un);
	err = errno;
	pointer_fetch(arg->pointer, un.buf, &arg->ds, sizeof(arg->ds));
	errno = err;
	return ret;
}

static void show_stat(long ret, const void *blob, size_t len)
{
	const struct stat_arg *arg = blob;
	const struct semid_ds *ds = &arg->ds;

	(void)len;
	out("%ld: %s %u:%u of %u:%u %#o nsems %lu otime %s ctime %s", ret,
	    key_name(ds->sem_perm.__key), ds->sem_perm.uid, ds->sem_perm.gid,
	    ds->sem_perm.cuid, ds->sem_perm.cgid, ds->sem_perm.mode,
	    ds->sem_nsems, time_name(ds->sem_otime), time_name(ds->sem_ctime));
}

static long run_stat(struct actor *a, struct stat_arg *arg, show_fn *show,
		     const char *text)
{
	const char *where;

	arg->pointer = take_pointer(a);
	where = pointer_text(arg->pointer);
	return act(a, op_stat, arg, sizeof(*arg), show, "semctl(%s, %s%s%s)",
		   object_name(OBJECT_SEM, arg->id), text, where ? ", " : "",
		   where ? where : "");
}

long a_sem_stat(struct actor *a, int id)
{
	struct stat_arg arg = {.id = id, .cmd = IPC_STAT};

	return run_stat(a, &arg, show_stat, "IPC_STAT");
}

long a_sem_set(struct actor *a, int id, uid_t uid, gid_t gid, int mode)
{
	struct stat_arg arg = {.id = id, .cmd = IPC_SET};
	char text[64];

	arg.ds.sem_perm.uid = uid;
	arg.ds.sem_perm.gid = gid;
	arg.ds.sem_perm.mode = (unsigned short)mode;
	snprintf(text, sizeof(text), "IPC_SET, %u:%u %#o", uid, gid,
		 (unsigned)mode);
	return run_stat(a, &arg, NULL, text);
}
