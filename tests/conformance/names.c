// SPDX-License-Identifier: BSD-2-Clause
// Names for what differs from run to run, and for numbers.
#include "tests/conformance/internal.h"

#include <sys/msg.h>
#include <sys/sem.h>

#define NR_PIDS  128
#define NR_TICKS 8

static const char *object_names[NR_OBJECTS];
static struct {
	pid_t pid;
	const char *name;
} pids[NR_PIDS];
static int nr_pids;
static time_t ticks[NR_TICKS];
static int nr_ticks;

/* Results live until a few more calls have been made: enough for one line. */
static char *scratch(void)
{
	static char bufs[16][600];
	static unsigned next;

	return bufs[next++ % 16];
}
#define SCRATCH 600

void names_begin(void)
{
	ticks[0] = time(NULL);
	nr_ticks = 1;
}

key_t KEY(int n)
{
	return run_state->keys + n;
}

const char *key_name(key_t key)
{
	char *s = scratch();

	if (key == IPC_PRIVATE)
		return "IPC_PRIVATE";
	snprintf(s, SCRATCH, "key %d", (int)(key - run_state->keys));
	return s;
}

void name_object(enum object_kind kind, int id, const char *name)
{
	int n = run_state->nr_objects;

	if (n == NR_OBJECTS)
		complain("too many objects");
	run_state->objects[n].kind = kind;
	run_state->objects[n].id = id;
	object_names[n] = name;
	run_state->nr_objects = n + 1;
}

const char *object_name(enum object_kind kind, int id)
{
	char *s;

	for (int n = run_state->nr_objects; n-- > 0;)
		if (run_state->objects[n].kind == kind &&
		    run_state->objects[n].id == id)
			return object_names[n];
	s = scratch();
	snprintf(s, SCRATCH, "%d", id);
	return s;
}

void name_pid(pid_t pid, const char *name)
{
	if (nr_pids == NR_PIDS)
		complain("too many processes");
	pids[nr_pids].pid = pid;
	pids[nr_pids++].name = name;
}

const char *pid_name(pid_t pid)
{
	if (pid == 0)
		return "0";
	for (int n = nr_pids; n-- > 0;)
		if (pids[n].pid == pid)
			return pids[n].name;
	return "unknown";
}

/* A tenth of a second past it: clocks that are read coarsely agree then. */
void tick(void)
{
	struct timespec ts;

	if (nr_ticks == NR_TICKS)
		complain("too many ticks");
	clock_gettime(CLOCK_REALTIME, &ts);
	sleep_ms(1100 - (int)(ts.tv_nsec / 1000000));
	ticks[nr_ticks++] = time(NULL);
}

const char *time_name(time_t t)
{
	char *s = scratch();

	if (t == 0)
		return "0";
	for (int n = nr_ticks; n-- > 0;) {
		if (t < ticks[n])
			continue;
		if (t > time(NULL))
			return "the future";
		snprintf(s, SCRATCH, "t%d", n);
		return s;
	}
	return "the past";
}

const char *errno_name(int err)
{
	const char *name = strerrorname_np(err);

	return name ? name : "unknown";
}

static void add_flag(char *s, const char *name)
{
	size_t len = strlen(s);

	snprintf(s + len, SCRATCH - len, "%s%s", len ? "|" : "", name);
}

const char *get_flags(int flags)
{
	char *s = scratch();
	char mode[16];

	s[0] = 0;
	if (flags & IPC_CREAT)
		add_flag(s, "IPC_CREAT");
	if (flags & IPC_EXCL)
		add_flag(s, "IPC_EXCL");
	snprintf(mode, sizeof(mode), "%#o",
		 (unsigned)(flags & ~(IPC_CREAT | IPC_EXCL)));
	add_flag(s, mode);
	return s;
}

struct flag {
	int flag;
	const char *name;
};

static const char *flags_named(int flags, const struct flag *table)
{
	char *s = scratch();
	char rest[16];

	s[0] = 0;
	for (; table->name; table++) {
		if (!(flags & table->flag))
			continue;
		flags &= ~table->flag;
		add_flag(s, table->name);
	}
	if (flags || !s[0]) {
		snprintf(rest, sizeof(rest), "%#x", (unsigned)flags);
		add_flag(s, flags ? rest : "0");
	}
	return s;
}

const char *sem_flags(int flags)
{
	static const struct flag table[] = {
		{IPC_NOWAIT, "IPC_NOWAIT"},
		{SEM_UNDO, "SEM_UNDO"},
		{0},
	};

	return flags_named(flags, table);
}

const char *msg_flags(int flags)
{
	static const struct flag table[] = {
		{IPC_NOWAIT, "IPC_NOWAIT"},
		{MSG_NOERROR, "MSG_NOERROR"},
		{MSG_EXCEPT, "MSG_EXCEPT"},
		{MSG_COPY, "MSG_COPY"},
		{0},
	};

	return flags_named(flags, table);
}

const char *text_name(const char *text, size_t len)
{
	char *s = scratch();
	size_t same = 0;
	size_t at = 1;

	while (same < len && text[same] == text[0])
		same++;
	if (same == len && len > 4) {
		snprintf(s, SCRATCH, "%zu x '%c'", len, text[0]);
		return s;
	}
	s[0] = '"';
	for (size_t i = 0; i < len && at < SCRATCH - 8; i++) {
		if (text[i] >= ' ' && text[i] < 127)
			s[at++] = text[i];
		else
			at += (size_t)snprintf(s + at, SCRATCH - at, "\\%03o",
					       (unsigned char)text[i]);
	}
	snprintf(s + at, SCRATCH - at, "\"");
	return s;
}
