/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Process-shared mutexes, condition variables, read-write locks, barriers,
 * spin locks and POSIX semaphores in a segment, used by processes on several
 * nodes. Without the preload it runs on the kernel's segments.
 *
 *   job_sync KEY setup [PROCESSES]   makes everything
 *   job_sync KEY count KIND N        N increments under a lock of KIND
 *   job_sync KEY total N             are there N of them?
 *   job_sync KEY produce N | consume a bounded buffer; -1 is the end
 *   job_sync KEY stop N              N times -1
 *   job_sync KEY post N | take N     two semaphores around one word
 *   job_sync KEY meet ME ROUNDS      at the barrier
 *   job_sync KEY write N | read N    two words under the read-write lock
 *   job_sync KEY hold FILE           robust: locked; FILE has the pid
 *   job_sync KEY inherit             finds the owner dead, mends
 *   job_sync KEY spoil               finds the owner dead, does not mend
 *   job_sync KEY spoiled             finds it not recoverable
 *   job_sync KEY mend N              N times two words under the robust one
 *   job_sync KEY sleep FILE          waits for the condition variable
 *   job_sync KEY wake                wakes it until somebody came
 *   job_sync KEY remove
 */
#include "job.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <threads.h>
#include <time.h>

#define ROOM    8
#define MAX_ALL 64

/* The order of main's table below. */
enum kind {
	KIND_NORMAL,
	KIND_ERRORCHECK,
	KIND_RECURSIVE,
	KIND_ADAPTIVE,
	KIND_ROBUST,
	KIND_ZERO, /* never initialised: zero memory */
	NR_MUTEXES,
	KIND_C11 = NR_MUTEXES,
	KIND_SPIN,
	KIND_WRLOCK,
	KIND_SEM,
	KIND_TRY, /* the normal mutex by trylock */
	NR_KINDS,
};

static const char *const kind_names[NR_KINDS] = {
	"normal", "errorcheck", "recursive", "adaptive", "robust", "zero",
	"c11",    "spin",       "wrlock",    "sem",      "try"};

struct shared {
	pthread_mutex_t mutex[NR_MUTEXES];
	mtx_t c11;
	pthread_spinlock_t spin;
	pthread_rwlock_t rwlock;
	sem_t binary;
	long counter;
	_Atomic int inside; /* never more than one */

	/* the bounded buffer */
	pthread_mutex_t lock;
	pthread_cond_t not_empty, not_full;
	long buffer[ROOM];
	unsigned first, nr;
	long sum, taken;

	/* two semaphores */
	sem_t full, empty;
	long word, word_sum;

	/* the barrier */
	pthread_barrier_t barrier;
	unsigned nr_meeting;
	_Atomic long arrived[MAX_ALL];
	_Atomic long serials;

	/* read-write */
	pthread_rwlock_t pair_lock;
	long pair[2];

	/* the robust one */
	pthread_mutex_t robust;
	long mended[2];
	int sleepers, woken;
};

static struct shared *s;

static void ok(int ret, const char *what)
{
	errno = ret;
	if (ret)
		die("%s", what);
}

static void ok_errno(int ret, const char *what)
{
	if (ret)
		die("%s", what);
}

/* ---- making ------------------------------------------------------------- */

static void make_mutex(pthread_mutex_t *m, int type, bool is_robust)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	ok(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED),
	   "setpshared");
	ok(pthread_mutexattr_settype(&attr, type), "settype");
	if (is_robust)
		ok(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST),
		   "setrobust");
	ok(pthread_mutex_init(m, &attr), "pthread_mutex_init");
}

static void make_cond(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ok(pthread_cond_init(c, &attr), "pthread_cond_init");
}

static void make_rwlock(pthread_rwlock_t *l, int kind)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_rwlockattr_setkind_np(&attr, kind);
	ok(pthread_rwlock_init(l, &attr), "pthread_rwlock_init");
}

