/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting: condition variables, semaphores, cancellation. See same.h. */
#include "same.h"

/* ---- condition variables ------------------------------------------------ */

static void make_cond(clockid_t clock)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&attr, clock);
	say("cond_init", pthread_cond_init(&s->c, &attr));
	atomic_store(&s->ready, 0);
	atomic_store(&s->done, 0);
}

/* One wait with no loop around it: who wakes when nobody called is seen. */
static void *wait_once(void *arg)
{
	/* less than the 10 s after which a waiter of ours looks by itself */
	const long ms = patience(1500) < 8000 ? patience(1500) : 8000;
	const struct timespec t = in_ms(CLOCK_REALTIME, ms);
	int ret;

	pthread_mutex_lock(&s->m);
	atomic_fetch_add(&s->ready, 1);
	ret = arg ? pthread_cond_timedwait(&s->c, &s->m, &t)
		  : pthread_cond_wait(&s->c, &s->m);
	atomic_fetch_add(&s->done, 1);
	pthread_mutex_unlock(&s->m);
	return as_ret(ret);
}

static void waiters_start(pthread_t *t, unsigned nr, void *timed)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		pthread_create(&t[i], NULL, wait_once, timed);
	until(&s->ready, (int)nr);
	/* ready is said with the mutex, which all have given back now */
	pthread_mutex_lock(&s->m);
	pthread_mutex_unlock(&s->m);
	nap();
}

static int waiters_end(pthread_t *t, unsigned nr)
{
	int nr_zero = 0;
	void *ret;

	while (nr-- > 0) {
		pthread_join(t[nr], &ret);
		nr_zero += ret == NULL;
	}
	return nr_zero;
}

static void case_cond(void)
{
	struct timespec t;
	pthread_t threads[6];
	long start;
	int i;

	make(PTHREAD_MUTEX_ERRORCHECK, false);
	make_cond(CLOCK_REALTIME);
	say("signal for nobody", pthread_cond_signal(&s->c));
	say("wait without the mutex", pthread_cond_wait(&s->c, &s->m));
	pthread_mutex_lock(&s->m);
	t = in_ms(CLOCK_REALTIME, 100);
	start = now_ms();
	say("timedwait", pthread_cond_timedwait(&s->c, &s->m, &t));
	say_number("not too early", now_ms() - start >= 95);
	say("timedwait in the past", pthread_cond_timedwait(&s->c, &s->m, &t));
	t.tv_nsec = -1;
	say("a bad time", pthread_cond_timedwait(&s->c, &s->m, &t));
	t = in_ms(CLOCK_MONOTONIC, 20);
	say("clockwait",
	    pthread_cond_clockwait(&s->c, &s->m, CLOCK_MONOTONIC, &t));
	say("a bad clock",
	    pthread_cond_clockwait(&s->c, &s->m, CLOCK_THREAD_CPUTIME_ID, &t));
	say("the mutex is ours", pthread_mutex_unlock(&s->m));

	waiters_start(threads, 3, NULL);
	for (i = 1; i <= 3; i++) {
		say("signal", pthread_cond_signal(&s->c));
		until(&s->done, i);
		nap();
		say_number("woken", atomic_load(&s->done));
	}
	say_number("returned 0", waiters_end(threads, 3));

	make_cond(CLOCK_REALTIME);
	waiters_start(threads, 6, NULL);
	say("broadcast", pthread_cond_broadcast(&s->c));
	say_number("returned 0", waiters_end(threads, 6));

	make_cond(CLOCK_REALTIME);
	waiters_start(threads, 4, s);
	pthread_cond_signal(&s->c);
	say_number("one of four in time", waiters_end(threads, 4));

	make_cond(CLOCK_MONOTONIC);
	pthread_mutex_lock(&s->m);
	t = in_ms(CLOCK_MONOTONIC, 50);
	say("timedwait", pthread_cond_timedwait(&s->c, &s->m, &t));
	pthread_mutex_unlock(&s->m);
	say("destroy", pthread_cond_destroy(&s->c));
}

