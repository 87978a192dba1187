/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ending a fault in an error: truncation, closing, poison.
 */
#include "case.h"
#include "manager.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_FAILED (SIGBUS_BASE - BUS_ADRERR)

static void attach_one(struct manager *m)
{
	manager_init(m, 16);
	manager_attach(m, UFFD_EVENTS);
}

static void truncate_and_wake(struct manager *m, unsigned who)
{
	EXPECT_EQ(ftruncate(m->memfd, 0), 0);
	EXPECT_EQ(uffd_wake(m->space[who].uffd, m->space[who].base, m->len), 0);
}

static void truncate_wake_unread(void)
{
	struct manager m;

	attach_one(&m);
	manager_post(&m, A, op_read, 0, 0);
	EXPECT(manager_is_stuck(&m, A, 50));
	truncate_and_wake(&m, A);
	EXPECT_EQ(manager_reply(&m, A), READ_FAILED);
}

/* The engine took the event and died: the keeper need not know of it. */
static void truncate_wake_read(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m);
	manager_post(&m, A, op_write, 0, 1);
	manager_event(&m, A, &msg);
	truncate_and_wake(&m, A);
	EXPECT_EQ(manager_reply(&m, A), READ_FAILED);
}

static void truncate_wake_protected(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	manager_post(&m, A, op_write, 0, 1);
	manager_event(&m, A, &msg);
	EXPECT_STR(m.trace, "A:wp/w");
	truncate_and_wake(&m, A);
	EXPECT_EQ(manager_reply(&m, A), READ_FAILED);
}

static void truncate_alone_does_not_wake(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);
	EXPECT_EQ(ftruncate(m.memfd, 0), 0);
	EXPECT(manager_is_stuck(&m, A, 100));
	/* Nor can the page still be installed behind the end. */
	EXPECT_EQ(manager_install(&m, A, 0, 0), -EFAULT);
	EXPECT_EQ(uffd_wake(m.space[A].uffd, m.space[A].base, m.len), 0);
	EXPECT_EQ(manager_reply(&m, A), READ_FAILED);
}

/* Every access after the truncation fails by itself, with no event. */
static void truncated_is_final(void)
{
	struct manager m;

	attach_one(&m);
	EXPECT_WRITE(&m, A, 0, 1, "A:miss/w");
	EXPECT_EQ(ftruncate(m.memfd, 0), 0);
	EXPECT_READ(&m, A, 0, READ_FAILED, "");
	EXPECT_READ(&m, A, 1, READ_FAILED, "");
	EXPECT_EQ(memfd_pages(m.memfd), 0);
}

static void truncate_close(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);
	EXPECT_EQ(ftruncate(m.memfd, 0), 0);
	close(m.space[A].uffd);
	m.space[A].uffd = -1;
	EXPECT_EQ(manager_reply(&m, A), READ_FAILED);
	EXPECT_READ(&m, A, 1, READ_FAILED, "");
}

/* Why there is a keeper: with the last reference goes the registration. */
static void close_alone_reads_zeros(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);
	close(m.space[A].uffd);
	m.space[A].uffd = -1;
	EXPECT_EQ(manager_reply(&m, A), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 1);
}

/* The engine dies, the keeper holds on: faults wait, no zeros. */
static void keeper_holds(void)
{
	struct manager m;
	pid_t engine;
	int status;

	attach_one(&m);
	manager_post(&m, A, op_read, 0, 0);
	engine = fork();
	EXPECT(engine >= 0);
	if (!engine) {
		struct uffd_msg msg;

		/* Takes the event and crashes before it answers. */
		manager_event(&m, A, &msg);
		raise(SIGKILL);
	}
	EXPECT_EQ(waitpid(engine, &status, 0), engine);
	EXPECT(WIFSIGNALED(status));
	EXPECT(manager_is_stuck(&m, A, 100));
	EXPECT_EQ(memfd_pages(m.memfd), 0);
	truncate_and_wake(&m, A);
	EXPECT_EQ(manager_reply(&m, A), READ_FAILED);
}

/*
 * After a wake that resolves nothing the fault is simply raised again: a
 * new engine can have every lost event told once more.
 */