static void setup(unsigned processes)
{
	pthread_barrierattr_t attr;

	make_mutex(&s->mutex[KIND_NORMAL], PTHREAD_MUTEX_NORMAL, false);
	make_mutex(&s->mutex[KIND_ERRORCHECK], PTHREAD_MUTEX_ERRORCHECK, false);
	make_mutex(&s->mutex[KIND_RECURSIVE], PTHREAD_MUTEX_RECURSIVE, false);
	make_mutex(&s->mutex[KIND_ADAPTIVE], PTHREAD_MUTEX_ADAPTIVE_NP, false);
	make_mutex(&s->mutex[KIND_ROBUST], PTHREAD_MUTEX_NORMAL, true);
	make_mutex(&s->lock, PTHREAD_MUTEX_NORMAL, false);
	make_mutex(&s->robust, PTHREAD_MUTEX_ERRORCHECK, true);
	if (mtx_init(&s->c11, mtx_timed) != thrd_success)
		die("mtx_init");
	ok(pthread_spin_init(&s->spin, PTHREAD_PROCESS_SHARED), "spin_init");
	make_rwlock(&s->rwlock, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	make_rwlock(&s->pair_lock, PTHREAD_RWLOCK_PREFER_READER_NP);
	make_cond(&s->not_empty);
	make_cond(&s->not_full);
	ok_errno(sem_init(&s->binary, 1, 1), "sem_init");
	ok_errno(sem_init(&s->full, 1, 0), "sem_init");
	ok_errno(sem_init(&s->empty, 1, 1), "sem_init");
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	s->nr_meeting = processes;
	ok(pthread_barrier_init(&s->barrier, &attr, processes), "barrier_init");
}

/* ---- mutual exclusion --------------------------------------------------- */

static void lock(enum kind kind)
{
	int ret;

	if (kind < NR_MUTEXES) {
		ok(pthread_mutex_lock(&s->mutex[kind]), "pthread_mutex_lock");
		if (kind == KIND_RECURSIVE)
			ok(pthread_mutex_lock(&s->mutex[kind]), "once more");
	} else if (kind == KIND_C11) {
		if (mtx_lock(&s->c11) != thrd_success)
			die("mtx_lock");
	} else if (kind == KIND_SPIN) {
		ok(pthread_spin_lock(&s->spin), "pthread_spin_lock");
	} else if (kind == KIND_WRLOCK) {
		ok(pthread_rwlock_wrlock(&s->rwlock), "pthread_rwlock_wrlock");
	} else if (kind == KIND_SEM) {
		ok_errno(sem_wait(&s->binary), "sem_wait");
	} else {
		while ((ret = pthread_mutex_trylock(&s->mutex[0])) == EBUSY)
			usleep(100);
		ok(ret, "pthread_mutex_trylock");
	}
}

static void unlock(enum kind kind)
{
	if (kind < NR_MUTEXES) {
		ok(pthread_mutex_unlock(&s->mutex[kind]), "unlock");
		if (kind == KIND_RECURSIVE)
			ok(pthread_mutex_unlock(&s->mutex[kind]), "once more");
	} else if (kind == KIND_C11) {
		if (mtx_unlock(&s->c11) != thrd_success)
			die("mtx_unlock");
	} else if (kind == KIND_SPIN) {
		ok(pthread_spin_unlock(&s->spin), "pthread_spin_unlock");
	} else if (kind == KIND_WRLOCK) {
		ok(pthread_rwlock_unlock(&s->rwlock), "pthread_rwlock_unlock");
	} else if (kind == KIND_SEM) {
		ok_errno(sem_post(&s->binary), "sem_post");
	} else {
		ok(pthread_mutex_unlock(&s->mutex[0]), "unlock");
	}
}

static void count(const char *name, long n)
{
	enum kind kind = 0;

	while (kind < NR_KINDS && strcmp(kind_names[kind], name) != 0)
		kind++;
	if (kind == NR_KINDS)
		die("no such kind: %s", name);
	while (n-- > 0) {
		lock(kind);
		if (atomic_fetch_add(&s->inside, 1) != 0)
			die("two at once inside the lock");
		s->counter++;
		atomic_fetch_sub(&s->inside, 1);
		unlock(kind);
	}
}

static void total(long n)
{
	if (s->counter != n)
		die("%ld increments, not %ld", s->counter, n);
	s->counter = 0;
}

/* ---- the bounded buffer ------------------------------------------------- */

static void put(long value)
{
	ok(pthread_mutex_lock(&s->lock), "lock");
	while (s->nr == ROOM)
		ok(pthread_cond_wait(&s->not_full, &s->lock), "wait");
	s->buffer[(s->first + s->nr++) % ROOM] = value;
	ok(pthread_cond_signal(&s->not_empty), "signal");
	ok(pthread_mutex_unlock(&s->lock), "unlock");
}

static void produce(long n)
{
	while (n > 0)
		put(n--);
}

static void stop(long n)
{
	while (n-- > 0)
		put(-1);
}

static void consume(void)
{
	long value;

	do {
		ok(pthread_mutex_lock(&s->lock), "lock");
		while (s->nr == 0)
			ok(pthread_cond_wait(&s->not_empty, &s->lock), "wait");
		value = s->buffer[s->first];
		s->first = (s->first + 1) % ROOM;
		s->nr--;
		if (value > 0) {
			s->sum += value;
			s->taken++;
		}
		ok(pthread_cond_signal(&s->not_full), "signal");
		ok(pthread_mutex_unlock(&s->lock), "unlock");
	} while (value > 0);
}

static void consumed(long producers, long n)
{
	if (s->taken != producers * n ||
	    s->sum != producers * (n * (n + 1) / 2))
		die("%ld taken, sum %ld", s->taken, s->sum);
	s->taken = s->sum = 0;
}

/* ---- the others --------------------------------------------------------- */

static void post(long n)
{
	for (; n > 0; n--) {
		ok_errno(sem_wait(&s->empty), "sem_wait");
		s->word = n;
		ok_errno(sem_post(&s->full), "sem_post");
	}
}

static void take(long n)
{
	long sum = 0, i;

	for (i = 0; i < n; i++) {
		ok_errno(sem_wait(&s->full), "sem_wait");
		sum += s->word;
		s->word = 0;
		ok_errno(sem_post(&s->empty), "sem_post");
	}
	if (sum != n * (n + 1) / 2)
		die("took %ld", sum);
}

static void meet(unsigned me, long rounds)
{
	long round;
	unsigned i;
	int ret;

	for (round = 1; round <= rounds; round++) {
		atomic_store(&s->arrived[me], round);
		ret = pthread_barrier_wait(&s->barrier);
		if (ret == PTHREAD_BARRIER_SERIAL_THREAD)
			atomic_fetch_add(&s->serials, 1);
		else
			ok(ret, "pthread_barrier_wait");
		for (i = 0; i < s->nr_meeting; i++)
			if (atomic_load(&s->arrived[i]) < round)
				die("round %ld without %u", round, i);
		/* nobody is a round ahead when all look */
		ret = pthread_barrier_wait(&s->barrier);
		if (ret && ret != PTHREAD_BARRIER_SERIAL_THREAD)
			ok(ret, "pthread_barrier_wait");
	}
	if (atomic_load(&s->serials) != rounds)
		die("%ld serial threads", atomic_load(&s->serials));
}

static void write_pair(long n)
{
	while (n-- > 0) {
		ok(pthread_rwlock_wrlock(&s->pair_lock), "wrlock");
		s->pair[0]++;
		s->pair[1]++;
		ok(pthread_rwlock_unlock(&s->pair_lock), "unlock");
	}
}

static void read_pair(long n)
{
	long last = 0;

	while (n-- > 0) {
		ok(pthread_rwlock_rdlock(&s->pair_lock), "rdlock");
		if (s->pair[0] != s->pair[1] || s->pair[0] < last)
			die("read %ld and %ld after %ld", s->pair[0],
			    s->pair[1], last);
		last = s->pair[0];
		ok(pthread_rwlock_unlock(&s->pair_lock), "unlock");
	}
}

/* ---- owners that die ---------------------------------------------------- */

static void say_pid(const char *path)
{
	FILE *file = fopen(path, "w");

	if (!file || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file))
		die("%s", path);
}