/* A mutex in the segment with a condition variable outside, and the reverse. */
static pthread_cond_t own_cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t own_mutex = PTHREAD_MUTEX_INITIALIZER;
static int turn;

static void ping_pong(pthread_mutex_t *m, pthread_cond_t *c, int me)
{
	int i;

	for (i = 0; i < 500; i++) {
		pthread_mutex_lock(m);
		while (turn != me)
			pthread_cond_wait(c, m);
		turn = !me;
		pthread_cond_signal(c);
		pthread_mutex_unlock(m);
	}
}

static void *pong_own_cond(void *arg)
{
	(void)arg;
	ping_pong(&s->m, &own_cond, 1);
	return NULL;
}

static void *pong_own_mutex(void *arg)
{
	(void)arg;
	ping_pong(&own_mutex, &s->c, 1);
	return NULL;
}

static void case_mixed(void)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 50);
	pthread_t thread;

	make(PTHREAD_MUTEX_NORMAL, false);
	make_cond(CLOCK_REALTIME);
	pthread_create(&thread, NULL, pong_own_cond, NULL);
	ping_pong(&s->m, &own_cond, 0);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, pong_own_mutex, NULL);
	ping_pong(&own_mutex, &s->c, 0);
	pthread_join(thread, NULL);
	pthread_mutex_lock(&s->m);
	say("timedwait", pthread_cond_timedwait(&own_cond, &s->m, &t));
	say_number("turn", turn);
	pthread_mutex_unlock(&s->m);
}

/* ---- semaphores --------------------------------------------------------- */

static void handler(int sig)
{
	(void)sig;
}

static void post_handler(int sig)
{
	(void)sig;
	sem_post(&s->sem);
}

static void set_handler(void (*fn)(int), int flags)
{
	struct sigaction act = {.sa_handler = fn, .sa_flags = flags};

	sigaction(SIGUSR1, &act, NULL);
}

/* Signals the main thread, then posts. */
static void *disturb(void *arg)
{
	nap();
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	nap();
	sem_post(&s->sem);
	return NULL;
}

static int disturbed_wait(int flags, bool is_timed)
{
	const struct timespec t = in_ms(CLOCK_REALTIME, patience(5000));
	pthread_t self = pthread_self(), thread;
	int ret;

	set_handler(handler, flags);
	sem_init(&s->sem, 1, 0);
	pthread_create(&thread, NULL, disturb, &self);
	ret = errno_of(is_timed ? sem_timedwait(&s->sem, &t)
				: sem_wait(&s->sem));
	pthread_join(thread, NULL);
	signal(SIGUSR1, SIG_DFL);
	return ret;
}

static void child_waits(void)
{
	say("sem_wait in a child", errno_of(sem_wait(&s->sem2)));
}

static void *post_soon(void *arg)
{
	(void)arg;
	nap();
	sem_post(&s->sem2);
	return NULL;
}

