/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unnamed POSIX semaphores in segments. docs/design/pthread.md.
 *
 * Memory ordering: SEM_STATE: a post is RELEASE and a wait is ACQUIRE, on the
 * one word that has value and WAITERS.
 *
 * sem_post and sem_getvalue may be called from signal handlers.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "runtime/client/client.h"
#include "runtime/client/futex.h"
#include "runtime/client/pthread_real.h"
#include "runtime/client/pthread_sleep.h"

#define LOOK_MS 1000u

#define WAITERS   (1u << 31) /* somebody may sleep */
#define VALUE(s)  ((s) & ~WAITERS)
#define VALUE_MAX ((uint32_t)SEM_VALUE_MAX)

struct sem {
	_Atomic uint32_t state;  /* value, WAITERS; what waiters sleep on */
	_Atomic uint32_t layout; /* dipc_pthread_layout_is_known() */
	uint8_t reserved[24];
};

static_assert(sizeof(struct sem) == sizeof(sem_t), "layout");
static_assert(sizeof(struct sem) == 32, "layout");
static_assert(SEM_VALUE_MAX == INT_MAX, "WAITERS is the bit above");

static struct sem *sem_of(sem_t *s)
{
	return (struct sem *)s;
}

static bool sem_is_known(struct sem *s)
{
	return dipc_pthread_layout_is_known(
		atomic_load_explicit(&s->layout, memory_order_relaxed));
}

/* SEEN is what it was: to TO, or SEEN is what it is. SEM_STATE */
static bool state_set(struct sem *s, uint32_t *seen, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(&s->state, seen, to,
						       memory_order_acq_rel,
						       memory_order_acquire);
}

/* ---- waiting ------------------------------------------------------------ */

static int sem_try(struct sem *s, uint32_t *seen)
{
	while (VALUE(*seen))
		if (state_set(s, seen, *seen - 1))
			return 0;
	return -EAGAIN;
}

/*
 * The same for one who has slept: the post that woke it took WAITERS away, and
 * posts since then woke nobody. So say again that others may sleep, and when
 * something is left, wake the next (PASS-ON).
 */
static int sem_try_slept(struct sem *s, uint32_t *seen)
{
	while (VALUE(*seen)) {
		uint32_t to = (*seen - 1) | WAITERS;

		if (!state_set(s, seen, to))
			continue;
		if (VALUE(to))
			(void)dipc_futex_wake(&s->state, 1);
		return 0;
	}
	return -EAGAIN;
}

/* Going without it: others may sleep, see sem_try_slept(). */
static void sem_give_up(void *arg)
{
	struct sem *s = arg;
	uint32_t old = atomic_fetch_or_explicit(&s->state, WAITERS,
						memory_order_acq_rel);

	if (VALUE(old))
		(void)dipc_futex_wake(&s->state, 1);
}

/*
 * A handler ran while we slept without a deadline. The kernel would go on
 * sleeping if that handler was installed with SA_RESTART. Which one it was we
 * cannot know; if all are so, this one was.
 */
static bool handlers_all_restart(void)
{
	struct sigaction act;
	int sig;

	for (sig = 1; sig < NSIG; sig++) {
		if (sigaction(sig, NULL, &act))
			continue;
		if (act.sa_handler == SIG_DFL || act.sa_handler == SIG_IGN)
			continue;
		if (!(act.sa_flags & SA_RESTART))
			return false;
	}
	return true;
}

/* noinline: its setjmp, in pthread_cleanup_push, would clobber variables */
static __attribute__((noinline)) int sem_sleep(struct sem *s, uint32_t seen,
					       const struct dipc_deadline *d)
{
	int ret;

	pthread_cleanup_push(sem_give_up, s);
	ret = dipc_pthread_sleep_cancellable(&s->state, seen, d, LOOK_MS);
	pthread_cleanup_pop(0);
	return ret;
}

