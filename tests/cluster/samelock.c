/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks: mutexes, read-write locks, barriers, C11. See same.h. */
#include "same.h"

static void *do_lock(void *arg)
{
	(void)arg;
	return as_ret(pthread_mutex_lock(&s->m));
}

static void *do_trylock(void *arg)
{
	(void)arg;
	return as_ret(pthread_mutex_trylock(&s->m));
}

static void *do_unlock(void *arg)
{
	(void)arg;
	return as_ret(pthread_mutex_unlock(&s->m));
}

static void *do_timedlock(void *arg)
{
	const struct timespec t = in_ms(CLOCK_REALTIME, 50);

	(void)arg;
	return as_ret(pthread_mutex_timedlock(&s->m, &t));
}

static void *do_clocklock(void *arg)
{
	const struct timespec t = in_ms(CLOCK_MONOTONIC, 50);

	(void)arg;
	return as_ret(pthread_mutex_clocklock(&s->m, CLOCK_MONOTONIC, &t));
}

static void *do_badtime(void *arg)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 50);

	(void)arg;
	t.tv_nsec = 1000000000;
	return as_ret(pthread_mutex_timedlock(&s->m, &t));
}

static void *do_badclock(void *arg)
{
	const struct timespec t = in_ms(CLOCK_REALTIME, 50);

	(void)arg;
	return as_ret(
		pthread_mutex_clocklock(&s->m, CLOCK_PROCESS_CPUTIME_ID, &t));
}

/* ---- mutexes ------------------------------------------------------------ */

static void mutex_of_type(int type)
{
	int ceiling;

	make(type, false);
	say("lock", pthread_mutex_lock(&s->m));
	if (type != PTHREAD_MUTEX_NORMAL && type != PTHREAD_MUTEX_ADAPTIVE_NP)
		say("lock again", pthread_mutex_lock(&s->m));
	say("trylock by the owner", pthread_mutex_trylock(&s->m));
	say("trylock by another", elsewhere(do_trylock));
	say("timedlock by another", elsewhere(do_timedlock));
	say("clocklock by another", elsewhere(do_clocklock));
	say("a bad time", elsewhere(do_badtime));
	say("a bad clock", elsewhere(do_badclock));
	if (type != PTHREAD_MUTEX_NORMAL && type != PTHREAD_MUTEX_ADAPTIVE_NP)
		say("unlock by another", elsewhere(do_unlock));
	say("destroy while locked", pthread_mutex_destroy(&s->m));
	say("unlock", pthread_mutex_unlock(&s->m));
	if (type == PTHREAD_MUTEX_RECURSIVE) {
		say("unlock", pthread_mutex_unlock(&s->m));
		say("unlock", pthread_mutex_unlock(&s->m));
	}
	if (type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK)
		say("unlock too often", pthread_mutex_unlock(&s->m));
	say("consistent", pthread_mutex_consistent(&s->m));
	say("getprioceiling", pthread_mutex_getprioceiling(&s->m, &ceiling));
	say("setprioceiling", pthread_mutex_setprioceiling(&s->m, 1, &ceiling));
	say("destroy", pthread_mutex_destroy(&s->m));
	say("lock what is destroyed", pthread_mutex_lock(&s->m));
}

static void case_normal(void)
{
	mutex_of_type(PTHREAD_MUTEX_NORMAL);
}

static void case_errorcheck(void)
{
	mutex_of_type(PTHREAD_MUTEX_ERRORCHECK);
}

static void case_recursive(void)
{
	mutex_of_type(PTHREAD_MUTEX_RECURSIVE);
}

static void case_adaptive(void)
{
	mutex_of_type(PTHREAD_MUTEX_ADAPTIVE_NP);
}

static void case_static(void)
{
	static const pthread_mutex_t all[] = {
		PTHREAD_MUTEX_INITIALIZER,
		PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
		PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP,
		PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP};
	unsigned i;

	for (i = 0; i < 4; i++) {
		memcpy(&s->m, &all[i], sizeof(s->m));
		say("lock", pthread_mutex_lock(&s->m));
		say("trylock", pthread_mutex_trylock(&s->m));
		say("trylock by another", elsewhere(do_trylock));
		say("unlock", pthread_mutex_unlock(&s->m));
	}
}

static void lock_and_end(void)
{
	say("lock in a child", pthread_mutex_lock(&s->m));
}

static void lock_and_be_killed(void)
{
	say("lock in a child", pthread_mutex_lock(&s->m));
	fflush(stdout);
	kill(getpid(), SIGKILL);
}

