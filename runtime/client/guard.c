/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/guard.h"

#include <signal.h>
#include <stddef.h>

#include "runtime/base/sys.h"

#define SIG_BIT(sig) (1ull << ((sig)-1))

/* libc's own, by which setuid() reaches all threads: it waits for them */
#define SIG_SETXID 33

/*
 * Signals that are not blocked: what the thread does to itself, which would
 * kill it, and libc's.
 */
#define SIGNALS_LET_THROUGH                                                    \
	(SIG_BIT(SIGSEGV) | SIG_BIT(SIGBUS) | SIG_BIT(SIGILL) |                \
	 SIG_BIT(SIGFPE) | SIG_BIT(SIGTRAP) | SIG_BIT(SIGSYS) |                \
	 SIG_BIT(SIG_SETXID))

/* initial-exec: reading it never allocates, not in a handler either */
static _Thread_local unsigned depth __attribute__((tls_model("initial-exec")));

void dipc_guard_enter(struct dipc_guard *guard)
{
	const uint64_t block = ~SIGNALS_LET_THROUGH;

	dipc_sys4(SYS_rt_sigprocmask, SIG_BLOCK, (uintptr_t)&block,
		  (uintptr_t)&guard->mask, sizeof(block));
	depth++;
}

void dipc_guard_leave(const struct dipc_guard *guard)
{
	const uint64_t mask = guard->mask;

	depth--;
	dipc_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (uintptr_t)&mask, 0,
		  sizeof(mask));
}

bool dipc_guard_is_inside(void)
{
	return depth > 0;
}

void dipc_once_slowly(struct dipc_once *once, void (*fn)(void))
{
	struct dipc_guard guard;

	dipc_guard_enter(&guard);
	pthread_once(&once->once, fn);
	atomic_store_explicit(&once->is_done, true, memory_order_release);
	dipc_guard_leave(&guard);
}
