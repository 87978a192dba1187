/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of the library's own, mapped where the kernel would not put what the
 * program maps: a program that frees a place to attach a segment right there
 * must still find it free after our first call.
 */
#ifndef DIPC_CLIENT_AWAY_H
#define DIPC_CLIENT_AWAY_H

#include <stddef.h>

/* As dipc_sys_mmap(). Any thread, signal handlers. */
void *dipc_away_mmap(size_t len, int prot, int flags, int fd);

#endif
