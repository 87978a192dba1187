/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thin wrappers of userfaultfd's ioctls. An address is one of the process that
 * the descriptor belongs to, hence an integer. All return 0 or -errno; what
 * the errors mean is in docs/design/pages.md, "The pager".
 */
#ifndef DIPC_NODE_UFFD_H
#define DIPC_NODE_UFFD_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>

/* Values are kernel ABI; absent from the headers of Linux 6.1 and before. */
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif

int dipc_uffd_api(int uffd, uint64_t features);
/* MISSING faults, and write-protection if WP. */
int dipc_uffd_register(int uffd, uint64_t addr, uint64_t len, bool wp);
/* Write-protection only, of memory of any kind. */
int dipc_uffd_register_protect(int uffd, uint64_t addr, uint64_t len);
int dipc_uffd_unregister(int uffd, uint64_t addr, uint64_t len);
/*
 * LEN bytes, whole pages, from SRC; wakes who waits for them. The bytes copied
 * (less than LEN: call again to learn why) or -errno.
 */
int dipc_uffd_copy(int uffd, uint64_t addr, uint64_t len, const void *src,
		   bool wp);
int dipc_uffd_protect(int uffd, uint64_t addr, uint64_t len);
/* Lifts protection and wakes. */
int dipc_uffd_unprotect(int uffd, uint64_t addr, uint64_t len);
int dipc_uffd_wake(int uffd, uint64_t addr, uint64_t len);
int dipc_uffd_poison(int uffd, uint64_t addr, uint64_t len);
/* -ESRCH: the address space is gone. 0: it lives. */
int dipc_uffd_probe(int uffd);

#endif
