/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UFFD_FEATURE_SIGBUS together with what the pager needs besides: faults are
 * told to the thread, absent and protected pages alike, and to children, too.
 */
#include "case.h"
#include "uffd_util.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_SIGBUS
#define UFFD_FEATURE_SIGBUS (1 << 7)
#endif
#define FEATURES     (UFFD_PAGES | UFFD_EVENTS | (uint64_t)UFFD_FEATURE_SIGBUS)
#define FAULT_WRITES 2 /* x86's error code */
#define PAGES        4u
#define TAG          0x746167

static char source[PAGE_BYTES] = "from elsewhere";
static volatile char *map, *tag_page;
static int uffd;

/* What the last SIGBUS said. */
static volatile int nr_bus, code, writes;
static void *volatile where;
static sigjmp_buf back;

static void note(siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	nr_bus++;
	code = info->si_code;
	where = info->si_addr;
	writes = (uc->uc_mcontext.gregs[REG_ERR] & FAULT_WRITES) != 0;
}

static uint64_t page_of(const volatile void *addr)
{
	return (uintptr_t)addr & ~(PAGE_BYTES - 1);
}

static void serve(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	note(info, context);
	if (uffd_copy(uffd, page_of(where), source, PAGE_BYTES, COPY_WP))
		(void)uffd_unprotect(uffd, page_of(where), PAGE_BYTES);
}

static void escape(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	note(info, context);
	siglongjmp(back, 1);
}

static void handle(void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction act = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO};

	EXPECT_EQ(sigaction(SIGBUS, &act, NULL), 0);
}

static void set_up(void)
{
	const size_t len = PAGES * PAGE_BYTES;
	int fd = memfd_make(len);

	EXPECT(fd >= 0);
	uffd = uffd_open();
	EXPECT(uffd >= 0);
	EXPECT_EQ(uffd_api(uffd, FEATURES), 0);
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT(map != MAP_FAILED);
	EXPECT_EQ(uffd_register(uffd, (uintptr_t)map, len,
				UFFD_MISSING | UFFD_WP),
		  0);
	EXPECT_EQ(uffd_protect(uffd, (uintptr_t)map, len), 0);
}

static void thread_is_told(void)
{
	volatile char *word;
	struct pollfd p;

	set_up();
	handle(serve);
	word = map + PAGE_BYTES + 5;
	EXPECT_EQ(*word, source[5]);
	EXPECT_EQ(nr_bus, 1);
	EXPECT_EQ(code, BUS_ADRERR);
	EXPECT(where == word && !writes);
	*word = 'x'; /* present, and protected */
	EXPECT_EQ(nr_bus, 2);
	EXPECT_EQ(code, BUS_ADRERR);
	EXPECT(where == word && writes);
	*word = 'y';
	EXPECT_EQ(nr_bus, 2);
	p = (struct pollfd){.fd = uffd, .events = POLLIN};
	EXPECT_EQ(poll(&p, 1, 0), 0);
}

static void calls_are_refused(void)
{
	int pair[2];

	set_up();
	EXPECT_EQ(pipe(pair), 0);
	EXPECT_EQ(write(pair[1], "abc", 3), 3);
	EXPECT_EQ(read(pair[0], (void *)(uintptr_t)map, 3), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(uffd_copy(uffd, (uintptr_t)map, source, PAGE_BYTES, COPY_WP),
		  0);
	/* present, but not to be written */
	EXPECT_EQ(read(pair[0], (void *)(uintptr_t)map, 3), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(write(pair[1], (void *)(uintptr_t)map, 3), 3);
	EXPECT_EQ(uffd_unprotect(uffd, (uintptr_t)map, PAGE_BYTES), 0);
	EXPECT_EQ(read(pair[0], (void *)(uintptr_t)map, 3), 3);
}

/* Reads the event of the fork, and writes a tag into the child. */
static void *follow(void *arg)
{
	static uint64_t tag[PAGE_BYTES / 8] = {TAG};
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	struct uffd_msg msg;

	(void)arg;
	EXPECT_EQ(poll(&p, 1, case_limit_ms(5000)), 1);
	EXPECT_EQ(read(uffd, &msg, sizeof(msg)), sizeof(msg));
	EXPECT_EQ(msg.event, UFFD_EVENT_FORK);
	EXPECT_EQ(uffd_copy((int)msg.arg.fork.ufd, (uintptr_t)tag_page, tag,
			    PAGE_BYTES, 0),
		  0);
	return NULL;
}

/* 0: all is as it should be. */
static int child(void)
{
	uint64_t tag = 0;
	struct iovec here = {&tag, sizeof(tag)};
	struct iovec there = {(void *)(uintptr_t)tag_page, sizeof(tag)};
	int i;

	for (i = 0; i < 1000; i++) {
		if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) > 0)
			break;
		usleep(1000);
	}
	if (tag != TAG)
		return 1;
	if (sigsetjmp(back, 1) == 0) {
		(void)map[0];
		return 2;
	}
	return code == BUS_ADRERR && where == map ? 0 : 3;
}

static void children_are_told(void)
{
	pthread_t reader;
	int status;
	pid_t pid;

	set_up();
	tag_page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(tag_page != MAP_FAILED);
	EXPECT_EQ(madvise((void *)(uintptr_t)tag_page, PAGE_BYTES,
			  MADV_WIPEONFORK),
		  0);
	EXPECT_EQ(uffd_register(uffd, (uintptr_t)tag_page, PAGE_BYTES,
				UFFD_MISSING),
		  0);
	handle(escape);
	EXPECT_EQ(pthread_create(&reader, NULL, follow, NULL), 0);
	pid = fork();
	if (pid == 0)
		_exit(child());
	EXPECT_EQ(pthread_join(reader, NULL), 0);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT(WIFEXITED(status));
	EXPECT_EQ(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{"thread_is_told", thread_is_told, 0},
		{"calls_are_refused", calls_are_refused, 0},
		{"children_are_told", children_are_told, 0},
	};

	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
