/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping on a word of a synchronisation object in a segment. What wakes a
 * sleeper may die before it does (a killed thread that was woken and passed
 * nothing on), so every sleeper looks again by itself after a while: LOOK in
 * docs/design/pthread.md.
 */
#ifndef DIPC_CLIENT_PTHREAD_SLEEP_H
#define DIPC_CLIENT_PTHREAD_SLEEP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* How far an object in a segment can be trusted to be of this layout. */
#define DIPC_PTHREAD_LAYOUT 1u

static inline bool dipc_pthread_layout_is_known(uint32_t layout)
{
	return layout <= DIPC_PTHREAD_LAYOUT; /* 0: a static initialiser */
}

struct dipc_deadline {
	clockid_t clock;
	const struct timespec *at; /* borrowed from the caller */
};

/* -EINVAL: not a time, or not a clock to wait by. NULL is none, and right. */
int dipc_deadline_check(const struct dipc_deadline *d);

/*
 * Sleep while *WORD is EXPECTED, LOOK_MS at most. 0: woken, perhaps; -EAGAIN:
 * look at the object again; -ETIMEDOUT: D (NULL: none) has come; -EINTR.
 */
int dipc_pthread_sleep(_Atomic uint32_t *word, uint32_t expected,
		       const struct dipc_deadline *d, unsigned look_ms);
/*
 * The same as a cancellation point: pthread_cancel() of this thread wakes it.
 * The caller then tests for it; nothing is unwound in here.
 */
int dipc_pthread_sleep_cancellable(_Atomic uint32_t *word, uint32_t expected,
				   const struct dipc_deadline *d,
				   unsigned look_ms);

/* In the child of a fork: its parent's other threads do not sleep here. */
void dipc_sleepers_after_fork(void);
void dipc_barrier_after_fork(void);
void dipc_cond_after_fork(void);

#endif
