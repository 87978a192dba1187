/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-write locks in segments. docs/design/pthread.md has the states.
 *
 * Memory ordering: RWLOCK_STATE: `state` is taken with ACQUIRE and given back
 * with RELEASE. RWLOCK_LOOK: a sleeper reads the word it will sleep on, then
 * says in `state` that it waits; who finds that there changes the word after.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "runtime/client/client.h"
#include "runtime/client/futex.h"
#include "runtime/client/pthread_real.h"
#include "runtime/client/pthread_sleep.h"

#define LOOK_MS 1000u

#define WRITER       (1u << 31) /* held for writing */
#define WRITERS_WAIT (1u << 30) /* somebody may sleep on writer_seq */
#define READERS_WAIT (1u << 29)
#define READERS      (READERS_WAIT - 1) /* holding it */

struct rwlock {
	_Atomic uint32_t state;
	_Atomic uint32_t reader_seq; /* readers sleep on it */
	_Atomic uint32_t writer_seq; /* writers */
	_Atomic uint32_t layout;     /* dipc_pthread_layout_is_known() */
	_Atomic uint64_t writer;     /* the holder's name, to tell it EDEADLK */
	uint8_t reserved1[24];
	uint32_t flags; /* enum of PTHREAD_RWLOCK_PREFER_* */
	uint32_t reserved2;
};

static_assert(sizeof(struct rwlock) == sizeof(pthread_rwlock_t), "layout");
static_assert(sizeof(struct rwlock) == 56, "layout");
static_assert(offsetof(struct rwlock, flags) ==
		      offsetof(pthread_rwlock_t, __data.__flags),
	      "static initialisers put it there");

static struct rwlock *rwlock_of(pthread_rwlock_t *l)
{
	return (struct rwlock *)l;
}

static bool rwlock_is_known(struct rwlock *l)
{
	return dipc_pthread_layout_is_known(
		atomic_load_explicit(&l->layout, memory_order_relaxed));
}

/* Who prefers writers keeps new readers out while one waits for readers. */
static bool prefers_writers(const struct rwlock *l)
{
	return l->flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
}

static bool reader_may_enter(const struct rwlock *l, uint32_t state)
{
	if (state & WRITER)
		return false;
	return !(state & WRITERS_WAIT) || !(state & READERS) ||
	       !prefers_writers(l);
}

static bool writer_may_enter(uint32_t state)
{
	return !(state & (WRITER | READERS));
}

/* SEEN is what it was: to TO, or SEEN is what it is. RWLOCK_STATE */
static bool state_set(struct rwlock *l, uint32_t *seen, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(&l->state, seen, to,
						       memory_order_acq_rel,
						       memory_order_acquire);
}

/* ---- waking ------------------------------------------------------------- */

/* Wake NR on SEQ, if FLAG says that there may be some. How many. */
static int waiters_wake(struct rwlock *l, uint32_t flag, _Atomic uint32_t *seq,
			unsigned nr)
{
	/* RWLOCK_LOOK */
	if (!(atomic_fetch_and_explicit(&l->state, ~flag,
					memory_order_acq_rel) &
	      flag))
		return 0;
	atomic_fetch_add_explicit(seq, 1, memory_order_acq_rel);
	return dipc_futex_wake(seq, nr);
}

/*
 * The lock became free while STATE said that somebody waits. Those of the
 * preferred kind go first; when none of them is there, the others. One writer,
 * or all readers: a woken writer says again that others may wait (PASS-ON).
 */
static void rwlock_pass(struct rwlock *l, uint32_t state)
{
	bool writers_first = (state & WRITERS_WAIT) &&
			     (prefers_writers(l) || !(state & READERS_WAIT));

	if (writers_first &&
	    waiters_wake(l, WRITERS_WAIT, &l->writer_seq, 1) > 0)
		return;
	if (waiters_wake(l, READERS_WAIT, &l->reader_seq, INT_MAX) > 0)
		return;
	if (!writers_first)
		(void)waiters_wake(l, WRITERS_WAIT, &l->writer_seq, 1);
}

/* ---- locking ------------------------------------------------------------ */

