/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Futexes in a segment, by the system call, as locks are built on them.
 *
 *	job_futex KEY count ROUNDS	ROUNDS times one more, behind a lock
 *	job_futex KEY check N		is it N?
 *	job_futex KEY sleep N FILE	N threads queue up, FILE says so; prints
 *					the order in which they were woken
 *	job_futex KEY wake N WANT	wakes N, must find WANT
 *	job_futex KEY crowd N		N threads sleep, and are woken
 *	job_futex KEY each N		wakes N, one after the other
 *	job_futex KEY requeue N		moves or wakes all, must find N
 *	job_futex KEY ops		the operations and their errors
 *	job_futex KEY ping|pong ROUNDS	hands over to and fro; prints us
 *	job_futex KEY toss|catch ROUNDS	the same without a store
 *	job_futex KEY idle ROUNDS	wakes that find nobody; prints us
 *	job_futex KEY remove
 */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "tests/cluster/job.h"

/* Pages of their own: who holds the lock faults, and others meet it held. */
struct shared {
	_Alignas(4096) _Atomic uint32_t lock; /* 0 free, 1 held, 2 and more
						 may sleep */
	_Alignas(4096) uint32_t count;        /* behind the lock */
	_Alignas(4096) _Atomic uint32_t word; /* slept on */
	_Atomic uint32_t order;               /* who was woken so many-th */
	_Alignas(4096) _Atomic uint32_t other;
	_Alignas(4096) _Atomic uint32_t turn;
};

static long futex(_Atomic uint32_t *word, int op, uint32_t val,
		  const struct timespec *timeout, _Atomic uint32_t *word2,
		  uint32_t val3)
{
	return syscall(SYS_futex, word, op, val, timeout, word2, val3);
}

static struct shared *attach(key_t key)
{
	int id =
		shmget(key, sizeof(struct shared), IPC_CREAT | IPC_DIPC | 0600);
	void *at;

	if (id < 0)
		die("shmget");
	at = shmat(id, NULL, 0);
	if (at == (void *)-1)
		die("shmat");
	return at;
}

static void tell(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f))
		die("%s", path);
}

/* ---- a lock of the textbook --------------------------------------------- */

static void lock(struct shared *s)
{
	uint32_t seen = 0;

	if (atomic_compare_exchange_strong(&s->lock, &seen, 1))
		return;
	if (seen != 2)
		seen = atomic_exchange(&s->lock, 2);
	while (seen != 0) {
		futex(&s->lock, FUTEX_WAIT, 2, NULL, NULL, 0);
		seen = atomic_exchange(&s->lock, 2);
	}
}

static void unlock(struct shared *s)
{
	if (atomic_fetch_sub(&s->lock, 1) == 1)
		return;
	atomic_store(&s->lock, 0);
	if (futex(&s->lock, FUTEX_WAKE, 1, NULL, NULL, 0) < 0)
		die("FUTEX_WAKE");
}

static void count(struct shared *s, long rounds)
{
	for (; rounds; rounds--) {
		lock(s);
		s->count++;
		unlock(s);
	}
}

/* ---- sleepers ----------------------------------------------------------- */

struct sleeper {
	struct shared *s;
	uint32_t place;
};

static void *sleeper_main(void *arg)
{
	struct sleeper *me = arg;

	while (atomic_load(&me->s->word) == 0)
		if (futex(&me->s->word, FUTEX_WAIT, 0, NULL, NULL, 0) == 0)
			break;
	me->place = atomic_fetch_add(&me->s->order, 1);
	return NULL;
}

static void sleep_all(struct shared *s, long nr, const char *path)
{
	pthread_t thread[64];
	struct sleeper me[64];
	long i;

	if (nr > 64)
		die("too many");
	for (i = 0; i < nr; i++) {
		me[i].s = s;
		if (pthread_create(&thread[i], NULL, sleeper_main, &me[i]))
			die("pthread_create");
		usleep(20000); /* one after the other: the order counts */
	}
	usleep(200000);
	tell(path);
	for (i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < nr; i++)
		printf("%u\n", me[i].place);
}

