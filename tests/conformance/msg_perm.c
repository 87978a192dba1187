// SPDX-License-Identifier: BSD-2-Clause
// Queues: who may do what, bad pointers, which error wins.
#include "tests/conformance/sysv.h"

static struct actor *U, *V;

static int queue_and_users(int mode)
{
	int queue;

	A = actor_start(1);
	U = actor_start_uid(2, UID_1);
	V = actor_start_uid(3, UID_2);
	queue = a_msgget(A, KEY(1), IPC_CREAT | mode, "queue");
	a_msgsnd(A, queue, 1, "hello", 0);
	return queue;
}

static void each_call(struct actor *a, int queue)
{
	a_msgsnd(a, queue, 2, "world", IPC_NOWAIT);
	a_msgsnd(a, queue, 0, "world", IPC_NOWAIT);
	a_msgrcv(a, queue, 10, 1, IPC_NOWAIT);
	a_msgrcv(a, queue, 10, 7, IPC_NOWAIT);
	a_msgrcv(a, queue, 1, 0, IPC_NOWAIT);
	a_msgrcv(a, queue, 10, 0, IPC_NOWAIT | MSG_COPY);
	a_msg_stat(a, queue);
}

static void nothing(void)
{
	int queue = queue_and_users(0600);

	each_call(U, queue);
	a_msg_set(U, queue, UID_1, UID_1, 0666, 100);
	a_msg_rm(U, queue);
	a_msg_stat(A, queue);
}

static void others_read(void)
{
	int queue = queue_and_users(0604);

	each_call(U, queue);
	a_msg_use(A, queue);
}

static void others_write(void)
{
	int queue = queue_and_users(0602);

	each_call(U, queue);
	a_msg_use(A, queue);
}

static void group(void)
{
	int queue = queue_and_users(0600);

	a_msg_set(A, queue, 0, UID_1, 0640, 16384);
	each_call(U, queue);
	a_msg_use(V, queue);
	a_msg_set(A, queue, 0, UID_1, 0604, 16384);
	a_msg_use(U, queue);
	a_msg_use(V, queue);
}

static void owner(void)
{
	int queue;

	queue_and_users(0600);
	queue = a_msgget(U, KEY(2), IPC_CREAT | 0066, "user's");
	each_call(U, queue);
	a_msgsnd(V, queue, 2, "by V", IPC_NOWAIT);
	a_msgsnd(A, queue, 2, "by A", IPC_NOWAIT);
	a_msg_set(V, queue, UID_2, UID_2, 0600, 100);
	/* more than msgmnb needs a capability, less does not */
	a_msg_set(U, queue, UID_2, UID_2, 0600, 16385);
	a_msg_set(V, queue, UID_2, UID_2, 0600, 16385);
	a_msg_set(U, queue, UID_2, UID_2, 0600, 100);
	a_msg_set(U, queue, UID_2, UID_2, 0600, 16384);
	a_msgrcv(U, queue, 10, 0, IPC_NOWAIT);
	a_msgrcv(V, queue, 10, 0, IPC_NOWAIT);
	a_msg_stat(A, queue);
	a_msg_set(A, queue, UID_2, UID_2, 0600, 20000);
	a_msg_set(U, queue, UID_2, UID_2, 0600, 20000);
	a_msg_stat(A, queue);
	a_msg_rm(V, queue);
}

/* A new mode finds those who wait to receive, too. */
static void mode_while_asleep(void)
{
	int queue = queue_and_users(0666);

	a_msgrcv(blocks(U), queue, 10, 5, 0);
	a_msgrcv(blocks(V), queue, 10, 6, 0);
	a_msg_set(A, queue, UID_2, UID_2, 0600, 16384);
	finish(U);
	still_blocked(V);
	a_msgsnd(A, queue, 6, "to V", 0);
	finish(V);
	a_msgsnd(U, queue, 1, "no", 0);
}

/* Those who wait to send learn it when they could. */
static void mode_while_sending(void)
{
	int queue = queue_and_users(0666);

	a_msg_set(A, queue, 0, 0, 0666, 5);
	a_msgsnd(blocks(U), queue, 5, "x", 0);
	a_msg_set(A, queue, 0, 0, 0600, 5);
	still_blocked(U);
	a_msgrcv(A, queue, 10, 0, 0);
	finish(U);
	a_msg_use(A, queue);
}

static void mode_at_once(void)
{
	int queue = queue_and_users(0666);

	for (int i = 0; i < 5; i++) {
		a_msgsnd(U, queue, 1, "x", 0);
		a_msgrcv(V, queue, 10, 0, IPC_NOWAIT);
		a_msg_set(A, queue, 0, 0, 0600, 16384);
		a_msgsnd(U, queue, 1, "x", 0);
		a_msgrcv(V, queue, 10, 0, IPC_NOWAIT);
		a_msg_set(A, queue, 0, 0, 0666, 16384);
	}
	a_msg_use(A, queue);
}

/* ---- bad pointers ---------------------------------------------------------*/

