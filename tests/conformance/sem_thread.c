// SPDX-License-Identifier: BSD-2-Clause
// Many threads of one process on a set, and what others see meanwhile.
#include "tests/conformance/sysv.h"

#include <pthread.h>

#define NR_THREADS 64

struct work {
	int id;
	int rounds;
	int nr; /* threads; of what is counted: the result */
	int bad;
};

static long start_all(pthread_t *threads, int nr, void *(*fn)(void *),
		      void *arg)
{
	for (int i = 0; i < nr; i++)
		if (pthread_create(&threads[i], NULL, fn, arg))
			return -1;
	return 0;
}

static void *take_and_give(void *arg)
{
	const struct work *work = arg;
	struct sembuf take = {0, -1, 0};
	struct sembuf give[] = {{0, 1, 0}, {1, 1, 0}};

	for (int i = 0; i < work->rounds; i++) {
		if (semop(work->id, &take, 1) < 0)
			return arg;
		if (semop(work->id, give, 2) < 0)
			return arg;
	}
	return NULL;
}

static long op_take_and_give(void *blob, size_t len)
{
	struct work *work = blob;
	pthread_t threads[NR_THREADS];
	void *ret;
	int bad = 0;

	(void)len;
	if (start_all(threads, work->nr, take_and_give, work) < 0)
		return -1;
	for (int i = 0; i < work->nr; i++) {
		pthread_join(threads[i], &ret);
		bad += ret != NULL;
	}
	return bad;
}

static void one_process(void)
{
	int set = three_and_set(2);
	struct work work = {set, 20, NR_THREADS, 0};

	a_setall(A, set, VALUES(3, 0));
	act(B, op_take_and_give, &work, sizeof(work), NULL, "64 threads");
	a_getall(A, set, 2);
	a_getncnt(A, set, 0);
}

static void three_processes(void)
{
	int set = three_and_set(2);
	struct work work = {set, 10, 20, 0};

	a_setall(A, set, VALUES(2, 0));
	act(starts(A), op_take_and_give, &work, sizeof(work), NULL, "threads");
	act(starts(B), op_take_and_give, &work, sizeof(work), NULL, "threads");
	act(starts(C), op_take_and_give, &work, sizeof(work), NULL, "threads");
	finish_work(A);
	finish_work(B);
	finish_work(C);
	a_getall(A, set, 2);
}

/* ---- all asleep at once ---------------------------------------------------*/

static void *sleep_once(void *arg)
{
	const struct work *work = arg;
	struct sembuf take = {0, -1, 0};

	return semop(work->id, &take, 1) < 0 ? (void *)(intptr_t)errno : NULL;
}

static long op_sleep_all(void *blob, size_t len)
{
	struct work *work = blob;
	pthread_t threads[NR_THREADS];
	void *ret;
	long removed = 0;

	(void)len;
	if (start_all(threads, NR_THREADS, sleep_once, work) < 0)
		return -1;
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i], &ret);
		removed += (intptr_t)ret == EIDRM;
	}
	return removed;
}

static void all_asleep(void)
{
	int set = three_and_set(1);
	struct work work = {set, 0, 0, 0};

	act(starts(B), op_sleep_all, &work, sizeof(work), NULL,
	    "64 threads sleep, removed under");
	until(64, a_getncnt(A, set, 0));
	a_semop(A, set, OPS({0, 10, 0}));
	a_getncnt(A, set, 0);
	a_getval(A, set, 0);
	a_setval(C, set, 0, 20);
	a_getncnt(A, set, 0);
	a_getval(A, set, 0);
	a_sem_rm(A, set);
	finish(B);
}

/* All sleep, and the process is killed: nobody is counted any more. */
static void killed_with_threads(void)
{
	int set = three_and_set(1);
	struct work work = {set, 0, 0, 0};

	act(starts(B), op_sleep_all, &work, sizeof(work), NULL,
	    "64 threads sleep");
	until(64, a_getncnt(A, set, 0));
	actor_kill(B);
	until(0, a_getncnt(A, set, 0));
	a_semop(A, set, OPS({0, 10, 0}));
	a_getval(C, set, 0);
}

/* ---- a signal to one thread of two ----------------------------------------*/

static void on_signal(int sig)
{
	(void)sig;
}

