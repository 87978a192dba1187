/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address spaces that appear, change hands and go: fork, raw clone, exec and
 * exit, and who may set up a userfaultfd.
 */
#include "case.h"
#include "manager.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_ARG "--pause"

enum { FORK_LIBC, FORK_RAW_CLONE };

static pid_t fork_by(long how)
{
	if (how == FORK_LIBC)
		return fork();
	/* The order of the arguments past the second does not matter: all 0 */
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* The child becomes a client of its own, on the spare socket. */
static long op_fork(struct client *c, long how, long unused)
{
	pid_t pid = fork_by(how);

	(void)unused;
	if (pid)
		return pid < 0 ? -errno : pid;
	close(c->sock);
	c->sock = c->spare;
	c->spare = -1;
	client_loop(c);
}

static void fork_is_followed(long how)
{
	struct manager m;

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 1, 11, "A:miss/w");

	EXPECT(manager_call(&m, A, op_fork, how, 0) > 0);
	EXPECT_STR(m.trace, "A:fork(B)");
	EXPECT_EQ(m.nr, 2);

	/* Present and absent pages alike are as protected as the parent's. */
	EXPECT_READ(&m, B, 0, FILL, "");
	EXPECT_WRITE(&m, B, 0, 20, "B:wp/w");
	EXPECT_READ(&m, B, 2, FILL, "B:miss/r");
	EXPECT_WRITE(&m, A, 2, 21, "A:wp/w");
	EXPECT_WRITE(&m, B, 2, 22, "B:wp/w");
	EXPECT_READ(&m, A, 3, FILL, "A:miss/r");
	EXPECT_WRITE(&m, B, 3, 23, "B:wp/w");
	/* So is a grant: the child may write at once what the parent may. */
	EXPECT_WRITE(&m, B, 1, 24, "");
	EXPECT_READ(&m, A, 1, 24, "");
}

static void fork_libc(void)
{
	fork_is_followed(FORK_LIBC);
}

static void fork_raw_clone(void)
{
	fork_is_followed(FORK_RAW_CLONE);
}

/* A child's child arrives through the child's descriptor. */
static void fork_of_fork(void)
{
	struct manager m;
	int pair[2];

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT(manager_call(&m, A, op_fork, FORK_LIBC, 0) > 0);
	EXPECT_STR(m.trace, "A:fork(B)");

	/* B has no spare socket, so that C ends at once; its uffd is enough. */
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	m.space[B].spare = pair[0];
	EXPECT(manager_call(&m, B, op_fork, FORK_LIBC, 0) > 0);
	EXPECT_STR(m.trace, "B:fork(C)");
}

/* The parent waits in fork() until the event was read. */
static void fork_waits_for_reader(void)
{
	struct manager m;
	struct uffd_msg msg;

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	manager_post(&m, A, op_fork, FORK_LIBC, 0);
	EXPECT(manager_is_stuck(&m, A, 50));
	manager_event(&m, A, &msg);
	EXPECT_EQ(msg.event, UFFD_EVENT_FORK);
	EXPECT(manager_reply(&m, A) > 0);
}

static void fork_without_event_bypasses(void)
{
	struct manager m;

	manager_init(&m, 16);
	manager_attach(&m, 0);
	EXPECT_READ(&m, A, 1, FILL, "A:miss/r");
	EXPECT(manager_call(&m, A, op_fork, FORK_LIBC, 0) > 0);
	EXPECT_STR(m.trace, "");

	m.space[B] = (struct space){.uffd = -1, .sock = m.space[A].spare};
	m.nr = 2;
	EXPECT_READ(&m, B, 0, 0, ""); /* zeros, and they stay: */
	EXPECT_READ(&m, A, 0, 0, "");
	EXPECT_EQ(memfd_pages(m.memfd), 2);
	EXPECT_WRITE(&m, B, 1, 33, "");
	EXPECT_READ(&m, A, 1, 33, "");
}

/* The client's vfork shares its address space: nothing to follow. */
static long op_vfork_exec(struct client *c, long unused, long unused2)
{
	char *argv[] = {(char *)(uintptr_t) "self", NULL};
	int status;
	pid_t pid;

	(void)c;
	(void)unused;
	(void)unused2;
	pid = vfork();
	if (!pid) {
		execv("/proc/self/exe/none", argv);
		_exit(3);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WEXITSTATUS(status);
}

static void vfork_is_no_event(void)
{
	struct manager m;

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT_EQ(manager_call(&m, A, op_vfork_exec, 0, 0), 3);
	EXPECT_STR(m.trace, "");
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
}

static long op_api(struct client *c, long features, long unused)
{
	(void)unused;
	return uffd_api(c->uffd, (uint64_t)features);
}

/* The manager chooses the features; the client cannot, before or after. */
static void api_by_manager(void)
{
	struct manager m;
	struct space *sp = &m.space[A];
	long mode = (long)(UFFD_MISSING | UFFD_WP);

	manager_init(&m, 16);
	manager_spawn(&m);
	sp->base = (uint64_t)manager_call(&m, A, op_map, PROT_NONE, MAP_SHARED);
	manager_take_uffd(&m, A);
	/* No ioctl works before UFFDIO_API. */
	EXPECT_EQ(manager_call(&m, A, op_register, mode, 0), -EINVAL);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES | UFFD_EVENTS), 0);
	EXPECT_EQ(manager_call(&m, A, op_api, (long)UFFD_PAGES, 0), -EINVAL);
	EXPECT_EQ(manager_call(&m, A, op_register, mode, 0), 0);
}

