// SPDX-License-Identifier: BSD-2-Clause
// msgrcv: which message, how much of it, who of several gets it.
#include "tests/conformance/sysv.h"

/* Types 3 1 2 1 3, in this order. */
static int filled_queue(void)
{
	int queue = three_and_queue();

	a_msgsnd(A, queue, 3, "three", 0);
	a_msgsnd(B, queue, 1, "one", 0);
	a_msgsnd(C, queue, 2, "two", 0);
	a_msgsnd(A, queue, 1, "uno", 0);
	a_msgsnd(B, queue, 3, "tre", 0);
	return queue;
}

static void drain(int queue)
{
	while (a_msgrcv(A, queue, 100, 0, IPC_NOWAIT) >= 0)
		;
}

static void any(void)
{
	int queue = filled_queue();

	a_msgrcv(C, queue, 10, 0, 0);
	a_msg_use(A, queue);
	a_msgrcv(B, queue, 10, 0, MSG_EXCEPT);
	a_msg_use(A, queue);
	drain(queue);
	a_msg_use(B, queue);
}

static void of_a_type(void)
{
	int queue = filled_queue();

	a_msgrcv(C, queue, 10, 1, 0);
	a_msgrcv(B, queue, 10, 4, IPC_NOWAIT);
	a_msgrcv(B, queue, 10, LONG_MAX, IPC_NOWAIT);
	a_msgrcv(B, queue, 10, 2, 0);
	a_msgrcv(B, queue, 10, 2, IPC_NOWAIT);
	a_msgrcv(A, queue, 10, 3, 0);
	drain(queue);
}

/* The lowest type up to the limit; the first of those. */
static void up_to(void)
{
	int queue = filled_queue();

	a_msgrcv(C, queue, 10, -2, 0);
	a_msgrcv(C, queue, 10, -2, MSG_EXCEPT);
	a_msgrcv(C, queue, 10, -1, IPC_NOWAIT);
	a_msgrcv(C, queue, 10, -100, 0);
	a_msgrcv(C, queue, 10, -2, IPC_NOWAIT);
	a_msgrcv(C, queue, 10, LONG_MIN, 0);
	a_msgrcv(C, queue, 10, -LONG_MAX, 0);
	drain(queue);
	a_msgsnd(A, queue, LONG_MAX, "last", 0);
	a_msgrcv(C, queue, 10, LONG_MIN + 2, IPC_NOWAIT);
	a_msgrcv(C, queue, 10, LONG_MIN, IPC_NOWAIT);
}

static void except(void)
{
	int queue = filled_queue();

	a_msgrcv(C, queue, 10, 3, MSG_EXCEPT);
	a_msgrcv(C, queue, 10, 3, MSG_EXCEPT);
	a_msgrcv(C, queue, 10, 3, MSG_EXCEPT | IPC_NOWAIT);
	a_msgrcv(C, queue, 10, 3, MSG_EXCEPT | IPC_NOWAIT);
	a_msgrcv(C, queue, 10, 7, MSG_EXCEPT | IPC_NOWAIT);
	drain(queue);
}

/* What is too large stays, or is cut. */
static void too_large(void)
{
	int queue = three_and_queue();

	a_msgsnd(A, queue, 5, "0123456789", 0);
	a_msgsnd(B, queue, 6, "short", 0);
	a_msgrcv(C, queue, 9, 0, 0);
	a_msgrcv(C, queue, 0, 5, 0);
	a_msgrcv(C, queue, 9, -5, IPC_NOWAIT);
	a_msg_use(A, queue);
	a_msgrcv(C, queue, 4, 0, MSG_NOERROR);
	a_msg_use(A, queue);
	a_msgrcv(C, queue, 0, 0, MSG_NOERROR);
	a_msg_use(A, queue);
	a_msgrcv(C, queue, (size_t)-1, 0, IPC_NOWAIT);
	a_msgrcv(C, queue, (size_t)LONG_MIN, 0, IPC_NOWAIT | MSG_NOERROR);
	a_msgsnd(A, queue, 5, "", 0);
	a_msgrcv(C, queue, 0, 0, 0);
	a_msgsnd(A, queue, 5, "all", 0);
	a_msgrcv(C, queue, 60000, 0, 0);
	/* sizes that are not what they seem in 32 bits */
	for (int i = 0; i < 4; i++)
		a_msgsnd(A, queue, 5, "some", 0);
	a_msgrcv(C, queue, LONG_MAX, 0, IPC_NOWAIT);
	a_msgrcv(C, queue, (size_t)UINT32_MAX + 1, 0, IPC_NOWAIT);
	a_msgrcv(C, queue, (size_t)INT_MAX + 1, 0, IPC_NOWAIT);
	a_msgrcv(C, queue, UINT32_MAX, 0, IPC_NOWAIT);
	/* flags that mean nothing here */
	a_msgsnd(A, queue, 5, "flags", IPC_CREAT | 1);
	a_msgrcv(C, queue, 10, 0, IPC_NOWAIT | IPC_EXCL | 7);
}

static void waits(void)
{
	int queue = three_and_queue();

	a_msgrcv(blocks(B), queue, 10, 2, 0);
	a_msgsnd(A, queue, 1, "not for B", 0);
	still_blocked(B);
	a_msgsnd(C, queue, 2, "for B", 0);
	finish(B);
	a_msg_use(A, queue);
	a_msgrcv(blocks(B), queue, 10, 1, MSG_EXCEPT);
	a_msgsnd(A, queue, 1, "not for B", 0);
	still_blocked(B);
	a_msgsnd(A, queue, 9, "for B", 0);
	finish(B);
	drain(queue);
	a_msgrcv(blocks(B), queue, 4, -5, 0);
	a_msgsnd(A, queue, 6, "not for B", 0);
	still_blocked(B);
	a_msgsnd(A, queue, 5, "forB", 0);
	finish(B);
	a_msg_use(A, queue);
}

