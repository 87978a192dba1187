/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that come and go with a segment attached. All of it is true of the
 * kernel's segments too.
 *
 * job_forks KEY CASE
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/cluster/job.h"

#define PAGE 4096u
#define BIG  (300u << 20)

#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			die("%s, line %d: %s", __FILE__, __LINE__, #cond);     \
	} while (0)

static int id;
static size_t size = 64 * PAGE;
static char *at;

static struct shmid_ds stat_now(void)
{
	struct shmid_ds ds;

	MUST(shmctl(id, IPC_STAT, &ds) == 0);
	return ds;
}

static unsigned long nattch(void)
{
	return stat_now().shm_nattch;
}

static void reap(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0) == pid);
	if (status)
		die("child %d ended with 0x%x", (int)pid, (unsigned)status);
}

static _Atomic uint64_t *word(unsigned i)
{
	return (void *)(at + i * (size_t)PAGE);
}

/* ---- cases ------------------------------------------------------------------ */

/* Counts, and who came or went last, are exact when waitpid() returns. */
static int exact(void)
{
	struct shmid_ds ds;
	unsigned i;
	pid_t pid;

	for (i = 0; i < 60; i++) {
		pid = fork();
		if (pid == 0) {
			if (i % 4 == 0)
				_exit(shmdt(at));
			if (i % 4 == 1)
				_exit(munmap(at, size));
			if (i % 4 == 2)
				execl("/bin/true", "true", (char *)NULL);
			_exit(0);
		}
		ds = stat_now();
		MUST(ds.shm_nattch == 2 || ds.shm_lpid == pid);
		reap(pid);
		ds = stat_now();
		MUST(ds.shm_nattch == 1);
		MUST(ds.shm_lpid == pid);
		MUST(ds.shm_dtime && ds.shm_dtime <= time(NULL));
	}
	return 0;
}

static int killed(void)
{
	unsigned i;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		int status;

		pid = fork();
		if (pid == 0)
			for (;;)
				atomic_fetch_add(word(i), 1);
		while (atomic_load(word(i)) == 0)
			usleep(1000);
		MUST(nattch() == 2 && stat_now().shm_lpid == getpid());
		kill(pid, SIGKILL);
		MUST(waitpid(pid, &status, 0) == pid);
		MUST(nattch() == 1 && stat_now().shm_lpid == pid);
	}
	return 0;
}

/* A daemon as the books have it: two forks, all descriptors closed. */
static int daemons(void)
{
	unsigned i;
	pid_t pid;

	for (i = 0; i < 8; i++) {
		pid = fork();
		if (pid == 0) {
			if (fork())
				_exit(0);
			setsid();
			for (int fd = 0; fd < 1024; fd++)
				close(fd);
			atomic_store(word(i), (uint64_t)getpid());
			while (atomic_load(word(63)) == 0)
				usleep(1000);
			_exit(0);
		}
		reap(pid);
	}
	for (i = 0; i < 8; i++)
		while (atomic_load(word(i)) == 0)
			usleep(1000);
	MUST(nattch() == 9);
	atomic_store(word(63), 1);
	for (i = 0; nattch() != 1; i++) {
		MUST(i < 1000);
		usleep(10000);
	}
	/* the last one that went is one of them */
	{
		pid_t last = stat_now().shm_lpid;
		bool is_known = false;

		for (i = 0; i < 8; i++)
			is_known |= atomic_load(word(i)) == (uint64_t)last;
		MUST(is_known);
	}
	return 0;
}

/* Threads write and attach while others fork; children write too. */
static _Atomic bool is_over;

static void *add_always(void *arg)
{
	uint64_t nr = 0;

	while (!atomic_load(&is_over)) {
		atomic_fetch_add(word(nr % 8), 1);
		nr++;
	}
	(void)arg;
	return (void *)(uintptr_t)nr;
}

static void *attach_always(void *arg)
{
	while (!atomic_load(&is_over)) {
		char *other = shmat(id, NULL, 0);

		MUST(other != (void *)-1);
		MUST(shmdt(other) == 0);
	}
	return arg;
}

static int threads(void)
{
	pthread_t adders[3], attacher;
	uint64_t sum = 0, want = 0;
	unsigned i, k;
	void *nr;

	for (i = 0; i < 3; i++)
		MUST(!pthread_create(&adders[i], NULL, add_always, NULL));
	MUST(!pthread_create(&attacher, NULL, attach_always, NULL));
	for (k = 0; k < 10; k++) {
		pid_t pid[4];

		for (i = 0; i < 4; i++) {
			pid[i] = fork();
			if (pid[i])
				continue;
			for (unsigned n = 0; n < 500; n++)
				atomic_fetch_add(word(n % 8), 1);
			_exit(i % 2 ? shmdt(at) : 0);
		}
		for (i = 0; i < 4; i++)
			reap(pid[i]);
		want += 4 * 500;
	}
	atomic_store(&is_over, true);
	for (i = 0; i < 3; i++) {
		pthread_join(adders[i], &nr);
		want += (uintptr_t)nr;
	}
	pthread_join(attacher, NULL);
	for (i = 0; i < 8; i++)
		sum += atomic_load(word(i));
	MUST(sum == want && nattch() == 1);
	return 0;
}

