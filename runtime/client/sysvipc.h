/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files in which the kernel shows its System V objects and their limits,
 * as a program sees them for whom all keys are distributed: with the cluster's
 * objects behind the kernel's, and with the cluster's limits.
 */
#ifndef DIPC_CLIENT_SYSVIPC_H
#define DIPC_CLIENT_SYSVIPC_H

/*
 * Which of those files PATH (the program's pointer) names; -1: none, or this
 * process has nothing to do with dipcd. A few nanoseconds then, under DIPC_KEYS=all
 * less than a microsecond. errno untouched, no lock, async-signal-safe.
 */
int dipc_sysvipc_find(const char *path);
/*
 * A descriptor, open as FLAGS say, of file WHICH as it is now, or -errno.
 * -ENOSYS: it is the kernel's to open.
 */
int dipc_sysvipc_open(int which, int flags);

#endif
