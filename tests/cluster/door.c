/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ways round an interposed symbol. Each case exits with 0, or says what is
 * wrong.
 *
 *   job_door CASE [ARGUMENT]
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>

#include "tests/cluster/job.h"

#define CREATE (IPC_CREAT | IPC_DIPC | 0600)

static void expect_ours(long id, const char *how)
{
	if (id < 0)
		die("%s", how);
	if (id < 0x40000000)
		die("%s: %ld is the kernel's", how, id);
}

/* What dlsym gives, as a function. */
#define AS(type, address) (*(__typeof__(type) *)(void *)&(void *){(address)})

typedef int (*semget_fn)(key_t, int, int);

/* ---- by number ---------------------------------------------------------- */

static void number_sem(void)
{
	struct sembuf op = {.sem_op = -2};
	struct timespec none = {0};
	long id = syscall(SYS_semget, IPC_PRIVATE, 1, CREATE);

	expect_ours(id, "SYS_semget");
	if (syscall(SYS_semctl, id, 0, SETVAL, 3) ||
	    syscall(SYS_semop, id, &op, 1) ||
	    syscall(SYS_semctl, id, 0, GETVAL, 0) != 1)
		die("semaphores by number");
	if (syscall(SYS_semtimedop, id, &op, 1, &none) != -1 || errno != EAGAIN)
		die("SYS_semtimedop does not time out");
	if (syscall(SYS_semop, id, NULL, 1) != -1 || errno != EFAULT)
		die("SYS_semop of nothing");
	if (syscall(SYS_semctl, id, 0, IPC_RMID, 0))
		die("SYS_semctl");
}

static void number_msg(void)
{
	struct {
		long type;
		char text[4];
	} m = {.type = 7, .text = "abc"};
	long id = syscall(SYS_msgget, IPC_PRIVATE, CREATE);

	expect_ours(id, "SYS_msgget");
	if (syscall(SYS_msgsnd, id, &m, 4, 0))
		die("SYS_msgsnd");
	memset(&m, 0, sizeof(m));
	if (syscall(SYS_msgrcv, id, &m, 4, 7L, IPC_NOWAIT) != 4 ||
	    m.type != 7 || strcmp(m.text, "abc"))
		die("SYS_msgrcv");
	if (syscall(SYS_msgctl, id, IPC_RMID, NULL))
		die("SYS_msgctl");
}

static void number_shm(void)
{
	long id = syscall(SYS_shmget, IPC_PRIVATE, 100, CREATE);
	char *mem;

	expect_ours(id, "SYS_shmget");
	mem = (char *)syscall(SYS_shmat, id, NULL, 0);
	if (mem == (char *)-1)
		die("SYS_shmat");
	mem[99] = 1;
	if (syscall(SYS_shmdt, mem))
		die("SYS_shmdt");
	if (syscall(SYS_shmdt, mem) != -1 || errno != EINVAL)
		die("SYS_shmdt twice");
	if (syscall(SYS_shmctl, id, IPC_RMID, NULL))
		die("SYS_shmctl");
}

/* All the others get six arguments, and errno only when they fail. */
static void number_others(void)
{
	char page[4096], *map;
	int fd = (int)syscall(SYS_memfd_create, "door", 0);

	memset(page, 'p', sizeof(page));
	if (fd < 0 || write(fd, page, sizeof(page)) != sizeof(page) ||
	    write(fd, "second", 6) != 6)
		die("memfd");
	map = (char *)syscall(SYS_mmap, NULL, 6, PROT_READ, MAP_PRIVATE, fd,
			      4096L);
	if (map == MAP_FAILED || memcmp(map, "second", 6))
		die("SYS_mmap: the sixth argument");
	errno = 12345;
	if (syscall(SYS_close, fd) || errno != 12345)
		die("SYS_close");
	if (syscall(SYS_close, fd) != -1 || errno != EBADF)
		die("SYS_close twice");
}

static void case_number(const char *arg)
{
	(void)arg;
	number_sem();
	number_msg();
	number_shm();
	number_others();
}

static uint32_t *word;

