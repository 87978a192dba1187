/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How dipcd learns which process the child of a fork is: by a fault that names
 * it. Beside each userfaultfd there is a page, write-protected by dipcd, which
 * the child writes before anything else. It needs no descriptor and no
 * connection, and so works in grandchildren that closed all descriptors too.
 */
#include "runtime/client/name.h"

#include <stdatomic.h>
#include <stddef.h>

#include "runtime/base/sys.h"
#include "runtime/client/away.h"

#define PAGE_SIZE 4096u

/* The page's start. `next` is written before dipcd protects the page. */
struct name {
	struct name *next;
	_Atomic int is_written;
};

static struct name *names; /* guarded by the connection's lock */

void *dipc_name_create(void)
{
	struct name *name = dipc_away_mmap(PAGE_SIZE, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (dipc_sys_mmap_error(name))
		return NULL;
	dipc_sys_madvise(name, PAGE_SIZE, MADV_NOHUGEPAGE);
	name->next = names; /* the page is present from now on */
	return name;
}

void dipc_name_keep(void *name)
{
	names = name;
}

void dipc_name_destroy(void *name)
{
	dipc_sys_munmap(name, PAGE_SIZE);
}

void dipc_name_after_fork(void)
{
	struct name *name;

	for (name = names; name; name = name->next)
		atomic_store_explicit(&name->is_written, 1,
				      memory_order_relaxed);
}
