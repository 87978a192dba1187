/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings as people use them. Run with `dipc run --all-keys`, and with no
 * library at all: what is true of a segment must be true of both. Where two
 * nodes are needed, `peer` is run on the other one.
 *
 * job_mapping KEY CASE
 */
#include <pthread.h>
#include <signal.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/cluster/job.h"

#define PAGE  4096u
#define PAGES 16u
#define SIZE  (PAGES * PAGE)

#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			die("%s, line %d: %s", __FILE__, __LINE__, #cond);     \
	} while (0)

/* FAILS(call, EXXX) */
#define FAILS(call, want)                                                      \
	do {                                                                   \
		errno = 0;                                                     \
		if ((long)(call) != -1 || errno != (want))                     \
			die("line %d: %s did not fail as it should", __LINE__, \
			    #call);                                            \
	} while (0)

static key_t key;
static int id;

static unsigned long nattch(void)
{
	struct shmid_ds ds;

	MUST(shmctl(id, IPC_STAT, &ds) == 0);
	return ds.shm_nattch;
}

/* Not when the test itself is tried, on the kernel's segments. */
static bool is_distributed(void)
{
	return id & 0x40000000;
}

static char *attach(const void *addr, int flags)
{
	char *at = shmat(id, addr, flags);

	if (at == (void *)-1)
		die("shmat");
	return at;
}

/* ---- signals for accesses -------------------------------------------------- */

static sigjmp_buf escape;

static void on_signal(int sig)
{
	siglongjmp(escape, sig);
}

/* The signal that reading or writing at ADDR gives, 0: none. */
static int touch(volatile char *addr, bool is_write)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct sigaction old_bus, old_segv;
	int sig;

	sigaction(SIGBUS, &act, &old_bus);
	sigaction(SIGSEGV, &act, &old_segv);
	sig = sigsetjmp(escape, 1);
	if (sig == 0) {
		if (is_write)
			*addr = 1;
		else
			(void)*addr;
	}
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	return sig;
}

/* ---- the other node --------------------------------------------------------- */

/*
 * The peer does what word PEER_DO of the last page says: 'r' + page: add up a
 * page's bytes into PEER_SUM; 'w': fill it with PEER_SUM's low byte; 'q': end.
 */
enum { PEER_DO, PEER_PAGE, PEER_SUM, PEER_NR };

static _Atomic uint64_t *peer_words(char *at)
{
	return (void *)(at + SIZE - PAGE);
}

static uint64_t peer_ask(char *at, char what, unsigned page, uint64_t value)
{
	_Atomic uint64_t *w = peer_words(at);
	unsigned i;

	w[PEER_PAGE] = page;
	w[PEER_SUM] = value;
	w[PEER_DO] = (uint64_t)what;
	for (i = 0; w[PEER_DO] && i < 30000; i++)
		usleep(1000);
	MUST(w[PEER_DO] == 0);
	return w[PEER_SUM];
}

static int peer(void)
{
	char *at = attach(NULL, 0);
	_Atomic uint64_t *w = peer_words(at);
	unsigned i, page;
	uint64_t sum;
	char what;

	do {
		while (!w[PEER_DO])
			usleep(1000);
		what = (char)w[PEER_DO];
		page = (unsigned)w[PEER_PAGE];
		for (sum = i = 0; what == 'r' && i < PAGE; i++)
			sum += (unsigned char)at[page * PAGE + i];
		if (what == 'w')
			memset(at + page * PAGE, (int)w[PEER_SUM], PAGE);
		w[PEER_SUM] = sum;
		w[PEER_DO] = 0;
	} while (what != 'q');
	return 0;
}

/* Every page of the peer's is all VALUE; then we see what it writes. */
static void check_shared(char *at, unsigned page, unsigned char value)
{
	memset(at + page * PAGE, value, PAGE);
	MUST(peer_ask(at, 'r', page, 0) == (uint64_t)value * PAGE);
	peer_ask(at, 'w', page, value + 1u);
	MUST(at[page * PAGE] == (char)(value + 1));
	MUST(at[page * PAGE + PAGE - 1] == (char)(value + 1));
}

/* ---- cases ------------------------------------------------------------------ */

