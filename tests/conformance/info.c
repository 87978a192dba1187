// SPDX-License-Identifier: BSD-2-Clause
// What a program sees of the whole system: *_INFO, *_STAT, *_STAT_ANY. Others
// may use the same kernel meanwhile, so of numbers only bounds are printed.
#include "tests/conformance/sysv.h"

#include <sys/shm.h>

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

static const char *const call_names[] = {"semctl", "msgctl", "shmctl"};

struct info_arg {
	enum object_kind kind;
	int id;
	int cmd;
	struct pointer pointer;
	union {
		struct shminfo shminfo;
		struct shm_info shm_info;
		struct shmid_ds shm;
		struct seminfo seminfo;
		struct semid_ds sem;
		struct msginfo msginfo;
		struct msqid_ds msg;
	} out;
};

static long ctl(enum object_kind kind, int id, int cmd, void *buf)
{
	switch (kind) {
	case OBJECT_SHM:
		return shmctl(id, cmd, buf);
	case OBJECT_SEM:
		return semctl(id, 0, cmd, buf);
	case OBJECT_MSG:
		return msgctl(id, cmd, buf);
	}
	return -1;
}

static long op_ctl(void *blob, size_t len)
{
	struct info_arg *arg = blob;
	void *buf = pointer_place(arg->pointer, &arg->out, sizeof(arg->out));
	long ret;

	(void)len;
	ret = ctl(arg->kind, arg->id, arg->cmd, buf);
	pointer_fetch(arg->pointer, buf, &arg->out, sizeof(arg->out));
	return ret;
}

static void show_limits(long ret, const void *blob, size_t len)
{
	const struct info_arg *arg = blob;

	(void)ret; /* the highest index in use */
	(void)len;
	switch (arg->kind) {
	case OBJECT_SHM:
		out("shmmax=%lu shmmin=%lu shmmni=%lu shmseg=%lu shmall=%lu",
		    arg->out.shminfo.shmmax, arg->out.shminfo.shmmin,
		    arg->out.shminfo.shmmni, arg->out.shminfo.shmseg,
		    arg->out.shminfo.shmall);
		return;
	case OBJECT_SEM:
		out("semmap=%d semmni=%d semmns=%d semmnu=%d semmsl=%d "
		    "semopm=%d semume=%d semvmx=%d",
		    arg->out.seminfo.semmap, arg->out.seminfo.semmni,
		    arg->out.seminfo.semmns, arg->out.seminfo.semmnu,
		    arg->out.seminfo.semmsl, arg->out.seminfo.semopm,
		    arg->out.seminfo.semume, arg->out.seminfo.semvmx);
		if (arg->cmd == IPC_INFO)
			out(" semusz=%d semaem=%d", arg->out.seminfo.semusz,
			    arg->out.seminfo.semaem);
		return;
	case OBJECT_MSG:
		out("msgmax=%d msgmnb=%d msgmni=%d msgssz=%d msgseg=%d",
		    arg->out.msginfo.msgmax, arg->out.msginfo.msgmnb,
		    arg->out.msginfo.msgmni, arg->out.msginfo.msgssz,
		    arg->out.msginfo.msgseg);
		if (arg->cmd == IPC_INFO)
			out(" msgpool=%d msgmap=%d msgtql=%d",
			    arg->out.msginfo.msgpool, arg->out.msginfo.msgmap,
			    arg->out.msginfo.msgtql);
		return;
	}
}

/* "enough": at least so much, and not more than all of a machine. */
static const char *at_least(unsigned long value, unsigned long least)
{
	return value >= least && value < 1ul << 31 ? "enough" : "too little";
}

