/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Condition variables in segments. docs/design/pthread.md has the argument.
 *
 * Memory ordering: COND_JOIN: a waiter reads `seq`, then counts itself in
 * `joined` (ACQ_REL), then unlocks the mutex. A signaller reads `joined`
 * (ACQUIRE), then changes `seq`: so whoever it counted has read an older seq,
 * and cannot fall asleep on the new one.
 *
 * The second half of the file is for a condition variable that is libc's, used
 * with a mutex in a segment, which libc could not unlock.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "runtime/client/client.h"
#include "runtime/client/futex.h"
#include "runtime/client/pthread_mutex.h"
#include "runtime/client/pthread_real.h"
#include "runtime/client/pthread_sleep.h"

/* A signal that went to a thread killed just then is made good after this. */
#define LOOK_MS 10000u

struct cond {
	_Atomic uint32_t
		seq;    /* what waiters sleep on: moves with each signal */
	uint32_t clock; /* of timedwait: CLOCK_REALTIME is 0 */
	_Atomic uint64_t joined; /* waiters, ever */
	_Atomic uint64_t gone;   /* `joined` when nobody of them slept */
	_Atomic uint32_t layout; /* dipc_pthread_layout_is_known() */
	uint8_t reserved[20];
};

static_assert(sizeof(struct cond) == sizeof(pthread_cond_t), "layout");
static_assert(sizeof(struct cond) == 48, "layout");
static_assert(CLOCK_REALTIME == 0, "what a static initialiser means");

static struct cond *cond_of(pthread_cond_t *c)
{
	return (struct cond *)c;
}

static bool cond_is_known(struct cond *c)
{
	return dipc_pthread_layout_is_known(
		atomic_load_explicit(&c->layout, memory_order_relaxed));
}

/* ---- in a segment ------------------------------------------------------- */

static void relock(void *mutex)
{
	(void)dipc_pthread_mutex_lock(mutex);
}

/* 0, ETIMEDOUT. Cancelled in here, the thread has no mutex. */
static int cond_sleep(struct cond *c, uint32_t seq,
		      const struct dipc_deadline *d)
{
	int ret;

	do {
		ret = dipc_pthread_sleep_cancellable(&c->seq, seq, d, LOOK_MS);
		if (atomic_load_explicit(&c->seq, memory_order_relaxed) != seq)
			return ret == -ETIMEDOUT ? ETIMEDOUT : 0;
	} while (ret != -ETIMEDOUT);
	return ETIMEDOUT;
}

static int cond_wait(struct cond *c, pthread_mutex_t *m,
		     const struct dipc_deadline *d)
{
	int ret = dipc_deadline_check(d);
	int relocked;
	uint32_t seq;

	if (ret || !cond_is_known(c))
		return EINVAL;
	/* COND_JOIN */
	seq = atomic_load_explicit(&c->seq, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->joined, 1, memory_order_acq_rel);
	ret = dipc_pthread_mutex_unlock(m);
	if (ret)
		return ret;
	pthread_cleanup_push(relock, m);
	ret = cond_sleep(c, seq, d);
	pthread_cleanup_pop(0);
	relocked = dipc_pthread_mutex_lock(m);
	return relocked ? relocked : ret;
}

/*
 * Nothing of C but `gone` is touched after the wake: a waiter that was woken
 * may not destroy it while others still signal.
 */
static int cond_signal(struct cond *c, unsigned nr)
{
	uint64_t joined;

	if (!cond_is_known(c))
		return EINVAL;
	/* COND_JOIN */
	joined = atomic_load_explicit(&c->joined, memory_order_acquire);
	if (joined == atomic_load_explicit(&c->gone, memory_order_relaxed))
		return 0;
	atomic_fetch_add_explicit(&c->seq, 1, memory_order_acq_rel);
	/* none slept: who was on the way there sees that seq has moved */
	if (dipc_futex_wake(&c->seq, nr) == 0)
		atomic_store_explicit(&c->gone, joined, memory_order_relaxed);
	return 0;
}

static int cond_init(struct cond *c, const pthread_condattr_t *attr)
{
	clockid_t clock = CLOCK_REALTIME;

	if (attr)
		pthread_condattr_getclock(attr, &clock);
	memset(c, 0, sizeof(*c));
	c->clock = (uint32_t)clock;
	c->layout = DIPC_PTHREAD_LAYOUT;
	return 0;
}

/* Who was woken and has not run yet must not find what looks like no signal. */
static int cond_destroy(struct cond *c)
{
	if (!cond_is_known(c))
		return EINVAL;
	atomic_fetch_add_explicit(&c->seq, 1, memory_order_acq_rel);
	(void)dipc_futex_wake(&c->seq, INT_MAX);
	return 0;
}

/* ---- libc's, with a mutex in a segment ---------------------------------- */

