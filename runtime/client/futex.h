/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A futex on a word in a segment, for waiters and wakers on any node, and the
 * question whether a thread somewhere is still alive. docs/design/futex.md.
 *
 * The memory is coherent: what a program decides, it decides by plain atomics
 * on the word. Only sleeping and waking come here. A word outside all segments
 * of ours is the kernel's futex (a shared one).
 *
 * Nothing is allocated or locked once the process is connected; errno is left
 * alone; may be called from signal handlers.
 */
#ifndef DIPC_CLIENT_FUTEX_H
#define DIPC_CLIENT_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/*
 * Sleep while *WORD is EXPECTED, until a wake or DEADLINE, absolute on CLOCK
 * (CLOCK_REALTIME or CLOCK_MONOTONIC; NULL: none). 0: woken, or spuriously so;
 * -EAGAIN: *WORD is not EXPECTED; -ETIMEDOUT; -EINTR: a handler ran; -EINVAL.
 */
int dipc_futex_wait(_Atomic uint32_t *word, uint32_t expected, clockid_t clock,
		    const struct timespec *deadline);
/* Wake up to NR waiters, first come first served. How many, or -errno. */
int dipc_futex_wake(_Atomic uint32_t *word, unsigned nr);

/* The same for those who share a bit; BITSET is not 0. */
int dipc_futex_wait_bitset(_Atomic uint32_t *word, uint32_t expected,
			   clockid_t clock, const struct timespec *deadline,
			   uint32_t bitset);
int dipc_futex_wake_bitset(_Atomic uint32_t *word, unsigned nr,
			   uint32_t bitset);

/*
 * What syscall(SYS_futex, ...) does where WORD is in a segment of ours. The
 * kernel's result, or -errno: -ENOSYS for priority inheritance, which would
 * need one scheduler.
 */
long dipc_futex_syscall(uint32_t *word, int op, uint32_t val,
			const struct timespec *timeout, uint32_t *word2,
			uint32_t val3);

#define DIPC_OWNER_FREE_BIT (1ull << 63) /* 0 in all names: a lock's own flag */

/* A name of the calling thread, never 0, that no other thread of the cluster's
   life has. DIPC_OWNER_FREE_BIT is 0 in it. */
uint64_t dipc_owner_self(void);
/*
 * 1; 0: the thread has ended, or its process, node, or the image it ran (exec);
 * -errno: cannot tell now.
 */
int dipc_owner_is_alive(uint64_t owner);
/* Is it a thread of this node, dead or alive? As the name says: no question. */
bool dipc_owner_is_near(uint64_t owner);
/* In the child of a fork: the thread's name was its parent's. */
void dipc_owner_after_fork(void);

#endif