static void *futex_waiter(void *arg)
{
	struct timespec limit = {.tv_sec = 30};

	(void)arg;
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0)
		if (syscall(SYS_futex, word, 0 /* FUTEX_WAIT */, 0, &limit,
			    NULL, 0) &&
		    errno == ETIMEDOUT)
			return (void *)"nobody woke us";
	return NULL;
}

static void case_futex(const char *arg)
{
	int id = shmget(IPC_PRIVATE, 4096, CREATE);
	struct timespec soon = {.tv_nsec = 20000000}, wrong = {.tv_nsec = -1};
	pthread_t waiter;
	void *complaint;
	uint32_t plain = 0;

	(void)arg;
	word = shmat(id, NULL, 0);
	if (word == (void *)-1)
		die("shmat");
	if (syscall(SYS_futex, word, 0, 1, NULL, NULL, 0) != -1 ||
	    errno != EAGAIN)
		die("a futex that is not what it should be");
	if (syscall(SYS_futex, word, 0, 0, &soon, NULL, 0) != -1 ||
	    errno != ETIMEDOUT)
		die("a futex does not time out");
	if (syscall(SYS_futex, word, 0, 0, &wrong, NULL, 0) != -1 ||
	    errno != EINVAL)
		die("a time that is none");
	if (syscall(SYS_futex, word, 0, 0, (void *)8, NULL, 0) != -1 ||
	    errno != EFAULT)
		die("no time at all");
	if (syscall(SYS_futex, &plain, 0, 1, NULL, NULL, 0) != -1 ||
	    errno != EAGAIN)
		die("a futex of the kernel's");
	if (pthread_create(&waiter, NULL, futex_waiter, NULL))
		die("pthread_create");
	usleep(100000);
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	if (syscall(SYS_futex, word, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0) < 0)
		die("FUTEX_WAKE");
	pthread_join(waiter, &complaint);
	if (complaint)
		die("%s", (char *)complaint);
	if (shmdt(word) || shmctl(id, IPC_RMID, NULL))
		die("shmdt");
}

/* A thread that is somebody else, by number, leaves the others who they are. */
static void *other_user(void *arg)
{
	if (syscall(SYS_setresuid, 65534, 65534, 65534))
		return (void *)"SYS_setresuid";
	if (semctl(*(int *)arg, 0, GETVAL) != -1 || errno != EACCES)
		return (void *)"another user was allowed";
	return NULL;
}

static void *sleeper(void *arg)
{
	struct sembuf down = {.sem_op = -1};

	return semop(*(int *)arg, &down, 1) ? (void *)"the sleeper" : NULL;
}

static void case_thread_user(const char *arg)
{
	struct sembuf up = {.sem_op = 1};
	pthread_t threads[2];
	void *complaint[2];
	int id = semget(IPC_PRIVATE, 1, CREATE);

	(void)arg;
	expect_ours(id, "semget");
	if (pthread_create(&threads[0], NULL, sleeper, &id))
		die("pthread_create");
	while (semctl(id, 0, GETNCNT) != 1)
		usleep(1000);
	if (pthread_create(&threads[1], NULL, other_user, &id))
		die("pthread_create");
	pthread_join(threads[1], &complaint[1]);
	if (complaint[1])
		die("%s", (char *)complaint[1]);
	if (semctl(id, 0, GETNCNT) != 1 || semop(id, &up, 1))
		die("the others are not who they were");
	pthread_join(threads[0], &complaint[0]);
	if (complaint[0])
		die("%s", (char *)complaint[0]);
	if (semctl(id, 0, IPC_RMID))
		die("IPC_RMID");
}

/* ---- by address --------------------------------------------------------- */

