/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Floors of a page fault: the kernel's part of it, and the hand-over to
 * whoever handles it, with no protocol. As in a node, the memory is a shared
 * mapping of a memfd registered MISSING | WP, protected before pages come in,
 * and what comes in for reading stays protected.
 */
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Values are kernel ABI; absent from the headers of Linux 6.1 and before. */
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

enum fault_handler {
	FAULT_SPINS,  /* another process, looking all the time */
	FAULT_SLEEPS, /* another process, in epoll */
	FAULT_SIGNAL, /* the thread itself */
};

enum fault_kind {
	FAULT_READ,    /* of a missing page */
	FAULT_WRITE,   /* to a missing page */
	FAULT_PROTECT, /* to a protected page */
	FAULT_RUN,     /* of a missing page, and its neighbours come, too */
};

#define RUN_MAX 256u /* pages */

struct fault {
	enum fault_kind kind;
	size_t run; /* bytes installed at a time */
	char *map;
	size_t len;
	int uffd; /* owned */
};

/* The bytes at hand; and what a signal handler knows. */
static char source[RUN_MAX * BENCH_PAGE] __attribute__((aligned(BENCH_PAGE)));
static struct fault fault = {.uffd = -1};

/* ---- userfaultfd -------------------------------------------------------- */

static int fault_copy(const struct fault *f, uint64_t addr, bool is_protected)
{
	struct uffdio_copy copy = {
		.dst = addr,
		.src = (uintptr_t)source,
		.len = f->run,
		.mode = is_protected ? UFFDIO_COPY_MODE_WP : 0,
	};

	return ioctl(f->uffd, UFFDIO_COPY, &copy);
}

static int fault_protect(const struct fault *f, uint64_t addr, uint64_t len,
			 uint64_t mode)
{
	struct uffdio_writeprotect wp = {.range = {addr, len}, .mode = mode};

	return ioctl(f->uffd, UFFDIO_WRITEPROTECT, &wp);
}

/* What the handler does, whoever it is. */
static int fault_settle(const struct fault *f, uint64_t addr)
{
	addr -= (addr - (uintptr_t)f->map) % f->run;
	if (f->kind == FAULT_PROTECT)
		return fault_protect(f, addr, BENCH_PAGE, 0);
	return fault_copy(f, addr, f->kind != FAULT_WRITE);
}

static int fault_open(struct fault *f, size_t len, uint64_t features)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = features | UFFD_FEATURE_MISSING_SHMEM |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			    UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	int fd = memfd_create("dipc-bench", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)len))
		return bench_fail("memfd_create");
	f->len = len;
	f->map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (f->map == MAP_FAILED)
		return bench_fail("mmap");
	madvise(f->map, len, MADV_NOHUGEPAGE); /* EINVAL: the kernel has none */
	f->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	reg.range.start = (uintptr_t)f->map;
	reg.range.len = len;
	if (f->uffd < 0 || ioctl(f->uffd, UFFDIO_API, &api) ||
	    ioctl(f->uffd, UFFDIO_REGISTER, &reg) ||
	    fault_protect(f, (uintptr_t)f->map, len,
			  UFFDIO_WRITEPROTECT_MODE_WP))
		return bench_fail("userfaultfd");
	return 0;
}

/* So that the first write to each page finds it there, and protected. */
static int fault_fill(const struct fault *f)
{
	size_t at;

	for (at = 0; at < f->len; at += f->run) {
		if (fault_copy(f, (uintptr_t)f->map + at, true))
			return bench_fail("UFFDIO_COPY");
	}
	return 0;
}

/* ---- handlers ----------------------------------------------------------- */

/* Another process; ends when it is killed. */
static void handler_run(const struct fault *f, bool is_asleep)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct uffd_msg msg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, f->uffd, &event))
		_exit(1);
	for (;;) {
		if (is_asleep && epoll_wait(epfd, &event, 1, -1) < 0)
			_exit(1);
		if (read(f->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (msg.event == UFFD_EVENT_PAGEFAULT &&
		    fault_settle(f, msg.arg.pagefault.address))
			_exit(1); /* the fault waits; the round times out */
	}
}

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	if (fault_settle(&fault, (uintptr_t)info->si_addr))
		_exit(1);
}

/* Its pid, 0 for none, or -1, said. */
static pid_t handler_start(const struct fault *f, enum fault_handler handler)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus,
			       .sa_flags = SA_SIGINFO};
	pid_t pid;

	if (handler == FAULT_SIGNAL)
		return sigaction(SIGBUS, &sa, NULL) ? bench_fail("sigaction")
						    : 0;
	pid = fork();
	if (pid < 0)
		return bench_fail("fork");
	if (pid == 0)
		handler_run(f, handler == FAULT_SLEEPS);
	return pid;
}