static void wake_repeats_event(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);
	EXPECT_EQ(uffd_wake(m.space[A].uffd, m.space[A].base, m.len), 0);
	EXPECT_EQ(manager_reply(&m, A), FILL);
	EXPECT_STR(m.trace, "A:miss/r A:miss/r");
}

static void need_poison(void)
{
	int uffd = uffd_open();
	int ret = uffd_api(uffd, UFFD_PAGES | UFFD_FEATURE_POISON);

	close(uffd);
	if (ret == -EINVAL && case_kernel() < 6006)
		case_skip("UFFDIO_POISON came with Linux 6.6");
	EXPECT_EQ(ret, 0);
}

/* The signal's code depends on CONFIG_MEMORY_FAILURE. */
static bool is_poisoned(long result)
{
	return result == SIGBUS_BASE - BUS_MCEERR_AR ||
	       result == SIGBUS_BASE - BUS_ADRERR;
}

static void poison_one_page(void)
{
	struct manager m;
	struct uffd_msg msg;
	struct space *sp = &m.space[A];
	uint64_t addr;

	manager_init(&m, 16);
	need_poison();
	manager_attach(&m, UFFD_EVENTS | UFFD_FEATURE_POISON);
	manager_attach(&m, UFFD_EVENTS | UFFD_FEATURE_POISON);
	addr = manager_addr(&m, A, 0);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);

	/* Poison overwrites nothing, not even the write-protect marker. */
	EXPECT_EQ(uffd_poison(sp->uffd, addr, PAGE_BYTES), -EEXIST);
	/* Had this woken the reader, it would fault again in between. */
	EXPECT_EQ(uffd_unprotect_quiet(sp->uffd, addr, PAGE_BYTES), 0);
	EXPECT_EQ(uffd_poison(sp->uffd, addr, PAGE_BYTES), 0);
	EXPECT(is_poisoned(manager_reply(&m, A)));
	EXPECT_STR(m.trace, "A:miss/r");

	EXPECT_READ(&m, A, 1, FILL, "A:miss/r");
	EXPECT_READ(&m, B, 0, FILL, "B:miss/r"); /* A alone is poisoned */
	EXPECT(is_poisoned(manager_call(&m, A, op_read, 0, 0)));
	EXPECT_STR(m.trace, "");
	EXPECT_EQ(memfd_pages(m.memfd), 2);

	/* While B has the page in, nothing puts it into A. */
	EXPECT_EQ(manager_install(&m, A, 0, COPY_WP), -EEXIST);
	EXPECT(is_poisoned(manager_call(&m, A, op_read, 0, 0)));
}

/* Neither protection nor a punch lifts poison; installing a page does. */
static void poison_lasts(void)
{
	struct manager m;
	struct space *sp = &m.space[A];
	uint64_t addr;

	manager_init(&m, 16);
	need_poison();
	manager_attach(&m, UFFD_EVENTS | UFFD_FEATURE_POISON);
	addr = manager_addr(&m, A, 0);
	EXPECT_EQ(uffd_unprotect(sp->uffd, addr, PAGE_BYTES), 0);
	EXPECT_EQ(uffd_poison(sp->uffd, addr, PAGE_BYTES), 0);

	EXPECT_EQ(uffd_protect(sp->uffd, addr, PAGE_BYTES), 0);
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT(is_poisoned(manager_call(&m, A, op_read, 0, 0)));
	EXPECT_STR(m.trace, "");
	EXPECT_EQ(manager_install(&m, A, 0, COPY_WP), 0);
	EXPECT_EQ(manager_call(&m, A, op_read, 0, 0), FILL);
	EXPECT_STR(m.trace, "");
}

static const struct test_case cases[] = {
	{"truncate_wake_unread", truncate_wake_unread, 0},
	{"truncate_wake_read", truncate_wake_read, 0},
	{"truncate_wake_protected", truncate_wake_protected, 0},
	{"truncate_alone_does_not_wake", truncate_alone_does_not_wake, 0},
	{"truncated_is_final", truncated_is_final, 0},
	{"truncate_close", truncate_close, 0},
	{"close_alone_reads_zeros", close_alone_reads_zeros, 0},
	{"keeper_holds", keeper_holds, 0},
	{"wake_repeats_event", wake_repeats_event, 0},
	{"poison_one_page", poison_one_page, 0},
	{"poison_lasts", poison_lasts, 0},
};

int main(int argc, char **argv)
{
	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
