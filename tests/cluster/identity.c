/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A root program that becomes somebody else, and back. Each case prints nothing
 * and exits with 0, or says what is wrong.
 *
 *   job_identity CASE
 */
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/cluster/job.h"

#define NOBODY 65534
#define GROUP  4242

static int make_set(int mode)
{
	int id = semget(IPC_PRIVATE, 1, IPC_CREAT | IPC_DIPC | mode);

	if (id < 0)
		die("semget");
	return id;
}

static void remove_set(int id)
{
	if (semctl(id, 0, IPC_RMID))
		die("IPC_RMID");
}

/* May this process read ID? */
static void expect(int id, int is_allowed, const char *when)
{
	int ret = semctl(id, 0, GETVAL);

	if (is_allowed && ret < 0)
		die("%s: refused", when);
	if (!is_allowed && ret >= 0)
		die("%s: allowed", when);
	if (!is_allowed && errno != EACCES)
		die("%s: refused, but not with EACCES", when);
}

static void become(uid_t uid)
{
	if (seteuid(uid))
		die("seteuid %d", (int)uid);
}

static void case_user(void)
{
	int id = make_set(0600);

	expect(id, 1, "root");
	become(NOBODY);
	expect(id, 0, "another user");
	become(0);
	expect(id, 1, "root again");
	remove_set(id);
}

/* A set that GROUP may read and the others may not. */
static void case_groups(void)
{
	const gid_t groups[] = {1, GROUP};
	struct semid_ds ds;
	int id = make_set(0640);

	if (semctl(id, 0, IPC_STAT, &ds))
		die("IPC_STAT");
	ds.sem_perm.gid = GROUP;
	ds.sem_perm.mode = 0040;
	/* else nobody would be in the group of who made it */
	if (setegid(NOBODY) || semctl(id, 0, IPC_SET, &ds))
		die("IPC_SET");
	if (setgroups(0, NULL))
		die("setgroups");
	become(NOBODY);
	expect(id, 0, "not in the group");
	become(0);
	if (setgroups(2, groups))
		die("setgroups");
	become(NOBODY);
	expect(id, 1, "a supplementary group");
	become(0);
	if (setgroups(0, NULL) || setegid(GROUP))
		die("setegid");
	become(NOBODY);
	expect(id, 1, "the effective group");
	become(0);
	if (setegid(NOBODY))
		die("setegid");
	become(NOBODY);
	expect(id, 0, "no longer in the group");
	become(0);
	remove_set(id);
}

static void capability(int cap, int is_on)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &head, caps))
		die("capget");
	if (is_on)
		caps[0].effective |= 1u << cap;
	else
		caps[0].effective &= ~(1u << cap);
	if (syscall(SYS_capset, &head, caps))
		die("capset");
}

/* Root is who may do everything as long as it has the capability. */
static void case_capabilities(void)
{
	struct semid_ds ds;
	int id;

	become(NOBODY);
	id = make_set(0600);
	become(0);
	expect(id, 1, "root");
	capability(CAP_IPC_OWNER, 0);
	expect(id, 0, "root without CAP_IPC_OWNER");
	capability(CAP_IPC_OWNER, 1);
	expect(id, 1, "root as before");
	if (semctl(id, 0, IPC_STAT, &ds))
		die("IPC_STAT");
	capability(CAP_SYS_ADMIN, 0);
	if (semctl(id, 0, IPC_SET, &ds) != -1 || errno != EPERM)
		die("IPC_SET without CAP_SYS_ADMIN");
	capability(CAP_SYS_ADMIN, 1);
	remove_set(id);
}

