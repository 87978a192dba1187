/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments with DIPC_FAULTS=signal: what a program must not notice, and the one
 * thing it does. Pages are touched for the first time where it matters.
 */
#include "job.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE     4096u
#define PAGES    512u
#define THREADS  64u
#define NOWHERE  ((void *)-1)
#define MUST(ok) ((ok) ? (void)0 : die("line %d: %s", __LINE__, #ok))

static key_t key;
static volatile char *segment;
static volatile unsigned next_page; /* nobody has touched it or a later one */

static void attach(void)
{
	int id = shmget(key, PAGES * PAGE, IPC_CREAT | IPC_DIPC | 0600);

	MUST(id >= 0);
	segment = shmat(id, NULL, 0);
	MUST(segment != NOWHERE);
}

static volatile char *absent(void)
{
	MUST(next_page < PAGES);
	return segment + next_page++ * PAGE;
}

/* ---- handlers ----------------------------------------------------------- */

static volatile sig_atomic_t nr_bus, bus_code;
static void *volatile bus_addr;
static sigjmp_buf back;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	MUST(sig == SIGBUS);
	nr_bus++;
	bus_code = info->si_code;
	bus_addr = info->si_addr;
	*absent() = 1; /* a page, from inside of it */
	if (info->si_code > 0)
		siglongjmp(back, 1);
}

static void on_alarm(int sig)
{
	(void)sig;
	*absent() = 2;
}

static void plain_bus(int sig)
{
	(void)sig;
}

static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction act = {.sa_sigaction = fn,
				.sa_flags = SA_SIGINFO | flags};

	sigfillset(&act.sa_mask);
	MUST(sigaction(sig, &act, NULL) == 0);
	memset(&act, 0, sizeof(act));
	MUST(sigaction(sig, NULL, &act) == 0);
	MUST(act.sa_sigaction == fn && (act.sa_flags & SA_SIGINFO));
}

/* Beyond the end of a file: a SIGBUS that was never ours. */
static void fault_of_its_own(void)
{
	char path[] = "/tmp/bysignal.XXXXXX";
	int fd = mkstemp(path);
	volatile char *map;

	MUST(fd >= 0 && unlink(path) == 0);
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	MUST(map != MAP_FAILED);
	nr_bus = 0;
	if (sigsetjmp(back, 1) == 0)
		(void)*map;
	MUST(nr_bus == 1 && bus_code == BUS_ADRERR && bus_addr == map);
	munmap((void *)(uintptr_t)map, PAGE);
	close(fd);
}

static void handlers(void)
{
	handle(SIGBUS, on_bus, 0);
	attach();
	*absent() = 3;
	MUST(nr_bus == 0);
	fault_of_its_own();
	handle(SIGBUS, on_bus, SA_NODEFER);
	fault_of_its_own();
	*absent() = 3;
	MUST(signal(SIGBUS, plain_bus) != SIG_ERR);
	MUST(signal(SIGBUS, SIG_DFL) == plain_bus);
	handle(SIGBUS, on_bus, 0);
	nr_bus = 0;
	raise(SIGBUS);
	MUST(nr_bus == 1 && bus_code <= 0);
}

