/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Faults that the program does not take itself: in system calls, by locking
 * memory, from elsewhere. And what the audit and the layout of protection cost.
 */
#include "case.h"
#include "manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK_PAGES 512 /* 2 MiB: one page of page table */

static char *page_at(struct client *c, long page)
{
	return c->base + page * (long)PAGE_BYTES;
}

static void attach_one(struct manager *m)
{
	manager_init(m, 16);
	manager_attach(m, UFFD_EVENTS);
}

/* A file with one page of VALUE. */
static int scratch_file(int value)
{
	unsigned char buf[256];
	unsigned i;
	int fd = memfd_create("scratch", MFD_CLOEXEC);

	memset(buf, value, sizeof(buf));
	for (i = 0; i < PAGE_BYTES / sizeof(buf); i++)
		EXPECT_EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static long op_read2(struct client *c, long page, long len)
{
	int fd = scratch_file(42);
	long ret = read(fd, page_at(c, page), (size_t)len);

	if (ret < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static long op_write2(struct client *c, long page, long len)
{
	int pipefd[2];
	long ret;

	if (pipe(pipefd))
		return -errno;
	ret = write(pipefd[1], page_at(c, page), (size_t)len);
	if (ret < 0)
		ret = -errno;
	close(pipefd[0]);
	close(pipefd[1]);
	return ret;
}

static void syscall_into_missing(void)
{
	struct manager m;

	attach_one(&m);
	EXPECT_EQ(manager_call(&m, A, op_read2, 0, PAGE_BYTES), PAGE_BYTES);
	EXPECT_STR(m.trace, "A:miss/w");
	EXPECT_READ(&m, A, 0, 42, "");
}

static void syscall_into_protected(void)
{
	struct manager m;

	attach_one(&m);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_EQ(manager_call(&m, A, op_read2, 0, 100), 100);
	EXPECT_STR(m.trace, "A:wp/w");
	EXPECT_READ(&m, A, 0, 42, "");
}

static void syscall_from_missing(void)
{
	struct manager m;

	attach_one(&m);
	EXPECT_EQ(manager_call(&m, A, op_write2, 0, PAGE_BYTES), PAGE_BYTES);
	EXPECT_STR(m.trace, "A:miss/r");
}

/* A system call that is blocked in a fault ends with EFAULT. */
static void syscall_ends_in_efault(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m);
	manager_post(&m, A, op_write2, 0, PAGE_BYTES);
	manager_event(&m, A, &msg);
	EXPECT_EQ(ftruncate(m.memfd, 0), 0);
	EXPECT_EQ(uffd_wake(m.space[A].uffd, m.space[A].base, m.len), 0);
	EXPECT_EQ(manager_reply(&m, A), -EFAULT);
}

/* Without privilege: the program's own faults yes, the kernel's no. */
static long op_send_user_uffd(struct client *c, long unused, long unused2)
{
	(void)unused;
	(void)unused2;
	c->uffd = (int)syscall(SYS_userfaultfd,
			       O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (c->uffd < 0)
		return -errno;
	return fd_send(c->sock, c->uffd);
}

static void syscall_unprivileged(void)
{
	struct manager m;
	struct space *sp = &m.space[A];

	manager_init(&m, 16);
	manager_spawn(&m);
	sp->base = (uint64_t)manager_call(&m, A, op_map, PROT_READ | PROT_WRITE,
					  MAP_SHARED);
	manager_post(&m, A, op_send_user_uffd, 0, 0);
	sp->uffd = fd_recv(sp->sock);
	EXPECT_EQ(manager_reply(&m, A), 0);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES), 0);
	EXPECT_EQ(manager_call(&m, A, op_register,
			       (long)(UFFD_MISSING | UFFD_WP), 0),
		  0);
	EXPECT_EQ(manager_call(&m, A, op_read2, 0, PAGE_BYTES), -EFAULT);
	EXPECT_EQ(manager_call(&m, A, op_write2, 0, PAGE_BYTES), -EFAULT);
	EXPECT_STR(m.trace, "");
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
}

/* A debugger's access counts as the program's own. */
static long op_peek(struct client *c, long pid, long addr)
{
	unsigned char byte;
	struct iovec to = {.iov_base = &byte, .iov_len = 1};
	struct iovec from = {.iov_base = (void *)(uintptr_t)addr, .iov_len = 1};

	(void)c;
	if (process_vm_readv((pid_t)pid, &to, 1, &from, 1, 0) != 1)
		return -errno;
	return byte;
}

static void foreign_read(void)
{
	struct manager m;

	attach_one(&m);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT_EQ(manager_call(&m, B, op_peek, m.space[A].pid,
			       (long)m.space[A].base),
		  FILL);
	EXPECT_STR(m.trace, "A:miss/r");
}

/* st_blocks counts pages by any road, hence the audit. */
static void audit_counts_pages(void)
{
	struct manager m;
	char byte;

	attach_one(&m);
	EXPECT_EQ(memfd_pages(m.memfd), 0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_READ(&m, A, 5, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 9, 1, "A:miss/w");
	EXPECT_EQ(memfd_pages(m.memfd), 3);
	/* Reading the hole through the descriptor installs nothing. */
	EXPECT_EQ(pread(m.memfd, &byte, 1, 0), 1);
	EXPECT_EQ(pread(m.memfd, &byte, 1, 2 * (off_t)PAGE_BYTES), 1);
	EXPECT_EQ(memfd_pages(m.memfd), 3);
	EXPECT_EQ(pwrite(m.memfd, m.fill, 1, 2 * (off_t)PAGE_BYTES), 1);
	EXPECT_EQ(memfd_pages(m.memfd), 4);
	EXPECT_EQ(memfd_punch(m.memfd, 0, 3), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 2);
	/* Asked for again, a punched page is still not there twice. */
	EXPECT_EQ(memfd_punch(m.memfd, 0, 3), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 2);
	EXPECT_EQ(ftruncate(m.memfd, 0), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 0);
}

/* A bypass: zeros that every process then reads, and the audit shows. */
static void unregistered_mapping(void)
{
	struct manager m;
	struct client here;

	attach_one(&m);
	here = (struct client){.memfd = m.memfd, .len = m.len};
	EXPECT(op_map(&here, PROT_READ, MAP_SHARED) > 0);
	EXPECT_EQ(op_read(&here, 0, 0), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 1);
	EXPECT_READ(&m, A, 0, 0, "");
}

static long op_mlockall(struct client *c, long flags, long unused)
{
	(void)c;
	(void)unused;
	return mlockall((int)flags) ? -errno : 0;
}

static long op_mlock(struct client *c, long page, long nr)
{
	return mlock(page_at(c, page), (size_t)nr * PAGE_BYTES) ? -errno : 0;
}

static void need_mlock(struct manager *m, unsigned who)
{
	long ret = manager_call(m, who, op_mlockall, MCL_FUTURE, 0);

	if (ret == -EPERM || ret == -ENOMEM)
		case_skip("may not lock memory");
	EXPECT_EQ(ret, 0);
}

/* What goes wrong: mmap itself fills the memfd with zeros. */
static void mlockall_populates(void)
{
	struct manager m;

	manager_init(&m, 16);
	manager_spawn(&m);
	need_mlock(&m, A);
	EXPECT(manager_call(&m, A, op_map, PROT_READ | PROT_WRITE, MAP_SHARED) >
	       0);
	EXPECT_EQ(memfd_pages(m.memfd), 16);
}

static void mlockall_prot_none(void)
{
	struct manager m;
	struct space *sp = &m.space[A];

	manager_init(&m, 16);
	manager_spawn(&m);
	need_mlock(&m, A);
	sp->base = (uint64_t)manager_call(&m, A, op_map, PROT_NONE, MAP_SHARED);
	manager_take_uffd(&m, A);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES | UFFD_EVENTS), 0);
	EXPECT_EQ(manager_call(&m, A, op_register,
			       (long)(UFFD_MISSING | UFFD_WP), 0),
		  0);
	EXPECT_EQ(uffd_protect(sp->uffd, sp->base, m.len), 0);
	EXPECT_EQ(manager_call(&m, A, op_mprotect, PROT_READ | PROT_WRITE, 0),
		  0);
	EXPECT_STR(m.trace, "");
	EXPECT_EQ(memfd_pages(m.memfd), 0);

	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
	manager_protect_all(&m, 0);
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0); /* locked or not */
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 0, 2, "A:wp/w");
}