static void case_address(const char *arg)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY), *self;
	const char *names[] = {"shmget", "shmat",   "shmdt",  "shmctl",
			       "semget", "semop",   "semctl", "semtimedop",
			       "msgget", "msgsnd",  "msgrcv", "msgctl",
			       "setuid", "syscall", "dlsym"};
	unsigned i;
	int id;

	(void)arg;
	self = dlopen(NULL, RTLD_LAZY);
	if (!libc || !self)
		die("dlopen: %s", dlerror());
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		void *want = dlsym(RTLD_DEFAULT, names[i]);

		if (!want || dlsym(libc, names[i]) != want ||
		    dlsym(self, names[i]) != want ||
		    dlsym(RTLD_NEXT, names[i]) != want)
			die("%s is not one function", names[i]);
	}
	if (dlvsym(libc, "semget", "GLIBC_2.2.5") != AS(void *, semget))
		die("dlvsym");
	id = AS(semget_fn, dlsym(libc, "semget"))(IPC_PRIVATE, 1, CREATE);
	expect_ours(id, "libc's own semget");
	if (semctl(id, 0, IPC_RMID))
		die("IPC_RMID");
	/* and nothing else has changed */
	if (dlsym(libc, "getppid") != AS(void *, getppid))
		die("getppid");
	if (dlsym(libc, "no_such_function") || !dlerror())
		die("a function that is not there");
}

/* ---- plugins ------------------------------------------------------------ */

static void plug(const char *path, int flags)
{
	void *handle = dlopen(path, flags);
	void *fn = handle ? dlsym(handle, "plug_is_distributed") : NULL;

	if (!fn)
		die("%s: %s", path, dlerror());
	if (!AS(int (*)(void), fn)())
		die("%s makes the kernel's objects", path);
	/* this must not change what is open meanwhile */
	if (dlclose(handle))
		die("dlclose");
}

static void case_plugin(const char *path)
{
	plug(path, RTLD_NOW);
}

static void case_deepbind(const char *path)
{
	plug(path, RTLD_NOW | RTLD_DEEPBIND);
	plug(path, RTLD_LAZY | RTLD_DEEPBIND);
}

/* The library itself, opened instead of preloaded. */
static void case_library(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW);
	void *fn = handle ? dlsym(handle, "semget") : NULL;
	int id;

	if (!fn)
		die("%s: %s", path, dlerror());
	id = AS(semget_fn, fn)(IPC_PRIVATE, 1, CREATE);
	expect_ours(id, "the opened library");
	fn = dlsym(handle, "semctl");
	if (AS(int (*)(int, int, int, ...), fn)(id, 0, IPC_RMID))
		die("IPC_RMID");
	if (dlclose(handle))
		die("dlclose");
}

/* ---- early and late ----------------------------------------------------- */

static const char *early;
static long early_id;

/* Before main, and before constructors of what we are linked with? After. */
__attribute__((constructor)) static void at_start(void)
{
	early = getenv("JOB_EARLY");
	if (early)
		early_id = semget(IPC_PRIVATE, 1, CREATE);
}

static void at_end(void)
{
	if (semctl((int)early_id, 0, IPC_RMID)) {
		perror("IPC_RMID at the end");
		_exit(1);
	}
}

static void case_early(const char *arg)
{
	(void)arg;
	expect_ours(early_id, "before main");
	if (atexit(at_end))
		die("atexit");
}

static int handler_id;

static void handler(int sig)
{
	(void)sig;
	handler_id = semget(IPC_PRIVATE, 1, CREATE);
}

/* The very first call, from a handler. */
static void case_handler(const char *arg)
{
	(void)arg;
	if (signal(SIGUSR1, handler) == SIG_ERR || raise(SIGUSR1))
		die("raise");
	expect_ours(handler_id, "in a handler");
	if (semctl(handler_id, 0, IPC_RMID))
		die("IPC_RMID");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(const char *);
	} cases[] = {
		{"number", case_number},   {"futex", case_futex},
		{"address", case_address}, {"thread_user", case_thread_user},
		{"plugin", case_plugin},   {"deepbind", case_deepbind},
		{"library", case_library}, {"early", case_early},
		{"handler", case_handler},
	};
	unsigned i;

	for (i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(argv[1], cases[i].name)) {
			cases[i].fn(argc > 2 ? argv[2] : NULL);
			return 0;
		}
	fprintf(stderr, "usage: job_door CASE [ARGUMENT]\n");
	return 2;
}
