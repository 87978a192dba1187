// SPDX-License-Identifier: BSD-2-Clause
// What handlers do: jump away, call themselves, wait until they are let in.
// And threads that are cancelled in a call.
#include "tests/conformance/sysv.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>

static sigjmp_buf away;

static void jump_away(int sig)
{
	(void)sig;
	siglongjmp(away, 1);
}

static void alarm_in(int ms)
{
	struct itimerval once = {.it_value.tv_usec = ms * 1000};

	setitimer(ITIMER_REAL, &once, NULL);
}

struct
try {
	int id;
	int ms;
};

/* The old way to a time limit: alarm() and a jump out of the call. */
static long op_jump_semop(void *blob, size_t len)
{
	const struct try *arg = blob;
	struct sigaction act = {.sa_handler = jump_away};
	struct sembuf take = {0, -1, SEM_UNDO};

	(void)len;
	sigaction(SIGALRM, &act, NULL);
	if (sigsetjmp(away, 1))
		return 1;
	alarm_in(arg->ms);
	return semop(arg->id, &take, 1);
}

static long op_jump_msgrcv(void *blob, size_t len)
{
	const struct try *arg = blob;
	struct sigaction act = {.sa_handler = jump_away};
	struct {
		long mtype;
		char text[10];
	} msg;

	(void)len;
	sigaction(SIGALRM, &act, NULL);
	if (sigsetjmp(away, 1))
		return 1;
	alarm_in(arg->ms);
	return msgrcv(arg->id, &msg, sizeof(msg.text), 0, 0);
}

static void jump_out_of_semop(void)
{
	int set = three_and_set(1);
	struct try try = {set, 60};

	for (int i = 0; i < 3; i++) {
		act(B, op_jump_semop, &try, sizeof(try), NULL,
		    "jump out of semop");
		a_getncnt(A, set, 0);
		a_semop(A, set, OPS({0, 1, 0}));
		a_getval(A, set, 0);
		a_semop(B, set, OPS({0, -1, IPC_NOWAIT}));
	}
	actor_exit(B);
	sleep_ms(scaled_ms(30));
	a_getval(A, set, 0);
}

static void jump_out_of_msgrcv(void)
{
	int queue = three_and_queue();
	struct try try = {queue, 60};

	for (int i = 0; i < 3; i++) {
		act(B, op_jump_msgrcv, &try, sizeof(try), NULL,
		    "jump out of msgrcv");
		a_msgsnd(A, queue, 1, "mine", 0);
		a_msg_use(A, queue);
		a_msgrcv(B, queue, 10, 0, IPC_NOWAIT);
	}
}

/* Jumps out a great many times, at any moment of the call. */
static long op_jump_often(void *blob, size_t len)
{
	static volatile int jumps; /* survives the jump */
	const struct try *arg = blob;
	struct sigaction act = {.sa_handler = jump_away};
	struct sembuf take = {0, -1, 0};

	(void)len;
	jumps = 0;
	sigaction(SIGALRM, &act, NULL);
	if (sigsetjmp(away, 1))
		jumps++;
	if (jumps == 200)
		return semctl(arg->id, 0, GETNCNT);
	alarm_in(1);
	return semop(arg->id, &take, 1);
}

static void jump_often(void)
{
	int set = three_and_set(1);
	struct try try = {set, 0};

	act(B, op_jump_often, &try, sizeof(try), NULL, "200 jumps");
	act(C, op_jump_often, &try, sizeof(try), NULL, "200 jumps");
	a_semop(A, set, OPS({0, 5, 0}));
	a_getval(A, set, 0);
	a_semop(B, set, OPS({0, -5, IPC_NOWAIT}));
}

/* ---- calls in a handler ----------------------------------------------------*/

static int handler_set;

static void give_in_handler(int sig)
{
	struct sembuf give[] = {{0, 1, 0}, {1, 1, 0}};

	(void)sig;
	semop(handler_set, give, 2);
}

