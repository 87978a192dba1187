/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mutexes in segments. docs/design/pthread.md has states and invariants.
 *
 * Memory ordering: MUTEX_OWNER: the owner word is taken with ACQUIRE and given
 * back with RELEASE, so that what one holder wrote the next one reads. `count`
 * and `is_inconsistent` are the holder's, under it.
 */
#include "runtime/client/pthread_mutex.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "runtime/client/client.h"
#include "runtime/client/futex.h"
#include "runtime/client/pthread_real.h"
#include "runtime/client/pthread_sleep.h"

#define LOOK_MS        1000u
#define ROBUST_LOOK_MS 150u
#define SPINS          100u

/* Somebody may sleep. With no owner: not recoverable. */
#define WAITERS         DIPC_OWNER_FREE_BIT
#define NOT_RECOVERABLE WAITERS

/* glibc's values, which static initialisers bring along. */
#define KIND_TYPE   3 /* PTHREAD_MUTEX_NORMAL and so on */
#define KIND_ROBUST 16
#define KIND_SHARED 128
#define KIND_KNOWN  (KIND_TYPE | KIND_ROBUST | KIND_SHARED | 256 | 512)
#define KIND_NONE   (-1)

struct mutex {
	_Atomic uint64_t owner;   /* a name, 0: free; WAITERS */
	uint32_t count;           /* recursive: locked so many times more */
	uint32_t is_inconsistent; /* the owner has EOWNERDEAD to mend */
	_Atomic int32_t kind;
	_Atomic uint32_t layout; /* dipc_pthread_layout_is_known() */
	uint8_t reserved[16];
};

static_assert(sizeof(struct mutex) == sizeof(pthread_mutex_t), "layout");
static_assert(sizeof(struct mutex) == 40, "layout");
static_assert(offsetof(struct mutex, kind) ==
		      offsetof(pthread_mutex_t, __data.__kind),
	      "static initialisers put it there");

static struct mutex *mutex_of(pthread_mutex_t *m)
{
	return (struct mutex *)m;
}

/* The half of the owner word that has WAITERS: what sleepers sleep on. */
static _Atomic uint32_t *mutex_word(struct mutex *m)
{
	return (_Atomic uint32_t *)&m->owner + 1;
}

/* -EINVAL: not a mutex, or not of a kind that we know. */
static int mutex_kind(struct mutex *m)
{
	int kind = atomic_load_explicit(&m->kind, memory_order_relaxed);

	if (__builtin_expect((kind & ~KIND_KNOWN) != 0, 0) ||
	    !dipc_pthread_layout_is_known(
		    atomic_load_explicit(&m->layout, memory_order_relaxed)))
		return -EINVAL;
	return kind & (KIND_TYPE | KIND_ROBUST);
}

/* SEEN is what the word was: to TO, or SEEN is what it is. MUTEX_OWNER */
static bool owner_set(struct mutex *m, uint64_t *seen, uint64_t to)
{
	return atomic_compare_exchange_strong_explicit(&m->owner, seen, to,
						       memory_order_acquire,
						       memory_order_acquire);
}

/* ---- locking ------------------------------------------------------------ */

/* The caller has it already: -EAGAIN when that does not answer the call. */
static int mutex_again(struct mutex *m, int kind, bool is_try)
{
	switch (kind & KIND_TYPE) {
	case PTHREAD_MUTEX_RECURSIVE:
		if (m->count == UINT32_MAX)
			return EAGAIN;
		m->count++;
		return 0;
	case PTHREAD_MUTEX_ERRORCHECK:
		return is_try ? EBUSY : EDEADLK;
	default:
		return -EAGAIN;
	}
}

/*
 * The owner in SEEN is dead: take its place. EOWNERDEAD; -EAGAIN: somebody
 * was faster, SEEN is new. Whoever dies before is_inconsistent is set is dead
 * with the lock in its name: the next one is told again.
 */
static int mutex_inherit(struct mutex *m, uint64_t self, uint64_t *seen)
{
	if (!owner_set(m, seen, self | WAITERS))
		return -EAGAIN;
	m->count = 0;
	m->is_inconsistent = 1;
	return EOWNERDEAD;
}

static bool owner_is_dead(uint64_t seen)
{
	return dipc_owner_is_alive(seen & ~WAITERS) == 0;
}

/* A moment without sleeping, without writing: each write moves the page. */
static uint64_t mutex_spin(struct mutex *m, uint64_t seen)
{
	unsigned i;

	if (!dipc_owner_is_near(seen & ~WAITERS))
		return seen;
	for (i = 0; i < SPINS && seen; i++) {
		__builtin_ia32_pause();
		seen = atomic_load_explicit(&m->owner, memory_order_relaxed);
	}
	return seen;
}