/* A namespace where one has all capabilities: not over what is outside. */
static void case_namespace(void)
{
	int id, status;
	pid_t pid;

	become(NOBODY);
	id = make_set(0600);
	become(0);
	pid = fork();
	if (pid == 0) {
		capability(CAP_IPC_OWNER, 0);
		if (syscall(SYS_unshare, CLONE_NEWUSER))
			_exit(errno == EPERM || errno == ENOSPC ? 0 : 1);
		expect(id, 0, "root in a user namespace");
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("status 0x%x", status);
	expect(id, 1, "root outside");
	remove_set(id);
}

/* What is attached stays, and is inherited, whoever one is. */
static void case_attached(void)
{
	int id = shmget(IPC_PRIVATE, 100, IPC_CREAT | IPC_DIPC | 0600);
	char *mem = shmat(id, NULL, 0);
	struct shmid_ds ds;
	int status, i;
	pid_t pid;

	if (id < 0 || mem == (void *)-1)
		die("no segment");
	become(NOBODY);
	mem[0] = 'a';
	if (shmat(id, NULL, 0) != (void *)-1 || errno != EACCES)
		die("attached by another user");
	pid = fork();
	if (pid == 0) {
		mem[1] = mem[0];
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status || mem[1] != 'a')
		die("the child of another user");
	become(0);
	if (shmdt(mem))
		die("shmdt");
	/* the child's end is seen a moment later */
	for (i = 0; shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_nattch; i++) {
		if (i == 100)
			die("%d are still attached", (int)ds.shm_nattch);
		usleep(50000);
	}
	if (shmctl(id, IPC_RMID, NULL))
		die("IPC_RMID");
}

/* Adjustments made under two identities are both given back. */
static void case_undo(void)
{
	struct sembuf down = {.sem_op = -1, .sem_flg = SEM_UNDO};
	int id = make_set(0666), i, status;
	pid_t pid;

	if (semctl(id, 0, SETVAL, 5))
		die("SETVAL");
	pid = fork();
	if (pid == 0) {
		if (semop(id, &down, 1) || seteuid(NOBODY) ||
		    semop(id, &down, 1) || semctl(id, 0, GETVAL) != 3)
			die("semop");
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("the child");
	for (i = 0; semctl(id, 0, GETVAL) != 5; i++) {
		if (i == 100)
			die("%d of 5 are left", semctl(id, 0, GETVAL));
		usleep(50000);
	}
	remove_set(id);
}

static int nr_sockets(void)
{
	struct stat st;
	int fd, nr = 0;

	for (fd = 0; fd < 2000; fd++)
		nr += fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	return nr;
}

/* More identities than connections are kept for. */
static void case_many(void)
{
	int id = make_set(0600), before = nr_sockets(), i;

	for (i = 0; i < 200; i++) {
		become(1000 + (uid_t)i % 50);
		expect(id, 0, "one of many");
		become(0);
	}
	expect(id, 1, "root after all");
	if (nr_sockets() - before > 16)
		die("%d sockets are left open", nr_sockets() - before);
	remove_set(id);
}

/* Nothing that could act as root stays open in who gave it up for good. */
static void case_dropped(void)
{
	int id = make_set(0600), before = nr_sockets(), status;
	pid_t pid = fork();

	if (pid == 0) {
		expect(id, 1, "root");
		if (nr_sockets() != before)
			die("not one socket of its own");
		if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
			die("setuid");
		if (nr_sockets() != before - 1)
			die("root's connection is still open");
		expect(id, 0, "another user");
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("the child");
	remove_set(id);
}

/* A daemon that locks itself up where dipcd's socket has no path. */
static void case_chroot(void)
{
	char cell[] = "/tmp/job_identity.XXXXXX";
	int id = make_set(0600), open_id = make_set(0666), status;
	pid_t pid;

	if (!mkdtemp(cell))
		die("mkdtemp");
	pid = fork();
	if (pid == 0) {
		expect(id, 1, "root");
		if (chroot(cell) || chdir("/") || setgid(NOBODY) ||
		    setuid(NOBODY))
			die("chroot");
		expect(id, 0, "locked up");
		expect(open_id, 1, "what everybody may");
		/* and its children, who start without a connection */
		pid = fork();
		if (pid == 0) {
			expect(id, 0, "the child of one locked up");
			_exit(0);
		}
		_exit(waitpid(pid, &status, 0) != pid || status);
	}
	if (waitpid(pid, &status, 0) != pid || status || rmdir(cell))
		die("the child");
	remove_set(id);
	remove_set(open_id);
}

static void *sleeper(void *arg)
{
	struct sembuf down = {.sem_op = -1};

	/* seteuid() of another thread interrupts us, as any signal does */
	while (semop(*(int *)arg, &down, 1))
		if (errno != EINTR)
			return (void *)"not woken as who it was";
	return NULL;
}

/* Threads that sleep do not lose their calls when others come and go. */
static void case_threads(void)
{
	struct sembuf up = {.sem_op = 1};
	pthread_t threads[8];
	int id = make_set(0666), i;
	void *wrong;

	for (i = 0; i < 8; i++)
		if (pthread_create(&threads[i], NULL, sleeper, &id))
			die("pthread_create");
	for (i = 0; i < 8; i++) {
		become(i % 2 ? 0 : NOBODY);
		if (semop(id, &up, 1))
			die("semop");
	}
	for (i = 0; i < 8; i++) {
		pthread_join(threads[i], &wrong);
		if (wrong)
			die("%s", (char *)wrong);
	}
	become(0);
	remove_set(id);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} cases[] = {
		{"user", case_user},
		{"groups", case_groups},
		{"attached", case_attached},
		{"undo", case_undo},
		{"many", case_many},
		{"dropped", case_dropped},
		{"chroot", case_chroot},
		{"threads", case_threads},
		{"capabilities", case_capabilities},
		{"namespace", case_namespace},
	};
	unsigned i;

	for (i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(argv[1], cases[i].name)) {
			cases[i].fn();
			return 0;
		}
	fprintf(stderr, "usage: job_identity CASE\n");
	return 2;
}