static long op_one_of_two(void *blob, size_t len)
{
	struct work *work = blob;
	struct sigaction act = {.sa_handler = on_signal};
	struct sembuf give = {0, 1, 0};
	pthread_t threads[2];
	void *ret[2];

	(void)len;
	sigaction(SIGUSR1, &act, NULL);
	if (start_all(threads, 2, sleep_once, work) < 0)
		return -1;
	while (semctl(work->id, 0, GETNCNT) != 2)
		sleep_ms(1);
	/* both may still spin in their call: a signal counts there, too */
	sleep_ms(20);
	pthread_kill(threads[1], SIGUSR1);
	pthread_join(threads[1], &ret[1]);
	work->nr = semctl(work->id, 0, GETNCNT);
	semop(work->id, &give, 1);
	pthread_join(threads[0], &ret[0]);
	work->bad = (int)(intptr_t)ret[0];
	return (intptr_t)ret[1];
}

static void show_one(long ret, const void *blob, size_t len)
{
	const struct work *work = blob;

	(void)len;
	out("%s, left %d, the other %d", errno_name((int)ret), work->nr,
	    work->bad);
}

static void signal_to_one(void)
{
	int set = three_and_set(1);
	struct work work = {set, 0, 0, 0};

	act(B, op_one_of_two, &work, sizeof(work), show_one,
	    "a signal to one of two threads");
	a_getval(A, set, 0);
}

/* ---- all or nothing, seen at every moment ----------------------------------*/

/* A token goes from one semaphore to the other, in one operation each. */
static long op_move(void *blob, size_t len)
{
	struct work *work = blob;
	struct sembuf there[] = {{0, -1, 0}, {1, 1, 0}};
	struct sembuf back[] = {{1, -1, 0}, {0, 1, 0}};
	struct sembuf fails[] = {{0, 5, 0}, {1, 5, 0}, {2, -1, IPC_NOWAIT}};
	int64_t end = now_ms() + work->rounds;

	(void)len;
	while (now_ms() < end) {
		if (semop(work->id, there, 2) < 0 ||
		    semop(work->id, back, 2) < 0)
			return -1;
		if (semop(work->id, fails, 3) == 0 || errno != EAGAIN)
			work->bad++;
	}
	return 0;
}

/* How often was there not exactly one token? */
static long op_watch(void *blob, size_t len)
{
	struct work *work = blob;
	struct sembuf none[] = {{0, 0, IPC_NOWAIT}, {1, 0, IPC_NOWAIT}};
	struct sembuf both[] = {
		{0, -1, IPC_NOWAIT},
		{1, -1, IPC_NOWAIT},
		{0, 1, 0},
		{1, 1, 0},
	};
	unsigned short values[3];
	int64_t end = now_ms() + work->rounds;

	(void)len;
	while (now_ms() < end) {
		if (semctl(work->id, 0, GETALL, values) < 0)
			return -1;
		work->bad += values[0] + values[1] != 1 || values[2] != 0;
		work->bad += semop(work->id, none, 2) == 0;
		work->bad += semop(work->id, both, 4) == 0;
	}
	return 0;
}

static void show_bad(long ret, const void *blob, size_t len)
{
	const struct work *work = blob;

	(void)len;
	out("%ld, %d torn", ret, work->bad);
}

static void never_torn(void)
{
	int set = three_and_set(3);
	struct work work = {set, scaled_ms(400), 0, 0};
	struct actor *D = actor_start(1);

	a_semop(A, set, OPS({0, 1, 0}));
	act(starts(A), op_move, &work, sizeof(work), show_bad, "move");
	act(starts(B), op_move, &work, sizeof(work), show_bad, "move");
	act(starts(C), op_watch, &work, sizeof(work), show_bad, "watch");
	act(starts(D), op_watch, &work, sizeof(work), show_bad, "watch");
	finish(A);
	finish(B);
	finish(C);
	finish(D);
	a_getall(A, set, 3);
}

const struct conformance_case sem_thread_cases[] = {
	{"sem_thread.one_process", one_process},
	{"sem_thread.three_processes", three_processes},
	{"sem_thread.all_asleep", all_asleep},
	{"sem_thread.killed_with_threads", killed_with_threads},
	{"sem_thread.signal_to_one", signal_to_one},
	{"sem_thread.never_torn", never_torn},
	{0},
};