static void handler_stop(pid_t pid)
{
	if (!pid)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* ---- sides -------------------------------------------------------------- */

static int fault_work(struct bench_run *run, enum fault_kind kind,
		      enum fault_handler handler)
{
	unsigned i, nr = bench_run_loops(run);
	unsigned *order = bench_page_order(nr);
	pid_t pid;

	fault.kind = kind;
	fault.run = BENCH_PAGE;
	memset(source, 'x', sizeof(source));
	if (!order)
		return -1;
	if (fault_open(&fault, (size_t)nr * BENCH_PAGE,
		       handler == FAULT_SIGNAL ? UFFD_FEATURE_SIGBUS : 0) ||
	    (kind == FAULT_PROTECT && fault_fill(&fault)))
		goto err_order;
	pid = handler_start(&fault, handler);
	if (pid < 0)
		goto err_order;
	bench_run_ready(run);
	for (i = 0; i < nr; i++)
		bench_page_touch(run, fault.map, order[i], kind != FAULT_READ);
	handler_stop(pid);
	free(order);
	return 0;

err_order:
	free(order);
	return -1;
}

int bench_fault_read(const struct bench_job *job, struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_READ, FAULT_SPINS);
}

int bench_fault_read_asleep(const struct bench_job *job, struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_READ, FAULT_SLEEPS);
}

int bench_fault_read_signal(const struct bench_job *job, struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_READ, FAULT_SIGNAL);
}

int bench_fault_write(const struct bench_job *job, struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_WRITE, FAULT_SPINS);
}

int bench_fault_write_asleep(const struct bench_job *job, struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_WRITE, FAULT_SLEEPS);
}

int bench_fault_write_signal(const struct bench_job *job, struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_WRITE, FAULT_SIGNAL);
}

int bench_fault_protect(const struct bench_job *job, struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_PROTECT, FAULT_SPINS);
}

int bench_fault_protect_asleep(const struct bench_job *job,
			       struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_PROTECT, FAULT_SLEEPS);
}

int bench_fault_protect_signal(const struct bench_job *job,
			       struct bench_run *run)
{
	(void)job;
	return fault_work(run, FAULT_PROTECT, FAULT_SIGNAL);
}

int bench_fault_stream(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	pid_t pid;

	fault.kind = FAULT_RUN;
	fault.run = job->size;
	memset(source, 'x', sizeof(source));
	if (fault_open(&fault, nr * BENCH_MIB, 0))
		return -1;
	pid = handler_start(&fault, FAULT_SPINS);
	if (pid < 0)
		return -1;
	bench_run_ready(run);
	bench_run_begin(run);
	for (i = 0; i < nr; i++) {
		bench_page_read_bytes(fault.map + i * BENCH_MIB, BENCH_MIB);
		bench_run_end(run);
	}
	handler_stop(pid);
	return 0;
}

/* Takes the event, without which fork() does not return. */
static void *fork_events(void *arg)
{
	struct fault *f = arg;
	struct uffd_msg msg;

	for (;;) {
		if (read(f->uffd, &msg, sizeof(msg)) == sizeof(msg) &&
		    msg.event == UFFD_EVENT_FORK)
			close((int)msg.arg.fork.ufd);
	}
	return NULL;
}

int bench_fault_fork(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	pthread_t thread;

	fault.run = sizeof(source);
	memset(source, 'x', sizeof(source));
	if (fault_open(&fault, job->size, UFFD_FEATURE_EVENT_FORK) ||
	    fault_fill(&fault))
		return -1;
	errno = pthread_create(&thread, NULL, fork_events, &fault);
	if (errno)
		return bench_fail("pthread_create");
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		if (bench_page_fork_once(run))
			return -1;
	}
	return 0; /* the thread ends with the process */
}

int bench_fault_memfd(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	unsigned *order = bench_page_order(nr);
	size_t size = (size_t)nr * BENCH_PAGE;
	char *map;
	int fd;

	(void)job;
	if (!order)
		return -1;
	memset(source, 'x', sizeof(source));
	fd = memfd_create("dipc-bench", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size)) {
		bench_fail("memfd_create");
		goto err_order;
	}
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED) {
		bench_fail("mmap");
		goto err_order;
	}
	madvise(map, size, MADV_NOHUGEPAGE); /* EINVAL: the kernel has none */
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		bench_run_begin(run);
		memcpy(map + (size_t)order[i] * BENCH_PAGE, source, BENCH_PAGE);
		bench_run_end(run);
	}
	free(order);
	return 0;

err_order:
	free(order);
	return -1;
}