/* What it waits for is given by its own handler: too late for that call. */
static long op_give_to_itself(void *blob, size_t len)
{
	const struct try *arg = blob;
	struct sigaction act = {.sa_handler = give_in_handler,
				.sa_flags = SA_RESTART};
	struct sembuf take = {0, -1, 0};

	(void)len;
	handler_set = arg->id;
	sigaction(SIGALRM, &act, NULL);
	alarm_in(arg->ms);
	return semop(arg->id, &take, 1);
}

static void calls_in_handler(void)
{
	int set = three_and_set(2);
	struct try try = {set, 60};

	act(B, op_give_to_itself, &try, sizeof(try), NULL,
	    "take, with a handler that gives");
	a_getall(A, set, 2);
	act(B, op_give_to_itself, &try, sizeof(try), NULL,
	    "take, with a handler that gives");
	sleep_ms(scaled_ms(100));
	a_getall(A, set, 2);
	a_getncnt(A, set, 0);
}

/* ---- masked ---------------------------------------------------------------*/

static long op_mask(void *blob, size_t len)
{
	sigset_t mask;

	(void)len;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	return sigprocmask(*(int *)blob, &mask, NULL);
}

static void masked(void)
{
	int set = three_and_set(1);
	int how = SIG_BLOCK;

	actor_catch(B, SIGUSR1, 0);
	act(B, op_mask, &how, sizeof(how), NULL, "mask");
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	actor_signal(B, SIGUSR1);
	still_blocked(B);
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	actor_caught(B);
	/* pending before the call */
	actor_signal(B, SIGUSR1);
	a_semop(blocks(B), set, OPS({0, -1, 0}));
	a_semop(A, set, OPS({0, 1, 0}));
	finish(B);
	how = SIG_UNBLOCK;
	act(B, op_mask, &how, sizeof(how), NULL, "unmask");
	actor_caught(B);
}

/* ---- cancellation ----------------------------------------------------------*/

struct cancel {
	int id;
	int is_msg;
	long result;
};

static void *wait_in_call(void *blob)
{
	struct cancel *arg = blob;
	struct sembuf take = {0, -1, 0};
	struct {
		long mtype;
		char text[10];
	} msg;

	if (arg->is_msg)
		arg->result = msgrcv(arg->id, &msg, sizeof(msg.text), 0, 0);
	else
		arg->result = semop(arg->id, &take, 1);
	return NULL;
}

/* 1: the thread was cancelled in its call; 0: it came back from it. */
static long op_cancel(void *blob, size_t len)
{
	struct cancel *arg = blob;
	struct sembuf give = {0, 1, 0};
	pthread_t thread;
	void *ret;

	(void)len;
	arg->result = 77;
	if (pthread_create(&thread, NULL, wait_in_call, arg))
		return -1;
	sleep_ms(60);
	pthread_cancel(thread);
	sleep_ms(60);
	if (!arg->is_msg)
		semop(arg->id, &give, 1);
	pthread_join(thread, &ret);
	return ret == PTHREAD_CANCELED;
}

static void show_cancel(long ret, const void *blob, size_t len)
{
	const struct cancel *arg = blob;

	(void)len;
	out("%ld, the call %ld", ret, arg->result);
}

/* msgrcv is a cancellation point, semop is none. */
static void cancelled(void)
{
	int queue = three_and_queue();
	int set = a_semget(A, KEY(1), 1, IPC_CREAT | 0600, "set");
	struct cancel msg = {queue, 1, 0};
	struct cancel sem = {set, 0, 0};

	act(B, op_cancel, &msg, sizeof(msg), show_cancel, "cancel msgrcv");
	a_msgsnd(A, queue, 1, "mine", 0);
	a_msg_use(A, queue);
	a_msgrcv(B, queue, 10, 0, IPC_NOWAIT);
	act(B, op_cancel, &sem, sizeof(sem), show_cancel, "cancel semop");
	a_getval(A, set, 0);
	a_getncnt(A, set, 0);
}

const struct conformance_case handler_cases[] = {
	{"handler.jump_out_of_semop", jump_out_of_semop},
	{"handler.jump_out_of_msgrcv", jump_out_of_msgrcv},
	{"handler.jump_often", jump_often},
	{"handler.calls_in_handler", calls_in_handler},
	{"handler.masked", masked},
	{"handler.cancelled", cancelled},
	{0},
};