/* First come first served, among those who want it. */
static void several(void)
{
	int queue = three_and_queue();
	struct actor *D = actor_start(1), *E = actor_start(2);

	a_msgrcv(blocks(B), queue, 10, 1, 0);
	a_msgrcv(blocks(C), queue, 10, 0, 0);
	a_msgrcv(blocks(D), queue, 10, -3, 0);
	a_msgrcv(blocks(E), queue, 10, 1, 0);
	a_msgsnd(A, queue, 3, "to C", 0);
	finish(C);
	a_msgsnd(A, queue, 3, "to D", 0);
	finish(D);
	a_msgrcv(blocks(C), queue, 10, 1, 0);
	a_msgsnd(A, queue, 1, "to B", 0);
	finish(B);
	a_msgsnd(A, queue, 1, "to E", 0);
	finish(E);
	still_blocked(C);
	a_msgsnd(A, queue, 2, "to none", 0);
	a_msgsnd(A, queue, 1, "to C", 0);
	finish(C);
	a_msg_use(A, queue);
}

/* One whose buffer is too small learns it from a message that another gets. */
static void too_large_for_the_first(void)
{
	int queue = three_and_queue();
	struct actor *D = actor_start(1);

	a_msgrcv(blocks(B), queue, 3, 0, 0);
	a_msgrcv(blocks(D), queue, 3, 9, 0);
	a_msgrcv(blocks(C), queue, 10, 1, 0);
	a_msgsnd(A, queue, 1, "large", 0);
	finish(B);
	finish(C);
	still_blocked(D);
	a_msg_use(A, queue);
	/* if nobody gets it, it stays */
	a_msgrcv(blocks(B), queue, 3, 0, 0);
	a_msgsnd(A, queue, 1, "large", 0);
	finish(B);
	a_msg_use(A, queue);
	a_msgrcv(A, queue, 10, 0, 0);
	a_msgrcv(blocks(B), queue, 3, 0, MSG_NOERROR);
	a_msgsnd(A, queue, 1, "large", 0);
	finish(B);
	a_msg_use(A, queue);
}

static void interrupted(void)
{
	static const int flags[] = {0, SA_RESTART};
	int queue = three_and_queue();

	for (int i = 0; i < 2; i++) {
		actor_catch(B, SIGUSR1, flags[i]);
		a_msgrcv(blocks(B), queue, 10, 0, 0);
		actor_signal(B, SIGURG);
		still_blocked(B);
		actor_signal(B, SIGUSR1);
		finish(B);
		actor_caught(B);
	}
	/* nobody receives for who is dead */
	a_msgrcv(blocks(B), queue, 10, 0, 0);
	a_msgrcv(blocks(C), queue, 10, 0, 0);
	actor_kill(B);
	sleep_ms(scaled_ms(50));
	a_msgsnd(A, queue, 1, "to C", 0);
	finish(C);
	/* a stop does not end it */
	a_msgrcv(blocks(C), queue, 10, 0, 0);
	actor_signal(C, SIGSTOP);
	sleep_ms(scaled_ms(50));
	actor_signal(C, SIGCONT);
	still_blocked(C);
	a_msgsnd(A, queue, 1, "to C", 0);
	finish(C);
}

static void removed(void)
{
	int queue = three_and_queue();
	struct actor *D = actor_start(1);

	a_msgsnd(A, queue, 1, "not wanted", 0);
	a_msgrcv(blocks(B), queue, 10, 2, 0);
	a_msgrcv(blocks(C), queue, 10, 1, MSG_EXCEPT);
	a_msgrcv(blocks(D), queue, 10, 3, MSG_NOERROR);
	a_msg_rm(A, queue);
	finish(B);
	finish(C);
	finish(D);
}

static void copies(void)
{
	int queue = filled_queue();
	int copy = MSG_COPY | IPC_NOWAIT;

	for (long i = -1; i < 7; i++)
		a_msgrcv(C, queue, 10, i, copy);
	a_msgrcv(C, queue, 10, LONG_MAX, copy);
	a_msgrcv(C, queue, 10, LONG_MIN, copy);
	a_msgrcv(C, queue, 4, 0, copy);
	a_msgrcv(C, queue, 4, 0, copy | MSG_NOERROR);
	a_msgrcv(C, queue, 0, 0, copy | MSG_NOERROR);
	a_msgrcv(C, queue, 60000, 4, copy);
	a_msgrcv(C, queue, 10, 0, MSG_COPY);
	a_msgrcv(C, queue, 10, 0, copy | MSG_EXCEPT);
	a_msgrcv(C, queue, 10, 0, MSG_COPY | MSG_EXCEPT);
	a_msgrcv(C, queue, (size_t)-1, 0, copy);
	a_msg_use(B, queue);
	a_msgrcv(C, queue, 10, 1, 0);
	a_msgrcv(C, queue, 10, 1, copy);
	drain(queue);
	a_msgrcv(C, queue, 10, 0, copy);
	a_msg_use(B, queue);
}

const struct conformance_case msg_receive_cases[] = {
	{"msg_receive.any", any},
	{"msg_receive.of_a_type", of_a_type},
	{"msg_receive.up_to", up_to},
	{"msg_receive.except", except},
	{"msg_receive.too_large", too_large},
	{"msg_receive.waits", waits},
	{"msg_receive.several", several},
	{"msg_receive.too_large_for_the_first", too_large_for_the_first},
	{"msg_receive.interrupted", interrupted},
	{"msg_receive.removed", removed},
	{"msg_receive.copies", copies},
	{0},
};
