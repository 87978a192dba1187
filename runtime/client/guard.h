/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * While the library sets itself up or changes what its threads share, signal
 * handlers wait, and calls that other code makes from inside (an allocator, a
 * preload behind us) go to the kernel: nothing can come in a second time.
 */
#ifndef DIPC_CLIENT_GUARD_H
#define DIPC_CLIENT_GUARD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct dipc_guard {
	uint64_t mask; /* the thread's signals as they were */
};

/* May be nested. errno untouched; async-signal-safe, as all here. */
void dipc_guard_enter(struct dipc_guard *guard);
void dipc_guard_leave(const struct dipc_guard *guard);
/* Is this thread between the two? */
bool dipc_guard_is_inside(void);

/* pthread_once() in a guard. */
struct dipc_once {
	pthread_once_t once;
	_Atomic bool is_done;
};

#define DIPC_ONCE_INIT                                                         \
	{                                                                      \
		.once = PTHREAD_ONCE_INIT                                      \
	}

void dipc_once_slowly(struct dipc_once *once, void (*fn)(void));

static inline void dipc_once(struct dipc_once *once, void (*fn)(void))
{
	if (!atomic_load_explicit(&once->is_done, memory_order_acquire))
		dipc_once_slowly(once, fn);
}

/* A lock without libc's: another preload may have its own mutexes. */
struct dipc_lock {
	_Atomic uint32_t word; /* futex: 0 free, 1 taken, 2 and waited for */
	struct dipc_guard guard;
};

/* Enters the guard too; leave by dipc_lock_give() on the same thread. */
void dipc_lock_take(struct dipc_lock *lock);
void dipc_lock_give(struct dipc_lock *lock);

#endif