static int rwlock_tryrdlock(struct rwlock *l, uint32_t *seen)
{
	while (reader_may_enter(l, *seen)) {
		if ((*seen & READERS) == READERS)
			return EAGAIN;
		if (state_set(l, seen, *seen + 1))
			return 0;
	}
	return EBUSY;
}

static bool rwlock_is_mine(struct rwlock *l, uint32_t state)
{
	return (state & WRITER) &&
	       atomic_load_explicit(&l->writer, memory_order_relaxed) ==
		       dipc_owner_self();
}

static int rwlock_rdlock(struct rwlock *l, const struct dipc_deadline *d)
{
	uint32_t seen = 0, seq;
	int ret;

	if (!rwlock_is_known(l) || dipc_deadline_check(d))
		return EINVAL;
	for (;;) {
		ret = rwlock_tryrdlock(l, &seen);
		if (ret != EBUSY)
			return ret;
		if (rwlock_is_mine(l, seen))
			return EDEADLK;
		/* RWLOCK_LOOK */
		seq = atomic_load_explicit(&l->reader_seq,
					   memory_order_acquire);
		if (!state_set(l, &seen, seen | READERS_WAIT))
			continue;
		ret = dipc_pthread_sleep(&l->reader_seq, seq, d, LOOK_MS);
		seen = atomic_load_explicit(&l->state, memory_order_relaxed);
		if (ret == -ETIMEDOUT) {
			ret = rwlock_tryrdlock(l, &seen);
			return ret == EBUSY ? ETIMEDOUT : ret;
		}
	}
}

static int rwlock_trywrlock(struct rwlock *l, uint32_t *seen, uint32_t flags)
{
	while (writer_may_enter(*seen)) {
		if (state_set(l, seen, *seen | WRITER | flags)) {
			atomic_store_explicit(&l->writer, dipc_owner_self(),
					      memory_order_relaxed);
			return 0;
		}
	}
	return EBUSY;
}

/*
 * A writer goes away without the lock: it may have been woken for others, or
 * keep readers out. All look again, and say again that they wait.
 */
static int rwlock_give_up(struct rwlock *l, uint32_t seen)
{
	if (rwlock_trywrlock(l, &seen, WRITERS_WAIT) == 0)
		return 0;
	atomic_fetch_or_explicit(&l->state, WRITERS_WAIT | READERS_WAIT,
				 memory_order_relaxed);
	(void)waiters_wake(l, WRITERS_WAIT, &l->writer_seq, INT_MAX);
	(void)waiters_wake(l, READERS_WAIT, &l->reader_seq, INT_MAX);
	return ETIMEDOUT;
}

static int rwlock_wrlock(struct rwlock *l, const struct dipc_deadline *d)
{
	uint32_t seen = 0, flags = 0, seq;
	int ret;

	if (!rwlock_is_known(l) || dipc_deadline_check(d))
		return EINVAL;
	for (;;) {
		if (rwlock_trywrlock(l, &seen, flags) == 0)
			return 0;
		if (rwlock_is_mine(l, seen))
			return EDEADLK;
		/* RWLOCK_LOOK */
		seq = atomic_load_explicit(&l->writer_seq,
					   memory_order_acquire);
		if (!state_set(l, &seen, seen | WRITERS_WAIT))
			continue;
		ret = dipc_pthread_sleep(&l->writer_seq, seq, d, LOOK_MS);
		flags = WRITERS_WAIT;
		seen = atomic_load_explicit(&l->state, memory_order_relaxed);
		if (ret == -ETIMEDOUT)
			return rwlock_give_up(l, seen);
	}
}

/* ---- unlocking ---------------------------------------------------------- */

static int rwlock_unlock(struct rwlock *l)
{
	uint32_t seen, left;

	if (!rwlock_is_known(l))
		return EINVAL;
	seen = atomic_load_explicit(&l->state, memory_order_relaxed);
	if (seen & WRITER)
		atomic_store_explicit(&l->writer, 0, memory_order_relaxed);
	do { /* RWLOCK_STATE */
		if (seen & WRITER)
			left = seen & ~WRITER;
		else if (seen & READERS)
			left = seen - 1;
		else
			return EPERM;
	} while (!state_set(l, &seen, left));
	if (left & (WRITERS_WAIT | READERS_WAIT) && !(left & READERS))
		rwlock_pass(l, left);
	return 0;
}

