// SPDX-License-Identifier: BSD-2-Clause
// Children that die in a call: exact when their parent knows of their end.
#include "tests/conformance/sysv.h"

#include <sys/wait.h>

struct message {
	long mtype;
	char text[10];
};

struct child {
	int id;
	int rounds;
	int bad;
	actor_fn *what; /* in the child: what it dies in */
};

static long send_one(void *blob, size_t len)
{
	const struct child *arg = blob;
	struct message msg = {9, "dead"};

	(void)len;
	return msgsnd(arg->id, &msg, 4, 0);
}

static long receive_one(void *blob, size_t len)
{
	const struct child *arg = blob;
	struct message msg;

	(void)len;
	return msgrcv(arg->id, &msg, sizeof(msg.text), 0, 0);
}

static bool sleeps(pid_t pid)
{
	char path[64];
	char text[256] = "";
	char *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fgets(text, sizeof(text), f))
		text[sizeof(text) - 1] = 0;
	fclose(f);
	end = strrchr(text, ')');
	return end && end[1] == ' ' && end[2] == 'S';
}

/* A child that sleeps in its call is killed; 0 when waitpid() has it. */
static int one_dies(struct child *arg)
{
	int still = 0;
	pid_t pid = fork();

	if (pid == 0) {
		arg->what(arg, sizeof(*arg));
		_exit(0);
	}
	while (pid > 0 && still < 20) {
		sleep_ms(1);
		still = sleeps(pid) ? still + 1 : 0;
	}
	if (pid < 0 || kill(pid, SIGKILL) < 0)
		return -1;
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static unsigned long nr_messages(int id)
{
	struct msqid_ds ds;

	return msgctl(id, IPC_STAT, &ds) < 0 ? ULONG_MAX : ds.msg_qnum;
}

/* The queue is full; the child would send when there is room. */
static long op_senders_die(void *blob, size_t len)
{
	struct child *arg = blob;
	struct message msg = {1, "full"};

	(void)len;
	arg->what = send_one;
	for (int i = 0; i < arg->rounds; i++) {
		msg.mtype = 1;
		if (msgsnd(arg->id, &msg, 10, IPC_NOWAIT) < 0)
			return -1;
		if (one_dies(arg) < 0)
			return -1;
		if (msgrcv(arg->id, &msg, 10, 1, IPC_NOWAIT) < 0)
			return -1;
		arg->bad += nr_messages(arg->id) != 0;
		sleep_ms(5);
		arg->bad += msgrcv(arg->id, &msg, 10, 9, IPC_NOWAIT) >= 0;
	}
	return 0;
}

/* The queue is empty; the child would receive what comes. */
static long op_receivers_die(void *blob, size_t len)
{
	struct child *arg = blob;
	struct message msg = {1, "mine"};

	(void)len;
	arg->what = receive_one;
	for (int i = 0; i < arg->rounds; i++) {
		if (one_dies(arg) < 0)
			return -1;
		if (msgsnd(arg->id, &msg, 4, 0) < 0)
			return -1;
		arg->bad += msgrcv(arg->id, &msg, 10, 0, IPC_NOWAIT) != 4;
	}
	return 0;
}

static void show_child(long ret, const void *blob, size_t len)
{
	const struct child *arg = blob;

	(void)len;
	out("%ld, in %d of %d it still acted", ret, arg->bad, arg->rounds);
}

static void senders_die(void)
{
	int queue = three_and_queue();
	struct child arg = {.id = queue, .rounds = 15};

	a_msg_set(A, queue, 0, 0, 0600, 10);
	act(B, op_senders_die, &arg, sizeof(arg), show_child,
	    "children are killed in msgsnd");
	a_msg_count(A, queue);
}

static void receivers_die(void)
{
	int queue = three_and_queue();
	struct child arg = {.id = queue, .rounds = 15};

	act(B, op_receivers_die, &arg, sizeof(arg), show_child,
	    "children are killed in msgrcv");
	a_msg_count(A, queue);
}

const struct conformance_case msg_child_cases[] = {
	{"msg_child.senders_die", senders_die},
	{"msg_child.receivers_die", receivers_die},
	{0},
};