static void show_use(long ret, const void *blob, size_t len)
{
	const struct info_arg *arg = blob;

	(void)ret;
	(void)len;
	switch (arg->kind) {
	case OBJECT_SHM:
		out("used_ids %s, shm_tot %s, attempts %lu, successes %lu",
		    at_least((unsigned long)arg->out.shm_info.used_ids, 2),
		    at_least(arg->out.shm_info.shm_tot, 1 + 25),
		    arg->out.shm_info.swap_attempts,
		    arg->out.shm_info.swap_successes);
		return;
	case OBJECT_SEM:
		out("semusz %s, semaem %s",
		    at_least((unsigned long)arg->out.seminfo.semusz, 2),
		    at_least((unsigned long)arg->out.seminfo.semaem, 5 + 7));
		return;
	case OBJECT_MSG:
		out("msgpool %s, msgmap %s, msgtql %s",
		    at_least((unsigned long)arg->out.msginfo.msgpool, 2),
		    at_least((unsigned long)arg->out.msginfo.msgmap, 3),
		    at_least((unsigned long)arg->out.msginfo.msgtql, 1000));
		return;
	}
}

static void show_perm(const struct ipc_perm *perm)
{
	out("key %s uid %d gid %d cuid %d cgid %d mode %04o",
	    key_name(perm->__key), perm->uid, perm->gid, perm->cuid, perm->cgid,
	    perm->mode);
}

static void show_object(long ret, const void *blob, size_t len)
{
	const struct info_arg *arg = blob;

	(void)len;
	out("%s: ", object_name(arg->kind, (int)ret));
	switch (arg->kind) {
	case OBJECT_SHM:
		show_perm(&arg->out.shm.shm_perm);
		out(" size %zu nattch %lu cpid %s lpid %s atime %s dtime %s "
		    "ctime %s",
		    arg->out.shm.shm_segsz,
		    (unsigned long)arg->out.shm.shm_nattch,
		    pid_name(arg->out.shm.shm_cpid),
		    pid_name(arg->out.shm.shm_lpid),
		    time_name(arg->out.shm.shm_atime),
		    time_name(arg->out.shm.shm_dtime),
		    time_name(arg->out.shm.shm_ctime));
		return;
	case OBJECT_SEM:
		show_perm(&arg->out.sem.sem_perm);
		out(" nsems %lu otime %s ctime %s",
		    (unsigned long)arg->out.sem.sem_nsems,
		    time_name(arg->out.sem.sem_otime),
		    time_name(arg->out.sem.sem_ctime));
		return;
	case OBJECT_MSG:
		show_perm(&arg->out.msg.msg_perm);
		out(" cbytes %lu qnum %lu qbytes %lu lspid %s lrpid %s stime "
		    "%s rtime %s ctime %s",
		    arg->out.msg.__msg_cbytes,
		    (unsigned long)arg->out.msg.msg_qnum,
		    (unsigned long)arg->out.msg.msg_qbytes,
		    pid_name(arg->out.msg.msg_lspid),
		    pid_name(arg->out.msg.msg_lrpid),
		    time_name(arg->out.msg.msg_stime),
		    time_name(arg->out.msg.msg_rtime),
		    time_name(arg->out.msg.msg_ctime));
		return;
	}
}

/* WHAT is printed for the identifier or index. */
static long a_info(struct actor *a, enum object_kind kind, int id,
		   const char *what, int cmd, const char *cmd_name,
		   show_fn *show)
{
	struct info_arg arg = {.kind = kind, .id = id, .cmd = cmd};
	const char *bad;

	arg.pointer = take_pointer(a);
	bad = pointer_text(arg.pointer);
	return act(a, op_ctl, &arg, sizeof(arg), show, "%s(%s, %s%s%s)",
		   call_names[kind], what, cmd_name, bad ? ", " : "",
		   bad ? bad : "");
}