static int rwlock_init(struct rwlock *l, const pthread_rwlockattr_t *attr)
{
	int flags = PTHREAD_RWLOCK_DEFAULT_NP;

	if (attr)
		pthread_rwlockattr_getkind_np(attr, &flags);
	memset(l, 0, sizeof(*l));
	l->flags = (uint32_t)flags;
	l->layout = DIPC_PTHREAD_LAYOUT;
	return 0;
}

/* ---- the interposed symbols --------------------------------------------- */

DIPC_EXPORT int pthread_rwlock_init(pthread_rwlock_t *l,
				    const pthread_rwlockattr_t *attr)
{
	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_init)(l, attr);
	return rwlock_init(rwlock_of(l), attr);
}

/* As libc's, it does not look who holds it. */
DIPC_EXPORT int pthread_rwlock_destroy(pthread_rwlock_t *l)
{
	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_destroy)(l);
	return rwlock_is_known(rwlock_of(l)) ? 0 : EINVAL;
}

DIPC_EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_rdlock)(l);
	return rwlock_rdlock(rwlock_of(l), NULL);
}

DIPC_EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *l,
					   const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = CLOCK_REALTIME, .at = at};

	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_timedrdlock)(l, at);
	return rwlock_rdlock(rwlock_of(l), &d);
}

DIPC_EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *l, clockid_t clock,
					   const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = clock, .at = at};

	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_clockrdlock)(l, clock, at);
	return rwlock_rdlock(rwlock_of(l), &d);
}

DIPC_EXPORT int pthread_rwlock_tryrdlock(pthread_rwlock_t *l)
{
	struct rwlock *ours = rwlock_of(l);
	uint32_t seen;

	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_tryrdlock)(l);
	if (!rwlock_is_known(ours))
		return EINVAL;
	seen = atomic_load_explicit(&ours->state, memory_order_relaxed);
	return rwlock_tryrdlock(ours, &seen);
}

DIPC_EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_wrlock)(l);
	return rwlock_wrlock(rwlock_of(l), NULL);
}

DIPC_EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *l,
					   const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = CLOCK_REALTIME, .at = at};

	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_timedwrlock)(l, at);
	return rwlock_wrlock(rwlock_of(l), &d);
}

DIPC_EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *l, clockid_t clock,
					   const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = clock, .at = at};

	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_clockwrlock)(l, clock, at);
	return rwlock_wrlock(rwlock_of(l), &d);
}

DIPC_EXPORT int pthread_rwlock_trywrlock(pthread_rwlock_t *l)
{
	struct rwlock *ours = rwlock_of(l);
	uint32_t seen;

	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_trywrlock)(l);
	if (!rwlock_is_known(ours))
		return EINVAL;
	seen = atomic_load_explicit(&ours->state, memory_order_relaxed);
	return rwlock_trywrlock(ours, &seen, 0);
}

DIPC_EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *l)
{
	if (!dipc_pthread_is_ours(l))
		return DIPC_REAL(pthread_rwlock_unlock)(l);
	return rwlock_unlock(rwlock_of(l));
}

/* libc exports these too. */
DIPC_ALIAS(__pthread_rwlock_init, pthread_rwlock_init);
DIPC_ALIAS(__pthread_rwlock_destroy, pthread_rwlock_destroy);
DIPC_ALIAS(__pthread_rwlock_rdlock, pthread_rwlock_rdlock);
DIPC_ALIAS(__pthread_rwlock_tryrdlock, pthread_rwlock_tryrdlock);
DIPC_ALIAS(__pthread_rwlock_wrlock, pthread_rwlock_wrlock);
DIPC_ALIAS(__pthread_rwlock_trywrlock, pthread_rwlock_trywrlock);
DIPC_ALIAS(__pthread_rwlock_unlock, pthread_rwlock_unlock);
