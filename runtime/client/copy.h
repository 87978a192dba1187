/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that a program named in a call. The kernel answers a bad pointer with
 * EFAULT; so do these. They ask the kernel about each page first (about 0.2 us
 * to read, 0.4 us to write), then copy. Another thread that unmaps the page in
 * between gets SIGSEGV, which the kernel would not give.
 *
 * Any thread, signal handlers; no locks, no allocation, errno untouched. The
 * memory may be a distributed segment: its faults are served meanwhile.
 */
#ifndef DIPC_CLIENT_COPY_H
#define DIPC_CLIENT_COPY_H

#include <stddef.h>

/* 0 or -EFAULT; then DST is undefined. */
int dipc_copy_in(void *dst, const void *user, size_t len);
/* 0 or -EFAULT; then what lies before the first bad page has been written. */
int dipc_copy_out(void *user, const void *src, size_t len);

#endif
