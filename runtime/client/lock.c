/* SPDX-License-Identifier: BSD-2-Clause */
/* guard.h's lock: a file of its own, so that the thread sanitizer sees it. */
#include <linux/futex.h>
#include <stddef.h>

#include "runtime/base/sys.h"
#include "runtime/client/guard.h"

void dipc_lock_take(struct dipc_lock *lock)
{
	struct dipc_guard guard;
	uint32_t seen = 0;

	dipc_guard_enter(&guard);
	if (!atomic_compare_exchange_strong_explicit(&lock->word, &seen, 1,
						     memory_order_acquire,
						     memory_order_relaxed))
		while (atomic_exchange_explicit(&lock->word, 2,
						memory_order_acquire))
			dipc_sys_futex(&lock->word, FUTEX_WAIT_PRIVATE, 2, NULL,
				       NULL, 0);
	lock->guard = guard;
}

void dipc_lock_give(struct dipc_lock *lock)
{
	const struct dipc_guard guard = lock->guard; /* ours until the store */

	if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
		dipc_sys_futex(&lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL,
			       0);
	dipc_guard_leave(&guard);
}
