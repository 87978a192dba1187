/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program can do to the mapping that it was given, and what the
 * manager sees of it.
 */
#include "case.h"
#include "manager.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define NR_PAGES 16

static char *page_at(struct client *c, long page)
{
	return c->base + page * (long)PAGE_BYTES;
}

static void attach_one(struct manager *m, uint64_t features)
{
	manager_init(m, NR_PAGES);
	manager_attach(m, features);
}

static long op_munmap(struct client *c, long page, long nr)
{
	return munmap(page_at(c, page), (size_t)nr * PAGE_BYTES) ? -errno : 0;
}

static long op_map_over(struct client *c, long page, long nr)
{
	void *p = mmap(page_at(c, page), (size_t)nr * PAGE_BYTES,
		       PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return p == MAP_FAILED ? -errno : 0;
}

static long op_madvise(struct client *c, long page, long advice)
{
	return madvise(page_at(c, page), PAGE_BYTES, (int)advice) ? -errno : 0;
}

static long op_mprotect_page(struct client *c, long page, long prot)
{
	return mprotect(page_at(c, page), PAGE_BYTES, (int)prot) ? -errno : 0;
}

/* Returns the new address; the client goes on using it as its base. */
static long op_mremap(struct client *c, long old_len, long unused)
{
	void *p = mmap(NULL, c->len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	(void)unused;
	if (p == MAP_FAILED)
		return -errno;
	p = mremap(c->base, (size_t)old_len, c->len,
		   MREMAP_MAYMOVE | MREMAP_FIXED, p);
	if (p == MAP_FAILED)
		return -errno;
	c->base = p;
	return (long)(uintptr_t)p;
}

static void munmap_part(void)
{
	struct manager m;

	attach_one(&m, UFFD_EVENTS);
	EXPECT_READ(&m, A, 4, FILL, "A:miss/r");
	EXPECT_EQ(manager_call(&m, A, op_munmap, 4, 4), 0);
	EXPECT_STR(m.trace, "A:unmap(4,8)");

	/* The page itself stays in the cache. What went is no longer ours. */
	EXPECT_EQ(memfd_pages(m.memfd), 1);
	EXPECT_EQ(manager_install(&m, A, 5, COPY_WP), -ENOENT);
	EXPECT_EQ(uffd_protect(m.space[A].uffd, manager_addr(&m, A, 5),
			       PAGE_BYTES),
		  -ENOENT);
	EXPECT_READ(&m, A, 3, FILL, "A:miss/r");
	EXPECT_READ(&m, A, 8, FILL, "A:miss/r");
}

/* Even the whole of it: the address space lives, so not ESRCH. */
static void munmap_whole(void)
{
	struct manager m;

	attach_one(&m, UFFD_EVENTS);
	EXPECT_EQ(manager_call(&m, A, op_munmap, 0, NR_PAGES), 0);
	EXPECT_STR(m.trace, "A:unmap(0,16)");
	EXPECT_EQ(uffd_protect(m.space[A].uffd, m.space[A].base, PAGE_BYTES),
		  -ENOENT);
}

static void map_over(void)
{
	struct manager m;

	attach_one(&m, UFFD_EVENTS);
	EXPECT_EQ(manager_call(&m, A, op_map_over, 2, 3), 0);
	EXPECT_STR(m.trace, "A:unmap(2,5)");
	EXPECT_WRITE(&m, A, 2, 1, ""); /* the program's own memory now */
	EXPECT_EQ(memfd_pages(m.memfd), 0);
}

static void exit_is_no_unmap(void)
{
	struct manager m;
	struct uffd_msg msg;

	attach_one(&m, UFFD_EVENTS);
	manager_post(&m, A, op_exit, 0, 0);
	EXPECT(manager_is_gone(&m, A));
	EXPECT_EQ(read(m.space[A].uffd, &msg, sizeof(msg)), -1);
	EXPECT_EQ(errno, EAGAIN);
}

static void mremap_moves(void)
{
	struct manager m;
	struct uffd_msg msg;
	long to;

	attach_one(&m, UFFD_EVENTS);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	manager_post(&m, A, op_mremap, NR_PAGES * (long)PAGE_BYTES, 0);
	manager_event(&m, A, &msg);
	EXPECT_EQ(msg.event, UFFD_EVENT_REMAP);
	EXPECT_EQ(msg.arg.remap.from, m.space[A].base);
	EXPECT_EQ(msg.arg.remap.len, m.len);
	to = manager_reply(&m, A);
	EXPECT_EQ(msg.arg.remap.to, to);
	/* The old place goes after the new one was told: not a detach. */
	EXPECT_STR(m.trace, "A:remap(0,16) A:unmap(0,16)");
	m.space[A].base = (uint64_t)to;

	/* Registration and protection came along, for absent pages too. */
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
	EXPECT_READ(&m, A, 1, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 1, 2, "A:wp/w");
}

/* Without the event the registration is dropped silently: zeros. */
static void mremap_without_event(void)
{
	struct manager m;

	attach_one(&m, 0);
	EXPECT(manager_call(&m, A, op_mremap, NR_PAGES * (long)PAGE_BYTES, 0) >
	       0);
	EXPECT_STR(m.trace, "");
	EXPECT_READ(&m, A, 0, 0, "");
	EXPECT_EQ(memfd_pages(m.memfd), 1);
}

/*
 * Old size 0 makes a second mapping, registered but without the protection of
 * the first, at a place whose length the event does not tell. That is why the
 * client library refuses it; this is a program that goes round the library.
 */
static void mremap_old_size_zero(void)
{
	struct manager m;
	long copy;

	attach_one(&m, UFFD_EVENTS);
	manager_attach(&m, UFFD_EVENTS);
	copy = manager_call(&m, A, op_mremap, 0, 0);
	if (copy < 0) {
		case_info("the kernel refuses it: %ld", copy);
		return;
	}
	EXPECT_STR(m.trace, "A:remap(0,0)");
	m.space[A].base = (uint64_t)copy; /* the client's base, too */
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");

	EXPECT_READ(&m, B, 1, FILL, "B:miss/r");
	EXPECT_EQ(manager_call(&m, A, op_write, 1, 66), 0);
	case_info("a page installed elsewhere, written through the second "
		  "mapping: %s",
		  m.trace[0] ? "an event" : "no event");
}

static void dontneed(void)
{
	struct manager m;

	attach_one(&m, UFFD_EVENTS);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 1, 9, "A:miss/w");

	EXPECT_EQ(manager_call(&m, A, op_madvise, 0, MADV_DONTNEED), 0);
	EXPECT_STR(m.trace, "A:remove(0,1)");
	EXPECT_EQ(manager_call(&m, A, op_madvise, 1, MADV_DONTNEED), 0);
	EXPECT_EQ(manager_call(&m, A, op_madvise, 2, MADV_DONTNEED), 0);

	/* The page stays in the cache, and the protection in the process. */
	EXPECT_EQ(memfd_pages(m.memfd), 2);
	EXPECT_READ(&m, A, 0, FILL, "");
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
	EXPECT_WRITE(&m, A, 1, 10, "");
	EXPECT_READ(&m, A, 2, FILL, "A:miss/r");
	EXPECT_WRITE(&m, A, 2, 1, "A:wp/w");
}

/* The same with no read in between, when only the marker is left. */
static void dontneed_then_write(void)
{
	struct manager m;

	attach_one(&m, UFFD_EVENTS);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_EQ(manager_call(&m, A, op_madvise, 0, MADV_DONTNEED), 0);
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
	EXPECT_WRITE(&m, B, 0, 2, "B:wp/w");
}

/* A hole that the program punches: the page is gone for every process. */
static void madv_remove(void)
{
	struct manager m;

	attach_one(&m, UFFD_EVENTS);
	manager_attach(&m, UFFD_EVENTS);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_EQ(manager_call(&m, B, op_madvise, 0, MADV_REMOVE), 0);
	EXPECT_STR(m.trace, "B:remove(0,1)");
	EXPECT_EQ(memfd_pages(m.memfd), 0);
	EXPECT_READ(&m, A, 0, FILL, "A:miss/r");
	EXPECT_WRITE(&m, B, 0, 1, "B:wp/w");
	EXPECT_WRITE(&m, A, 0, 1, "A:wp/w");
}

/* mprotect makes no event, but it cuts the mapping in three. */
static void mprotect_splits(void)
{
	struct manager m;
	struct space *sp = &m.space[A];
	int ret;

	attach_one(&m, UFFD_EVENTS);
	EXPECT_EQ(manager_call(&m, A, op_mprotect_page, 2, PROT_READ), 0);
	EXPECT_STR(m.trace, "");

	ret = uffd_protect(sp->uffd, sp->base, m.len);
	case_info("UFFDIO_WRITEPROTECT over three pieces: %d", ret);
	EXPECT(ret == 0 || ret == -ENOENT);
	EXPECT_EQ(uffd_protect(sp->uffd, sp->base, 2 * PAGE_BYTES), 0);
	EXPECT_EQ(uffd_wake(sp->uffd, sp->base, m.len), 0);

	EXPECT_READ(&m, A, 2, FILL, "A:miss/r");
	EXPECT_EQ(manager_call(&m, A, op_mprotect_page, 2,
			       PROT_READ | PROT_WRITE),
		  0);
	EXPECT_WRITE(&m, A, 2, 1, "A:wp/w");
	EXPECT_EQ(uffd_protect(sp->uffd, sp->base, m.len), 0); /* merged */
}

static void copy_over_split(void)
{
	static unsigned char run[4 * PAGE_BYTES];
	struct manager m;
	struct uffdio_copy copy = {
		.src = (uintptr_t)run,
		.len = sizeof(run),
		.mode = COPY_WP,
	};
	int ret;

	attach_one(&m, UFFD_EVENTS);
	EXPECT_EQ(manager_call(&m, A, op_mprotect_page, 2, PROT_READ), 0);
	copy.dst = m.space[A].base;
	ret = ioctl(m.space[A].uffd, UFFDIO_COPY, &copy);
	case_info("UFFDIO_COPY of 4 pages over a split at 2: errno %d, "
		  "copied %lld, pages %ld",
		  ret ? errno : 0, (long long)copy.copy, memfd_pages(m.memfd));
	EXPECT_EQ(ret, -1);
	EXPECT_EQ(errno, ENOENT);
	EXPECT_EQ(memfd_pages(m.memfd), 0);
}

/*
 * From the moment when a process has an event to report until it has gone on
 * after the event was read, ioctls on it fail. On a short window after the
 * read they still may: hence drain and retry, not drain and do.
 */
static void eagain_while_event_waits(void)
{
	struct manager m;
	struct space *sp = &m.space[A];
	struct uffd_msg msg;
	struct uffdio_copy copy = {.len = PAGE_BYTES, .mode = COPY_WP};
	int ret, retries = 0;

	attach_one(&m, UFFD_EVENTS);
	manager_post(&m, A, op_munmap, 4, 4);
	EXPECT(manager_is_stuck(&m, A, 50));

	copy.dst = sp->base;
	copy.src = (uintptr_t)m.fill;
	copy.copy = 12345;
	EXPECT_EQ(ioctl(sp->uffd, UFFDIO_COPY, &copy), -1);
	EXPECT_EQ(errno, EAGAIN);
	case_info("uffdio_copy.copy with EAGAIN: %s",
		  copy.copy == 12345 ? "not written" : "written");
	EXPECT(copy.copy == 12345 || copy.copy == -EAGAIN);
	EXPECT_EQ(uffd_protect(sp->uffd, sp->base, PAGE_BYTES), -EAGAIN);
	EXPECT_EQ(uffd_wake(sp->uffd, sp->base, PAGE_BYTES), 0);
	EXPECT_EQ(memfd_pages(m.memfd), 0);

	manager_event(&m, A, &msg);
	EXPECT_STR(m.trace, "A:unmap(4,8)");
	while ((ret = manager_install(&m, A, 0, COPY_WP)) == -EAGAIN)
		retries++;
	EXPECT_EQ(ret, 0);
	case_info("EAGAIN %d times after the event was read", retries);
	EXPECT_EQ(manager_reply(&m, A), 0);
}

/* An event of one process does not hold up another. */
static void eagain_is_per_process(void)
{
	struct manager m;

	attach_one(&m, UFFD_EVENTS);
	manager_attach(&m, UFFD_EVENTS);
	manager_post(&m, A, op_munmap, 4, 4);
	EXPECT(manager_is_stuck(&m, A, 50));
	EXPECT_EQ(manager_install(&m, A, 0, COPY_WP), -EAGAIN);
	EXPECT_EQ(manager_install(&m, B, 0, COPY_WP), 0);
	EXPECT_EQ(manager_reply(&m, A), 0);
}

static const struct test_case cases[] = {
	{"munmap_part", munmap_part, 0},
	{"munmap_whole", munmap_whole, 0},
	{"map_over", map_over, 0},
	{"exit_is_no_unmap", exit_is_no_unmap, 0},
	{"mremap_moves", mremap_moves, 0},
	{"mremap_without_event", mremap_without_event, 0},
	{"mremap_old_size_zero", mremap_old_size_zero, 0},
	{"dontneed", dontneed, 0},
	{"dontneed_then_write", dontneed_then_write, 0},
	{"madv_remove", madv_remove, 0},
	{"mprotect_splits", mprotect_splits, 0},
	{"copy_over_split", copy_over_split, 0},
	{"eagain_while_event_waits", eagain_while_event_waits, 0},
	{"eagain_is_per_process", eagain_is_per_process, 0},
};

int main(int argc, char **argv)
{
	return case_main(cases, sizeof(cases) / sizeof(cases[0]),
			 argc > 1 ? argv[1] : NULL);
}
