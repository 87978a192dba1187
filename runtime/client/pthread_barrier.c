/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Barriers in segments. docs/design/pthread.md.
 *
 * Memory ordering: BARRIER_STATE: every arrival is one ACQ_REL step on the
 * word of rounds and arrivals, and who leaves reads the round with ACQUIRE: so
 * what any did before the barrier, all see after.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <time.h>

#include "runtime/client/client.h"
#include "runtime/client/futex.h"
#include "runtime/client/pthread_real.h"
#include "runtime/client/pthread_sleep.h"

#define LOOK_MS     1000u
#define COUNT_MAX   ((unsigned)INT_MAX)
#define LEAVE_TRIES 1000u
#define NR_LEAVING  16u

struct barrier {
	/* high half: the round, what waiters sleep on; low half: arrivals */
	_Atomic uint64_t state;
	uint32_t count;
	_Atomic uint32_t layout; /* never 0: there is no static initialiser */
	uint8_t reserved[16];
};

static_assert(sizeof(struct barrier) == sizeof(pthread_barrier_t), "layout");
static_assert(sizeof(struct barrier) == 32, "layout");

/*
 * Threads of this process inside wait, by barrier, hashed. A barrier may be
 * destroyed, and its segment detached, as soon as one thread is out; those of
 * other processes have it mapped still.
 */
static _Atomic unsigned inside[NR_LEAVING];

static struct barrier *barrier_of(pthread_barrier_t *b)
{
	return (struct barrier *)b;
}

static _Atomic unsigned *barrier_inside(const struct barrier *b)
{
	return &inside[((uintptr_t)b >> 5) % NR_LEAVING];
}

static _Atomic uint32_t *barrier_round(struct barrier *b)
{
	return (_Atomic uint32_t *)&b->state + 1;
}

/* A round is never 0: what is memset meanwhile is not the round waited for. */
static uint64_t state_next_round(uint64_t state)
{
	uint32_t round = (uint32_t)(state >> 32) + 1;

	return (uint64_t)(round ? round : 1) << 32;
}

static int barrier_wait(struct barrier *b)
{
	uint64_t seen = atomic_load_explicit(&b->state, memory_order_relaxed);
	_Atomic uint32_t *word = barrier_round(b);
	uint32_t count = b->count, round;
	uint64_t to;

	do { /* BARRIER_STATE */
		to = (uint32_t)seen + 1 == count ? state_next_round(seen)
						 : seen + 1;
	} while (!atomic_compare_exchange_weak_explicit(&b->state, &seen, to,
							memory_order_acq_rel,
							memory_order_relaxed));
	round = (uint32_t)(seen >> 32);
	if (to >> 32 != round) {
		(void)dipc_futex_wake(word, INT_MAX);
		return PTHREAD_BARRIER_SERIAL_THREAD;
	}
	do {
		(void)dipc_pthread_sleep(word, round, NULL, LOOK_MS);
	} while (atomic_load_explicit(word, memory_order_acquire) == round);
	return 0;
}

void dipc_barrier_after_fork(void)
{
	unsigned i;

	for (i = 0; i < NR_LEAVING; i++)
		atomic_store_explicit(&inside[i], 0, memory_order_relaxed);
}

/* ---- the interposed symbols --------------------------------------------- */

DIPC_EXPORT int pthread_barrier_init(pthread_barrier_t *barrier,
				     const pthread_barrierattr_t *attr,
				     unsigned count)
{
	struct barrier *b = barrier_of(barrier);
	struct timespec now;
	uint32_t round;

	if (!dipc_pthread_is_ours(barrier))
		return DIPC_REAL(pthread_barrier_init)(barrier, attr, count);
	if (count == 0 || count > COUNT_MAX)
		return EINVAL;
	/* not the round of a barrier that was here, and is left by some yet */
	clock_gettime(CLOCK_MONOTONIC, &now);
	round = (uint32_t)now.tv_nsec + (uint32_t)now.tv_sec * 1000000007u;
	b->count = count;
	b->layout = DIPC_PTHREAD_LAYOUT;
	atomic_store_explicit(&b->state,
			      state_next_round((uint64_t)round << 32),
			      memory_order_release);
	return 0;
}

DIPC_EXPORT int pthread_barrier_destroy(pthread_barrier_t *barrier)
{
	struct barrier *b = barrier_of(barrier);
	uint64_t state;
	unsigned i;

	if (!dipc_pthread_is_ours(barrier))
		return DIPC_REAL(pthread_barrier_destroy)(barrier);
	state = atomic_load_explicit(&b->state, memory_order_relaxed);
	if (b->layout != DIPC_PTHREAD_LAYOUT)
		return EINVAL;
	if ((uint32_t)state)
		return EBUSY;
	/* bounded: another barrier, or a thread that died, may have the hash */
	for (i = 0; i < LEAVE_TRIES; i++) {
		if (!atomic_load_explicit(barrier_inside(b),
					  memory_order_acquire))
			break;
		sched_yield();
	}
	b->layout = 0;
	return 0;
}

DIPC_EXPORT int pthread_barrier_wait(pthread_barrier_t *barrier)
{
	struct barrier *b = barrier_of(barrier);
	_Atomic unsigned *count = barrier_inside(b);
	int ret;

	if (!dipc_pthread_is_ours(barrier))
		return DIPC_REAL(pthread_barrier_wait)(barrier);
	if (b->layout != DIPC_PTHREAD_LAYOUT || b->count == 0)
		return EINVAL;
	atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	ret = barrier_wait(b);
	atomic_fetch_sub_explicit(count, 1, memory_order_release);
	return ret;
}
