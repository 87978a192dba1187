/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that share one memfd, their faults resolved by another: what
 * makes each access visible to the manager, and what does not.
 */
#include "case.h"
#include "manager.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

static void attach_two(struct manager *m, unsigned nr_pages)
{
	manager_init(m, nr_pages);
	manager_attach(m, UFFD_EVENTS);
	manager_attach(m, UFFD_EVENTS);
}

static void resolve_for_two(void)
{
	struct manager m;

	attach_two(&m, 16);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 0, 50, "A:wp/w");
	EXPECT_READ(&m, B, 1, FILL, "B:miss/r");
	EXPECT_WRITE(&m, B, 1, 51, "B:wp/w");
	EXPECT_READ(&m, B, 0, 50, "");
	EXPECT_READ(&m, A, 1, 51, "");
}

/* One registers for another: a client need not keep its descriptor. */
static void register_through_handed_fd(void)
{
	struct manager m;
	struct space *sp = &m.space[A];

	manager_init(&m, 16);
	manager_spawn(&m);
	sp->base = (uint64_t)manager_call(&m, A, op_map, PROT_READ | PROT_WRITE,
					  MAP_SHARED);
	manager_take_uffd(&m, A);
	EXPECT_EQ(manager_call(&m, A, op_close_uffd, 0, 0), 0);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES | UFFD_EVENTS), 0);
	EXPECT_EQ(uffd_register(sp->uffd, sp->base, m.len,
				UFFD_MISSING | UFFD_WP),
		  0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
}

static void empty_protected_range(void)
{
	struct manager m;

	attach_two(&m, 16);
	EXPECT_READ(&m, A, 3, FILL, "A:miss/r");
	/* B sees it with no event, and is still kept from writing it. */
	EXPECT_READ(&m, B, 3, FILL, "");
	EXPECT_WRITE(&m, B, 3, 9, "B:wp/w");
	/* B's grant was B's alone. */
	EXPECT_WRITE(&m, A, 3, 10, "A:wp/w");
	EXPECT_READ(&m, B, 3, 10, "");

	/* B's first touch of a page that A brought in may be the write. */
	EXPECT_READ(&m, A, 4, FILL, "A:miss/r");
	EXPECT_WRITE(&m, B, 4, 9, "B:wp/w");
}

static void punch_takes_from_all(void)
{
	struct manager m;

	attach_two(&m, 16);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_READ(&m, B, 0, FILL, "");
	EXPECT_READ(&m, A, 1, FILL, "A:miss/r");
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT_READ(&m, B, 0, FILL, "B:miss/r");
	EXPECT_READ(&m, A, 0, FILL, "");
	EXPECT_READ(&m, B, 1, FILL, ""); /* the neighbour stayed */

	/* Write protection outlived the page. */
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
	EXPECT_WRITE(&m, B, 0, 1, "B:wp/w");
}

/* A grant, too, outlives the page: hence protect first, and only then punch. */
static void punch_keeps_a_grant(void)
{
	struct manager m;

	attach_two(&m, 16);
	EXPECT_WRITE(&m, A, 0, 1, "A:miss/w");
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT_READ(&m, B, 0, FILL, "B:miss/r");
	EXPECT_WRITE(&m, A, 0, 2, "");
	EXPECT_READ(&m, B, 0, 2, "");

	manager_protect_all(&m, 0);
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT_READ(&m, B, 0, FILL, "B:miss/r");
	EXPECT_WRITE(&m, A, 0, 2, "A:wp/w");
}

static void write_miss_in_two_steps(void)
{
	struct manager m;

	attach_two(&m, 16);
	m.two_step = true;
	EXPECT_WRITE(&m, A, 0, 1, "A:miss/w A:wp/w");
	EXPECT_WRITE(&m, A, 0, 2, "");
	EXPECT_WRITE(&m, B, 0, 3, "B:wp/w");
}

static void write_miss_granted_at_once(void)
{
	struct manager m;

	attach_two(&m, 16);
	EXPECT_WRITE(&m, A, 0, 1, "A:miss/w");
	EXPECT_WRITE(&m, A, 0, 2, "");
	EXPECT_READ(&m, B, 0, 2, "");
	EXPECT_WRITE(&m, B, 0, 3, "B:wp/w");

	/* Taken back: the same page, still in place, is an event again. */
	manager_protect_all(&m, 0);
	EXPECT_READ(&m, A, 0, 3, "");
	EXPECT_WRITE(&m, A, 0, 4, "A:wp/w");
}

