/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locking: none. `sleeper` is this process's table of threads that sleep in a
 * cancellation point: what pthread_cancel() has to wake.
 *
 * Memory ordering, CANCEL: the sleeper writes its entry, then looks whether it
 * was cancelled; pthread_cancel() marks the thread, then looks at the table:
 * one of them sees the other. Between the sleeper's look and its sleep a wake
 * finds nobody, so the canceller wakes again until the entry is gone, a while
 * at most; then LOOK remains.
 */
#include "runtime/client/pthread_sleep.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "runtime/base/sys.h"
#include "runtime/client/cancel.h"
#include "runtime/client/client.h"
#include "runtime/client/conn.h"
#include "runtime/client/futex.h"
#include "runtime/client/pthread_real.h"

#define NSEC_PER_SEC 1000000000L
#define PAUSE_MS     10u  /* when the futex cannot be had */
#define CROWD_MS     100u /* when the table is full */
#define NR_SLEEPERS  256u
#define CANCEL_TRIES 100u /* a millisecond apart */

struct sleeper {
	_Atomic uint32_t is_taken;
	_Atomic uint32_t round; /* moves with each sleep */
	_Atomic pthread_t thread;
	_Atomic(_Atomic uint32_t *) word; /* NULL: does not sleep */
};

static struct sleeper sleepers[NR_SLEEPERS];

/* ---- time --------------------------------------------------------------- */

int dipc_deadline_check(const struct dipc_deadline *d)
{
	if (!d)
		return 0;
	if (d->clock != CLOCK_REALTIME && d->clock != CLOCK_MONOTONIC)
		return -EINVAL;
	if (d->at->tv_nsec < 0 || d->at->tv_nsec >= NSEC_PER_SEC)
		return -EINVAL;
	return 0;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	if (a->tv_sec != b->tv_sec)
		return a->tv_sec < b->tv_sec;
	return a->tv_nsec < b->tv_nsec;
}

static struct timespec time_in(clockid_t clock, unsigned ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= NSEC_PER_SEC) {
		t.tv_nsec -= NSEC_PER_SEC;
		t.tv_sec++;
	}
	return t;
}

static void pause_ms(unsigned ms)
{
	const struct timespec t = {.tv_nsec = (long)ms * 1000000};

	(void)dipc_sys4(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (uintptr_t)&t,
			0);
}

/* ---- sleeping ----------------------------------------------------------- */

int dipc_pthread_sleep(_Atomic uint32_t *word, uint32_t expected,
		       const struct dipc_deadline *d, unsigned look_ms)
{
	clockid_t clock = d ? d->clock : CLOCK_MONOTONIC;
	struct timespec look = time_in(clock, look_ms), now;
	bool is_last = d && is_before(d->at, &look);
	int ret;

	ret = dipc_futex_wait(word, expected, clock, is_last ? d->at : &look);
	if (ret == 0 || ret == -EAGAIN || ret == -EINTR)
		return ret;
	if (ret == -ETIMEDOUT)
		return is_last ? ret : -EAGAIN;
	/*
	 * No futex to be had, the link to dipcd is lost: its memory turns to
	 * SIGBUS soon, which the caller's look then meets.
	 */
	pause_ms(PAUSE_MS);
	clock_gettime(clock, &now);
	return d && !is_before(&now, d->at) ? -ETIMEDOUT : -EAGAIN;
}

static struct sleeper *sleeper_take(pthread_t self)
{
	unsigned first = (unsigned)(self >> 12) ^ (unsigned)(self >> 20);
	unsigned i;

	for (i = 0; i < NR_SLEEPERS; i++) {
		struct sleeper *s = &sleepers[(first + i) % NR_SLEEPERS];

		if (!atomic_exchange_explicit(&s->is_taken, 1,
					      memory_order_acquire)) {
			atomic_store_explicit(&s->thread, self,
					      memory_order_relaxed);
			return s;
		}
	}
	return NULL;
}

static void sleeper_give(void *arg)
{
	struct sleeper *s = arg;

	atomic_store_explicit(&s->word, NULL, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->round, 1, memory_order_relaxed);
	atomic_store_explicit(&s->is_taken, 0, memory_order_release);
}

int dipc_pthread_sleep_cancellable(_Atomic uint32_t *word, uint32_t expected,
				   const struct dipc_deadline *d,
				   unsigned look_ms)
{
	struct sleeper *s = sleeper_take(pthread_self());
	int type, ret;

	if (!s) {
		pthread_testcancel();
		return dipc_pthread_sleep(word, expected, d, CROWD_MS);
	}
	/* unwound from the middle of a call, we would lose its slot */
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
	pthread_cleanup_push(sleeper_give, s);
	/* CANCEL */
	atomic_store_explicit(&s->word, word, memory_order_seq_cst);
	pthread_testcancel();
	ret = dipc_pthread_sleep(word, expected, d, look_ms);
	pthread_cleanup_pop(1);
	pthread_setcanceltype(type, NULL);
	return ret;
}

static void sleeper_wake(struct sleeper *s)
{
	uint32_t round = atomic_load_explicit(&s->round, memory_order_relaxed);
	unsigned i;

	for (i = 0; i < CANCEL_TRIES; i++) {
		_Atomic uint32_t *word =
			atomic_load_explicit(&s->word, memory_order_seq_cst);

		if (!word || atomic_load_explicit(
				     &s->round, memory_order_relaxed) != round)
			return;
		/* whoever else sleeps there finds nothing new */
		(void)dipc_futex_wake(word, INT_MAX);
		pause_ms(1);
	}
}

DIPC_EXPORT int pthread_cancel(pthread_t thread)
{
	unsigned i;
	int ret;

	dipc_cancel_begins();
	ret = DIPC_REAL(pthread_cancel)(thread);
	if (ret)
		return ret;
	dipc_conn_cancel(thread);
	if (!dipc_range_any())
		return 0;
	for (i = 0; i < NR_SLEEPERS; i++) { /* CANCEL */
		struct sleeper *s = &sleepers[i];

		if (atomic_load_explicit(&s->word, memory_order_seq_cst) &&
		    atomic_load_explicit(&s->thread, memory_order_relaxed) ==
			    thread)
			sleeper_wake(s);
	}
	return 0;
}

void dipc_sleepers_after_fork(void)
{
	unsigned i;

	for (i = 0; i < NR_SLEEPERS; i++)
		sleeper_give(&sleepers[i]);
}
