/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What pthread objects and sem_t in a segment answer, case by case: without
 * the preload libc's own on a kernel segment, with it ours. The two outputs
 * must be the same. One process with threads and children.
 */
#ifndef DIPC_TESTS_CLUSTER_SAME_H
#define DIPC_TESTS_CLUSTER_SAME_H

#include "job.h"

#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>

struct shared {
	pthread_mutex_t m;
	pthread_mutex_t m2;
	pthread_cond_t c;
	pthread_rwlock_t l;
	pthread_barrier_t b;
	pthread_spinlock_t spin;
	sem_t sem, sem2;
	mtx_t mtx;
	cnd_t cnd;
	_Atomic int ready, done;
	int counter;
};

static struct shared *s;
static const char *case_name;

static inline const char *name_of(int err)
{
	if (err == PTHREAD_BARRIER_SERIAL_THREAD)
		return "SERIAL";
	return err ? strerrorname_np(err) : "0";
}

static inline void say(const char *what, int err)
{
	printf("%s: %s: %s\n", case_name, what, name_of(err));
}

static inline void say_number(const char *what, long n)
{
	printf("%s: %s: %ld\n", case_name, what, n);
}

static inline int errno_of(int ret)
{
	return ret ? errno : 0;
}

static inline struct timespec in_ms(clockid_t clock, long ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += ms % 1000 * 1000000;
	t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

/* MS on a laptop, on this machine. */
static inline long patience(long ms)
{
	const char *slow = getenv("DIPC_TEST_SLOW");

	return slow ? ms * number(slow) : ms;
}

static inline long now_ms(void)
{
	struct timespec t = in_ms(CLOCK_MONOTONIC, 0);

	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline void nap(void)
{
	usleep(100000);
}

static inline void until(_Atomic int *what, int n)
{
	while (atomic_load(what) < n)
		usleep(1000);
}

/* FN in another thread, to its end. */
static inline int elsewhere(void *(*fn)(void *))
{
	pthread_t t;
	void *ret;

	pthread_create(&t, NULL, fn, NULL);
	pthread_join(t, &ret);
	return (int)(intptr_t)ret;
}

static inline void *as_ret(int err)
{
	return (void *)(intptr_t)err;
}

static inline void make(int type, bool is_robust)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_settype(&attr, type);
	if (is_robust)
		pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	say("init", pthread_mutex_init(&s->m, &attr));
}

static inline void in_child(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fn();
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	say_number("the child's status", status);
}

struct same_case {
	const char *name;
	void (*fn)(void);
};

/* argv: KEY [CASE] */
static inline int same_run(int argc, char **argv, const struct same_case *c)
{
	int id;

	if (argc < 2)
		die("usage: %s KEY [CASE]", argv[0]);
	id = shmget((key_t)number(argv[1]), sizeof(*s),
		    0600 | IPC_CREAT | IPC_DIPC);
	if (id < 0)
		die("shmget");
	s = shmat(id, NULL, 0);
	if (s == (void *)-1)
		die("shmat");
	shmctl(id, IPC_RMID, NULL);
	for (; c->name; c++) {
		case_name = c->name;
		if (argc < 3 || !strcmp(argv[2], case_name))
			c->fn();
	}
	return 0;
}

#endif
