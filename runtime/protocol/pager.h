/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the page protocol asks of this node's cache of one segment: dipcd does
 * it with a memfd and userfaultfd (runtime/node/pager_uffd.c), tests with an
 * array. Nothing here waits on the network or parks. docs/design/pages.md has
 * the rules, INV-*, that an implementation keeps.
 *
 * WHO is an address space of this node (a process); one that has ended is
 * nobody, and no error.
 */
#ifndef DIPC_PROTOCOL_PAGER_H
#define DIPC_PROTOCOL_PAGER_H

#include <stdbool.h>
#include <stdint.h>

#define DIPC_PAGE_SIZE 4096u
/* As WHO: no process; the page is only wanted here. */
#define DIPC_PAGER_NOBODY UINT64_MAX

struct dipc_pager;

/* Pages that one call may name: they never cross a multiple of it. */
#define DIPC_PAGER_BLOCK 512u

struct dipc_pager_ops {
	/*
	 * NR pages from FIRST on, absent until now, get DATA and can be read
	 * by all; faults of WHO there are over. is_write: WHO may write them,
	 * nobody else may. 0 or -errno: the segment cannot go on here.
	 */
	int (*install)(struct dipc_pager *pager, uint64_t first, unsigned nr,
		       const void *data, uint64_t who, bool is_write);
	/*
	 * The page should be present: end WHO's fault, is_write: and let it
	 * write from now on. -ENOENT: the page is not there after all (the
	 * program removed it, MADV_REMOVE); nothing was done.
	 */
	int (*resolve)(struct dipc_pager *pager, uint64_t page, uint64_t who,
		       bool is_write);
	/*
	 * Take the right to write from everyone, then copy the pages to DATA.
	 * They stay readable. 0 or -errno (nothing can be said of DATA).
	 */
	int (*protect_and_copy)(struct dipc_pager *pager, uint64_t first,
				unsigned nr, void *data);
	/* Take the pages from everyone. 0 or -errno: some may still be seen. */
	int (*drop)(struct dipc_pager *pager, uint64_t first, unsigned nr);
	/* The page is lost: WHO's fault ends in SIGBUS. -errno: cannot do it
	   for one page. */
	int (*poison)(struct dipc_pager *pager, uint64_t page, uint64_t who);
	/* End every fault, now and later, in SIGBUS. Cannot be undone. */
	void (*kill)(struct dipc_pager *pager);
};

/* Embedded in an implementation's own struct. */
struct dipc_pager {
	const struct dipc_pager_ops *ops; /* static */
};

#endif
