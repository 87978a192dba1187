/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * C11's mtx_ and cnd_: libc's call its pthread functions inside, past our
 * symbols. The types are the same objects; only the answers have other names.
 */
#include <errno.h>
#include <stddef.h>
#include <threads.h>

#include "runtime/client/client.h"
#include "runtime/client/pthread_real.h"

static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "one object");
static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "one object");

static pthread_mutex_t *mutex_of(mtx_t *m)
{
	return (pthread_mutex_t *)m;
}

static pthread_cond_t *cond_of(cnd_t *c)
{
	return (pthread_cond_t *)c;
}

static int answer(int err)
{
	switch (err) {
	case 0:
		return thrd_success;
	case ETIMEDOUT:
		return thrd_timedout;
	case EBUSY:
		return thrd_busy;
	case ENOMEM:
		return thrd_nomem;
	default:
		return thrd_error;
	}
}

DIPC_EXPORT int mtx_init(mtx_t *m, int type)
{
	pthread_mutexattr_t attr;
	int ret;

	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(mtx_init)(m, type);
	if (type & ~(mtx_timed | mtx_recursive))
		return thrd_error;
	pthread_mutexattr_init(&attr);
	if (type & mtx_recursive)
		pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	ret = answer(pthread_mutex_init(mutex_of(m), &attr));
	pthread_mutexattr_destroy(&attr);
	return ret;
}

DIPC_EXPORT void mtx_destroy(mtx_t *m)
{
	(void)pthread_mutex_destroy(mutex_of(m));
}

DIPC_EXPORT int mtx_lock(mtx_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(mtx_lock)(m);
	return answer(pthread_mutex_lock(mutex_of(m)));
}

DIPC_EXPORT int mtx_timedlock(mtx_t *m, const struct timespec *at)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(mtx_timedlock)(m, at);
	return answer(pthread_mutex_timedlock(mutex_of(m), at));
}

DIPC_EXPORT int mtx_trylock(mtx_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(mtx_trylock)(m);
	return answer(pthread_mutex_trylock(mutex_of(m)));
}

DIPC_EXPORT int mtx_unlock(mtx_t *m)
{
	if (!dipc_pthread_is_ours(m))
		return DIPC_REAL(mtx_unlock)(m);
	return answer(pthread_mutex_unlock(mutex_of(m)));
}

DIPC_EXPORT int cnd_init(cnd_t *c)
{
	return answer(pthread_cond_init(cond_of(c), NULL));
}

DIPC_EXPORT void cnd_destroy(cnd_t *c)
{
	(void)pthread_cond_destroy(cond_of(c));
}

DIPC_EXPORT int cnd_signal(cnd_t *c)
{
	return answer(pthread_cond_signal(cond_of(c)));
}

DIPC_EXPORT int cnd_broadcast(cnd_t *c)
{
	return answer(pthread_cond_broadcast(cond_of(c)));
}

DIPC_EXPORT int cnd_wait(cnd_t *c, mtx_t *m)
{
	return answer(pthread_cond_wait(cond_of(c), mutex_of(m)));
}

DIPC_EXPORT int cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *at)
{
	return answer(pthread_cond_timedwait(cond_of(c), mutex_of(m), at));
}