/* Reads a page from two threads; the sum shows that both came back. */
static void *read_thread(void *arg)
{
	struct client *c = arg;

	return (void *)(uintptr_t)op_read(c, 0, 0);
}

static long op_read_twice(struct client *c, long unused, long unused2)
{
	pthread_t other;
	void *result = NULL;
	long mine;

	(void)unused;
	(void)unused2;
	if (pthread_create(&other, NULL, read_thread, c))
		return -EAGAIN;
	mine = (long)(uintptr_t)read_thread(c);
	pthread_join(other, &result);
	return mine + (long)(uintptr_t)result;
}

static void two_threads_one_page(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_two(&m, 16);
	manager_post(&m, A, op_read_twice, 0, 0);
	manager_event(&m, A, &msg);
	manager_event(&m, A, &msg);
	EXPECT_STR(m.trace, "A:miss/r A:miss/r");
	/* One UFFDIO_COPY wakes every thread that waits in its range. */
	EXPECT_EQ(manager_install(&m, A, 0, COPY_WP), 0);
	EXPECT_EQ(manager_reply(&m, A), 2 * FILL);
	EXPECT_STR(m.trace, "A:miss/r A:miss/r");
}

/* A and B wait for one page: who is woken by what. */
static void copy_exists_and_wake(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_two(&m, 16);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);
	manager_post(&m, B, op_read, 0, 0);
	manager_event(&m, B, &msg);

	EXPECT_EQ(manager_install(&m, A, 0, COPY_WP), 0);
	EXPECT_EQ(manager_reply(&m, A), FILL);

	/* The page is there, yet B sleeps on; a failed COPY does not wake. */
	EXPECT(manager_is_stuck(&m, B, 50));
	EXPECT_EQ(manager_install(&m, B, 0, COPY_WP), -EEXIST);
	EXPECT(manager_is_stuck(&m, B, 50));
	EXPECT_EQ(
		uffd_wake(m.space[B].uffd, manager_addr(&m, B, 0), PAGE_BYTES),
		0);
	EXPECT_EQ(manager_reply(&m, B), FILL);
	EXPECT_WRITE(&m, B, 0, 1, "B:wp/w");
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
}

/* EEXIST leaves the loser's protection alone, whatever mode it asked for. */
static void copy_exists_grants_nothing(void)
{
	struct manager m;

	attach_two(&m, 16);
	EXPECT_EQ(manager_install(&m, A, 0, COPY_WP), 0);
	EXPECT_EQ(manager_install(&m, B, 0, 0), -EEXIST);
	EXPECT_WRITE(&m, B, 0, 1, "B:wp/w");
}

/* A run that meets a page which is already there stops in front of it. */
static void copy_run_stops_at_existing(void)
{
	struct manager m;
	unsigned char *run = calloc(4, PAGE_BYTES);
	struct uffdio_copy copy = {
		.src = (uintptr_t)run,
		.len = 4 * PAGE_BYTES,
		.mode = COPY_WP,
	};

	attach_two(&m, 16);
	EXPECT(run);
	EXPECT_EQ(manager_install(&m, A, 2, COPY_WP), 0);

	copy.dst = manager_addr(&m, A, 0);
	EXPECT_EQ(ioctl(m.space[A].uffd, UFFDIO_COPY, &copy), -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(copy.copy, 2 * (long)PAGE_BYTES);

	copy.dst = manager_addr(&m, A, 2);
	copy.len = 2 * PAGE_BYTES;
	EXPECT_EQ(ioctl(m.space[A].uffd, UFFDIO_COPY, &copy), -1);
	EXPECT_EQ(errno, EEXIST);
	EXPECT_EQ(copy.copy, -EEXIST);
	EXPECT_EQ(memfd_pages(m.memfd), 3);
}

static const struct test_case cases[] = {
	{"resolve_for_two", resolve_for_two, 0},
	{"register_through_handed_fd", register_through_handed_fd, 0},
	{"empty_protected_range", empty_protected_range, 0},
	{"punch_takes_from_all", punch_takes_from_all, 0},
	{"punch_keeps_a_grant", punch_keeps_a_grant, 0},
	{"write_miss_in_two_steps", write_miss_in_two_steps, 0},
	{"write_miss_granted_at_once", write_miss_granted_at_once, 0},
	{"two_threads_one_page", two_threads_one_page, 0},
	{"copy_exists_and_wake", copy_exists_and_wake, 0},
	{"copy_exists_grants_nothing", copy_exists_grants_nothing, 0},
	{"copy_run_stops_at_existing", copy_run_stops_at_existing, 0},
};

int main(int argc, char **argv)
{
	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
