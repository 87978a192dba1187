/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls by number, for door.c. */
#ifndef DIPC_CLIENT_DOOR_H
#define DIPC_CLIENT_DOOR_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Is the system call NR with first arguments A and B one that we stand in front
 * of? Any thread, signal handlers; no system call.
 */
bool dipc_call_is_ours(long nr, uintptr_t a, uintptr_t b);
/* Makes it, as libc's syscall() would: -1 and errno for an error. */
long dipc_call_by_number(long nr, uintptr_t a, uintptr_t b, uintptr_t c,
			 uintptr_t d, uintptr_t e, uintptr_t f);

#endif
