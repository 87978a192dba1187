/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/away.h"

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/base/sys.h"

/*
 * Below where mappings are put by themselves (they start within 1 TiB of the
 * top), and where the sanitizers allow memory. Only a wish: what is taken the
 * kernel replaces by a place of its own.
 */
#define AWAY_FIRST 0x7e9000000000u
#define PAGE_SIZE  4096u

void *dipc_away_mmap(size_t len, int prot, int flags, int fd)
{
	static _Atomic uintptr_t next = AWAY_FIRST;
	size_t room = (len + 2 * PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1);
	uintptr_t at =
		atomic_fetch_add_explicit(&next, room, memory_order_relaxed);

	return dipc_sys_mmap((void *)at, len, prot, flags, fd, 0);
}