#define INFO(a, kind, cmd, show) a_info(a, kind, 0, "0", cmd, #cmd, show)
#define STAT(a, kind, id, cmd)                                                 \
	a_info(a, kind, id, object_name(kind, id), cmd, #cmd, show_object)

/* ---- the walk that programs such as ipcs make ------------------------------*/

struct walk_arg {
	enum object_kind kind;
	int id;
	int info_cmd, stat_cmd;
};

static long op_walk(void *blob, size_t len)
{
	const struct walk_arg *arg = blob;
	struct info_arg buf;
	long i, max = ctl(arg->kind, 0, arg->info_cmd, &buf.out);

	(void)len;
	for (i = 0; i <= max; i++)
		if (ctl(arg->kind, (int)i, arg->stat_cmd, &buf.out) == arg->id)
			return arg->id;
	errno = ENOENT;
	return -1;
}

static enum object_kind walk_kind;

static void show_found(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	out("finds %s", object_name(walk_kind, (int)ret));
}

static void a_walk(struct actor *a, enum object_kind kind, int id, int info_cmd,
		   int stat_cmd)
{
	struct walk_arg arg = {kind, id, info_cmd, stat_cmd};

	walk_kind = kind;
	act(a, op_walk, &arg, sizeof(arg), show_found, "walks over all by %s",
	    call_names[kind]);
}

/* ---- objects ---------------------------------------------------------------*/

struct shmget_arg {
	key_t key;
	size_t size;
	int flags;
};

static long op_shmget(void *blob, size_t len)
{
	const struct shmget_arg *arg = blob;

	(void)len;
	return shmget(arg->key, arg->size, arg->flags);
}

static const char *segment_name;

static void show_segment(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	name_object(OBJECT_SHM, (int)ret, segment_name);
	out("%s", segment_name);
}

static int segment(struct actor *a, key_t key, size_t size, int flags,
		   const char *name)
{
	struct shmget_arg arg = {key, size, flags};

	segment_name = name;
	return (int)act(a, op_shmget, &arg, sizeof(arg), show_segment,
			"shmget(%s, %zu, %s)", key_name(key), size,
			get_flags(flags));
}

/* ---- cases -----------------------------------------------------------------*/

static void limits(void)
{
	for (int place = 1; place <= 3; place += 2) {
		struct actor *a = actor_start(place);

		INFO(a, OBJECT_SHM, IPC_INFO, show_limits);
		INFO(a, OBJECT_SEM, IPC_INFO, show_limits);
		INFO(a, OBJECT_SEM, SEM_INFO, show_limits);
		INFO(a, OBJECT_MSG, IPC_INFO, show_limits);
		INFO(a, OBJECT_MSG, MSG_INFO, show_limits);
	}
}

static void use(void)
{
	struct actor *a = actor_start(1), *b = actor_start(2);
	int queue, other;

	segment(a, KEY(1), 1, IPC_CREAT | 0600, "small");
	segment(b, KEY(2), 100000, IPC_CREAT | 0600, "large");
	a_semget(a, KEY(1), 5, IPC_CREAT | 0600, "five");
	a_semget(b, KEY(2), 7, IPC_CREAT | 0600, "seven");
	queue = a_msgget(a, KEY(1), IPC_CREAT | 0600, "queue");
	other = a_msgget(b, KEY(2), IPC_CREAT | 0600, "other");
	a_msgsnd_nr(b, queue, 1, 'a', 500, 0);
	a_msgsnd_nr(b, queue, 1, 'b', 0, 0);
	a_msgsnd_nr(a, other, 1, 'c', 500, 0);
	for (int i = 0; i < 2; i++) {
		INFO(a, OBJECT_SHM, SHM_INFO, show_use);
		INFO(a, OBJECT_SEM, SEM_INFO, show_use);
		INFO(a, OBJECT_MSG, MSG_INFO, show_use);
		a = actor_start(3);
	}
}

static void stat_by_index(void)
{
	struct actor *a = actor_start(1), *b = actor_start(3);
	int seg = segment(a, KEY(1), 5000, IPC_CREAT | 0640, "segment");
	int set = a_semget(a, KEY(1), 5, IPC_CREAT | 0600, "set");
	int queue = a_msgget(b, KEY(1), IPC_CREAT | 0644, "queue");

	a_msgsnd(a, queue, 3, "hello", 0);
	a_semop(b, set, OPS({2, 1, 0}));
	for (int i = 0; i < 2; i++) {
		a_walk(a, OBJECT_SHM, seg, IPC_INFO, SHM_STAT);
		a_walk(a, OBJECT_SHM, seg, SHM_INFO, SHM_STAT_ANY);
		a_walk(a, OBJECT_SEM, set, IPC_INFO, SEM_STAT);
		a_walk(a, OBJECT_SEM, set, SEM_INFO, SEM_STAT_ANY);
		a_walk(a, OBJECT_MSG, queue, IPC_INFO, MSG_STAT);
		a_walk(a, OBJECT_MSG, queue, MSG_INFO, MSG_STAT_ANY);
		/* of an identifier only the index in it counts */
		STAT(a, OBJECT_SHM, seg, SHM_STAT);
		STAT(a, OBJECT_SEM, set, SEM_STAT);
		STAT(a, OBJECT_MSG, queue, MSG_STAT);
		a = b;
	}
	a_sem_rm(a, set);
	STAT(b, OBJECT_SEM, set, SEM_STAT);
	STAT(b, OBJECT_SEM, set, SEM_STAT_ANY);
}

static void permission(void)
{
	struct actor *a = actor_start(1), *b = actor_start_uid(2, UID_1);
	int seg = segment(a, KEY(1), 5000, IPC_CREAT | 0600, "segment");
	int set = a_semget(a, KEY(1), 5, IPC_CREAT | 0620, "set");
	int queue = a_msgget(a, KEY(1), IPC_CREAT | 0604, "queue");

	STAT(b, OBJECT_SHM, seg, SHM_STAT);
	STAT(b, OBJECT_SHM, seg, SHM_STAT_ANY);
	STAT(b, OBJECT_SEM, set, SEM_STAT);
	STAT(b, OBJECT_SEM, set, SEM_STAT_ANY);
	STAT(b, OBJECT_MSG, queue, MSG_STAT);
	STAT(b, OBJECT_MSG, queue, MSG_STAT_ANY);
	INFO(b, OBJECT_SHM, IPC_INFO, show_limits);
}

static void bad(void)
{
	struct actor *a = actor_start(1);
	int seg = segment(a, KEY(1), 5000, IPC_CREAT | 0600, "segment");
	int set = a_semget(a, KEY(1), 5, IPC_CREAT | 0600, "set");
	int queue = a_msgget(a, KEY(1), IPC_CREAT | 0600, "queue");
	static const enum where places[] = {AT_NULL, AT_UNMAPPED, AT_READONLY};

	a_info(a, OBJECT_SHM, -1, "-1", IPC_INFO, "IPC_INFO", show_limits);
	a_info(a, OBJECT_SHM, -1, "-1", SHM_STAT, "SHM_STAT", show_object);
	a_info(a, OBJECT_SEM, -1, "-1", SEM_INFO, "SEM_INFO", show_limits);
	a_info(a, OBJECT_SEM, -1, "-1", SEM_STAT, "SEM_STAT", show_object);
	a_info(a, OBJECT_MSG, -1, "-1", MSG_INFO, "MSG_INFO", show_limits);
	a_info(a, OBJECT_MSG, -1, "-1", MSG_STAT, "MSG_STAT", show_object);
	a_info(a, OBJECT_SHM, 31999, "31999", SHM_STAT, "SHM_STAT",
	       show_object);
	a_info(a, OBJECT_SEM, 31999, "31999", SEM_STAT_ANY, "SEM_STAT_ANY",
	       show_object);
	a_info(at(a, AT_NULL), OBJECT_MSG, 31999, "31999", MSG_STAT, "MSG_STAT",
	       show_object);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		INFO(at(a, places[i]), OBJECT_SHM, IPC_INFO, show_limits);
		INFO(at(a, places[i]), OBJECT_SHM, SHM_INFO, show_limits);
		INFO(at(a, places[i]), OBJECT_SEM, SEM_INFO, show_limits);
		INFO(at(a, places[i]), OBJECT_MSG, MSG_INFO, show_limits);
		STAT(at(a, places[i]), OBJECT_SHM, seg, SHM_STAT);
		STAT(at(a, places[i]), OBJECT_SEM, set, SEM_STAT);
		STAT(at(a, places[i]), OBJECT_MSG, queue, MSG_STAT);
	}
}

const struct conformance_case info_cases[] = {
	{"info.limits", limits},
	{"info.use", use},
	{"info.stat_by_index", stat_by_index},
	{"info.permission", permission},
	{"info.bad", bad},
	{0},
};