/* Where shmat puts things, and what it refuses. */
static int places(void)
{
	char *room = mmap(NULL, 4 * SIZE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at, *other;

	MUST(room != MAP_FAILED);
	FAILS(shmat(id, room + 1, 0), EINVAL);     /* unaligned */
	FAILS(shmat(id, room, 0), EINVAL);         /* taken */
	FAILS(shmat(id, NULL, SHM_REMAP), EINVAL); /* nowhere */
	FAILS(shmat(id, (void *)100, SHM_RND | SHM_REMAP), EINVAL);
	FAILS(shmat(id, (void *)(UINTPTR_MAX - PAGE + 1), 0), EINVAL);
	FAILS(shmat(id, (void *)((1ul << 63) - SIZE), 0), ENOMEM);
	MUST(nattch() == 0);
	at = attach(room + PAGE + 123, SHM_RND | SHM_REMAP);
	MUST(at == room + PAGE && nattch() == 1);
	at[0] = 'x';
	/* over itself, one page on: the first page stays as a piece */
	other = attach(at + PAGE, SHM_REMAP);
	MUST(other == at + PAGE && other[0] == 'x' && at[0] == 'x');
	MUST(nattch() == 2);
	MUST(shmdt(other) == 0 && nattch() == 1);
	MUST(touch(other, false) == SIGSEGV);
	MUST(shmdt(at) == 0 && nattch() == 0);
	FAILS(shmdt(at), EINVAL);
	FAILS(shmdt(at + 1), EINVAL);
	/* free now: no SHM_REMAP needed */
	MUST(attach(at, 0) == at);
	other = attach(NULL, 0);
	other[5] = 'y';
	MUST(at[5] == 'y' && nattch() == 2);
	MUST(shmdt(at) == 0 && other[5] == 'y' && nattch() == 1);
	MUST(shmdt(other) == 0 && nattch() == 0);
	return 0;
}

/* A read-only attachment stays so. */
static int readonly(void)
{
	char *at = attach(NULL, 0);
	char *ro = attach(NULL, SHM_RDONLY);

	at[PAGE] = 'a';
	MUST(ro[PAGE] == 'a' && touch(ro, true) == SIGSEGV);
	FAILS(mprotect(ro, PAGE, PROT_READ | PROT_WRITE), EACCES);
	FAILS(mprotect(ro, SIZE, PROT_WRITE), EACCES);
	FAILS(madvise(ro, PAGE, MADV_REMOVE), EACCES);
	MUST(madvise(ro, PAGE, MADV_POPULATE_READ) == 0);
	FAILS(madvise(ro, PAGE, MADV_POPULATE_WRITE), EINVAL);
	MUST(touch(ro, true) == SIGSEGV);
	MUST(mprotect(ro, PAGE, PROT_NONE) == 0);
	MUST(touch(ro, false) == SIGSEGV);
	MUST(mprotect(ro, PAGE, PROT_READ) == 0);
	check_shared(at, 1, 7);
	MUST(ro[PAGE] == 8);
	/* a child's follows the segment too */
	if (fork() == 0) {
		volatile char *there = ro + PAGE;
		unsigned i;

		at[2 * PAGE] = *there == 8;
		for (i = 0; *there != 33 && i < 3000; i++)
			usleep(1000);
		_exit(*there == 33 ? 0 : 1);
	}
	while (((volatile char *)at)[2 * PAGE] != 1)
		usleep(1000);
	peer_ask(at, 'w', 1, 33);
	{
		int status;

		MUST(wait(&status) > 0 && status == 0);
	}
	MUST(shmdt(ro) == 0);
	return 0;
}

/* shmdt finds what is left of an attachment. */
static int detaching(void)
{
	char *at = attach(NULL, 0), *moved, *other;

	/* a hole, and the first page gone */
	MUST(munmap(at + 3 * PAGE, PAGE) == 0 && nattch() == 2);
	MUST(munmap(at, PAGE) == 0 && nattch() == 2);
	MUST(touch(at, false) == SIGSEGV);
	FAILS(shmdt(at + PAGE), EINVAL);
	MUST(mprotect(at + 5 * PAGE, PAGE, PROT_READ) == 0);
	MUST(shmdt(at) == 0 && nattch() == 0);
	MUST(touch(at + 5 * PAGE, false) == SIGSEGV);
	MUST(touch(at + SIZE - PAGE, false) == SIGSEGV);
	/* moved */
	at = attach(NULL, 0);
	at[2 * PAGE] = 'm';
	moved = mremap(at, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       at + 64 * SIZE);
	MUST(moved == at + 64 * SIZE && moved[2 * PAGE] == 'm');
	MUST(nattch() == 1);
	FAILS(shmdt(at), EINVAL);
	MUST(shmdt(moved) == 0 && nattch() == 0);
	/* another mapping over a part */
	at = attach(NULL, 0);
	other = mmap(at + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MUST(other == at + 2 * PAGE);
	*other = 'o';
	MUST(shmdt(at) == 0 && nattch() == 0 && *other == 'o');
	munmap(other, PAGE);
	/* a child detaches what it inherited, first thing */
	at = attach(NULL, 0);
	if (fork() == 0)
		_exit(shmdt(at) == 0 && touch(at, false) == SIGSEGV ? 0 : 1);
	{
		int status;

		MUST(wait(&status) > 0 && status == 0);
	}
	MUST(nattch() == 1 && shmdt(at) == 0 && nattch() == 0);
	return 0;
}

static int protecting(void)
{
	char *at = attach(NULL, 0);

	memset(at, 5, 4 * PAGE);
	MUST(mprotect(at + PAGE, PAGE, PROT_READ) == 0);
	MUST(touch(at + PAGE, true) == SIGSEGV && at[PAGE] == 5);
	peer_ask(at, 'w', 1, 6); /* somebody else still may */
	MUST(at[PAGE] == 6 && touch(at + PAGE, true) == SIGSEGV);
	MUST(mprotect(at + PAGE, PAGE, PROT_NONE) == 0);
	MUST(touch(at + PAGE, false) == SIGSEGV);
	peer_ask(at, 'w', 1, 7);
	MUST(mprotect(at + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	MUST(at[PAGE] == 7);
	check_shared(at, 1, 9);
	check_shared(at, 2, 11);
	return 0;
}

static int remapping(void)
{
	char *at = attach(NULL, 0), *to;
	unsigned i;

	/* grown: one mapping, SIGBUS beyond the end */
	to = mremap(at, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	MUST(to != MAP_FAILED);
	check_shared(to, 1, 1);
	MUST(touch(to + SIZE, false) == SIGBUS);
	MUST(touch(to + SIZE, true) == SIGBUS);
	/* shrunk, in place */
	at = mremap(to, 2 * SIZE, SIZE, 0);
	MUST(at == to && touch(at + SIZE, false) == SIGSEGV);
	/* a piece moved away: seen through its new address only */
	to = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(mremap(at + 2 * PAGE, 2 * PAGE, 2 * PAGE,
		    MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	MUST(touch(at + 2 * PAGE, false) == SIGSEGV);
	for (i = 0; i < 2; i++) {
		memset(to + i * PAGE, (int)(20 + i), PAGE);
		MUST(peer_ask(at, 'r', 2 + i, 0) == (20ull + i) * PAGE);
		peer_ask(at, 'w', 2 + i, 30 + i);
		MUST(to[i * PAGE] == (char)(30 + i));
	}
	if (is_distributed()) { /* the kernel would do these */
		FAILS(mremap(at, 0, SIZE, MREMAP_MAYMOVE), EINVAL);
		FAILS(mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
			     NULL),
		      EINVAL);
		FAILS(remap_file_pages(at, PAGE, 0, 1, 0), EINVAL);
	}
	check_shared(at, 0, 40);
	/* somebody else's mapping moved over a piece of ours */
	MUST(mremap(to + 2 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		    at + 4 * PAGE) == at + 4 * PAGE);
	MUST(touch(at + 4 * PAGE, false) == SIGSEGV);
	return 0;
}

static int advising(void)
{
	static const int harmless[] = {
		MADV_NORMAL,        MADV_RANDOM,   MADV_SEQUENTIAL,
		MADV_WILLNEED,      MADV_COLD,     MADV_PAGEOUT,
		MADV_DONTNEED,      MADV_HUGEPAGE, MADV_NOHUGEPAGE,
		MADV_DONTDUMP,      MADV_DODUMP,   MADV_POPULATE_READ,
		MADV_POPULATE_WRITE};
	char *at = attach(NULL, 0);
	unsigned i;

	for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
		memset(at, (int)(50 + i), 2 * PAGE);
		peer_ask(at, 'w', 1, 60 + i);
		if (madvise(at, 3 * PAGE, harmless[i]))
			die("advice %d", harmless[i]);
		MUST(at[0] == (char)(50 + i) && at[PAGE] == (char)(60 + i));
		check_shared(at, 0, (unsigned char)(80 + i));
		check_shared(at, 1, (unsigned char)(90 + i));
	}
	FAILS(madvise(at, PAGE, MADV_FREE), EINVAL);
	FAILS(madvise(at, PAGE, MADV_WIPEONFORK), EINVAL);
	/* zeros for everybody: a page modified here, one there, one of both */
	memset(at, 3, 3 * PAGE);
	peer_ask(at, 'w', 1, 4);
	MUST(peer_ask(at, 'r', 2, 0) == 3 * PAGE);
	MUST(madvise(at, 3 * PAGE, MADV_REMOVE) == 0);
	for (i = 0; i < 3; i++) {
		MUST(at[i * PAGE] == 0 && at[i * PAGE + PAGE - 1] == 0);
		MUST(peer_ask(at, 'r', i, 0) == 0);
		check_shared(at, i, 5);
	}
	return 0;
}

static int locking(void)
{
	char *at;

	MUST(mlockall(MCL_FUTURE) == 0);
	at = attach(NULL, 0);
	check_shared(at, 1, 1);
	MUST(munlockall() == 0 && mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
	check_shared(at, 2, 2);
	MUST(munlockall() == 0);
	MUST(mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0);
	check_shared(at, 2, 2);
	MUST(munlockall() == 0);
	MUST(mlock(at, SIZE) == 0);
	check_shared(at, 1, 3);
	MUST(munlock(at, SIZE) == 0);
	MUST(mlock2(at, SIZE, MLOCK_ONFAULT) == 0);
	check_shared(at, 1, 5);
	MUST(munlock(at, SIZE) == 0);
	MUST(msync(at, SIZE, MS_SYNC) == 0 && msync(at, SIZE, MS_ASYNC) == 0);
	{
		unsigned char vec[PAGES];

		MUST(mincore(at, SIZE, vec) == 0 && (vec[1] & 1));
	}
	check_shared(at, 3, 5);
	return 0;
}

/* Others look at our memory, at pages that are on another node. */
static int looked_at(void)
{
	char *at = attach(NULL, 0);
	char buf[PAGE];
	struct iovec here = {buf, PAGE}, there = {at + PAGE, PAGE};
	pid_t child;
	int status;

	peer_ask(at, 'w', 1, 70);
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	MUST(process_vm_readv(child, &here, 1, &there, 1, 0) == PAGE);
	MUST(buf[0] == 70 && buf[PAGE - 1] == 70);
	peer_ask(at, 'w', 1, 71);
	memset(buf, 72, PAGE);
	MUST(process_vm_writev(child, &here, 1, &there, 1, 0) == PAGE);
	MUST(at[PAGE] == 72 && peer_ask(at, 'r', 1, 0) == 72 * PAGE);
	kill(child, SIGKILL);
	MUST(waitpid(child, &status, 0) == child);
	MUST(nattch() == 2); /* ours and the peer's */
	return 0;
}

/* Pages that are on the other node as buffers of system calls. */
static int buffers(void)
{
	char *at = attach(NULL, 0);
	struct iovec iov = {at + PAGE, PAGE};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	char buf[PAGE];
	int fds[2];

	MUST(pipe(fds) == 0);
	peer_ask(at, 'w', 1, 20);
	MUST(write(fds[1], at + PAGE, PAGE) == PAGE);
	MUST(read(fds[0], buf, PAGE) == PAGE && buf[PAGE - 1] == 20);
	peer_ask(at, 'w', 1, 21);
	MUST(write(fds[1], buf, PAGE) == PAGE);
	MUST(read(fds[0], at + PAGE, PAGE) == PAGE);
	MUST(peer_ask(at, 'r', 1, 0) == 20 * PAGE);
	peer_ask(at, 'w', 1, 22);
	MUST(vmsplice(fds[1], &iov, 1, 0) == PAGE);
	MUST(read(fds[0], buf, PAGE) == PAGE && buf[0] == 22);
	close(fds[0]);
	close(fds[1]);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	peer_ask(at, 'w', 1, 23);
	MUST(send(fds[1], at + PAGE, PAGE, 0) == PAGE);
	MUST(recv(fds[0], at + 2 * PAGE, PAGE, MSG_WAITALL) == PAGE);
	MUST(peer_ask(at, 'r', 2, 0) == 23 * PAGE);
	peer_ask(at, 'w', 1, 24);
	MUST(sendmsg(fds[1], &mh, 0) == PAGE);
	peer_ask(at, 'w', 1, 25);
	MUST(recvmsg(fds[0], &mh, MSG_WAITALL) == PAGE);
	MUST(peer_ask(at, 'r', 1, 0) == 24 * PAGE);
	MUST(getrandom(at + PAGE, 16, 0) == 16);
	/* a path, and a structure, in the segment */
	peer_ask(at, 'w', 1, 0);
	strcpy(at + PAGE, "/proc/self/maps");
	peer_ask(at, 'r', 1, 0);
	MUST(access(at + PAGE, R_OK) == 0);
	peer_ask(at, 'w', 1, 1);
	MUST(stat("/", (void *)(at + PAGE)) == 0);
	check_shared(at, 1, 26);
	return 0;
}

/* What a debugger reads of a page that is on the other node. */
static int debugged(void)
{
	char *at = attach(NULL, 0);
	int status;
	pid_t child;
	long got;

	at[PAGE] = 1;
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	peer_ask(at, 'w', 1, 73);
	MUST(ptrace(PTRACE_ATTACH, child, NULL, NULL) == 0);
	MUST(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
	errno = 0;
	got = ptrace(PTRACE_PEEKDATA, child, at + PAGE, NULL);
	/* the right bytes or an error, never old ones */
	MUST(is_distributed() ? got == -1 && errno == EIO
			      : got == 0x4949494949494949);
	MUST(at[PAGE] == 73);
	errno = 0;
	got = ptrace(PTRACE_PEEKDATA, child, at + PAGE, NULL);
	MUST(errno == 0 && got == 0x4949494949494949);
	/* poked: seen by all */
	if (ptrace(PTRACE_POKEDATA, child, at + PAGE, 0x0707070707070707))
		MUST(is_distributed() && errno == EIO);
	else
		MUST(at[PAGE] == 7 &&
		     peer_ask(at, 'r', 1, 0) == (PAGE - 8) * 73 + 8 * 7);
	MUST(ptrace(PTRACE_DETACH, child, NULL, NULL) == 0);
	kill(child, SIGKILL);
	MUST(waitpid(child, &status, 0) == child);
	check_shared(at, 1, 74);
	return 0;
}

/* A core with pages that are elsewhere is written, without them. */
static int dumped(void)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	char dir[] = "/tmp/dipc-core-XXXXXX", command[128];
	char *at = attach(NULL, 0);
	int status;
	pid_t child;

	MUST(mkdtemp(dir));
	memset(at, 72, 3 * PAGE);
	peer_ask(at, 'w', 1, 73);
	child = fork();
	if (child == 0) {
		MUST(setrlimit(RLIMIT_CORE, &all) == 0 && chdir(dir) == 0);
		alarm(20); /* it must not hang */
		abort();
	}
	MUST(waitpid(child, &status, 0) == child);
	MUST(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	printf("core %sdumped\n", WCOREDUMP(status) ? "" : "not ");
	snprintf(command, sizeof(command), "rm -r %s", dir);
	MUST(system(command) == 0);
	MUST(nattch() == 2 && at[PAGE] == 73);
	check_shared(at, 1, 74);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
	bool has_peer;
} cases[] = {
	{"places", places, false},       {"readonly", readonly, true},
	{"detaching", detaching, false}, {"protecting", protecting, true},
	{"remapping", remapping, true},  {"advising", advising, true},
	{"locking", locking, true},      {"looked_at", looked_at, true},
	{"buffers", buffers, true},      {"debugged", debugged, true},
	{"dumped", dumped, true},
};

static int run(unsigned i)
{
	int ret = cases[i].run();
	char *at;

	if (cases[i].has_peer && ret == 0) {
		at = attach(NULL, 0);
		peer_ask(at, 'q', 0, 0);
	}
	MUST(shmctl(id, IPC_RMID, NULL) == 0);
	return ret;
}

int main(int argc, char **argv)
{
	unsigned i;

	if (argc != 3)
		die("usage: mapping KEY CASE");
	key = (key_t)number(argv[1]);
	id = shmget(key, SIZE, IPC_CREAT | 0600);
	if (id < 0)
		die("shmget");
	if (!strcmp(argv[2], "peer"))
		return peer();
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(argv[2], cases[i].name))
			return run(i);
	die("no such case: %s", argv[2]);
}