static void hold(const char *path)
{
	ok(pthread_mutex_lock(&s->robust), "lock");
	say_pid(path);
	for (;;)
		pause();
}

static void expect(int ret, int wanted, const char *what)
{
	if (ret != wanted) {
		errno = ret;
		die("%s: not error %d", what, wanted);
	}
}

static void inherit(void)
{
	expect(pthread_mutex_lock(&s->robust), EOWNERDEAD, "lock");
	ok(pthread_mutex_consistent(&s->robust), "consistent");
	ok(pthread_mutex_unlock(&s->robust), "unlock");
	ok(pthread_mutex_lock(&s->robust), "lock again");
	ok(pthread_mutex_unlock(&s->robust), "unlock again");
}

static void spoil(void)
{
	int ret;

	/* by trylock, which asks too */
	while ((ret = pthread_mutex_trylock(&s->robust)) == EBUSY)
		usleep(50000);
	expect(ret, EOWNERDEAD, "trylock");
	ok(pthread_mutex_unlock(&s->robust), "unlock");
}

static void spoiled(void)
{
	expect(pthread_mutex_lock(&s->robust), ENOTRECOVERABLE, "lock");
	expect(pthread_mutex_trylock(&s->robust), ENOTRECOVERABLE, "trylock");
	ok(pthread_mutex_destroy(&s->robust), "destroy");
	make_mutex(&s->robust, PTHREAD_MUTEX_ERRORCHECK, true);
	ok(pthread_mutex_lock(&s->robust), "lock a new one");
	ok(pthread_mutex_unlock(&s->robust), "unlock");
}

