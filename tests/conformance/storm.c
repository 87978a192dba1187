// SPDX-License-Identifier: BSD-2-Clause
// Signals, timeouts and posts that come together: nothing is lost, nothing is
// there twice. And queues filled to their limits.
#include "tests/conformance/sysv.h"

#include <sys/time.h>

struct storm {
	int id;
	int rounds;
	int with_signals;
	long timeout_ns;
	long got;
	long bad;
};

static void on_signal(int sig)
{
	(void)sig;
}

/* SIGALRM each millisecond, or none. */
static void storm_signals(bool is_on)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct itimerval each = {.it_interval.tv_usec = is_on ? 1000 : 0,
				 .it_value.tv_usec = is_on ? 1000 : 0};

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
}

/* Takes until ROUNDS are taken, through signals and timeouts. */
static long op_take(void *blob, size_t len)
{
	struct storm *arg = blob;
	struct sembuf take = {0, -1, 0};
	struct timespec ts = {0, arg->timeout_ns};

	(void)len;
	storm_signals(arg->with_signals);
	while (arg->got < arg->rounds) {
		if (semtimedop(arg->id, &take, 1,
			       arg->timeout_ns ? &ts : NULL) == 0)
			arg->got++;
		else if (errno != EINTR && errno != EAGAIN)
			arg->bad++;
		if (arg->bad)
			break;
	}
	storm_signals(false);
	return 0;
}

static long op_give(void *blob, size_t len)
{
	struct storm *arg = blob;
	struct sembuf give = {0, 1, 0};

	(void)len;
	for (int i = 0; i < arg->rounds; i++) {
		if (semop(arg->id, &give, 1) < 0)
			return -1;
		if (i % 4 == 0)
			usleep(500);
	}
	return 0;
}

static void show_storm(long ret, const void *blob, size_t len)
{
	const struct storm *arg = blob;

	(void)len;
	out("%ld: %ld, %ld bad", ret, arg->got, arg->bad);
}

static void takers(int with_signals, long timeout_ns)
{
	int set = three_and_set(1);
	struct storm take = {set, 400, with_signals, timeout_ns, 0, 0};
	struct storm give = {set, 800, 0, 0, 0, 0};

	act(starts(B), op_take, &take, sizeof(take), show_storm, "take");
	act(starts(C), op_take, &take, sizeof(take), show_storm, "take");
	act(starts(A), op_give, &give, sizeof(give), show_storm, "give");
	finish_work(B);
	finish_work(C);
	finish_work(A);
	a_getval(A, set, 0);
	a_getncnt(A, set, 0);
}

static void signals(void)
{
	takers(1, 0);
}

static void timeouts(void)
{
	takers(0, 300000);
}

static void signals_and_timeouts(void)
{
	takers(1, 700000);
}

/* ---- queues ---------------------------------------------------------------*/

struct message {
	long mtype;
	int number;
	char text[60];
};

static long op_send(void *blob, size_t len)
{
	struct storm *arg = blob;
	struct message msg = {.mtype = arg->timeout_ns};

	(void)len;
	storm_signals(arg->with_signals);
	while (msg.number < arg->rounds) {
		if (msgsnd(arg->id, &msg, sizeof(msg) - sizeof(long), 0) == 0)
			msg.number++;
		else if (errno != EINTR && arg->bad++)
			break;
	}
	storm_signals(false);
	arg->got = msg.number;
	return 0;
}

/* All of one type, in the order in which they were sent. */
static long op_receive(void *blob, size_t len)
{
	struct storm *arg = blob;
	struct message msg;

	(void)len;
	storm_signals(arg->with_signals);
	while (arg->got < arg->rounds) {
		if (msgrcv(arg->id, &msg, sizeof(msg) - sizeof(long),
			   arg->timeout_ns, 0) >= 0)
			arg->bad += msg.number != arg->got++;
		else if (errno != EINTR && arg->bad++)
			break;
	}
	storm_signals(false);
	return 0;
}

static void messages(void)
{
	int queue = three_and_queue();
	struct actor *D = actor_start(1);
	/* the type stands where takers() has its timeout */
	struct storm one = {queue, 500, 1, 1, 0, 0};
	struct storm two = {queue, 500, 1, 2, 0, 0};

	/* room for few, so that senders wait, too */
	a_msg_set(A, queue, 0, 0, 0600, 300);
	act(starts(A), op_receive, &one, sizeof(one), show_storm, "receive");
	act(starts(B), op_receive, &two, sizeof(two), show_storm, "receive");
	act(starts(C), op_send, &one, sizeof(one), show_storm, "send");
	act(starts(D), op_send, &two, sizeof(two), show_storm, "send");
	finish_work(A);
	finish_work(B);
	finish_work(C);
	finish_work(D);
	a_msg_count(A, queue);
}

/* ---- as many as there can be ----------------------------------------------*/

/* Numbers as types, SIZE bytes each, until the queue is full. */
static long op_fill(void *blob, size_t len)
{
	struct storm *arg = blob;
	struct message msg = {.mtype = 1};

	(void)len;
	while (msgsnd(arg->id, &msg, (size_t)arg->rounds, IPC_NOWAIT) == 0)
		msg.mtype++;
	arg->got = msg.mtype - 1;
	return errno;
}

static long op_empty(void *blob, size_t len)
{
	struct storm *arg = blob;
	struct message msg;

	(void)len;
	while (msgrcv(arg->id, &msg, sizeof(msg), 0, IPC_NOWAIT) == arg->rounds)
		arg->bad += msg.mtype != ++arg->got;
	return errno;
}

static void show_fill(long ret, const void *blob, size_t len)
{
	const struct storm *arg = blob;

	(void)len;
	out("%s after %ld, %ld bad", errno_name((int)ret), arg->got, arg->bad);
}

static void full(void)
{
	static const int sizes[] = {0, 1, 60};
	int queue = three_and_queue();

	for (int i = 0; i < 3; i++) {
		struct storm arg = {.id = queue, .rounds = sizes[i]};

		act(starts(B), op_fill, &arg, sizeof(arg), show_fill,
		    "fill with %d", sizes[i]);
		finish_work(B);
		a_msg_use(A, queue);
		arg.got = 0;
		act(starts(C), op_empty, &arg, sizeof(arg), show_fill, "empty");
		finish_work(C);
		a_msg_use(A, queue);
	}
}

const struct conformance_case storm_cases[] = {
	{"storm.signals", signals},
	{"storm.timeouts", timeouts},
	{"storm.signals_and_timeouts", signals_and_timeouts},
	{"storm.messages", messages},
	{"storm.full", full},
	{0},
};