/*
 * The time is up. A waker may have chosen us: then somebody else sleeps with
 * nobody knowing, so WAITERS goes back before we go (PASS-ON).
 */
static int mutex_give_up(struct mutex *m, uint64_t self)
{
	uint64_t seen = atomic_load_explicit(&m->owner, memory_order_relaxed);

	for (;;) {
		if (seen == 0) {
			if (owner_set(m, &seen, self | WAITERS))
				return 0;
		} else if (seen & WAITERS ||
			   owner_set(m, &seen, seen | WAITERS)) {
			return ETIMEDOUT;
		}
	}
}

/* Held by SEEN a moment ago: wait for it. */
static int mutex_wait(struct mutex *m, int kind, uint64_t self, uint64_t seen,
		      const struct dipc_deadline *d)
{
	bool is_robust = kind & KIND_ROBUST;
	uint64_t mine = self;
	int ret;

	seen = mutex_spin(m, seen);
	for (;;) {
		if (seen == 0) {
			if (owner_set(m, &seen, mine))
				return 0;
			continue;
		}
		if (is_robust && seen == NOT_RECOVERABLE)
			return ENOTRECOVERABLE;
		if (is_robust && owner_is_dead(seen)) {
			ret = mutex_inherit(m, self, &seen);
			if (ret != -EAGAIN)
				return ret;
			continue;
		}
		ret = dipc_deadline_check(d);
		if (ret)
			return -ret;
		if (!(seen & WAITERS)) {
			if (!owner_set(m, &seen, seen | WAITERS))
				continue;
			seen |= WAITERS;
		}
		ret = dipc_pthread_sleep(mutex_word(m), (uint32_t)(seen >> 32),
					 d,
					 is_robust ? ROBUST_LOOK_MS : LOOK_MS);
		if (ret == -ETIMEDOUT)
			return mutex_give_up(m, self);
		/* others may sleep still: whoever slept says so (PASS-ON) */
		mine = self | WAITERS;
		/* woken: most likely it is free, so ask for the page once */
		seen = ret ? atomic_load_explicit(&m->owner,
						  memory_order_relaxed)
			   : 0;
	}
}

static int mutex_lock(struct mutex *m, const struct dipc_deadline *d)
{
	int kind = mutex_kind(m);
	uint64_t self, seen = 0;
	int ret;

	if (kind < 0)
		return -kind;
	self = dipc_owner_self();
	if (owner_set(m, &seen, self))
		return 0;
	if ((seen & ~WAITERS) == self) {
		ret = mutex_again(m, kind, false);
		if (ret != -EAGAIN)
			return ret;
	}
	return mutex_wait(m, kind, self, seen, d);
}

static int mutex_trylock(struct mutex *m)
{
	int kind = mutex_kind(m);
	uint64_t self, seen;
	int ret;

	if (kind < 0)
		return -kind;
	self = dipc_owner_self();
	/* programs try in loops: look first, it does not take the page away */
	seen = atomic_load_explicit(&m->owner, memory_order_relaxed);
	if (seen == 0 && owner_set(m, &seen, self))
		return 0;
	if ((seen & ~WAITERS) == self) {
		ret = mutex_again(m, kind, true);
		return ret == -EAGAIN ? EBUSY : ret;
	}
	if (!(kind & KIND_ROBUST) || seen == 0)
		return EBUSY;
	if (seen == NOT_RECOVERABLE)
		return ENOTRECOVERABLE;
	if (!owner_is_dead(seen))
		return EBUSY;
	ret = mutex_inherit(m, self, &seen);
	return ret == -EAGAIN ? EBUSY : ret;
}

/* ---- unlocking ---------------------------------------------------------- */

/* Nothing of M is touched after the exchange: it may be freed by then. */
static int mutex_unlock(struct mutex *m)
{
	_Atomic uint32_t *word = mutex_word(m);
	int kind = mutex_kind(m);
	uint64_t seen, to = 0;

	if (kind < 0)
		return -kind;
	/* of a plain one nobody asks who unlocks it; of an adaptive neither */
	if (kind != PTHREAD_MUTEX_NORMAL && kind != PTHREAD_MUTEX_ADAPTIVE_NP) {
		seen = atomic_load_explicit(&m->owner, memory_order_relaxed);
		if ((seen & ~WAITERS) != dipc_owner_self())
			return EPERM;
		if (m->count && (kind & KIND_TYPE) == PTHREAD_MUTEX_RECURSIVE) {
			m->count--;
			return 0;
		}
		if (kind & KIND_ROBUST && m->is_inconsistent)
			to = NOT_RECOVERABLE;
	}
	/* MUTEX_OWNER */
	seen = atomic_exchange_explicit(&m->owner, to, memory_order_release);
	if (seen & WAITERS)
		(void)dipc_futex_wake(word, to ? INT_MAX : 1);
	return 0;
}

