// SPDX-License-Identifier: BSD-2-Clause
// msgsnd: what may be sent, when the queue is full, who may send next.
#include "tests/conformance/sysv.h"

static void sizes(void)
{
	static const size_t all[] = {0, 1, 7, 8, 4047, 4048, 4096, 8191, 8192};
	static const size_t bad[] = {8193, 65536, (size_t)-1, (size_t)LONG_MIN,
				     (size_t)UINT32_MAX + 1};
	int queue = three_and_queue();

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		a_msgsnd_nr(A, queue, 5, (char)('a' + i), all[i], 0);
		a_msg_use(B, queue);
		a_msgrcv(C, queue, 8192, 0, 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		a_msgsnd_nr(A, queue, 1, 'x', bad[i], IPC_NOWAIT);
	a_msg_use(B, queue);
}

static void types(void)
{
	static const long good[] = {1, 2, INT_MAX, (long)INT_MAX + 1, LONG_MAX};
	static const long bad[] = {0, -1, INT_MIN, LONG_MIN};
	int queue = three_and_queue();

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		a_msgsnd(A, queue, good[i], "good", 0);
		a_msgrcv(C, queue, 10, good[i], IPC_NOWAIT);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		a_msgsnd(A, queue, bad[i], "bad", 0);
	/* flags that mean nothing here */
	a_msgsnd(A, queue, 1, "flags", MSG_NOERROR | MSG_EXCEPT);
	a_msg_use(B, queue);
}

/* The limit is on the bytes together. */
static void full(void)
{
	int queue = three_and_queue();

	a_msg_set(A, queue, 0, 0, 0600, 100);
	a_msgsnd_nr(A, queue, 1, 'a', 101, IPC_NOWAIT);
	a_msgsnd_nr(A, queue, 1, 'a', 60, IPC_NOWAIT);
	a_msgsnd_nr(B, queue, 1, 'b', 41, IPC_NOWAIT);
	a_msgsnd_nr(B, queue, 1, 'b', 40, IPC_NOWAIT);
	a_msgsnd_nr(C, queue, 1, 'c', 1, IPC_NOWAIT);
	a_msgsnd(C, queue, 1, "", IPC_NOWAIT);
	a_msg_use(A, queue);
	a_msgrcv(C, queue, 100, 0, 0);
	a_msgsnd_nr(C, queue, 1, 'c', 60, IPC_NOWAIT);
	a_msg_use(A, queue);
	/* below what is there */
	a_msg_set(A, queue, 0, 0, 0600, 50);
	a_msgsnd(C, queue, 1, "", IPC_NOWAIT);
	a_msgrcv(C, queue, 100, 0, 0);
	a_msgsnd(C, queue, 1, "", IPC_NOWAIT);
	a_msgrcv(C, queue, 100, 0, 0);
	a_msgsnd_nr(C, queue, 1, 'd', 50, IPC_NOWAIT);
	a_msg_use(A, queue);
}

/* As many messages as bytes: those without any are counted too. */
static void full_of_nothing(void)
{
	int queue = three_and_queue();

	a_msg_set(A, queue, 0, 0, 0600, 5);
	for (int i = 0; i < 6; i++)
		a_msgsnd(i % 2 ? B : C, queue, 1 + i, "", IPC_NOWAIT);
	a_msgsnd(A, queue, 1, "x", IPC_NOWAIT);
	a_msg_use(A, queue);
	a_msgsnd(blocks(B), queue, 1, "", 0);
	a_msgrcv(C, queue, 0, 3, 0);
	finish(B);
	a_msg_use(A, queue);
	a_msgsnd(C, queue, 9, "", IPC_NOWAIT);
}

static void sender_waits(void)
{
	int queue = three_and_queue();

	a_msg_set(A, queue, 0, 0, 0600, 10);
	a_msgsnd_nr(A, queue, 1, 'a', 6, 0);
	a_msgsnd_nr(A, queue, 2, 'b', 4, 0);
	a_msgsnd_nr(blocks(B), queue, 3, 'c', 5, 0);
	a_msg_use(A, queue);
	/* room for none */
	a_msgrcv(C, queue, 10, 2, 0);
	still_blocked(B);
	/* room that another takes: who comes need not wait in line */
	a_msgsnd_nr(A, queue, 4, 'd', 4, IPC_NOWAIT);
	still_blocked(B);
	a_msgrcv(C, queue, 10, 1, 0);
	finish(B);
	a_msg_use(A, queue);
	a_msgrcv(C, queue, 10, 0, 0);
	a_msgrcv(C, queue, 10, 0, 0);
}

/* One that fits passes one that does not. */
static void two_senders(void)
{
	int queue = three_and_queue();

	a_msg_set(A, queue, 0, 0, 0600, 100);
	a_msgsnd_nr(A, queue, 1, 'a', 20, 0);
	a_msgsnd_nr(A, queue, 2, 'b', 80, 0);
	a_msgsnd_nr(blocks(B), queue, 3, 'c', 90, 0);
	a_msgsnd_nr(blocks(C), queue, 4, 'd', 20, 0);
	a_msgrcv(A, queue, 100, 1, 0);
	finish(C);
	still_blocked(B);
	a_msgrcv(A, queue, 100, 2, 0);
	still_blocked(B);
	a_msgrcv(A, queue, 100, 4, 0);
	finish(B);
	a_msg_use(A, queue);
}

/* Room for both of them, and for the first only. */
static void room_for_both(void)
{
	int queue = three_and_queue();

	a_msg_set(A, queue, 0, 0, 0600, 100);
	a_msgsnd_nr(A, queue, 1, 'a', 100, 0);
	a_msgsnd_nr(blocks(B), queue, 3, 'c', 30, 0);
	a_msgsnd_nr(blocks(C), queue, 4, 'd', 70, 0);
	a_msgrcv(A, queue, 100, 1, 0);
	finish(B);
	finish(C);
	a_msg_count(A, queue);
	a_msgsnd_nr(blocks(B), queue, 5, 'e', 70, 0);
	a_msgsnd_nr(blocks(C), queue, 6, 'f', 71, 0);
	a_msgrcv(A, queue, 100, 4, 0);
	finish(B);
	still_blocked(C);
	a_msgrcv(A, queue, 100, 5, 0);
	still_blocked(C);
	a_msgrcv(A, queue, 100, 3, 0);
	finish(C);
}

/* A larger limit lets them go on, a smaller one nobody. */
static void limit_while_waiting(void)
{
	int queue = three_and_queue();

	a_msg_set(A, queue, 0, 0, 0600, 10);
	a_msgsnd_nr(A, queue, 1, 'a', 10, 0);
	a_msgsnd_nr(blocks(B), queue, 2, 'b', 10, 0);
	a_msgsnd_nr(blocks(C), queue, 3, 'c', 30, 0);
	a_msg_set(A, queue, 0, 0, 0600, 5);
	still_blocked(B);
	a_msg_set(A, queue, 0, 0, 0600, 20);
	finish(B);
	still_blocked(C);
	a_msg_set(A, queue, 0, 0, 0600, 50);
	finish(C);
	a_msg_use(A, queue);
	/* never possible, and waits all the same */
	a_msgsnd_nr(blocks(B), queue, 2, 'b', 51, 0);
	a_msgrcv(A, queue, 100, 0, 0);
	a_msgrcv(A, queue, 100, 0, 0);
	a_msgrcv(A, queue, 100, 0, 0);
	still_blocked(B);
	a_msg_set(A, queue, 0, 0, 0600, 51);
	finish(B);
}

static void interrupted(void)
{
	static const int flags[] = {0, SA_RESTART};
	int queue = three_and_queue();

	a_msg_set(A, queue, 0, 0, 0600, 10);
	a_msgsnd_nr(A, queue, 1, 'a', 10, 0);
	for (int i = 0; i < 2; i++) {
		actor_catch(B, SIGUSR1, flags[i]);
		a_msgsnd_nr(blocks(B), queue, 2, 'b', 1, 0);
		actor_signal(B, SIGWINCH);
		still_blocked(B);
		actor_signal(B, SIGUSR1);
		finish(B);
		actor_caught(B);
	}
	a_msgsnd_nr(blocks(C), queue, 3, 'c', 1, 0);
	actor_kill(C);
	sleep_ms(scaled_ms(50));
	a_msgrcv(A, queue, 10, 0, 0);
	sleep_ms(scaled_ms(50));
	a_msg_use(A, queue);
}

static void removed(void)
{
	int queue = three_and_queue();
	struct actor *D = actor_start(1);

	a_msg_set(A, queue, 0, 0, 0600, 10);
	a_msgsnd_nr(A, queue, 1, 'a', 10, 0);
	a_msgsnd_nr(blocks(B), queue, 2, 'b', 1, 0);
	a_msgsnd_nr(blocks(C), queue, 2, 'b', 10, 0);
	a_msgrcv(blocks(D), queue, 10, 7, 0);
	a_msg_rm(A, queue);
	finish(B);
	finish(C);
	finish(D);
	a_msgsnd(B, queue, 1, "x", 0);
	a_msgrcv(D, queue, 10, 0, 0);
}

const struct conformance_case msg_send_cases[] = {
	{"msg_send.sizes", sizes},
	{"msg_send.types", types},
	{"msg_send.full", full},
	{"msg_send.full_of_nothing", full_of_nothing},
	{"msg_send.sender_waits", sender_waits},
	{"msg_send.two_senders", two_senders},
	{"msg_send.room_for_both", room_for_both},
	{"msg_send.limit_while_waiting", limit_while_waiting},
	{"msg_send.interrupted", interrupted},
	{"msg_send.removed", removed},
	{0},
};
