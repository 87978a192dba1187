/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/cancel.h"

#include <pthread.h>
#include <stddef.h>

#include "runtime/client/client.h"
#include "runtime/client/pthread_real.h"

_Atomic bool dipc_cancel_any;

/* As the thread has set them: libc does not tell without changing them. */
static _Thread_local DIPC_TLS_EARLY bool is_async, is_disabled;

DIPC_EXPORT int pthread_setcancelstate(int state, int *old)
{
	int ret = DIPC_REAL(pthread_setcancelstate)(state, old);

	if (ret == 0)
		is_disabled = state == PTHREAD_CANCEL_DISABLE;
	return ret;
}

DIPC_EXPORT int pthread_setcanceltype(int type, int *old)
{
	bool before = is_async;
	int ret;

	/* first: it may be the thread's end, in the middle of it */
	is_async = type == PTHREAD_CANCEL_ASYNCHRONOUS;
	ret = DIPC_REAL(pthread_setcanceltype)(type, old);
	if (ret)
		is_async = before;
	return ret;
}

bool dipc_cancel_enter(struct dipc_cancel_scope *scope, bool is_point)
{
	scope->was_async = is_async;
	if (is_async)
		pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	return (is_point || scope->was_async) && !is_disabled;
}

void dipc_cancel_leave(const struct dipc_cancel_scope *scope)
{
	if (scope->was_async)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}