static int mutex_consistent(struct mutex *m)
{
	int kind = mutex_kind(m);

	if (kind < 0 || !(kind & KIND_ROBUST) || !m->is_inconsistent)
		return EINVAL;
	m->is_inconsistent = 0;
	return 0;
}

/* ---- making ------------------------------------------------------------- */

static int mutex_init(struct mutex *m, const pthread_mutexattr_t *attr)
{
	int type = PTHREAD_MUTEX_DEFAULT, robust = PTHREAD_MUTEX_STALLED;
	int protocol = PTHREAD_PRIO_NONE;

	if (attr) {
		pthread_mutexattr_gettype(attr, &type);
		pthread_mutexattr_getrobust(attr, &robust);
		pthread_mutexattr_getprotocol(attr, &protocol);
	}
	/* a thread's priority means nothing on another machine */
	if (protocol != PTHREAD_PRIO_NONE)
		return ENOTSUP;
	memset(m, 0, sizeof(*m));
	m->layout = DIPC_PTHREAD_LAYOUT;
	m->kind = type | KIND_SHARED |
		  (robust == PTHREAD_MUTEX_ROBUST ? KIND_ROBUST : 0);
	return 0;
}

static int mutex_destroy(struct mutex *m)
{
	int kind = mutex_kind(m);

	if (kind < 0)
		return -kind;
	if (!(kind & KIND_ROBUST) &&
	    atomic_load_explicit(&m->owner, memory_order_relaxed))
		return EBUSY;
	atomic_store_explicit(&m->kind, KIND_NONE, memory_order_relaxed);
	return 0;
}

/* ---- the interposed symbols --------------------------------------------- */

DIPC_EXPORT int pthread_mutex_init(pthread_mutex_t *m,
				   const pthread_mutexattr_t *attr)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_init)(m, attr);
	return mutex_init(mutex_of(m), attr);
}

DIPC_EXPORT int pthread_mutex_destroy(pthread_mutex_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_destroy)(m);
	return mutex_destroy(mutex_of(m));
}

int dipc_pthread_mutex_lock(pthread_mutex_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_lock)(m);
	return mutex_lock(mutex_of(m), NULL);
}

DIPC_EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
	__attribute__((alias("dipc_pthread_mutex_lock")));

DIPC_EXPORT int pthread_mutex_trylock(pthread_mutex_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_trylock)(m);
	return mutex_trylock(mutex_of(m));
}

DIPC_EXPORT int pthread_mutex_timedlock(pthread_mutex_t *m,
					const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = CLOCK_REALTIME, .at = at};

	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_timedlock)(m, at);
	return mutex_lock(mutex_of(m), &d);
}

DIPC_EXPORT int pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
					const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = clock, .at = at};

	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_clocklock)(m, clock, at);
	if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)
		return EINVAL;
	return mutex_lock(mutex_of(m), &d);
}

int dipc_pthread_mutex_unlock(pthread_mutex_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_unlock)(m);
	return mutex_unlock(mutex_of(m));
}

DIPC_EXPORT int pthread_mutex_unlock(pthread_mutex_t *m)
	__attribute__((alias("dipc_pthread_mutex_unlock")));

DIPC_EXPORT int pthread_mutex_consistent(pthread_mutex_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_consistent)(m);
	return mutex_consistent(mutex_of(m));
}

/* Only PTHREAD_PRIO_PROTECT has a ceiling: EINVAL, as libc says of others. */
DIPC_EXPORT int pthread_mutex_getprioceiling(const pthread_mutex_t *m,
					     int *ceiling)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_getprioceiling)(m, ceiling);
	return EINVAL;
}

DIPC_EXPORT int pthread_mutex_setprioceiling(pthread_mutex_t *m, int ceiling,
					     int *old)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(pthread_mutex_setprioceiling)(m, ceiling, old);
	return EINVAL;
}

/* libc exports these too, and old programs and libraries ask for them. */
DIPC_ALIAS(__pthread_mutex_init, pthread_mutex_init);
DIPC_ALIAS(__pthread_mutex_destroy, pthread_mutex_destroy);
DIPC_ALIAS(__pthread_mutex_lock, pthread_mutex_lock);
DIPC_ALIAS(__pthread_mutex_trylock, pthread_mutex_trylock);
DIPC_ALIAS(__pthread_mutex_unlock, pthread_mutex_unlock);
DIPC_ALIAS(pthread_mutex_consistent_np, pthread_mutex_consistent);