static void send_from(void)
{
	int queue = three_and_queue();

	a_msgsnd(at(B, AT_NULL), queue, 1, "text", 0);
	a_msgsnd(at(B, AT_UNMAPPED), queue, 1, "text", 0);
	a_msgsnd(at_edge(B, 12), queue, 1, "text", 0);
	a_msgsnd(at_edge(B, 11), queue, 1, "text", 0);
	a_msgsnd(at_edge(B, 8), queue, 1, "text", 0);
	a_msgsnd(at_edge(B, 7), queue, 1, "text", 0);
	a_msgsnd(at_edge(B, 8), queue, 1, "", 0);
	a_msgsnd(at_edge(B, 7), queue, 1, "", 0);
	a_msgsnd(at(B, AT_READONLY), queue, 1, "text", 0);
	a_msgsnd_nr(at_edge(B, 8000), queue, 1, 'x', 8000, 0);
	a_msgsnd_nr(at_edge(B, 8008), queue, 1, 'x', 8000, 0);
	a_msg_use(A, queue);
	/* the message before the queue, numbers before the text */
	a_msgsnd(at(B, AT_NULL), -1, 1, "text", 0);
	a_msgsnd(at_edge(B, 8), -1, 1, "text", 0);
	a_msgsnd(at_edge(B, 8), queue, 0, "text", 0);
	a_msgsnd(at_edge(B, 8), INT_MAX, 1, "text", 0);
	a_msgsnd_nr(at_edge(B, 8), queue, 1, 'x', 9000, 0);
	a_msgsnd_nr(at_edge(B, 7), queue, 1, 'x', 9000, 0);
}

/* What cannot be delivered is lost, the type of it may have arrived. */
static void receive_to(void)
{
	int queue = three_and_queue();

	for (int i = 0; i < 7; i++)
		a_msgsnd(A, queue, 1 + i, "text", 0);
	a_msgrcv(at(B, AT_NULL), queue, 10, 0, 0);
	a_msg_use(A, queue);
	a_msgrcv(at(B, AT_UNMAPPED), queue, 10, 0, 0);
	a_msgrcv(at(B, AT_READONLY), queue, 10, 0, 0);
	a_msgrcv(at_edge(B, 11), queue, 10, 0, 0);
	a_msgrcv(at_edge(B, 7), queue, 10, 0, 0);
	a_msgrcv(at_edge(B, 12), queue, 10, 0, 0);
	a_msg_use(A, queue);
	/* nothing is touched without a message */
	a_msgrcv(at(B, AT_NULL), queue, 10, 99, IPC_NOWAIT);
	a_msgrcv(at(B, AT_NULL), queue, 1, 0, IPC_NOWAIT);
	a_msgrcv(at(B, AT_NULL), -1, 10, 0, 0);
	a_msgrcv(at(B, AT_NULL), queue, (size_t)-1, 0, 0);
	a_msg_use(A, queue);
	a_msgrcv(at_edge(B, 8), queue, 0, 0, MSG_NOERROR);
	a_msg_use(A, queue);
}

static void receive_while_waiting(void)
{
	int queue = three_and_queue();

	a_msgrcv(blocks(at(B, AT_NULL)), queue, 10, 0, 0);
	a_msgsnd(A, queue, 1, "lost", 0);
	finish(B);
	a_msg_use(A, queue);
}

static void copy_to(void)
{
	int queue = three_and_queue();
	int copy = MSG_COPY | IPC_NOWAIT;

	a_msgsnd(A, queue, 1, "text", 0);
	a_msgrcv(at(B, AT_NULL), queue, 10, 0, copy);
	a_msgrcv(at(B, AT_READONLY), queue, 10, 0, copy);
	a_msgrcv(at_edge(B, 12), queue, 10, 0, copy);
	a_msgrcv(at_edge(B, 12), queue, 4, 0, copy);
	a_msgrcv(at(B, AT_NULL), queue, 10, 0, MSG_COPY);
	a_msgrcv(at(B, AT_NULL), queue, 10, 5, copy);
	a_msg_use(A, queue);
}

static void stat_and_set(void)
{
	int queue = three_and_queue();
	struct actor *u = actor_start_uid(2, UID_1);
	int size = 120; /* sizeof(struct msqid_ds) */

	a_msg_stat(at(B, AT_NULL), queue);
	a_msg_stat(at(B, AT_UNMAPPED), queue);
	a_msg_stat(at(B, AT_READONLY), queue);
	a_msg_stat(at_edge(B, size - 1), queue);
	a_msg_stat(at_edge(B, size), queue);
	a_msg_set(at(B, AT_NULL), queue, 7, 7, 0640, 10);
	a_msg_set(at(B, AT_UNMAPPED), queue, 7, 7, 0640, 10);
	a_msg_set(at_edge(B, size - 1), queue, 7, 7, 0640, 10);
	a_msg_stat(C, queue);
	a_msg_set(at(B, AT_READONLY), queue, 7, 7, 0640, 10);
	a_msg_stat(C, queue);
	a_msg_stat(at(u, AT_NULL), queue);
	a_msg_set(at(u, AT_NULL), queue, 0, 0, 0, 1);
	a_msg_stat(at(B, AT_NULL), -1);
	a_msg_set(at(B, AT_NULL), -1, 0, 0, 0, 1);
	a_msg_stat(at(B, AT_NULL), INT_MAX);
	a_msg_set(at(B, AT_NULL), INT_MAX, 0, 0, 0, 1);
	a_msg_set(u, queue, UINT_MAX, 0, 0, 1);
	a_msg_set(u, queue, 0, 0, 0, 20000);
}

const struct conformance_case msg_perm_cases[] = {
	{"msg_perm.nothing", nothing},
	{"msg_perm.others_read", others_read},
	{"msg_perm.others_write", others_write},
	{"msg_perm.group", group},
	{"msg_perm.owner", owner},
	{"msg_perm.mode_while_asleep", mode_while_asleep},
	{"msg_perm.mode_while_sending", mode_while_sending},
	{"msg_perm.mode_at_once", mode_at_once},
	{"msg_perm.send_from", send_from},
	{"msg_perm.receive_to", receive_to},
	{"msg_perm.receive_while_waiting", receive_while_waiting},
	{"msg_perm.copy_to", copy_to},
	{"msg_perm.stat_and_set", stat_and_set},
	{0},
};