/*
 * The waiter holds `gate` from before it unlocks the mutex until libc has it
 * among the waiters, as libc sees it: it is the mutex given to libc. Whoever
 * signals passes through the gate when there can be such a waiter. A signaller
 * that came after the mutex was unlocked sees `nr_mixed` for that reason.
 */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned nr_mixed;

void dipc_cond_after_fork(void)
{
	static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

	/* the other threads, whom these spoke of, are not in the child */
	memcpy(&gate, &fresh, sizeof(gate));
	atomic_store_explicit(&nr_mixed, 0, memory_order_relaxed);
}

static void mixed_end(void)
{
	(void)DIPC_REAL(pthread_mutex_unlock)(&gate);
	atomic_fetch_sub_explicit(&nr_mixed, 1, memory_order_relaxed);
}

static void mixed_cancelled(void *mutex)
{
	mixed_end();
	(void)dipc_pthread_mutex_lock(mutex);
}

static int mixed_real_wait(pthread_cond_t *c, const struct dipc_deadline *d,
			   bool has_clock)
{
	if (!d)
		return DIPC_REAL(pthread_cond_wait)(c, &gate);
	if (!has_clock)
		return DIPC_REAL(pthread_cond_timedwait)(c, &gate, d->at);
	return DIPC_REAL(pthread_cond_clockwait)(c, &gate, d->clock, d->at);
}

static int mixed_wait(pthread_cond_t *c, pthread_mutex_t *m,
		      const struct dipc_deadline *d, bool has_clock)
{
	int ret, relocked;

	atomic_fetch_add_explicit(&nr_mixed, 1, memory_order_relaxed);
	(void)DIPC_REAL(pthread_mutex_lock)(&gate);
	ret = dipc_pthread_mutex_unlock(m);
	if (ret) {
		mixed_end();
		return ret;
	}
	pthread_cleanup_push(mixed_cancelled, m);
	ret = mixed_real_wait(c, d, has_clock);
	pthread_cleanup_pop(0);
	mixed_end();
	relocked = dipc_pthread_mutex_lock(m);
	return relocked ? relocked : ret;
}

static inline void mixed_pass(void)
{
	if (__builtin_expect(
		    atomic_load_explicit(&nr_mixed, memory_order_relaxed) == 0,
		    1))
		return;
	(void)DIPC_REAL(pthread_mutex_lock)(&gate);
	(void)DIPC_REAL(pthread_mutex_unlock)(&gate);
}

/* ---- the interposed symbols --------------------------------------------- */

DIPC_EXPORT int pthread_cond_init(pthread_cond_t *c,
				  const pthread_condattr_t *attr)
{
	if (!dipc_pthread_is_ours(c))
		return DIPC_REAL(pthread_cond_init)(c, attr);
	return cond_init(cond_of(c), attr);
}

DIPC_EXPORT int pthread_cond_destroy(pthread_cond_t *c)
{
	if (!dipc_pthread_is_ours(c))
		return DIPC_REAL(pthread_cond_destroy)(c);
	return cond_destroy(cond_of(c));
}

DIPC_EXPORT int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	if (dipc_pthread_is_ours(c))
		return cond_wait(cond_of(c), m, NULL);
	if (dipc_pthread_is_ours(m))
		return mixed_wait(c, m, NULL, false);
	return DIPC_REAL(pthread_cond_wait)(c, m);
}

DIPC_EXPORT int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
				       const struct timespec *at)
{
	struct dipc_deadline d = {.at = at};

	if (dipc_pthread_is_ours(c)) {
		d.clock = (clockid_t)cond_of(c)->clock;
		return cond_wait(cond_of(c), m, &d);
	}
	if (dipc_pthread_is_ours(m))
		return mixed_wait(c, m, &d, false);
	return DIPC_REAL(pthread_cond_timedwait)(c, m, at);
}

DIPC_EXPORT int pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m,
				       clockid_t clock,
				       const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = clock, .at = at};

	if (dipc_pthread_is_ours(c))
		return cond_wait(cond_of(c), m, &d);
	if (dipc_pthread_is_ours(m))
		return mixed_wait(c, m, &d, true);
	return DIPC_REAL(pthread_cond_clockwait)(c, m, clock, at);
}

DIPC_EXPORT int pthread_cond_signal(pthread_cond_t *c)
{
	if (dipc_pthread_is_ours(c))
		return cond_signal(cond_of(c), 1);
	mixed_pass();
	return DIPC_REAL(pthread_cond_signal)(c);
}

DIPC_EXPORT int pthread_cond_broadcast(pthread_cond_t *c)
{
	if (dipc_pthread_is_ours(c))
		return cond_signal(cond_of(c), INT_MAX);
	mixed_pass();
	return DIPC_REAL(pthread_cond_broadcast)(c);
}
