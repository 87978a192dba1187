// SPDX-License-Identifier: BSD-2-Clause
// semtimedop, signals that end a call, and the set's times.
#include "tests/conformance/sysv.h"

static void at_once(void)
{
	int set = three_and_set(2);

	a_semtimedop(A, set, OPS({0, -1, 0}), 0);
	a_semtimedop(A, set, OPS({0, 1, 0}), 0);
	a_semtimedop(B, set, OPS({0, 0, 0}), 0);
	a_semtimedop(B, set, OPS({0, -1, 0}, {1, -1, 0}), 0);
	a_getall(C, set, 2);
	a_getncnt(C, set, 1);
	a_semtimedop(B, set, OPS({1, 5, 0}, {0, -1, 0}), 0);
	a_getall(C, set, 2);
}

static void expires(void)
{
	int set = three_and_set(2);

	a_semtimedop(A, set, OPS({0, -1, 0}), 1);
	a_semtimedop(blocks(B), set, OPS({0, -1, 0}), scaled_ms(900));
	a_getncnt(A, set, 0);
	finish(B);
	a_getncnt(A, set, 0);
	a_semop(A, set, OPS({0, 1, 0}));
	a_getval(A, set, 0);
	a_semtimedop(blocks(B), set, OPS({0, 0, 0}), scaled_ms(900));
	a_semtimedop(blocks(C), set, OPS({0, -1, 0}, {1, -1, SEM_UNDO}),
		     scaled_ms(900));
	a_getzcnt(A, set, 0);
	a_getncnt(A, set, 1);
	finish(B);
	finish(C);
	a_getzcnt(A, set, 0);
	a_getncnt(A, set, 1);
	a_getall(A, set, 2);
}

static void comes_in_time(void)
{
	int set = three_and_set(1);

	a_semtimedop(blocks(B), set, OPS({0, -1, 0}), 60000);
	a_semtimedop_spec(blocks(C), set, OPS({0, -1, 0}),
			  (struct timespec){LONG_MAX, 999999999});
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(C);
	/* NULL is no limit */
	a_semtimedop(blocks(timeout_at(B, AT_NULL)), set, OPS({0, -1, 0}), 0);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	a_getval(A, set, 0);
}

/* A limit that is none is refused before anything is looked at. */
static void invalid(void)
{
	static const struct timespec bad[] = {
		{-1, 0}, {0, -1}, {0, 1000000000}, {LONG_MIN, 0}, {1, LONG_MAX},
	};
	int set = three_and_set(1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		a_semtimedop_spec(A, set, OPS({0, -1, 0}), bad[i]);
		a_semtimedop_spec(A, set, OPS({0, 1, 0}), bad[i]);
	}
	a_getval(B, set, 0);
	a_semtimedop_spec(A, set, OPS({7, 1, 0}), bad[0]);
	a_semtimedop_spec(A, -1, OPS({0, 1, 0}), bad[0]);
	a_semtimedop_spec(B, set, OPS({0, -1, IPC_NOWAIT}), bad[2]);
}

/* ---- how long -------------------------------------------------------------*/

struct span {
	int id;
	long ms;
};

/* Sleeps in vain for so long; 0 if that took as long, and not much more. */
static long op_span(void *blob, size_t len)
{
	struct span *arg = blob;
	struct sembuf op = {0, -1, 0};
	struct timespec ts = {arg->ms / 1000, arg->ms % 1000 * 1000000};
	int64_t begin = now_ms();
	int64_t took;

	(void)len;
	if (semtimedop(arg->id, &op, 1, &ts) == 0 || errno != EAGAIN)
		return -1;
	took = now_ms() - begin;
	return took < arg->ms ? 1 : took > arg->ms + scaled_ms(500) ? 2 : 0;
}

static void how_long(void)
{
	int set = three_and_set(1);
	struct span span = {set, 10};

	act(A, op_span, &span, sizeof(span), NULL, "10 ms");
	span.ms = 100;
	act(B, op_span, &span, sizeof(span), NULL, "100 ms");
	span.ms = 1200;
	act(C, op_span, &span, sizeof(span), NULL, "1200 ms");
}