/* Whoever is killed in between leaves two different words. */
static void mend(long n)
{
	volatile int i;
	int ret;

	while (n-- > 0) {
		ret = pthread_mutex_lock(&s->robust);
		if (ret == EOWNERDEAD) {
			s->mended[1] = s->mended[0];
			ret = pthread_mutex_consistent(&s->robust);
		}
		ok(ret, "lock");
		if (s->mended[0] != s->mended[1])
			die("%ld and %ld", s->mended[0], s->mended[1]);
		s->mended[0]++;
		for (i = 0; i < 50000; i++) {
		}
		s->mended[1]++;
		ok(pthread_mutex_unlock(&s->robust), "unlock");
	}
}

/* ---- sleepers that die -------------------------------------------------- */

static void sleep_until_woken(const char *path)
{
	ok(pthread_mutex_lock(&s->lock), "lock");
	s->sleepers++;
	say_pid(path);
	while (s->woken == 0)
		ok(pthread_cond_wait(&s->not_empty, &s->lock), "wait");
	s->woken--;
	s->sleepers--;
	ok(pthread_mutex_unlock(&s->lock), "unlock");
}

/* One signal a second: it may go to one who is being killed, not for ever. */
static void wake(void)
{
	int left;

	ok(pthread_mutex_lock(&s->lock), "lock");
	s->woken = 1;
	do {
		ok(pthread_cond_signal(&s->not_empty), "signal");
		ok(pthread_mutex_unlock(&s->lock), "unlock");
		sleep(1);
		ok(pthread_mutex_lock(&s->lock), "lock");
		left = s->woken;
	} while (left);
	ok(pthread_mutex_unlock(&s->lock), "unlock");
}

static int run(int argc, char **argv)
{
	const char *mode = argv[2];

	if (!strcmp(mode, "setup"))
		setup(argc > 3 ? (unsigned)number(argv[3]) : 2);
	else if (!strcmp(mode, "consume"))
		consume();
	else if (!strcmp(mode, "inherit"))
		inherit();
	else if (!strcmp(mode, "spoil"))
		spoil();
	else if (!strcmp(mode, "spoiled"))
		spoiled();
	else if (!strcmp(mode, "wake"))
		wake();
	else if (argc < 4)
		return 2;
	else if (!strcmp(mode, "total"))
		total(number(argv[3]));
	else if (!strcmp(mode, "produce"))
		produce(number(argv[3]));
	else if (!strcmp(mode, "stop"))
		stop(number(argv[3]));
	else if (!strcmp(mode, "post"))
		post(number(argv[3]));
	else if (!strcmp(mode, "take"))
		take(number(argv[3]));
	else if (!strcmp(mode, "write"))
		write_pair(number(argv[3]));
	else if (!strcmp(mode, "read"))
		read_pair(number(argv[3]));
	else if (!strcmp(mode, "mend"))
		mend(number(argv[3]));
	else if (!strcmp(mode, "hold"))
		hold(argv[3]);
	else if (!strcmp(mode, "sleep"))
		sleep_until_woken(argv[3]);
	else if (argc < 5)
		return 2;
	else if (!strcmp(mode, "count"))
		count(argv[3], number(argv[4]));
	else if (!strcmp(mode, "consumed"))
		consumed(number(argv[3]), number(argv[4]));
	else if (!strcmp(mode, "meet"))
		meet((unsigned)number(argv[3]), number(argv[4]));
	else
		return 2;
	return 0;
}

int main(int argc, char **argv)
{
	int id;

	if (argc < 3)
		die("usage: job_sync KEY MODE ...");
	id = shmget((key_t)number(argv[1]), sizeof(*s),
		    0600 | IPC_CREAT | IPC_DIPC);
	if (id < 0)
		die("shmget");
	if (!strcmp(argv[2], "remove")) {
		ok_errno(shmctl(id, IPC_RMID, NULL), "IPC_RMID");
		return 0;
	}
	s = shmat(id, NULL, 0);
	if (s == (void *)-1)
		die("shmat");
	return run(argc, argv);
}
