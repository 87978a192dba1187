/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exact KEY WHAT [ARG...]: one step of a case in exact.sh, where processes of
 * several nodes meet at one set of semaphores, one queue and one segment.
 */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "job.h"

#define NR_SEMS 3

static int sem_id(key_t key)
{
	int id = semget(key, NR_SEMS, IPC_CREAT | IPC_DIPC | 0666);

	if (id < 0)
		die("semget");
	return id;
}

static int msg_id(key_t key)
{
	int id = msgget(key, IPC_CREAT | IPC_DIPC | 0666);

	if (id < 0)
		die("msgget");
	return id;
}

static int shm_id(key_t key)
{
	int id = shmget(key, 4096, IPC_CREAT | IPC_DIPC | 0666);

	if (id < 0)
		die("shmget");
	return id;
}

static int step(int sem, int num, int op, int flags)
{
	struct sembuf sb = {.sem_num = (unsigned short)num,
			    .sem_op = (short)op,
			    .sem_flg = (short)flags};

	return semop(sem, &sb, 1);
}

static void make(key_t key)
{
	char *seg = shmat(shm_id(key), NULL, 0);

	if (seg == (void *)-1)
		die("shmat");
	(void)sem_id(key);
	(void)msg_id(key);
}

static void destroy(key_t key)
{
	if (semctl(sem_id(key), 0, IPC_RMID) ||
	    msgctl(msg_id(key), IPC_RMID, NULL) ||
	    shmctl(shm_id(key), IPC_RMID, NULL))
		die("IPC_RMID");
}

/* ---- whose process ------------------------------------------------------ */

static const struct {
	const char *name;
	int which;
} pids[] = {
	{"creator", DIPC_PID_SHM_CREATOR},
	{"last", DIPC_PID_SHM_LAST},
	{"sender", DIPC_PID_MSG_SENDER},
	{"receiver", DIPC_PID_MSG_RECEIVER},
	{"sem", DIPC_PID_SEM},
};

/* What the structures say of the same process. */
static int plain_pid(key_t key, int which, int num)
{
	struct shmid_ds shm = {0};
	struct msqid_ds msg = {0};

	switch (which) {
	case DIPC_PID_SHM_CREATOR:
	case DIPC_PID_SHM_LAST:
		if (shmctl(shm_id(key), IPC_STAT, &shm))
			die("shmctl");
		return which == DIPC_PID_SHM_CREATOR ? shm.shm_cpid
						     : shm.shm_lpid;
	case DIPC_PID_MSG_SENDER:
	case DIPC_PID_MSG_RECEIVER:
		if (msgctl(msg_id(key), IPC_STAT, &msg))
			die("msgctl");
		return which == DIPC_PID_MSG_SENDER ? msg.msg_lspid
						    : msg.msg_lrpid;
	default:
		return semctl(sem_id(key), num, GETPID);
	}
}

static void who(key_t key, const char *name, int num, int want)
{
	int id, node, pid = -1, which = 0;
	unsigned i;

	for (i = 0; i < sizeof(pids) / sizeof(pids[0]); i++)
		if (!strcmp(pids[i].name, name))
			which = pids[i].which;
	id = which == DIPC_PID_SEM ? sem_id(key)
	     : which == DIPC_PID_SHM_CREATOR || which == DIPC_PID_SHM_LAST
		     ? shm_id(key)
		     : msg_id(key);
	node = dipc_pid_node(id, which, num, &pid);
	if (node != want)
		die("%s is of node %d, not %d", name, node, want);
	if (pid != plain_pid(key, which, num))
		die("%s is %d, not %d", name, pid, plain_pid(key, which, num));
	if (!pid != !want)
		die("%s is %d of node %d", name, pid, want);
	if (dipc_pid_node(id, which, num, NULL) != want)
		die("without a pid");
}

static void expect(int ret, int want)
{
	if (ret != -1 || errno != want)
		die("%d instead of %s", ret, strerror(want));
}

static void who_errors(key_t key)
{
	int sem = sem_id(key), kernel, pid;

	expect(dipc_pid_node(sem, 0, 0, &pid), EINVAL);
	expect(dipc_pid_node(sem, DIPC_PID_MSG_SENDER, 0, &pid), EINVAL);
	expect(dipc_pid_node(sem, DIPC_PID_SEM, NR_SEMS, &pid), EINVAL);
	expect(dipc_pid_node(sem, DIPC_PID_SEM, -1, &pid), EINVAL);
	expect(dipc_pid_node(-1, DIPC_PID_SEM, 0, &pid), EINVAL);
	expect(dipc_pid_node(sem, DIPC_PID_SEM, 0, (int *)8), EFAULT);
	kernel = semget(IPC_PRIVATE, 1, 0600);
	if (kernel < 0)
		die("semget of the kernel");
	expect(dipc_pid_node(kernel, DIPC_PID_SEM, 0, &pid), EINVAL);
	if (semctl(kernel, 0, IPC_RMID))
		die("IPC_RMID of the kernel");
}

/* ---- steps -------------------------------------------------------------- */

static void message(key_t key, int is_send)
{
	struct {
		long type;
		char text[8];
	} m = {.type = 1};

	if (is_send ? msgsnd(msg_id(key), &m, sizeof(m.text), 0) < 0
		    : msgrcv(msg_id(key), &m, sizeof(m.text), 0, 0) < 0)
		die("message");
}

static void do_step(key_t key, int argc, char **argv)
{
	const char *what = argv[0];
	long n[3] = {0};
	int i;

	for (i = 1; i < argc && i < 4; i++)
		n[i - 1] = strcmp(what, "who") || i > 1 ? number(argv[i]) : 0;
	if (!strcmp(what, "make"))
		make(key);
	else if (!strcmp(what, "destroy"))
		destroy(key);
	else if (!strcmp(what, "op")) {
		if (step(sem_id(key), (int)n[0], (int)n[1], (int)n[2]))
			die("semop");
	} else if (!strcmp(what, "send"))
		message(key, 1);
	else if (!strcmp(what, "receive"))
		message(key, 0);
	else if (!strcmp(what, "who"))
		who(key, argv[1], (int)n[1], (int)n[2]);
	else if (!strcmp(what, "who_errors"))
		who_errors(key);
	else
		die("unknown: %s", what);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: exact KEY WHAT [ARG...]");
	do_step((key_t)number(argv[1]), argc - 2, argv + 2);
	return 0;
}