static void *crowd_main(void *arg)
{
	struct shared *s = arg;

	if (futex(&s->word, FUTEX_WAIT, 0, NULL, NULL, 0))
		die("FUTEX_WAIT");
	return NULL;
}

/* More threads sleep than dipcd serves at a time: they can be woken. */
static void crowd(struct shared *s, long nr)
{
	pthread_t *thread = calloc((size_t)nr, sizeof(*thread));
	pthread_attr_t small;
	long i, woken = 0;

	if (!thread)
		die("calloc");
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	for (i = 0; i < nr; i++)
		if (pthread_create(&thread[i], &small, crowd_main, s))
			die("pthread_create");
	while (woken < nr) {
		usleep(500000);
		woken += futex(&s->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
	for (i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
	free(thread);
}

static void wake(struct shared *s, long nr, long want)
{
	long got = futex(&s->word, FUTEX_WAKE, (uint32_t)nr, NULL, NULL, 0);

	if (got != want)
		die("woke %ld, not %ld", got, want);
}

/* One after the other; each has left before the next is woken. */
static void wake_each(struct shared *s, long nr)
{
	uint32_t before = atomic_load(&s->order);
	long i;

	for (i = 1; i <= nr; i++) {
		wake(s, 1, 1);
		while (atomic_load(&s->order) != before + (uint32_t)i)
			usleep(1000);
	}
	wake(s, 1, 0);
}

/* ---- operations --------------------------------------------------------- */

static void expect(const char *what, long got, long want, int err)
{
	if (got != want || (got < 0 && errno != err))
		die("%s: %ld, not %ld, %s", what, got, want, strerror(err));
}

static void on_alarm(int sig)
{
	(void)sig;
}

static double now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void ops_time(struct shared *s)
{
	const struct itimerval soon = {.it_value.tv_usec = 300000};
	const struct timespec tenth = {.tv_nsec = 100000000};
	struct timespec at;
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	double start = now_us(CLOCK_MONOTONIC), took;

	expect("timeout", futex(&s->word, FUTEX_WAIT, 0, &tenth, NULL, 0), -1,
	       ETIMEDOUT);
	took = now_us(CLOCK_MONOTONIC) - start;
	if (took < 100000)
		die("it took only %f us", took);
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec++;
	expect("until a time of day",
	       futex(&s->word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &at,
		     NULL, FUTEX_BITSET_MATCH_ANY),
	       -1, ETIMEDOUT);
	if (now_us(CLOCK_REALTIME) < (double)at.tv_sec * 1e6)
		die("it is not yet time");
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	expect("a signal", futex(&s->word, FUTEX_WAIT, 0, NULL, NULL, 0), -1,
	       EINTR);
}

static void ops(struct shared *s)
{
	_Atomic uint32_t *odd = (void *)((char *)&s->word + 1);
	const struct timespec bad = {.tv_nsec = -1};

	expect("another value", futex(&s->word, FUTEX_WAIT, 7, NULL, NULL, 0),
	       -1, EAGAIN);
	expect("an odd address", futex(odd, FUTEX_WAIT, 0, NULL, NULL, 0), -1,
	       EINVAL);
	expect("a bad time", futex(&s->word, FUTEX_WAIT, 0, &bad, NULL, 0), -1,
	       EINVAL);
	expect("a bad pointer",
	       futex(&s->word, FUTEX_WAIT, 0, (void *)8, NULL, 0), -1, EFAULT);
	expect("no bits", futex(&s->word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0),
	       -1, EINVAL);
	expect("nobody", futex(&s->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0),
	       0, 0);
	expect("not equal",
	       futex(&s->word, FUTEX_CMP_REQUEUE, 1, (void *)1, &s->other, 5),
	       -1, EAGAIN);
	expect("priorities", futex(&s->word, FUTEX_LOCK_PI, 0, NULL, NULL, 0),
	       -1, ENOSYS);
	expect("wake and add",
	       futex(&s->word, FUTEX_WAKE_OP, 1, (void *)1, &s->other,
		     FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0)),
	       0, 0);
	expect("wake and or",
	       futex(&s->word, FUTEX_WAKE_OP, 1, (void *)1, &s->other,
		     (uint32_t)FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 4,
					FUTEX_OP_CMP_LT, -1)),
	       0, 0);
	if (s->other != (5 | 16))
		die("the other word is %u", s->other);
	s->other = 0;
	ops_time(s);
}

/* Who is to be moved wakes up. */
static void requeue(struct shared *s, long nr)
{
	expect("requeue",
	       futex(&s->word, FUTEX_CMP_REQUEUE, 1, (void *)(uintptr_t)INT_MAX,
		     &s->other, 0),
	       nr, 0);
}

/* ---- how long it takes -------------------------------------------------- */

static void ping_pong(struct shared *s, long rounds, uint32_t me)
{
	double start = 0;
	long i;

	for (i = 0; i <= rounds; i++) {
		uint32_t turn;

		/* the first round is to meet */
		if (i == 1)
			start = now_us(CLOCK_MONOTONIC);
		while ((turn = atomic_load(&s->turn)) % 2 != me)
			futex(&s->turn, FUTEX_WAIT, turn, NULL, NULL, 0);
		atomic_store(&s->turn, turn + 1);
		futex(&s->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	printf("one way %.1f us\n",
	       (now_us(CLOCK_MONOTONIC) - start) / (double)rounds / 2);
}

/*
 * The same without a store: no page moves. Who is woken wakes the other, as
 * soon as that one sleeps.
 */
static void toss(struct shared *s, long rounds, bool is_first)
{
	_Atomic uint32_t *mine = is_first ? &s->word : &s->other;
	_Atomic uint32_t *theirs = is_first ? &s->other : &s->word;
	double start = now_us(CLOCK_MONOTONIC);
	long i;

	for (i = 0; i < rounds; i++) {
		if (!is_first || i)
			futex(mine, FUTEX_WAIT, 0, NULL, NULL, 0);
		while ((is_first || i < rounds - 1) &&
		       futex(theirs, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
			usleep(10);
	}
	printf("one way %.1f us\n",
	       (now_us(CLOCK_MONOTONIC) - start) / (double)rounds / 2);
}

static void idle(struct shared *s, long rounds)
{
	double start;
	long i;

	wake(s, 1, 0);
	start = now_us(CLOCK_MONOTONIC);
	for (i = 0; i < rounds; i++)
		wake(s, 1, 0);
	printf("%.1f us\n", (now_us(CLOCK_MONOTONIC) - start) / (double)rounds);
}

int main(int argc, char **argv)
{
	struct shared *s;
	const char *what;
	key_t key;
	long n;

	if (argc < 3)
		die("usage: job_futex KEY WHAT [N [MORE]]");
	key = (key_t)number(argv[1]);
	what = argv[2];
	n = argc > 3 ? number(argv[3]) : 0;
	if (!strcmp(what, "remove")) {
		if (shmctl(shmget(key, 0, IPC_DIPC), IPC_RMID, NULL))
			die("IPC_RMID");
		return 0;
	}
	s = attach(key);
	if (!strcmp(what, "count")) {
		await_go();
		count(s, n);
	} else if (!strcmp(what, "check")) {
		if (s->count != n)
			die("it is %u, not %ld", s->count, n);
	} else if (!strcmp(what, "sleep") && argc > 4) {
		sleep_all(s, n, argv[4]);
	} else if (!strcmp(what, "wake") && argc > 4) {
		wake(s, n, number(argv[4]));
	} else if (!strcmp(what, "crowd")) {
		crowd(s, n);
	} else if (!strcmp(what, "each")) {
		wake_each(s, n);
	} else if (!strcmp(what, "requeue")) {
		requeue(s, n);
	} else if (!strcmp(what, "ops")) {
		ops(s);
	} else if (!strcmp(what, "ping") || !strcmp(what, "pong")) {
		ping_pong(s, n, what[1] == 'o');
	} else if (!strcmp(what, "toss") || !strcmp(what, "catch")) {
		toss(s, n, what[0] == 't');
	} else if (!strcmp(what, "idle")) {
		idle(s, n);
	} else {
		die("what is %s?", what);
	}
	return 0;
}