static void robust_of_type(int type)
{
	make(type, true);
	say("consistent too early", pthread_mutex_consistent(&s->m));
	say("lock by a thread that ends", elsewhere(do_lock));
	say("lock", pthread_mutex_lock(&s->m));
	say("consistent", pthread_mutex_consistent(&s->m));
	say("unlock by another", elsewhere(do_unlock));
	say("unlock", pthread_mutex_unlock(&s->m));
	in_child(lock_and_end);
	say("trylock", pthread_mutex_trylock(&s->m));
	say("consistent", pthread_mutex_consistent(&s->m));
	say("unlock", pthread_mutex_unlock(&s->m));
	in_child(lock_and_be_killed);
	say("timedlock by a thread that ends", elsewhere(do_timedlock));
	say("lock", pthread_mutex_lock(&s->m));
	say("unlock without consistent", pthread_mutex_unlock(&s->m));
	say("lock", pthread_mutex_lock(&s->m));
	/* last: libc 2.36's leaves it locked */
	say("timedlock", elsewhere(do_timedlock));
	say("trylock", pthread_mutex_trylock(&s->m));
	say("destroy", pthread_mutex_destroy(&s->m));
}

static void case_robust(void)
{
	robust_of_type(PTHREAD_MUTEX_NORMAL);
	robust_of_type(PTHREAD_MUTEX_ERRORCHECK);
	robust_of_type(PTHREAD_MUTEX_RECURSIVE);
}

static void child_counts(void)
{
	int i;

	for (i = 0; i < 200; i++) {
		pthread_mutex_lock(&s->m);
		s->counter++;
		pthread_mutex_unlock(&s->m);
	}
}

static void case_fork(void)
{
	pid_t pid[4];
	unsigned i;

	make(PTHREAD_MUTEX_NORMAL, false);
	s->counter = 0;
	fflush(stdout);
	for (i = 0; i < 4; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			child_counts();
			_exit(0);
		}
	}
	child_counts();
	for (i = 0; i < 4; i++)
		waitpid(pid[i], NULL, 0);
	say_number("counted", s->counter);
	make(PTHREAD_MUTEX_ERRORCHECK, false);
	say("lock", pthread_mutex_lock(&s->m));
	fflush(stdout);
	pid[0] = fork();
	if (pid[0] == 0) {
		say("unlock of the parent's", pthread_mutex_unlock(&s->m));
		say("trylock of the parent's", pthread_mutex_trylock(&s->m));
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid[0], NULL, 0);
	say("unlock", pthread_mutex_unlock(&s->m));
}

/* ---- read-write locks --------------------------------------------------- */

static void *do_rdlock(void *arg)
{
	const struct timespec t = in_ms(CLOCK_REALTIME, 50);
	int ret = pthread_rwlock_timedrdlock(&s->l, &t);

	(void)arg;
	if (ret == 0)
		pthread_rwlock_unlock(&s->l);
	return as_ret(ret);
}

static void *do_tryrdlock(void *arg)
{
	int ret = pthread_rwlock_tryrdlock(&s->l);

	(void)arg;
	if (ret == 0)
		pthread_rwlock_unlock(&s->l);
	return as_ret(ret);
}

static void *do_wrlock(void *arg)
{
	const struct timespec t = in_ms(CLOCK_MONOTONIC, 50);
	int ret = pthread_rwlock_clockwrlock(&s->l, CLOCK_MONOTONIC, &t);

	(void)arg;
	if (ret == 0)
		pthread_rwlock_unlock(&s->l);
	return as_ret(ret);
}

static void *do_trywrlock(void *arg)
{
	(void)arg;
	return as_ret(pthread_rwlock_trywrlock(&s->l));
}

static void *wait_to_write(void *arg)
{
	(void)arg;
	atomic_fetch_add(&s->ready, 1);
	pthread_rwlock_wrlock(&s->l);
	atomic_fetch_add(&s->done, 1);
	return as_ret(pthread_rwlock_unlock(&s->l));
}

static void rwlock_of_kind(int kind)
{
	pthread_rwlockattr_t attr;
	struct timespec t = {.tv_nsec = -1};
	pthread_t writer;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_rwlockattr_setkind_np(&attr, kind);
	say("init", pthread_rwlock_init(&s->l, &attr));
	say("rdlock", pthread_rwlock_rdlock(&s->l));
	say("rdlock by another", elsewhere(do_rdlock));
	say("trywrlock", pthread_rwlock_trywrlock(&s->l));
	say("wrlock by another", elsewhere(do_wrlock));
	say("rdlock after that", elsewhere(do_rdlock));
	atomic_store(&s->ready, 0);
	atomic_store(&s->done, 0);
	pthread_create(&writer, NULL, wait_to_write, NULL);
	until(&s->ready, 1);
	nap();
	say("tryrdlock while a writer waits", elsewhere(do_tryrdlock));
	say("unlock", pthread_rwlock_unlock(&s->l));
	pthread_join(writer, NULL);
	say_number("the writer came", atomic_load(&s->done));
	say("wrlock", pthread_rwlock_wrlock(&s->l));
	say("wrlock again", pthread_rwlock_wrlock(&s->l));
	say("rdlock by the writer", pthread_rwlock_rdlock(&s->l));
	say("tryrdlock", elsewhere(do_tryrdlock));
	say("trywrlock", elsewhere(do_trywrlock));
	say("timedrdlock", elsewhere(do_rdlock));
	say("a bad time", pthread_rwlock_timedrdlock(&s->l, &t));
	say("a bad time", pthread_rwlock_timedwrlock(&s->l, &t));
	say("unlock", pthread_rwlock_unlock(&s->l));
	say("a bad time, free", pthread_rwlock_timedwrlock(&s->l, &t));
	say("destroy", pthread_rwlock_destroy(&s->l));
}

