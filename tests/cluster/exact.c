/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exact KEY WHAT [ARG...]: one step of a case in exact.sh, where processes of
 * several nodes meet at one set of semaphores, one queue and one segment.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

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

/* ---- meeting ------------------------------------------------------------ */

static void tell(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0666);

	if (fd < 0)
		die("%s", path);
	close(fd);
}

static void await(const char *path)
{
	while (access(path, F_OK))
		usleep(1000);
}

/* With SEM_UNDO, until FILE.go is there. */
static void hold(key_t key, const char *file, int num, int op)
{
	char go[4096];

	if (step(sem_id(key), num, op, SEM_UNDO))
		die("semop");
	tell(file);
	snprintf(go, sizeof(go), "%s.go", file);
	await(go);
}

static void set_mode(key_t key, int mode)
{
	struct semid_ds ds;

	if (semctl(sem_id(key), 0, IPC_STAT, &ds))
		die("IPC_STAT");
	ds.sem_perm.mode = (unsigned short)mode;
	if (semctl(sem_id(key), 0, IPC_SET, &ds))
		die("IPC_SET");
}

/* Allowed; and after the step that makes FILE.go not any more, at once. */
static void shut_out(key_t key, const char *file)
{
	char go[4096];
	int sem;

	if (setgid(65534) || setuid(65534))
		die("setuid");
	sem = semget(key, 0, IPC_DIPC);
	if (sem < 0 || step(sem, 0, 1, 0))
		die("semop before");
	tell(file);
	snprintf(go, sizeof(go), "%s.go", file);
	/* Up and down: a value that only grew would meet SEMVMX (ERANGE). */
	for (int up = 1; access(go, F_OK); up = !up)
		if (step(sem, 0, up ? 1 : -1, 0) && errno != EACCES)
			die("semop meanwhile");
	expect(step(sem, 0, 1, 0), EACCES);
	expect(semctl(sem, 0, GETVAL), EACCES);
}

/* ---- the end of a process, as its parent sees it ------------------------ */

static void reap(pid_t pid)
{
	if (waitpid(pid, NULL, 0) != pid)
		die("waitpid");
}

static void child_ends(int sem, int how)
{
	pid_t pid = fork(), grandchild;

	if (pid < 0)
		die("fork");
	if (pid) {
		reap(pid);
		return;
	}
	if (step(sem, 0, 1, SEM_UNDO))
		die("semop of a child");
	switch (how) {
	case 0:
		kill(getpid(), SIGKILL);
		break;
	case 1: /* undo is not inherited, and the child lives on */
		grandchild = fork();
		if (grandchild == 0) {
			usleep(200000);
			_exit(0);
		}
		break;
	}
	_exit(0);
}

static void children(key_t key, int nr)
{
	int sem = sem_id(key), i;

	for (i = 0; i < nr; i++) {
		child_ends(sem, i % 3);
		switch (i % 4) {
		case 0:
			if (semctl(sem, 0, GETVAL))
				die("GETVAL after child %d", i);
			break;
		case 1:
			expect(step(sem, 0, -1, IPC_NOWAIT), EAGAIN);
			break;
		case 2:
			if (step(sem, 0, 0, IPC_NOWAIT))
				die("not 0 after child %d", i);
			break;
		case 3: {
			unsigned short all[NR_SEMS];

			if (semctl(sem, 0, GETALL, all) || all[0])
				die("GETALL after child %d", i);
			break;
		}
		}
	}
}

static void *thread_main(void *arg)
{
	if (step(*(int *)arg, 0, 2, SEM_UNDO))
		die("semop of a thread");
	return NULL;
}

/* Threads share what is to be undone; it outlives them, and exec. */
static void keeps_undo(key_t key, char **argv)
{
	int sem = sem_id(key), status;
	char text[32], what[] = "is_two";
	char *args[] = {argv[0], text, what, NULL};
	pthread_t thread;
	pid_t pid = fork();

	if (pid == 0) {
		if (pthread_create(&thread, NULL, thread_main, &sem) ||
		    pthread_join(thread, NULL))
			die("thread");
		snprintf(text, sizeof(text), "%d", (int)key);
		execv("/proc/self/exe", args);
		die("exec");
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("the child's status is 0x%x", status);
	if (semctl(sem, 0, GETVAL))
		die("not undone");
	if (semctl(sem, 0, GETPID) != pid)
		die("undone by %d, not %d", semctl(sem, 0, GETPID), pid);
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

static void value_is(key_t key, int num, int want)
{
	int got = semctl(sem_id(key), num, GETVAL);

	if (got != want)
		die("semaphore %d is %d, not %d", num, got, want);
}

static void do_step(key_t key, int argc, char **argv)
{
	const char *what = argv[2], *name = argc > 3 ? argv[3] : "";
	char *end;
	long n[3] = {0};
	int i;

	for (i = 3; i < argc && i < 6; i++)
		n[i - 3] = strtol(argv[i], &end, 0);
	if (!strcmp(what, "make"))
		make(key);
	else if (!strcmp(what, "destroy"))
		destroy(key);
	else if (!strcmp(what, "op")) {
		if (step(sem_id(key), (int)n[0], (int)n[1], (int)n[2]))
			die("semop");
	} else if (!strcmp(what, "set")) {
		if (semctl(sem_id(key), (int)n[0], SETVAL, (int)n[1]))
			die("SETVAL");
	} else if (!strcmp(what, "is"))
		value_is(key, (int)n[0], (int)n[1]);
	else if (!strcmp(what, "is_two"))
		value_is(key, 0, 2);
	else if (!strcmp(what, "send"))
		message(key, 1);
	else if (!strcmp(what, "receive"))
		message(key, 0);
	else if (!strcmp(what, "who"))
		who(key, name, (int)n[1], (int)n[2]);
	else if (!strcmp(what, "who_errors"))
		who_errors(key);
	else if (!strcmp(what, "hold"))
		hold(key, name, (int)n[1], (int)n[2]);
	else if (!strcmp(what, "mode"))
		set_mode(key, (int)n[0]);
	else if (!strcmp(what, "shut_out"))
		shut_out(key, name);
	else if (!strcmp(what, "children"))
		children(key, (int)n[0]);
	else if (!strcmp(what, "keeps_undo"))
		keeps_undo(key, argv);
	else
		die("unknown: %s", what);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: exact KEY WHAT [ARG...]");
	do_step((key_t)number(argv[1]), argc, argv);
	return 0;
}
