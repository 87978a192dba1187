/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * With DIPC_FAULTS=signal no fault tells dipcd who the child of a fork is. So
 * dipcd writes a number nobody can guess into a page of the child, which the
 * kernel wipes at every fork, and the child shows it on its own connection.
 */
#include "runtime/client/fault.h"

#include <errno.h>
#include <stddef.h>
#include <sys/uio.h>

#include "runtime/base/sys.h"
#include "runtime/client/away.h"
#include "runtime/client/client.h"

#define PAGE_SIZE 4096u
#define TAGS_MAX  16u /* as connections, in a process and all before it */
/* dipcd writes the tag while the fork goes on: milliseconds to wait for it */
#define TAG_PATIENCE 1000u

/* guarded by the connection's lock */
static struct {
	void *page;
	bool is_due;
} tags[TAGS_MAX];
static unsigned nr_tags;

void *dipc_tag_create(void)
{
	void *page;

	if (nr_tags == TAGS_MAX)
		return NULL;
	page = dipc_away_mmap(PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (dipc_sys_mmap_error(page))
		return NULL;
	dipc_sys_madvise(page, PAGE_SIZE, MADV_NOHUGEPAGE);
	if (dipc_sys_madvise(page, PAGE_SIZE, MADV_WIPEONFORK) == 0)
		return page;
	dipc_tag_destroy(page);
	return NULL;
}

void dipc_tag_keep(void *page)
{
	tags[nr_tags].page = page;
	tags[nr_tags++].is_due = false;
}

void dipc_tag_destroy(void *page)
{
	dipc_sys_munmap(page, PAGE_SIZE);
}

void dipc_tag_after_fork(void)
{
	unsigned i;

	for (i = 0; i < nr_tags; i++)
		tags[i].is_due = true;
}

bool dipc_tag_is_due(void)
{
	unsigned i;

	for (i = 0; i < nr_tags; i++)
		if (tags[i].is_due)
			return true;
	return false;
}

/* As long as it is not there a system call says EFAULT; to touch it would be
   a fault like any other. */
static uint64_t tag_read(void *page)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t tag = 0;
	struct iovec here = {.iov_base = &tag, .iov_len = sizeof(tag)};
	struct iovec there = {.iov_base = page, .iov_len = sizeof(tag)};
	unsigned i;

	for (i = 0; i < TAG_PATIENCE; i++) {
		if (dipc_sys6(SYS_process_vm_readv,
			      (uintptr_t)dipc_sys_getpid(), (uintptr_t)&here, 1,
			      (uintptr_t)&there, 1, 0) != -EFAULT)
			break;
		if (i < 16)
			dipc_sys3(SYS_sched_yield, 0, 0, 0);
		else
			dipc_sys4(SYS_nanosleep, (uintptr_t)&moment, 0, 0, 0);
	}
	return tag;
}

static int tag_show_one(void *page)
{
	struct dipc_sock_msg q = {.type = DIPC_SOCK_FAULTS_TAG};
	struct dipc_sock_msg a;
	int ret;

	q.addr = tag_read(page);
	if (!q.addr)
		return -ESRCH; /* nothing was inherited with it */
	ret = dipc_conn_ask(&q, -1, &a, NULL);
	return ret ? ret : a.status;
}

int dipc_tag_show(void)
{
	int ret = -ESRCH;
	unsigned i;

	for (i = 0; i < nr_tags; i++) {
		if (!tags[i].is_due)
			continue;
		tags[i].is_due = false;
		if (tag_show_one(tags[i].page) == 0)
			ret = 0;
	}
	return ret;
}
