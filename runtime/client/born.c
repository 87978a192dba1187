/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/born.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "runtime/base/sys.h"

#define PAGE_LEN 4096u

enum {
	BORN_CHILD,
	BORN_HERE,
	BORN_CLAIMED,
};

static _Atomic uint32_t *_Atomic page; /* NULL before it is needed */

static _Atomic uint32_t *page_make(void)
{
	void *map = dipc_sys_mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	if (dipc_sys_madvise(map, PAGE_LEN, MADV_WIPEONFORK)) {
		dipc_sys_munmap(map, PAGE_LEN);
		return NULL;
	}
	return map;
}

void dipc_born_here(void)
{
	_Atomic uint32_t *word =
		atomic_load_explicit(&page, memory_order_acquire);

	if (!word) { /* one thread: the connection's lock is held */
		word = page_make();
		if (!word)
			return;
	}
	atomic_store_explicit(word, BORN_HERE, memory_order_release); /* BORN */
	atomic_store_explicit(&page, word, memory_order_release);
}

bool dipc_born_is_here(void)
{
	_Atomic uint32_t *word =
		atomic_load_explicit(&page, memory_order_acquire);

	return !word || /* BORN */
	       atomic_load_explicit(word, memory_order_acquire) == BORN_HERE;
}

bool dipc_born_claim(void)
{
	_Atomic uint32_t *word =
		atomic_load_explicit(&page, memory_order_acquire);
	uint32_t seen = BORN_CHILD;

	if (atomic_compare_exchange_strong_explicit(word, &seen, BORN_CLAIMED,
						    memory_order_acquire,
						    memory_order_acquire))
		return true;
	while (!dipc_born_is_here())
		dipc_sys3(SYS_sched_yield, 0, 0, 0);
	return false;
}