static void case_rwlock(void)
{
	rwlock_of_kind(PTHREAD_RWLOCK_PREFER_READER_NP);
	rwlock_of_kind(PTHREAD_RWLOCK_PREFER_WRITER_NP);
	rwlock_of_kind(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
}

/* ---- barriers and spin locks -------------------------------------------- */

static void *meet(void *arg)
{
	int i, ret, serial = 0;

	(void)arg;
	for (i = 0; i < 50; i++) {
		ret = pthread_barrier_wait(&s->b);
		serial += ret == PTHREAD_BARRIER_SERIAL_THREAD;
	}
	return as_ret(serial);
}

/* Who comes out first destroys it and puts something else in its place. */
static void *meet_and_destroy(void *arg)
{
	int ret = pthread_barrier_wait(&s->b);

	(void)arg;
	if (ret == PTHREAD_BARRIER_SERIAL_THREAD) {
		ret = pthread_barrier_destroy(&s->b);
		memset(&s->b, 0, sizeof(s->b));
	}
	return as_ret(ret);
}

static long all_of(void *(*fn)(void *), unsigned nr)
{
	pthread_t t[8];
	long sum = 0;
	void *ret;
	unsigned i;

	for (i = 0; i < nr; i++)
		pthread_create(&t[i], NULL, fn, NULL);
	for (i = 0; i < nr; i++) {
		pthread_join(t[i], &ret);
		sum += (long)(intptr_t)ret;
	}
	return sum;
}

static void case_barrier(void)
{
	pthread_barrierattr_t attr;
	unsigned i;

	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	say("init for nobody", pthread_barrier_init(&s->b, &attr, 0));
	say("init", pthread_barrier_init(&s->b, &attr, 1));
	say("alone", pthread_barrier_wait(&s->b));
	say("destroy", pthread_barrier_destroy(&s->b));
	say("init", pthread_barrier_init(&s->b, &attr, 5));
	say_number("serial threads", all_of(meet, 5));
	say("destroy", pthread_barrier_destroy(&s->b));
	for (i = 0; i < 20; i++) {
		if (pthread_barrier_init(&s->b, &attr, 4))
			die("pthread_barrier_init");
		if (all_of(meet_and_destroy, 4))
			die("pthread_barrier_destroy");
	}
	say("spin_init", pthread_spin_init(&s->spin, 1));
	say("spin_lock", pthread_spin_lock(&s->spin));
	say("spin_trylock", pthread_spin_trylock(&s->spin));
	say("spin_unlock", pthread_spin_unlock(&s->spin));
	say("spin_trylock", pthread_spin_trylock(&s->spin));
	say("spin_unlock", pthread_spin_unlock(&s->spin));
	say("spin_destroy", pthread_spin_destroy(&s->spin));
}

/* ---- C11 ---------------------------------------------------------------- */

static void *do_mtx_trylock(void *arg)
{
	(void)arg;
	return as_ret(mtx_trylock(&s->mtx));
}

static void *do_mtx_timedlock(void *arg)
{
	const struct timespec t = in_ms(CLOCK_REALTIME, 50);

	(void)arg;
	return as_ret(mtx_timedlock(&s->mtx, &t));
}

static void case_c11(void)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 50);

	say_number("init", mtx_init(&s->mtx, mtx_timed | mtx_recursive));
	say_number("lock", mtx_lock(&s->mtx));
	say_number("lock again", mtx_trylock(&s->mtx));
	say_number("trylock by another", elsewhere(do_mtx_trylock));
	say_number("timedlock by another", elsewhere(do_mtx_timedlock));
	say_number("unlock", mtx_unlock(&s->mtx));
	say_number("init", cnd_init(&s->cnd));
	say_number("timedwait", cnd_timedwait(&s->cnd, &s->mtx, &t));
	say_number("signal", cnd_signal(&s->cnd));
	say_number("broadcast", cnd_broadcast(&s->cnd));
	say_number("unlock", mtx_unlock(&s->mtx));
	cnd_destroy(&s->cnd);
	mtx_destroy(&s->mtx);
}

static const struct same_case cases[] = {
	{"normal", case_normal},
	{"errorcheck", case_errorcheck},
	{"recursive", case_recursive},
	{"adaptive", case_adaptive},
	{"static", case_static},
	{"robust", case_robust},
	{"fork", case_fork},
	{"rwlock", case_rwlock},
	{"barrier", case_barrier},
	{"c11", case_c11},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return same_run(argc, argv, cases);
}