/* The same for a read-only attachment. */
static void mlockall_readonly(void)
{
	struct manager m;
	struct space *sp = &m.space[A];

	manager_init(&m, 16);
	m.fill_memfd = true;
	manager_spawn(&m);
	need_mlock(&m, A);
	sp->base = (uint64_t)manager_call(&m, A, op_map_ro, PROT_NONE,
					  MAP_PRIVATE);
	manager_take_uffd(&m, A);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES | UFFD_EVENTS), 0);
	EXPECT_EQ(manager_call(&m, A, op_register, (long)UFFD_MISSING, 0), 0);
	EXPECT_EQ(manager_call(&m, A, op_mprotect, PROT_READ, 0), 0);
	EXPECT_STR(m.trace, "");
	EXPECT_EQ(memfd_pages(m.memfd), 0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_EQ(memfd_punch(m.memfd, 0, 1), 0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
}

/* A program that locks what it attached: one fault for each page. */
static void mlock_is_a_fault(void)
{
	struct manager m;
	long ret;

	attach_one(&m);
	ret = manager_call(&m, A, op_mlock, 0, 2);
	if (ret == -EPERM || ret == -ENOMEM)
		case_skip("may not lock memory");
	EXPECT_EQ(ret, 0);
	case_info("mlock of 2 pages: %s", m.trace);
	EXPECT_EQ(memfd_pages(m.memfd), 2);
	EXPECT_READ(&m, A, 0, FILL, "");
}

static long vm_pte_kb(pid_t pid)
{
	char path[64], line[128];
	long kb = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	EXPECT(f);
	while (kb < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmPTE:", 6))
			kb = strtol(line + 6, NULL, 10);
	fclose(f);
	return kb;
}

/* Space A over NR_PAGES, registered, nothing protected yet. */
static void attach_unprotected(struct manager *m, unsigned nr_pages)
{
	struct space *sp = &m->space[A];

	manager_init(m, nr_pages);
	manager_spawn(m);
	sp->base = (uint64_t)manager_call(m, A, op_map, PROT_READ | PROT_WRITE,
					  MAP_SHARED);
	manager_take_uffd(m, A);
	EXPECT_EQ(uffd_api(sp->uffd, UFFD_PAGES | UFFD_EVENTS), 0);
	EXPECT_EQ(manager_call(m, A, op_register,
			       (long)(UFFD_MISSING | UFFD_WP), 0),
		  0);
}

static void protect_block_cost(void)
{
	struct manager m;
	struct space *sp = &m.space[A];
	size_t block = BLOCK_PAGES * PAGE_BYTES;
	unsigned nr = 64, i;
	long before, after;
	double us;

	attach_unprotected(&m, nr * BLOCK_PAGES);
	before = vm_pte_kb(sp->pid);
	us = now_us();
	for (i = 0; i < nr; i++)
		EXPECT_EQ(uffd_protect(sp->uffd, sp->base + i * block, block),
			  0);
	us = now_us() - us;
	after = vm_pte_kb(sp->pid);
	case_info("2 MiB empty: %.1f us and %ld kB of VmPTE for each of %u",
		  us / nr, (after - before) / (long)nr, nr);
	/* A page of table for each block, and the levels above. */
	EXPECT(after - before <= (long)nr * 4 + 64);

	us = now_us();
	for (i = 0; i < nr; i++)
		EXPECT_EQ(uffd_protect(sp->uffd, sp->base + i * block, block),
			  0);
	case_info("the same again: %.1f us each", (now_us() - us) / nr);
	EXPECT_EQ(memfd_pages(m.memfd), 0);
}

/* Why blocks are protected before their first page, not after. */
static void unprotected_block_lets_writes_by(void)
{
	struct manager m;
	struct space *sp = &m.space[A];

	attach_unprotected(&m, 2 * BLOCK_PAGES);
	EXPECT_EQ(uffd_protect(sp->uffd, sp->base, BLOCK_PAGES * PAGE_BYTES),
		  0);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT_READ(&m, B, 0, FILL, "B:miss/r");
	EXPECT_READ(&m, B, BLOCK_PAGES, FILL, "B:miss/r");
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
	EXPECT_WRITE(&m, A, BLOCK_PAGES, 1, "");
}

static const struct test_case cases[] = {
	{"syscall_into_missing", syscall_into_missing, 0},
	{"syscall_into_protected", syscall_into_protected, 0},
	{"syscall_from_missing", syscall_from_missing, 0},
	{"syscall_ends_in_efault", syscall_ends_in_efault, 0},
	{"syscall_unprivileged", syscall_unprivileged, 0},
	{"foreign_read", foreign_read, 0},
	{"audit_counts_pages", audit_counts_pages, 0},
	{"unregistered_mapping", unregistered_mapping, 0},
	{"mlockall_populates", mlockall_populates, 0},
	{"mlockall_prot_none", mlockall_prot_none, 0},
	{"mlockall_readonly", mlockall_readonly, 0},
	{"mlock_is_a_fault", mlock_is_a_fault, 0},
	{"protect_block_cost", protect_block_cost, 0},
	{"unprotected_block_lets_writes_by", unprotected_block_lets_writes_by,
	 0},
};

int main(int argc, char **argv)
{
	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