/* ---- signals --------------------------------------------------------------*/

static void interrupted(void)
{
	static const int flags[] = {0, SA_RESTART};
	int set = three_and_set(2);

	for (int i = 0; i < 2; i++) {
		actor_catch(B, SIGUSR1, flags[i]);
		a_semop(blocks(B), set, OPS({0, -1, 0}));
		actor_signal(B, SIGUSR1);
		finish(B);
		a_getncnt(A, set, 0);
		a_semtimedop(blocks(B), set, OPS({0, -1, 0}), 60000);
		actor_signal(B, SIGUSR1);
		finish(B);
		a_semop(blocks(B), set, OPS({1, -1, SEM_UNDO}, {0, -1, 0}));
		actor_signal(B, SIGUSR1);
		finish(B);
		a_semop(A, set, OPS({0, 1, 0}));
		a_semop(blocks(B), set, OPS({0, 0, 0}));
		actor_signal(B, SIGUSR1);
		finish(B);
		a_getzcnt(A, set, 0);
		a_semop(A, set, OPS({0, -1, 0}));
		actor_caught(B);
	}
	a_getall(A, set, 2);
}

/* Neither a signal that is ignored nor one that is blocked ends it. */
static void not_interrupted(void)
{
	int set = three_and_set(1);

	a_semop(blocks(B), set, OPS({0, -1, 0}));
	actor_signal(B, SIGCHLD);
	actor_signal(B, SIGWINCH);
	actor_signal(B, SIGURG);
	still_blocked(B);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	a_getval(A, set, 0);
}

/*
 * signal(7): semop fails with EINTR after a stop, without any handler. Where it
 * goes on instead it must not lose what is given meanwhile.
 */
static void stopped(void)
{
	int set = three_and_set(1);
	long ret, left;

	deviates("SIGCONT after a stop");
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	actor_signal(B, SIGSTOP);
	sleep_ms(50);
	a_semop(A, set, OPS({0, 1, 0}));
	actor_signal(B, SIGCONT);
	ret = finish(B);
	deviates("SIGCONT after a stop");
	left = a_getval(A, set, 0);
	out("%s\n", (ret == 0) + left == 1 ? "one" : "none or two");
	a_getncnt(A, set, 0);
}

/* ---- sem_otime, sem_ctime -------------------------------------------------*/

static void times(void)
{
	int set = three_and_set(2);

	a_sem_stat(B, set);
	tick();
	/* what fails or only asks changes nothing */
	a_semop(B, set, OPS({0, -1, IPC_NOWAIT}));
	a_getall(B, set, 2);
	a_getpid(B, set, 0);
	a_sem_stat(C, set);
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_sem_stat(C, set);
	a_setval(A, set, 1, 0);
	a_sem_stat(C, set);
	tick();
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	a_sem_stat(C, set);
	tick();
	a_semop(C, set, OPS({1, 0, 0}));
	a_sem_stat(A, set);
}

static void times_of_changes(void)
{
	int set = three_and_set(2);

	tick();
	a_setall(B, set, VALUES(1, 0));
	a_sem_stat(C, set);
	tick();
	a_sem_set(B, set, 0, 0, 0640);
	a_sem_stat(C, set);
	tick();
	/* a sleeper that SETVAL wakes has operated */
	a_semop(blocks(B), set, OPS({1, -1, 0}));
	a_setval(A, set, 1, 1);
	finish(B);
	a_sem_stat(C, set);
}

const struct conformance_case sem_time_cases[] = {
	{"sem_time.at_once", at_once},
	{"sem_time.expires", expires},
	{"sem_time.comes_in_time", comes_in_time},
	{"sem_time.invalid", invalid},
	{"sem_time.how_long", how_long},
	{"sem_time.interrupted", interrupted},
	{"sem_time.not_interrupted", not_interrupted},
	{"sem_time.stopped", stopped},
	{"sem_time.times", times},
	{"sem_time.times_of_changes", times_of_changes},
	{0},
};
