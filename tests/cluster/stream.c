/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream KEY setup | send SENDER COUNT | receive | stop N | remove: messages
 * of 1 to 8,192 bytes. A receiver prints "SENDER SEQUENCE" for each message
 * and checks its bytes; who runs us checks that each came once, and we that
 * what one receiver gets of one sender is in order.
 */
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include "job.h"

#define TEXT_MAX    8192
#define SENDERS_MAX 64
#define STOP_TYPE   1000

struct message {
	long type;
	unsigned char text[TEXT_MAX];
};

/* 1 to 8,192 bytes: every size once in 8,192 messages. */
static size_t length_of(uint32_t sender, uint32_t seq)
{
	return 1 + (seq * 2654435761u + sender * 40503u) % TEXT_MAX;
}

/* With the length, already the first byte tells which message it is. */
static unsigned char byte_of(uint32_t sender, uint32_t seq, size_t i)
{
	return (unsigned char)(sender * 31 + seq / TEXT_MAX + i);
}

static void send_all(int id, uint32_t sender, long count)
{
	static struct message m;
	uint32_t seq;

	for (seq = 0; seq < (uint32_t)count; seq++) {
		size_t i, len = length_of(sender, seq);

		m.type = 1 + sender;
		for (i = 0; i < len; i++)
			m.text[i] = byte_of(sender, seq, i);
		while (msgsnd(id, &m, len, 0))
			if (errno != EINTR)
				die("msgsnd %u", seq);
	}
}

/* Which of its sender's messages is this? The first of those that fit. */
static uint32_t sequence_of(const struct message *m, size_t len,
			    uint32_t sender, uint32_t from)
{
	uint32_t seq;

	for (seq = from; seq < from + 200000; seq++) {
		size_t i;

		if (length_of(sender, seq) != len)
			continue;
		for (i = 0; i < len; i++)
			if (m->text[i] != byte_of(sender, seq, i))
				break;
		if (i == len)
			return seq;
	}
	die("a message of sender %u, %zu bytes, is none that it sent after "
	    "%u",
	    sender, len, from);
}

static void receive_all(int id)
{
	static struct message m;
	uint32_t next[SENDERS_MAX] = {0};

	for (;;) {
		ssize_t len = msgrcv(id, &m, TEXT_MAX, 0, 0);
		uint32_t sender, seq;

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			die("msgrcv");
		if (m.type == STOP_TYPE)
			return;
		sender = (uint32_t)m.type - 1;
		if (sender >= SENDERS_MAX)
			die("type %ld", m.type);
		seq = sequence_of(&m, (size_t)len, sender, next[sender]);
		next[sender] = seq + 1;
		printf("%u %u\n", sender, seq);
	}
}

static void stop(int id, long n)
{
	static struct message m = {.type = STOP_TYPE};

	while (n-- > 0)
		if (msgsnd(id, &m, 0, 0))
			die("msgsnd stop");
}

int main(int argc, char **argv)
{
	const char *what;
	int id;

	if (argc < 3)
		die("usage: stream KEY setup | send SENDER COUNT | receive | "
		    "stop N | remove");
	what = argv[2];
	id = msgget((key_t)number(argv[1]), IPC_CREAT | IPC_DIPC | 0600);
	if (id < 0)
		die("msgget");
	if (!strcmp(what, "send") && argc == 5) {
		await_go();
		send_all(id, (uint32_t)number(argv[3]), number(argv[4]));
	} else if (!strcmp(what, "receive")) {
		await_go();
		receive_all(id);
	} else if (!strcmp(what, "stop") && argc == 4) {
		stop(id, number(argv[3]));
	} else if (!strcmp(what, "remove") && msgctl(id, IPC_RMID, NULL)) {
		die("IPC_RMID");
	}
	return 0;
}