static int sem_wait_until(struct sem *s, const struct dipc_deadline *d)
{
	uint32_t seen = 1; /* a guess: it saves the page's coming twice */
	int ret;

	pthread_testcancel();
	if (!sem_is_known(s) || dipc_deadline_check(d))
		return -EINVAL;
	if (sem_try(s, &seen) == 0)
		return 0;
	for (;;) {
		if (!(seen & WAITERS)) {
			if (!state_set(s, &seen, seen | WAITERS)) {
				if (sem_try(s, &seen) == 0)
					return 0;
				continue;
			}
			seen |= WAITERS;
		}
		ret = sem_sleep(s, seen, d);
		/* woken: most likely by a post of one, so ask for the page
		   once */
		seen = ret ? atomic_load_explicit(&s->state,
						  memory_order_relaxed)
			   : 1;
		if (sem_try_slept(s, &seen) == 0)
			return 0;
		if (ret == -ETIMEDOUT ||
		    (ret == -EINTR && (d || !handlers_all_restart()))) {
			sem_give_up(s);
			return ret;
		}
	}
}

static int sem_timed(struct sem *s, clockid_t clock, const struct timespec *at)
{
	const struct dipc_deadline d = {.clock = clock, .at = at};

	return sem_wait_until(s, &d);
}

/* ---- posting ------------------------------------------------------------ */

/* Nothing of S is touched after the step: it may be freed by then. */
static int sem_add(struct sem *s)
{
	uint32_t seen = 0; /* a guess */

	if (!sem_is_known(s))
		return -EINVAL;
	do {
		if (VALUE(seen) == VALUE_MAX)
			return -EOVERFLOW;
	} while (!state_set(s, &seen, VALUE(seen) + 1));
	if (seen & WAITERS)
		(void)dipc_futex_wake(&s->state, 1);
	return 0;
}

/* ---- the interposed symbols --------------------------------------------- */

DIPC_EXPORT int sem_init(sem_t *s, int pshared, unsigned value)
{
	struct sem *ours = sem_of(s);

	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_init)(s, pshared, value);
	if (value > VALUE_MAX)
		return (int)dipc_posix_ret(-EINVAL);
	memset(ours, 0, sizeof(*ours));
	ours->layout = DIPC_PTHREAD_LAYOUT;
	atomic_store_explicit(&ours->state, value, memory_order_release);
	return 0;
}

DIPC_EXPORT int sem_destroy(sem_t *s)
{
	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_destroy)(s);
	return (int)dipc_posix_ret(sem_is_known(sem_of(s)) ? 0 : -EINVAL);
}

DIPC_EXPORT int sem_wait(sem_t *s)
{
	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_wait)(s);
	return (int)dipc_posix_ret(sem_wait_until(sem_of(s), NULL));
}

DIPC_EXPORT int sem_trywait(sem_t *s)
{
	struct sem *ours = sem_of(s);
	uint32_t seen;

	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_trywait)(s);
	if (!sem_is_known(ours))
		return (int)dipc_posix_ret(-EINVAL);
	seen = atomic_load_explicit(&ours->state, memory_order_relaxed);
	return (int)dipc_posix_ret(sem_try(ours, &seen));
}

DIPC_EXPORT int sem_timedwait(sem_t *s, const struct timespec *at)
{
	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_timedwait)(s, at);
	return (int)dipc_posix_ret(sem_timed(sem_of(s), CLOCK_REALTIME, at));
}

DIPC_EXPORT int sem_clockwait(sem_t *s, clockid_t clock,
			      const struct timespec *at)
{
	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_clockwait)(s, clock, at);
	if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)
		return (int)dipc_posix_ret(-EINVAL);
	return (int)dipc_posix_ret(sem_timed(sem_of(s), clock, at));
}

DIPC_EXPORT int sem_post(sem_t *s)
{
	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_post)(s);
	return (int)dipc_posix_ret(sem_add(sem_of(s)));
}

DIPC_EXPORT int sem_getvalue(sem_t *s, int *value)
{
	if (!dipc_pthread_is_ours(s))
		return DIPC_REAL(sem_getvalue)(s, value);
	*value = (int)VALUE(
		atomic_load_explicit(&sem_of(s)->state, memory_order_relaxed));
	return 0;
}