/* Nobody tells libc, hence nobody us: it counts and reads all the same. */
static int raw_clone(void)
{
	long pid = syscall(SYS_clone, (long)SIGCHLD, NULL, NULL, NULL, NULL);
	unsigned i;

	MUST(pid >= 0);
	if (pid == 0) {
		atomic_store(word(1), atomic_load(word(0)) + 1);
		while (atomic_load(word(2)) == 0)
			;
		syscall(SYS_exit_group, atomic_load(word(2)) == 7 ? 0 : 1);
	}
	for (i = 0; atomic_load(word(1)) != 1; i++)
		usleep(1000);
	MUST(nattch() == 2);
	atomic_store(word(2), 7);
	reap((pid_t)pid);
	MUST(nattch() == 1);
	return 0;
}

static int spawned(void)
{
	char *args[] = {(char *)(uintptr_t) "true", NULL};
	extern char **environ;
	unsigned i;
	pid_t pid;

	for (i = 0; i < 10; i++) {
		MUST(!posix_spawn(&pid, "/bin/true", NULL, NULL, args,
				  environ));
		atomic_fetch_add(word(1), 1);
		reap(pid);
		MUST(nattch() == 1);
		pid = vfork();
		if (pid == 0) {
			execv("/bin/true", args);
			_exit(127);
		}
		reap(pid);
		MUST(nattch() == 1 && stat_now().shm_lpid == getpid());
	}
	return 0;
}

/* What a child was not to have it does not count for. */
static int dont_fork(void)
{
	char *other = shmat(id, NULL, 0);
	pid_t pid;

	MUST(other != (void *)-1 && nattch() == 2);
	MUST(madvise(other, size, MADV_DONTFORK) == 0);
	pid = fork();
	if (pid == 0)
		_exit(nattch() == 3 && *word(0) == 0 ? 0 : 1);
	reap(pid);
	MUST(nattch() == 2);
	MUST(madvise(other, size, MADV_DOFORK) == 0);
	pid = fork();
	if (pid == 0)
		_exit(nattch() == 4 && other[0] == 0 ? 0 : 1);
	reap(pid);
	MUST(nattch() == 2 && shmdt(other) == 0 && nattch() == 1);
	return 0;
}

/* A large segment with pages here and there in it. */
static int large(void)
{
	struct timespec start, end;
	size_t page, nr = size / PAGE;
	unsigned i;
	pid_t pid;

	for (page = 0; page < nr; page += 97)
		*word((unsigned)page) = page;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < 5; i++) {
		pid = fork();
		if (pid == 0) {
			for (page = i * 97; page < nr; page += 97 * 5)
				if (atomic_fetch_add(word((unsigned)page), 1) !=
				    page)
					_exit(1);
			_exit(0);
		}
		reap(pid);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.1f ms a fork\n",
	       ((double)(end.tv_sec - start.tv_sec) * 1e3 +
		(double)(end.tv_nsec - start.tv_nsec) / 1e6) /
		       5);
	for (page = 0; page < nr; page += 97)
		MUST(*word((unsigned)page) == page + 1);
	MUST(nattch() == 1);
	return 0;
}

/* Many at once, and all gone at once. */
static int storm(void)
{
	enum { MOST = 60 };
	const char *slow = getenv("DIPC_TEST_SLOW");
	unsigned i, nr = MOST / (slow ? (unsigned)number(slow) : 1);
	pid_t pid[MOST];

	for (i = 0; i < nr; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		for (unsigned k = 0; k < 4; k++) {
			char *more = shmat(id, NULL, k % 2 ? SHM_RDONLY : 0);

			MUST(more != (void *)-1);
			MUST(munmap(more + PAGE, 2 * PAGE) == 0);
		}
		atomic_fetch_add(word(i % 8), 1);
		atomic_fetch_add(word(20), 1);
		while (atomic_load(word(21)) == 0)
			usleep(1000);
		_exit(0);
	}
	while (atomic_load(word(20)) != nr)
		usleep(1000);
	/* each: its parent's, and four in two pieces */
	MUST(nattch() == 1 + nr * 9);
	atomic_store(word(21), 1);
	for (i = 0; i < nr; i++)
		reap(pid[i]);
	MUST(nattch() == 1);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{"exact", exact},         {"killed", killed},
	{"daemons", daemons},     {"threads", threads},
	{"raw_clone", raw_clone}, {"spawned", spawned},
	{"dont_fork", dont_fork}, {"large", large},
	{"storm", storm},
};

int main(int argc, char **argv)
{
	unsigned i;
	int ret;

	if (argc != 3)
		die("usage: forks KEY CASE");
	if (!strcmp(argv[2], "large"))
		size = BIG;
	id = shmget((key_t)number(argv[1]), size, IPC_CREAT | IPC_EXCL | 0600);
	if (id < 0)
		die("shmget");
	at = shmat(id, NULL, 0);
	if (at == (void *)-1)
		die("shmat");
	MUST(stat_now().shm_atime && stat_now().shm_lpid == getpid());
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[2], cases[i].name))
			continue;
		ret = cases[i].run();
		MUST(shmctl(id, IPC_RMID, NULL) == 0);
		return ret;
	}
	die("no such case: %s", argv[2]);
}
