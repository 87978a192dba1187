// SPDX-License-Identifier: BSD-2-Clause
// msgget, msgctl, and identifiers that mean nothing any more.
#include "tests/conformance/sysv.h"

static void create(void)
{
	int queue;

	three();
	a_msgget(A, KEY(1), 0600, "?");
	a_msgget(A, KEY(1), IPC_EXCL | 0600, "?");
	queue = a_msgget(A, KEY(1), IPC_CREAT | 0640, "queue");
	a_msgget(B, KEY(1), 0600, "queue");
	a_msgget(C, KEY(1), 0, "queue");
	a_msgget(B, KEY(1), IPC_CREAT | 0600, "queue");
	a_msgget(C, KEY(1), IPC_CREAT | IPC_EXCL | 0600, "?");
	a_msgget(C, KEY(1), IPC_EXCL | IPC_NOWAIT | 0600, "queue");
	a_msg_stat(B, queue);
	a_msg_rm(C, queue);
	a_msgget(A, KEY(1), 0, "?");
	queue = a_msgget(B, KEY(1), IPC_CREAT | IPC_EXCL | 0x100000 | 0750,
			 "again");
	a_msg_stat(C, queue);
}

static void private_queues(void)
{
	int one, two;

	three();
	one = a_msgget(A, IPC_PRIVATE, 0600, "one");
	two = a_msgget(A, IPC_PRIVATE, IPC_CREAT | IPC_EXCL | 0600, "two");
	a_msgsnd(B, one, 1, "to one", 0);
	a_msgrcv(C, two, 100, 0, IPC_NOWAIT);
	a_msgrcv(C, one, 100, 0, IPC_NOWAIT);
}

static void permission(void)
{
	static const int modes[] = {0,    0400, 0040, 0004, 0200,
				    0002, 0600, 0100, 0111};
	struct actor *u;
	int queue;

	three();
	u = actor_start_uid(2, UID_1);
	a_msgget(A, KEY(1), IPC_CREAT | 0644, "queue");
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		a_msgget(u, KEY(1), modes[i], "queue");
	a_msgget(u, KEY(1), IPC_CREAT | 0600, "queue");
	a_msgget(u, KEY(1), IPC_CREAT | IPC_EXCL | 0600, "?");
	a_msgget(C, KEY(1), 0777, "queue");
	queue = a_msgget(u, KEY(2), IPC_CREAT | 0070, "the user's");
	a_msg_stat(C, queue);
	a_msg_stat(u, queue);
	a_msgget(u, KEY(2), 0600, "the user's");
}

static void race(void)
{
	int id[3];

	three();
	for (int i = 10; i < 30; i++) {
		struct actor *all[] = {A, B, C};

		for (int k = 0; k < 3; k++)
			a_msgget(starts(all[k]), KEY(i), IPC_CREAT | 0600,
				 "queue");
		for (int k = 0; k < 3; k++)
			id[k] = (int)finish(all[k]);
		out("%s\n", id[0] == id[1] && id[1] == id[2] ? "the same"
							     : "different");
	}
}

static void ipc_set(void)
{
	int queue = three_and_queue();

	a_msg_set(B, queue, 7, 8, 0640, 16384);
	a_msg_stat(C, queue);
	a_msg_set(B, queue, 0, 0, 07777, 1000);
	a_msg_stat(C, queue);
	a_msg_set(B, queue, UINT_MAX, 0, 0600, 100);
	a_msg_set(B, queue, 0, UINT_MAX, 0600, 100);
	a_msg_stat(C, queue);
	a_msg_set(B, queue, 0, 0, 0600, 0);
	a_msg_stat(C, queue);
	a_msgsnd(A, queue, 1, "", IPC_NOWAIT);
	/* beyond msgmnb: with CAP_SYS_RESOURCE only */
	a_msg_set(B, queue, 0, 0, 0600, 20000);
	a_msg_stat(C, queue);
}

static void times(void)
{
	int queue = three_and_queue();

	a_msg_stat(C, queue);
	tick();
	a_msgrcv(B, queue, 10, 0, IPC_NOWAIT);
	a_msg_stat(C, queue);
	a_msgsnd(B, queue, 1, "hello", 0);
	a_msg_stat(C, queue);
	tick();
	a_msgrcv(C, queue, 3, 0, 0);
	a_msgrcv(C, queue, 10, 2, IPC_NOWAIT);
	a_msg_stat(A, queue);
	a_msgrcv(C, queue, 10, 0, 0);
	a_msg_stat(A, queue);
	tick();
	a_msg_set(A, queue, 0, 0, 0600, 16384);
	a_msg_stat(B, queue);
	/* handed over to who waits: sent and received */
	a_msgrcv(blocks(A), queue, 10, 0, 0);
	a_msgsnd(B, queue, 1, "x", 0);
	finish(A);
	a_msg_stat(C, queue);
}

static void commands(void)
{
	static const int bad[] = {-1, 4, 5, 6, 7, 8, 9, 10, 14, 100};
	int queue = three_and_queue();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[20];

		snprintf(text, sizeof(text), "%d", bad[i]);
		a_msgctl(A, queue, bad[i], text);
		a_msgctl(A, -1, bad[i], text);
	}
}

static void all_calls(struct actor *a, int id)
{
	a_msgsnd(a, id, 1, "text", 0);
	a_msgsnd(a, id, 0, "text", 0);
	a_msgsnd(a, id, 1, "text", IPC_NOWAIT);
	a_msgsnd_nr(a, id, 1, 'x', 8193, 0);
	a_msgrcv(a, id, 10, 0, 0);
	a_msgrcv(a, id, 10, 0, IPC_NOWAIT);
	a_msgrcv(a, id, 10, 0, MSG_COPY);
	a_msgrcv(a, id, 10, 0, MSG_COPY | IPC_NOWAIT);
	a_msgrcv(a, id, (size_t)-1, 0, 0);
	a_msg_stat(a, id);
	a_msg_set(a, id, 0, 0, 0600, 100);
	a_msg_rm(a, id);
}

static void stale(void)
{
	int queue = three_and_queue();
	int new_queue;

	a_msgsnd(A, queue, 1, "one", 0);
	a_msgsnd(B, queue, 1, "two", 0);
	a_msgrcv(C, queue, 10, 0, 0);
	a_msg_rm(A, queue);
	all_calls(B, queue);
	all_calls(C, queue);
	all_calls(A, queue);
	new_queue = a_msgget(C, KEY(1), IPC_CREAT | 0600, "new queue");
	all_calls(B, queue);
	all_calls(A, queue);
	a_msg_use(A, new_queue);
	a_msgrcv(B, new_queue, 10, 0, IPC_NOWAIT);
}

static void not_an_id(void)
{
	three();
	all_calls(B, -1);
	all_calls(B, INT_MIN);
	all_calls(B, INT_MAX);
}

const struct conformance_case msg_get_cases[] = {
	{"msg_get.create", create},
	{"msg_get.private_queues", private_queues},
	{"msg_get.permission", permission},
	{"msg_get.race", race},
	{"msg_get.ipc_set", ipc_set},
	{"msg_get.times", times},
	{"msg_get.commands", commands},
	{"msg_get.stale", stale},
	{"msg_get.not_an_id", not_an_id},
	{0},
};