static void case_sem(void)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 50);
	pthread_t thread;
	int value = -1;

	say("init too high",
	    errno_of(sem_init(&s->sem, 1, (unsigned)SEM_VALUE_MAX + 1)));
	say("init", errno_of(sem_init(&s->sem, 1, SEM_VALUE_MAX)));
	say("post at the most", errno_of(sem_post(&s->sem)));
	sem_getvalue(&s->sem, &value);
	say_number("value", value);
	say("init", errno_of(sem_init(&s->sem, 1, 1)));
	say("wait", errno_of(sem_wait(&s->sem)));
	say("trywait", errno_of(sem_trywait(&s->sem)));
	say("timedwait", errno_of(sem_timedwait(&s->sem, &t)));
	say("timedwait in the past", errno_of(sem_timedwait(&s->sem, &t)));
	t = in_ms(CLOCK_MONOTONIC, 50);
	say("clockwait", errno_of(sem_clockwait(&s->sem, CLOCK_MONOTONIC, &t)));
	say("a bad clock",
	    errno_of(sem_clockwait(&s->sem, CLOCK_PROCESS_CPUTIME_ID, &t)));
	t.tv_nsec = 1000000000;
	say("a bad time", errno_of(sem_timedwait(&s->sem, &t)));
	say("post", errno_of(sem_post(&s->sem)));
	say("a bad time, free", errno_of(sem_timedwait(&s->sem, &t)));
	sem_getvalue(&s->sem, &value);
	say_number("value", value);
	say("a handler", disturbed_wait(0, false));
	say("a handler, SA_RESTART", disturbed_wait(SA_RESTART, false));
	say("a handler, timed", disturbed_wait(0, true));
	say("a handler, SA_RESTART, timed", disturbed_wait(SA_RESTART, true));
	set_handler(post_handler, 0);
	sem_init(&s->sem, 1, 0);
	raise(SIGUSR1);
	say("posted by a handler", errno_of(sem_trywait(&s->sem)));
	sem_init(&s->sem2, 1, 0);
	fflush(stdout);
	pthread_create(&thread, NULL, post_soon, NULL);
	in_child(child_waits);
	pthread_join(thread, NULL);
	say("destroy", errno_of(sem_destroy(&s->sem)));
}

/* ---- cancellation ------------------------------------------------------- */

static void cleaned(void *arg)
{
	(void)arg;
	/* errorcheck: 0 only if this thread has it */
	s->counter = pthread_mutex_unlock(&s->m) == 0;
}

static void *cancelled_cond(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&s->m);
	pthread_cleanup_push(cleaned, NULL);
	atomic_store(&s->ready, 1);
	for (;;)
		pthread_cond_wait(&s->c, &s->m);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *cancelled_sem(void *arg)
{
	(void)arg;
	atomic_store(&s->ready, 1);
	sem_wait(&s->sem);
	return NULL;
}

static void *cancelled_before(void *arg)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	atomic_store(&s->ready, 1);
	until(&s->done, 1);
	if (!arg)
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	sem_wait(&s->sem);
	return NULL;
}

static void cancel(void *(*fn)(void *), void *arg, const char *what)
{
	long start;
	pthread_t t;
	void *ret;

	atomic_store(&s->ready, 0);
	atomic_store(&s->done, 0);
	pthread_create(&t, NULL, fn, arg);
	until(&s->ready, 1);
	nap();
	start = now_ms();
	say(what, pthread_cancel(t));
	atomic_store(&s->done, fn == cancelled_before);
	pthread_join(t, &ret);
	say_number("was cancelled", ret == PTHREAD_CANCELED);
	say_number("at once", now_ms() - start < patience(800));
}

static void case_cancel(void)
{
	int value;

	make(PTHREAD_MUTEX_ERRORCHECK, false);
	make_cond(CLOCK_REALTIME);
	s->counter = -1;
	cancel(cancelled_cond, NULL, "in pthread_cond_wait");
	say_number("cleaned up with the mutex", s->counter);
	say("the mutex is free", pthread_mutex_trylock(&s->m));
	pthread_mutex_unlock(&s->m);
	sem_init(&s->sem, 1, 0);
	cancel(cancelled_sem, NULL, "in sem_wait");
	sem_init(&s->sem, 1, 2);
	cancel(cancelled_before, NULL, "before sem_wait");
	sem_getvalue(&s->sem, &value);
	say_number("value", value);
	cancel(cancelled_before, s, "with cancellation disabled");
	sem_getvalue(&s->sem, &value);
	say_number("value", value);
}

static const struct same_case cases[] = {
	{"cond", case_cond},     {"mixed", case_mixed}, {"sem", case_sem},
	{"cancel", case_cancel}, {NULL, NULL},
};

int main(int argc, char **argv)
{
	return same_run(argc, argv, cases);
}
