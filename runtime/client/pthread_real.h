/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libc's own synchronisation functions. Each pointer begins at a function that
 * finds the real one, puts it there and calls it: so a call costs one jump, and
 * may come before main, from a constructor, or from a malloc that is not
 * libc's. The symbol is asked for by version where libc has two kinds of it:
 * the condition variables of GLIBC_2.2.5 are another object.
 */
#ifndef DIPC_CLIENT_PTHREAD_REAL_H
#define DIPC_CLIENT_PTHREAD_REAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <threads.h>
#include <time.h>

#include "runtime/client/range.h"

#define PARAMS(...) (__VA_ARGS__)

/* name, version (NULL: the only kind), parameters, arguments */
#define DIPC_PTHREAD_MUTEX(X)                                                  \
	X(pthread_mutex_init, NULL,                                            \
	  PARAMS(pthread_mutex_t *m, const pthread_mutexattr_t *attr),         \
	  (m, attr))                                                           \
	X(pthread_mutex_destroy, NULL, PARAMS(pthread_mutex_t *m), (m))        \
	X(pthread_mutex_lock, NULL, PARAMS(pthread_mutex_t *m), (m))           \
	X(pthread_mutex_trylock, NULL, PARAMS(pthread_mutex_t *m), (m))        \
	X(pthread_mutex_timedlock, NULL,                                       \
	  PARAMS(pthread_mutex_t *m, const struct timespec *t), (m, t))        \
	X(pthread_mutex_clocklock, NULL,                                       \
	  PARAMS(pthread_mutex_t *m, clockid_t c, const struct timespec *t),   \
	  (m, c, t))                                                           \
	X(pthread_mutex_unlock, NULL, PARAMS(pthread_mutex_t *m), (m))         \
	X(pthread_mutex_consistent, NULL, PARAMS(pthread_mutex_t *m), (m))     \
	X(pthread_mutex_getprioceiling, NULL,                                  \
	  PARAMS(const pthread_mutex_t *m, int *p), (m, p))                    \
	X(pthread_mutex_setprioceiling, NULL,                                  \
	  PARAMS(pthread_mutex_t *m, int p, int *old), (m, p, old))

#define DIPC_PTHREAD_COND(X)                                                   \
	X(pthread_cond_init, "GLIBC_2.3.2",                                    \
	  PARAMS(pthread_cond_t *c, const pthread_condattr_t *attr),           \
	  (c, attr))                                                           \
	X(pthread_cond_destroy, "GLIBC_2.3.2", PARAMS(pthread_cond_t *c), (c)) \
	X(pthread_cond_wait, "GLIBC_2.3.2",                                    \
	  PARAMS(pthread_cond_t *c, pthread_mutex_t *m), (c, m))               \
	X(pthread_cond_timedwait, "GLIBC_2.3.2",                               \
	  PARAMS(pthread_cond_t *c, pthread_mutex_t *m,                        \
		 const struct timespec *t),                                    \
	  (c, m, t))                                                           \
	X(pthread_cond_clockwait, NULL,                                        \
	  PARAMS(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock,       \
		 const struct timespec *t),                                    \
	  (c, m, clock, t))                                                    \
	X(pthread_cond_signal, "GLIBC_2.3.2", PARAMS(pthread_cond_t *c), (c))  \
	X(pthread_cond_broadcast, "GLIBC_2.3.2", PARAMS(pthread_cond_t *c), (c))

#define DIPC_PTHREAD_RWLOCK(X)                                                 \
	X(pthread_rwlock_init, NULL,                                           \
	  PARAMS(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr),       \
	  (l, attr))                                                           \
	X(pthread_rwlock_destroy, NULL, PARAMS(pthread_rwlock_t *l), (l))      \
	X(pthread_rwlock_rdlock, NULL, PARAMS(pthread_rwlock_t *l), (l))       \
	X(pthread_rwlock_tryrdlock, NULL, PARAMS(pthread_rwlock_t *l), (l))    \
	X(pthread_rwlock_timedrdlock, NULL,                                    \
	  PARAMS(pthread_rwlock_t *l, const struct timespec *t), (l, t))       \
	X(pthread_rwlock_clockrdlock, NULL,                                    \
	  PARAMS(pthread_rwlock_t *l, clockid_t c, const struct timespec *t),  \
	  (l, c, t))                                                           \
	X(pthread_rwlock_wrlock, NULL, PARAMS(pthread_rwlock_t *l), (l))       \
	X(pthread_rwlock_trywrlock, NULL, PARAMS(pthread_rwlock_t *l), (l))    \
	X(pthread_rwlock_timedwrlock, NULL,                                    \
	  PARAMS(pthread_rwlock_t *l, const struct timespec *t), (l, t))       \
	X(pthread_rwlock_clockwrlock, NULL,                                    \
	  PARAMS(pthread_rwlock_t *l, clockid_t c, const struct timespec *t),  \
	  (l, c, t))                                                           \
	X(pthread_rwlock_unlock, NULL, PARAMS(pthread_rwlock_t *l), (l))

