/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-only attachment: an O_RDONLY reopening of the memfd, mapped private and
 * read-only, registered for missing pages. The manager fills the memfd and
 * wakes.
 */
#include "case.h"
#include "manager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Space A with FLAGS for mmap; returns what UFFDIO_REGISTER said. */
static long attach_readonly(struct manager *m, long flags)
{
	struct space *sp;
	unsigned who;
	long ret;

	manager_init(m, 16);
	m->fill_memfd = true;
	who = manager_spawn(m);
	sp = &m->space[who];
	ret = manager_call(m, who, op_map_ro, PROT_NONE, flags);
	EXPECT(ret > 0);
	sp->base = (uint64_t)ret;
	manager_take_uffd(m, who);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES | UFFD_EVENTS), 0);
	ret = manager_call(m, who, op_register, (long)UFFD_MISSING, 0);
	EXPECT_EQ(manager_call(m, who, op_close_uffd, 0, 0), 0);
	EXPECT_EQ(manager_call(m, who, op_mprotect, PROT_READ, 0), 0);
	return ret;
}

static void filled_by_pwrite(void)
{
	struct manager m;
	unsigned char changed = 99;

	EXPECT_EQ(attach_readonly(&m, MAP_PRIVATE), 0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_READ(&m, A, 0, FILL, "");

	/* It is the cache's own page, not a copy of it. */
	EXPECT_EQ(pwrite(m.memfd, &changed, 1, 0), 1);
	EXPECT_READ(&m, A, 0, 99, "");

	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
}

static void beside_a_writer(void)
{
	struct manager m;

	EXPECT_EQ(attach_readonly(&m, MAP_PRIVATE), 0);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, B, 0, 5, "B:wp/w");
	EXPECT_READ(&m, A, 0, 5, "");
	m.fill_memfd = false; /* B installs by UFFDIO_COPY */
	EXPECT_READ(&m, B, 1, FILL, "B:miss/r");
	EXPECT_READ(&m, A, 1, FILL, "");
}

static void shared_is_eperm(void)
{
	struct manager m;

	EXPECT_EQ(attach_readonly(&m, MAP_SHARED), -EPERM);
}

/* UFFDIO_COPY makes a private page, which no punch and no writer reaches. */
static void copy_is_a_trap(void)
{
	struct manager m;

	EXPECT_EQ(attach_readonly(&m, MAP_PRIVATE), 0);
	EXPECT_EQ(manager_install(&m, A, 0, 0), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 0);
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT_READ(&m, A, 0, FILL, "");
}

static void wp_is_refused(void)
{
	struct manager m;

	/* Registered for missing pages only: nothing to protect. */
	EXPECT_EQ(attach_readonly(&m, MAP_PRIVATE), 0);
	EXPECT_EQ(uffd_protect(m.space[A].uffd, m.space[A].base, PAGE_BYTES),
		  -ENOENT);
}

static void mprotect_makes_it_private(void)
{
	struct manager m;

	EXPECT_EQ(attach_readonly(&m, MAP_PRIVATE), 0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	/*
	 * System V says EACCES here. The kernel lets a private mapping be made
	 * writable, and what is written stays in that process: it reads
	 * stale data from then on, but the segment is safe.
	 */
	EXPECT_EQ(manager_call(&m, A, op_mprotect, PROT_READ | PROT_WRITE, 0),
		  0);
	EXPECT_WRITE(&m, A, 0, 66, "");
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT_READ(&m, A, 0, 66, "");
	EXPECT_EQ(memfd_pages(m.memfd), 0);
}

static long op_reopen_ro(struct client *c, long flags, long unused)
{
	int fd = memfd_reopen(c->rofd, (int)flags);

	(void)unused;
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static long op_write_through_ro(struct client *c, long unused, long unused2)
{
	(void)unused;
	(void)unused2;
	return pwrite(c->rofd, "x", 1, 0) < 0 ? -errno : 0;
}

static long op_map_ro_writable(struct client *c, long unused, long unused2)
{
	void *p = mmap(NULL, c->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		       c->rofd, 0);

	(void)unused;
	(void)unused2;
	return p == MAP_FAILED ? -errno : 0;
}

static void nobody_cannot_reopen(void)
{
	struct manager m;

	if (geteuid())
		case_skip("needs root, to become somebody else");
	manager_init(&m, 16);
	manager_spawn(&m);
	EXPECT_EQ(manager_call(&m, A, op_become_nobody, 0, 0), 0);
	EXPECT_EQ(manager_call(&m, A, op_reopen_ro, O_RDWR, 0), -EACCES);
	EXPECT_EQ(manager_call(&m, A, op_reopen_ro, O_RDONLY, 0), -EACCES);
	EXPECT_EQ(manager_call(&m, A, op_write_through_ro, 0, 0), -EBADF);
	EXPECT_EQ(manager_call(&m, A, op_map_ro_writable, 0, 0), -EACCES);

	/* It is the mode that does it; a memfd is born with 0777. */
	EXPECT_EQ(fchmod(m.memfd, 0777), 0);
	EXPECT_EQ(manager_call(&m, A, op_reopen_ro, O_RDWR, 0), 0);
}

/* Truncated and woken, a reader gets SIGBUS as a writer does. */
static void truncated(void)
{
	struct manager m;
	struct uffd_msg msg;

	EXPECT_EQ(attach_readonly(&m, MAP_PRIVATE), 0);
	manager_post(&m, A, op_read, 0, 0);
	manager_event(&m, A, &msg);
	EXPECT_EQ(ftruncate(m.memfd, 0), 0);
	EXPECT_EQ(uffd_wake(m.space[A].uffd, m.space[A].base, m.len), 0);
	EXPECT_EQ(manager_reply(&m, A), SIGBUS_BASE - BUS_ADRERR);
}

static const struct test_case cases[] = {
	{"filled_by_pwrite", filled_by_pwrite, 0},
	{"beside_a_writer", beside_a_writer, 0},
	{"shared_is_eperm", shared_is_eperm, 0},
	{"copy_is_a_trap", copy_is_a_trap, 0},
	{"wp_is_refused", wp_is_refused, 0},
	{"mprotect_makes_it_private", mprotect_makes_it_private, 0},
	{"nobody_cannot_reopen", nobody_cannot_reopen, 0},
	{"truncated", truncated, 0},
};

int main(int argc, char **argv)
{
	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