static void masks(void)
{
	struct sigaction act = {.sa_handler = on_alarm};
	sigset_t all, was;

	sigfillset(&all);
	MUST(sigprocmask(SIG_SETMASK, &all, &was) == 0);
	attach();
	*absent() = 1;
	MUST(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
	*absent() = 2;
	MUST(sigprocmask(SIG_SETMASK, &was, &all) == 0);
	MUST(sigismember(&all, SIGBUS) == 1);
	MUST(sigprocmask(SIG_SETMASK, NULL, &all) == 0);
	MUST(sigismember(&all, SIGBUS) == 0);
	sigfillset(&act.sa_mask);
	MUST(sigaction(SIGALRM, &act, NULL) == 0);
	raise(SIGALRM);
	errno = 77;
	*absent() = 3;
	MUST(errno == 77);
}

/* ---- many at once ------------------------------------------------------- */

static void *thread_main(void *arg)
{
	_Atomic unsigned *words = arg;
	unsigned i;

	for (i = 0; i < PAGES; i++)
		atomic_fetch_add(&words[i * PAGE / sizeof(*words)], 1);
	return NULL;
}

static void threads(void)
{
	pthread_t thread[THREADS];
	_Atomic unsigned *words;
	unsigned i;

	attach();
	words = (void *)(uintptr_t)segment;
	for (i = 0; i < THREADS; i++)
		MUST(pthread_create(&thread[i], NULL, thread_main, words) == 0);
	for (i = 0; i < THREADS; i++)
		MUST(pthread_join(thread[i], NULL) == 0);
}

static void count(void)
{
	unsigned i, want = 2 * THREADS; /* of two processes */
	_Atomic unsigned *words;

	attach();
	words = (void *)(uintptr_t)segment;
	for (i = 0; i < PAGES; i++)
		MUST(atomic_load(&words[i * PAGE / sizeof(*words)]) == want);
}

/* ---- children ----------------------------------------------------------- */

static void child_ends_well(pid_t child)
{
	int status;

	MUST(child > 0 && waitpid(child, &status, 0) == child);
	MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void forks(void)
{
	volatile char *a, *b;
	pid_t child;

	attach();
	a = absent();
	b = absent();
	child = fork();
	if (child == 0) {
		*a = 1;
		child = fork();
		if (child == 0) {
			*b = 2;
			_exit(0);
		}
		child_ends_well(child);
		attach(); /* once more, of its own */
		*absent() = 3;
		_exit(0);
	}
	child_ends_well(child);
	MUST(*a == 1 && *b == 2);
	a = absent();
	child = (pid_t)syscall(SYS_fork); /* past libc */
	if (child == 0) {
		*a = 4;
		_exit(0);
	}
	child_ends_well(child);
	MUST(*a == 4);
	a = absent();
	child = vfork();
	if (child == 0) {
		*a = 5;
		_exit(0);
	}
	child_ends_well(child);
	MUST(*a == 5);
}

/* ---- system calls ------------------------------------------------------- */

/* Our own calls fetch what they are given. */
static void calls(void)
{
	struct {
		long type;
		char text[2 * PAGE];
	} * message;
	struct sembuf *ops;
	struct msqid_ds *stat;
	int queue = msgget(IPC_PRIVATE, IPC_CREAT | IPC_DIPC | 0600);
	int set = semget(IPC_PRIVATE, 2, IPC_CREAT | IPC_DIPC | 0600);

	MUST(queue >= 0 && set >= 0);
	attach();
	message = (void *)(uintptr_t)absent();
	next_page += 3;
	/* the first page only: the rest of the text is absent, and zeros */
	message->type = 7;
	MUST(msgsnd(queue, message, 6000, 0) == 0);
	message = (void *)(uintptr_t)absent();
	next_page += 3;
	MUST(msgrcv(queue, message, 6000, 0, 0) == 6000 && message->type == 7);
	stat = (void *)(uintptr_t)absent();
	MUST(msgctl(queue, IPC_STAT, stat) == 0 && stat->msg_qnum == 0);
	ops = (void *)(uintptr_t)absent(); /* zeros: wait for 0 */
	MUST(semop(set, ops, 2) == 0);
	MUST(semctl(set, 0, IPC_RMID) == 0 && msgctl(queue, IPC_RMID, 0) == 0);
}

static void efault(void)
{
	FILE *file = tmpfile();
	int fd = file ? fileno(file) : -1;
	volatile char *page;
	ssize_t n;

	attach();
	page = absent();
	MUST(fd >= 0 && write(fd, "nENE", 4) == 4);
	MUST(ftruncate(fd, 100) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	n = read(fd, (void *)(uintptr_t)page, 100);
	MUST(n < 0 && errno == EFAULT);
	MUST(dipc_prefetch((void *)(uintptr_t)page, PAGE,
			   DIPC_PREFETCH_WRITE) == 0);
	MUST(read(fd, (void *)(uintptr_t)page, 100) == 100);
	MUST(page[1] == 'E');
	page = absent();
	MUST(pwrite(fd, (void *)(uintptr_t)page, 100, 0) < 0 &&
	     errno == EFAULT);
	MUST(dipc_prefetch((void *)(uintptr_t)page, PAGE, 0) == 0);
	MUST(pwrite(fd, (void *)(uintptr_t)page, 100, 0) == 100);
	close(fd);
}

/* ---- the home dies ------------------------------------------------------ */

static void on_dead_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	bus_code = info->si_code;
	bus_addr = info->si_addr;
	siglongjmp(back, 1);
}

/* Touch, tell, wait for the word, touch others until the death is known. */
static void orphan(void)
{
	static volatile char *volatile page;
	volatile unsigned i;
	char byte;

	attach();
	(void)*absent();
	puts("ready");
	fflush(stdout);
	MUST(read(STDIN_FILENO, &byte, 1) == 1);
	if (sigsetjmp(back, 1) == 0) {
		for (i = 0; i < 400; i++) {
			page = absent();
			*page = 1;
			usleep(50000);
		}
		die("pages of a dead home");
	}
	MUST(bus_code == BUS_ADRERR && bus_addr == page);
}

static void orphan_handled(void)
{
	handle(SIGBUS, on_dead_bus, 0);
	orphan();
}

static void home(void)
{
	attach();
	puts("ready");
	fflush(stdout);
	pause();
}

static void finish(void)
{
	int id = shmget(key, 0, IPC_DIPC);

	MUST(id >= 0 && shmctl(id, IPC_RMID, NULL) == 0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} all[] = {
		{"handlers", handlers},
		{"masks", masks},
		{"threads", threads},
		{"count", count},
		{"forks", forks},
		{"calls", calls},
		{"efault", efault},
		{"home", home},
		{"orphan_handled", orphan_handled},
		{"orphan", orphan},
		{"finish", finish},
	};
	unsigned i;

	if (argc != 3)
		die("usage: KEY WHAT");
	key = (key_t)number(argv[1]);
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(argv[2], all[i].name))
			continue;
		all[i].fn();
		return 0;
	}
	die("unknown: %s", argv[2]);
}
