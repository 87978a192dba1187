/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thin wrappers over the system calls the pager lives on. All return 0 (or
 * what is asked for) or -errno. An address is that of the process which the
 * userfaultfd belongs to, hence an integer and not a pointer.
 */
#ifndef DIPC_TESTS_KERNEL_UFFD_UTIL_H
#define DIPC_TESTS_KERNEL_UFFD_UTIL_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

/* Newer than the 6.1 headers; values are kernel ABI. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(0xAA, 0x08, struct uffdio_poison)
#endif

#define PAGE_BYTES 4096UL

#define UFFD_PAGES                                                             \
	((uint64_t)(UFFD_FEATURE_WP_HUGETLBFS_SHMEM |                          \
		    UFFD_FEATURE_MISSING_SHMEM |                               \
		    UFFD_FEATURE_PAGEFAULT_FLAG_WP))
#define UFFD_EVENTS                                                            \
	((uint64_t)(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |       \
		    UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE))

#define UFFD_MISSING ((uint64_t)UFFDIO_REGISTER_MODE_MISSING)
#define UFFD_WP      ((uint64_t)UFFDIO_REGISTER_MODE_WP)
#define COPY_WP      ((uint64_t)UFFDIO_COPY_MODE_WP)

/* Mode 0600, LEN bytes, all holes. Returns the descriptor. */
int memfd_make(size_t len);
int memfd_reopen(int memfd, int flags);
int memfd_punch(int memfd, unsigned page, unsigned nr);
/* Pages that the memfd holds, whoever put them there. */
long memfd_pages(int memfd);

/* Non-blocking and close-on-exec; /dev/userfaultfd first, then the call. */
int uffd_open(void);
int uffd_api(int uffd, uint64_t features);
int uffd_register(int uffd, uint64_t addr, size_t len, uint64_t mode);
int uffd_copy(int uffd, uint64_t addr, const void *src, size_t len,
	      uint64_t mode);
int uffd_protect(int uffd, uint64_t addr, size_t len);
int uffd_unprotect(int uffd, uint64_t addr, size_t len);
/* The same, but whoever waits there sleeps on. */
int uffd_unprotect_quiet(int uffd, uint64_t addr, size_t len);
int uffd_wake(int uffd, uint64_t addr, size_t len);
int uffd_poison(int uffd, uint64_t addr, size_t len);

/* PAGEMAP is an open /proc/PID/pagemap; covers present pages and markers. */
int pagemap_open(pid_t pid);
bool pagemap_is_wp(int pagemap, uint64_t addr);

int fd_send(int sock, int fd);
int fd_recv(int sock);

double now_us(void);

#endif