/* EVENT_FORK needs CAP_SYS_PTRACE of who calls, not of who made the fd. */
static void api_needs_privilege(void)
{
	struct manager m;

	if (geteuid())
		case_skip("needs root, to become somebody else");
	manager_init(&m, 16);
	manager_spawn(&m);
	EXPECT(manager_call(&m, A, op_map, PROT_NONE, MAP_SHARED) > 0);
	manager_take_uffd(&m, A);
	EXPECT_EQ(manager_call(&m, A, op_become_nobody, 0, 0), 0);
	EXPECT_EQ(manager_call(&m, A, op_api, (long)(UFFD_PAGES | UFFD_EVENTS),
			       0),
		  -EPERM);
	/* The refusal settled nothing: the manager may still set it up. */
	EXPECT_EQ(uffd_api(m.space[A].uffd, UFFD_PAGES | UFFD_EVENTS), 0);
	EXPECT_EQ(manager_call(&m, A, op_register,
			       (long)(UFFD_MISSING | UFFD_WP), 0),
		  0);
}

/* But the client may spoil it by calling first, and that cannot be undone. */
static void api_first_call_wins(void)
{
	struct manager m;

	manager_init(&m, 16);
	manager_spawn(&m);
	EXPECT(manager_call(&m, A, op_map, PROT_NONE, MAP_SHARED) > 0);
	manager_take_uffd(&m, A);
	EXPECT_EQ(manager_call(&m, A, op_api, (long)UFFD_PAGES, 0), 0);
	EXPECT_EQ(uffd_api(m.space[A].uffd, UFFD_PAGES | UFFD_EVENTS), -EINVAL);
}

/* A live address space answers 0, and again 0. */
static void expect_alive(struct manager *m, unsigned who)
{
	int uffd = m->space[who].uffd;
	int i;

	for (i = 0; i < 2; i++)
		EXPECT_EQ(uffd_protect(uffd, m->space[who].base, PAGE_BYTES),
			  0);
}

static void expect_dead(struct manager *m, unsigned who)
{
	struct space *sp = &m->space[who];
	struct pollfd pfd = {.fd = sp->uffd, .events = POLLIN};

	EXPECT_EQ(uffd_protect(sp->uffd, sp->base, PAGE_BYTES), -ESRCH);
	EXPECT_EQ(uffd_unprotect(sp->uffd, sp->base, PAGE_BYTES), -ESRCH);
	EXPECT_EQ(manager_install(m, who, 5, COPY_WP), -ESRCH);
	EXPECT_EQ(memfd_pages(m->memfd), 0);
	/* These two do not tell: */
	EXPECT_EQ(uffd_wake(sp->uffd, sp->base, PAGE_BYTES), 0);
	EXPECT_EQ(poll(&pfd, 1, 0), 0);
}

static void exit_is_esrch(void)
{
	struct manager m;

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	expect_alive(&m, A);
	manager_post(&m, A, op_exit, 0, 0);
	EXPECT(manager_is_gone(&m, A));
	expect_dead(&m, A);
}

static void sigkill_in_fault_is_esrch(void)
{
	struct manager m;
	struct uffd_msg msg;
	int status;

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);
	EXPECT_EQ(kill(m.space[A].pid, SIGKILL), 0);
	EXPECT_EQ(waitpid(m.space[A].pid, &status, 0), m.space[A].pid);
	expect_dead(&m, A);
}

/* Also of a process that was not waited for: a zombie has no memory. */
static void child_outlives_parent(void)
{
	struct manager m;

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT(manager_call(&m, A, op_fork, FORK_LIBC, 0) > 0);
	manager_post(&m, A, op_exit, 0, 0);
	EXPECT(manager_is_gone(&m, A));
	expect_dead(&m, A);
	expect_alive(&m, B);
	EXPECT_READ(&m, B, 0, FILL, "B:miss/r");
}

static long op_exec(struct client *c, long unused, long unused2)
{
	char *argv[] = {(char *)(uintptr_t) "self",
			(char *)(uintptr_t)PAUSE_ARG, NULL};

	(void)c;
	(void)unused;
	(void)unused2;
	execv("/proc/self/exe", argv);
	return -errno;
}

static void exec_is_esrch(void)
{
	struct manager m;

	manager_init(&m, 16);
	manager_attach(&m, UFFD_EVENTS);
	expect_alive(&m, A);
	manager_post(&m, A, op_exec, 0, 0);
	/* Close-on-exec comes after the old memory went, hence no race. */
	EXPECT(manager_is_gone(&m, A));
	expect_dead(&m, A);
	EXPECT_EQ(waitpid(m.space[A].pid, NULL, WNOHANG), 0); /* it lives */
}

static const struct test_case cases[] = {
	{"fork_libc", fork_libc, 0},
	{"fork_raw_clone", fork_raw_clone, 0},
	{"fork_of_fork", fork_of_fork, 0},
	{"fork_waits_for_reader", fork_waits_for_reader, 0},
	{"fork_without_event_bypasses", fork_without_event_bypasses, 0},
	{"vfork_is_no_event", vfork_is_no_event, 0},
	{"api_by_manager", api_by_manager, 0},
	{"api_needs_privilege", api_needs_privilege, 0},
	{"api_first_call_wins", api_first_call_wins, 0},
	{"exit_is_esrch", exit_is_esrch, 0},
	{"sigkill_in_fault_is_esrch", sigkill_in_fault_is_esrch, 0},
	{"child_outlives_parent", child_outlives_parent, 0},
	{"exec_is_esrch", exec_is_esrch, 0},
};

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], PAUSE_ARG)) {
		pause();
		return 0;
	}
	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
