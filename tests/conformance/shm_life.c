// SPDX-License-Identifier: BSD-2-Clause
// Attachments over fork, exec, exit and death.
#include "tests/conformance/shm.h"
#include "tests/conformance/sysv.h"

#include <sys/syscall.h>
#include <sys/wait.h>

static long stat_nattch(int id)
{
	struct shmid_ds ds;

	return shmctl(id, IPC_STAT, &ds) < 0 ? -1 : (long)ds.shm_nattch;
}

/* Is the pid in LPID that of CHILD, of this process, or another's? */
static long stat_lpid(int id, pid_t child)
{
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds) < 0)
		return -1;
	return ds.shm_lpid == child ? 1 : ds.shm_lpid == getpid() ? 2 : 3;
}

struct fork_arg {
	int id;
	long nattch[4];
	long lpid[3];
	long seen;
};

/* What a child that makes no call does to the counts of its parent. */
static long op_fork(void *blob, size_t len)
{
	struct fork_arg *arg = blob;
	int go[2], ready[2];
	char *addr;
	pid_t child;
	char c;

	(void)len;
	addr = shmat(arg->id, NULL, 0);
	if (addr == (void *)-1 || pipe(go) < 0 || pipe(ready) < 0)
		return -1;
	addr[0] = 1;
	arg->nattch[0] = stat_nattch(arg->id);
	child = fork();
	if (child == 0) {
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		addr[1] = addr[0];
		addr[0] = 2;
		if (write(ready[1], "r", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	arg->nattch[1] = stat_nattch(arg->id);
	arg->lpid[0] = stat_lpid(arg->id, child);
	if (write(go[1], "g", 1) != 1 || read(ready[0], &c, 1) != 1)
		return -1;
	arg->seen = addr[0] * 10 + addr[1];
	arg->nattch[2] = stat_nattch(arg->id);
	if (write(go[1], "g", 1) != 1 || waitpid(child, NULL, 0) != child)
		return -1;
	arg->nattch[3] = stat_nattch(arg->id);
	arg->lpid[1] = stat_lpid(arg->id, child);
	shmdt(addr);
	arg->lpid[2] = stat_lpid(arg->id, child);
	close(go[0]);
	close(go[1]);
	close(ready[0]);
	close(ready[1]);
	return stat_nattch(arg->id);
}

static void show_fork(long ret, const void *blob, size_t len)
{
	const struct fork_arg *arg = blob;

	(void)len;
	out("%ld; nattch %ld %ld %ld %ld, seen %ld, lpid %ld %ld %ld", ret,
	    arg->nattch[0], arg->nattch[1], arg->nattch[2], arg->nattch[3],
	    arg->seen, arg->lpid[0], arg->lpid[1], arg->lpid[2]);
}

static void fork_counts(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg");
	struct fork_arg arg = {.id = id};

	act(a, op_fork, &arg, sizeof(arg), show_fork, "a child");
	a_shm_use(b, id);
	a_shmat(b, id, 0, 0);
	act(a, op_fork, &arg, sizeof(arg), show_fork, "a child");
	a_peek(b, 0, 0);
	a_peek(b, 0, 1);
}

struct detach_arg {
	int id;
	long nattch[3];
};

/* The child detaches what it inherited as its first call. */
static long op_child_detaches(void *blob, size_t len)
{
	struct detach_arg *arg = blob;
	char *addr = shmat(arg->id, NULL, 0);
	char *second = shmat(arg->id, NULL, SHM_RDONLY);
	pid_t child;
	int status;

	(void)len;
	if (addr == (void *)-1 || second == (void *)-1)
		return -1;
	addr[5] = 5;
	fflush(stdout);
	child = fork();
	if (child == 0) {
		if (second[5] != 5 || shmdt(addr) < 0)
			_exit(100);
		if (shmdt(addr) == 0 || errno != EINVAL)
			_exit(101);
		if (second[5] != 5)
			_exit(102);
		_exit((int)stat_nattch(arg->id));
	}
	if (waitpid(child, &status, 0) != child)
		return -1;
	arg->nattch[0] = WEXITSTATUS(status);
	arg->nattch[1] = stat_nattch(arg->id);
	shmdt(second);
	arg->nattch[2] = stat_nattch(arg->id);
	return shmdt(addr);
}

static void show_detach(long ret, const void *blob, size_t len)
{
	const struct detach_arg *arg = blob;

	(void)len;
	out("%ld; nattch %ld %ld %ld", ret, arg->nattch[0], arg->nattch[1],
	    arg->nattch[2]);
}

static void child_detaches(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct detach_arg arg = {
		.id = a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg")};

	act(a, op_child_detaches, &arg, sizeof(arg), show_detach,
	    "a child detaches");
	a_shm_use(b, arg.id);
}

static void ends(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct actor *c = actor_start(3);
	struct actor *d = actor_start(2);
	int id = a_shmget(a, KEY(0), 2 * PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(a, id, 0, 0);
	a_shmat(b, id, 0, 0);
	a_shmat(b, id, 1, SHM_RDONLY);
	a_shmat(c, id, 0, 0);
	a_shmat(d, id, 0, 0);
	a_poke(b, 0, 0, 66);
	a_poke(c, 0, PAGE, 67);
	a_nattch(a, id);
	actor_kill(b);
	until(3, a_nattch(a, id));
	a_shm_use(a, id);
	a_peek(a, 0, 0);
	actor_exec(c);
	until(2, a_nattch(a, id));
	a_peek(a, 0, PAGE);
	a_shm_use(a, id);
	a_shmat(c, id, 0, 0);
	a_peek(c, 0, 0);
	actor_exit(d);
	until(2, a_nattch(a, id));
	a_shm_use(a, id);
	actor_exit(c);
	until(1, a_nattch(a, id));
	a_peek(a, 0, 0);
	a_peek(a, 0, PAGE);
}

/* The last attachment of a removed segment goes with its process. */
static void removed_then_ended(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct actor *c = actor_start(3);
	int id = a_shmget(a, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	a_shmat(b, id, 0, 0);
	a_shmat(c, id, 0, 0);
	a_shm_rm(a, id);
	actor_kill(b);
	until(1, a_nattch(a, id));
	actor_exit(c);
	until(-EINVAL, a_nattch(a, id));
	a_shmat(a, id, 0, 0);
	a_shmget(a, KEY(0), 0, 0, "seg");
}

struct tree_arg {
	int id;
	int depth;
	long sum;
};

/* A tree of processes, each adds to its own word and ends. */
static void tree(volatile int *words, int index, int depth)
{
	pid_t pid[2];

	words[index] += index;
	if (depth == 0)
		return;
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			tree(words, 2 * index + i, depth - 1);
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++)
		waitpid(pid[i], NULL, 0);
}

static long op_tree(void *blob, size_t len)
{
	struct tree_arg *arg = blob;
	int *words = shmat(arg->id, NULL, 0);

	(void)len;
	if (words == (void *)-1)
		return -1;
	tree(words, 1, arg->depth);
	for (int i = 1; i < 2 << arg->depth; i++)
		arg->sum += words[i];
	return shmdt(words) < 0 ? -1 : stat_nattch(arg->id);
}

static void show_tree(long ret, const void *blob, size_t len)
{
	const struct tree_arg *arg = blob;

	(void)len;
	out("nattch %ld, sum %ld", ret, arg->sum);
}

static void fork_tree(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	struct tree_arg arg = {.depth = 4};

	arg.id = a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg");
	act(a, op_tree, &arg, sizeof(arg), show_tree, "a tree of processes");
	arg.sum = 0;
	act(b, op_tree, &arg, sizeof(arg), show_tree, "another");
	a_shm_use(a, arg.id);
}

/* A daemon as in the books: two forks, setsid, all descriptors closed. */
static long op_daemon(void *blob, size_t len)
{
	int id = *(int *)blob;
	char *addr = shmat(id, NULL, 0);
	pid_t child;
	long seen;

	(void)len;
	if (addr == (void *)-1)
		return -1;
	child = fork();
	if (child == 0) {
		if (setsid() < 0 || fork() != 0)
			_exit(0);
		for (int fd = 0; fd < 1024; fd++)
			close(fd);
		if (chdir("/") < 0)
			_exit(1);
		addr[1] = 41;
		/* a call of its own, with all descriptors gone */
		addr[2] = (char)(stat_nattch(id) >= 1);
		if (shmdt(addr) < 0)
			_exit(1);
		addr = shmat(id, NULL, 0);
		if (addr == (void *)-1)
			_exit(1);
		addr[0] = 40;
		_exit(0);
	}
	if (waitpid(child, NULL, 0) != child)
		return -1;
	for (int i = 0; i < 2000 && addr[0] != 40; i++)
		sleep_ms(1);
	seen = addr[0] * 1000000L + addr[1] * 1000L + addr[2];
	return shmdt(addr) < 0 ? -1 : seen;
}

static void daemons(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int id = a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg");

	act(a, op_daemon, &id, sizeof(id), NULL, "a daemon");
	until(0, a_nattch(b, id));
}

/* Children that are made by system call: no handler of libc's runs in them. */
static long op_raw_forks(void *blob, size_t len)
{
	int *ids = blob; /* a segment, a set */
	struct sembuf up = {0, 1, 0};
	char *addr = shmat(ids[0], NULL, 0);
	long nr_good = 0;
	int status, i;
	pid_t child;

	(void)len;
	if (addr == (void *)-1 || semop(ids[1], &up, 1) < 0)
		return -1;
	for (i = 0; i < 4; i++) {
		child = (pid_t)(i % 2 ? syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)
				      : syscall(SYS_fork));
		if (child == 0) {
			/* its first call: a detach, or a semop */
			if (i < 2 && shmdt(addr) < 0)
				_exit(2);
			if (semop(ids[1], &up, 1) < 0)
				_exit(3);
			if (i >= 2)
				addr[i] = (char)i;
			_exit(1);
		}
		if (waitpid(child, &status, 0) != child)
			return -1;
		nr_good += WIFEXITED(status) && WEXITSTATUS(status) == 1;
	}
	nr_good = nr_good * 100 + addr[2] * 10 + addr[3];
	return shmdt(addr) < 0 ? -1 : nr_good;
}

static void raw_forks(void)
{
	struct actor *a = actor_start(1);
	struct actor *b = actor_start(2);
	int ids[2] = {
		a_shmget(b, KEY(0), PAGE, IPC_CREAT | 0600, "seg"),
		a_semget(b, KEY(0), 1, IPC_CREAT | 0600, "set"),
	};

	act(a, op_raw_forks, ids, sizeof(ids), NULL, "raw forks");
	a_getval(b, ids[1], 0);
	until(0, a_nattch(b, ids[0]));
}

const struct conformance_case shm_life_cases[] = {
	{"shm_life.fork_counts", fork_counts},
	{"shm_life.child_detaches", child_detaches},
	{"shm_life.ends", ends},
	{"shm_life.removed_then_ended", removed_then_ended},
	{"shm_life.fork_tree", fork_tree},
	{"shm_life.daemons", daemons},
	{"shm_life.raw_forks", raw_forks},
	{0},
};