#define DIPC_PTHREAD_REST(X)                                                   \
	X(pthread_barrier_init, NULL,                                          \
	  PARAMS(pthread_barrier_t *b, const pthread_barrierattr_t *attr,      \
		 unsigned n),                                                  \
	  (b, attr, n))                                                        \
	X(pthread_barrier_destroy, NULL, PARAMS(pthread_barrier_t *b), (b))    \
	X(pthread_barrier_wait, NULL, PARAMS(pthread_barrier_t *b), (b))       \
	X(pthread_cancel, NULL, PARAMS(pthread_t t), (t))                      \
	X(pthread_setcancelstate, NULL, PARAMS(int s, int *old), (s, old))     \
	X(pthread_setcanceltype, NULL, PARAMS(int t, int *old), (t, old))      \
	X(sem_init, NULL, PARAMS(sem_t *s, int pshared, unsigned value),       \
	  (s, pshared, value))                                                 \
	X(sem_destroy, NULL, PARAMS(sem_t *s), (s))                            \
	X(sem_wait, NULL, PARAMS(sem_t *s), (s))                               \
	X(sem_trywait, NULL, PARAMS(sem_t *s), (s))                            \
	X(sem_timedwait, NULL, PARAMS(sem_t *s, const struct timespec *t),     \
	  (s, t))                                                              \
	X(sem_clockwait, NULL,                                                 \
	  PARAMS(sem_t *s, clockid_t c, const struct timespec *t), (s, c, t))  \
	X(sem_post, NULL, PARAMS(sem_t *s), (s))                               \
	X(sem_getvalue, NULL, PARAMS(sem_t *s, int *value), (s, value))        \
	X(mtx_init, NULL, PARAMS(mtx_t *m, int type), (m, type))               \
	X(mtx_lock, NULL, PARAMS(mtx_t *m), (m))                               \
	X(mtx_timedlock, NULL, PARAMS(mtx_t *m, const struct timespec *t),     \
	  (m, t))                                                              \
	X(mtx_trylock, NULL, PARAMS(mtx_t *m), (m))                            \
	X(mtx_unlock, NULL, PARAMS(mtx_t *m), (m))

#define DIPC_PTHREAD_ALL(X)                                                    \
	DIPC_PTHREAD_MUTEX(X)                                                  \
	DIPC_PTHREAD_COND(X)                                                   \
	DIPC_PTHREAD_RWLOCK(X)                                                 \
	DIPC_PTHREAD_REST(X)

#define DIPC_PTHREAD_DECLARE(name, version, params, args)                      \
	extern int(*_Atomic dipc_real_##name) params;
DIPC_PTHREAD_ALL(DIPC_PTHREAD_DECLARE)
#undef DIPC_PTHREAD_DECLARE

/* Relaxed: an old pointer finds the function once more, no harm done. */
#define DIPC_REAL(name)                                                        \
	(atomic_load_explicit(&dipc_real_##name, memory_order_relaxed))

/* One more exported name of a function of the same file. */
#define DIPC_ALIAS(name, function)                                             \
	__asm__(".globl " #name "\n\t.set " #name ", " #function)

/* Every lock of the program asks this: with nothing attached, one compare. */
static inline bool dipc_pthread_is_ours(const volatile void *object)
{
	const void *at = (const void *)(uintptr_t)object;

	return __builtin_expect(dipc_range_may_hold(at), 0) &&
	       dipc_range_overlaps(at, 1);
}

#endif
