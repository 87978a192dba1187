/* SPDX-License-Identifier: BSD-2-Clause */
/* Message queues: there and back, and one way. */
#include "bench.h"

#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#define SIZE_MAX_USED 8192
#define TYPE_THERE    1
#define TYPE_BACK     2

struct message {
	long type;
	char text[SIZE_MAX_USED];
};

static struct message message; /* too large for a stack frame */

static int queue_open(const struct bench_job *job)
{
	int flags = job->flag | 0600;

	memset(message.text, 'x', sizeof(message.text));
	if (job->role)
		return msgget(job->key, flags);
	return msgget(job->key, flags | IPC_CREAT | IPC_EXCL);
}

static int send_one(int id, long type, size_t size)
{
	message.type = type;
	return msgsnd(id, &message, size, 0);
}

static int receive_one(int id, long type, size_t size)
{
	return msgrcv(id, &message, size, type, 0) == (ssize_t)size ? 0 : -1;
}

static int roundtrip_work(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	int id = queue_open(job);

	if (id < 0)
		return bench_fail("msgget");
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		if (job->role) {
			if (receive_one(id, TYPE_THERE, job->size) ||
			    send_one(id, TYPE_BACK, job->size))
				return bench_fail("msgrcv, msgsnd");
			continue;
		}
		bench_run_begin(run);
		if (send_one(id, TYPE_THERE, job->size) ||
		    receive_one(id, TYPE_BACK, job->size))
			return bench_fail("msgsnd, msgrcv");
		bench_run_end(run);
	}
	if (job->role)
		return 0;
	bench_run_hold(run);
	return msgctl(id, IPC_RMID, NULL) ? bench_fail("IPC_RMID") : 0;
}

/* The receiver measures, from one message to the next. */
static int stream_work(const struct bench_job *job, struct bench_run *run)
{
	unsigned i, nr = bench_run_loops(run);
	int id = queue_open(job);

	if (id < 0)
		return bench_fail("msgget");
	bench_run_ready(run);
	for (i = 0; i < nr; i++) {
		if (!job->role) {
			if (send_one(id, TYPE_THERE, job->size))
				return bench_fail("msgsnd");
			continue;
		}
		if (!i)
			bench_run_begin(run);
		if (receive_one(id, TYPE_THERE, job->size))
			return bench_fail("msgrcv");
		bench_run_end(run);
	}
	if (job->role)
		return 0;
	bench_run_hold(run);
	return msgctl(id, IPC_RMID, NULL) ? bench_fail("IPC_RMID") : 0;
}

#define ROUNDTRIP(bytes)                                                       \
	{                                                                      \
		.name = "msg.roundtrip." #bytes,                               \
		.what = "a message there and one back", .count = 1000,         \
		.side = {                                                      \
			{.name = "dipc",                                       \
			 .work = roundtrip_work,                               \
			 .nr_roles = 2,                                        \
			 .is_on_nodes = true,                                  \
			 .size = bytes},                                       \
			{.name = "kernel",                                     \
			 .work = roundtrip_work,                               \
			 .nr_roles = 2,                                        \
			 .size = bytes},                                       \
		},                                                             \
	}

const struct bench bench_msg[] = {
	ROUNDTRIP(64),
	ROUNDTRIP(1024),
	ROUNDTRIP(8192),
	{
		.name = "msg.stream.1024",
		.what = "one message of a stream, at the receiver",
		.count = 4000,
		.is_stream = true,
		.side =
			{
				{.name = "dipc",
				 .work = stream_work,
				 .nr_roles = 2,
				 .is_on_nodes = true,
				 .size = 1024},
				{.name = "kernel",
				 .work = stream_work,
				 .nr_roles = 2,
				 .size = 1024},
			},
	},
	{.name = NULL},
};
