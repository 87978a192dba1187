// SPDX-License-Identifier: BSD-2-Clause
// The driver's side of actors: start them, have them call, watch them sleep.
#include "tests/conformance/internal.h"

#include <dirent.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define NR_ACTORS   32
#define CALL_MS     5000 /* a call that nobody expects to block */
#define FINISH_MS   2000 /* the end of one that was blocked */
#define WORK_MS     12000
#define UNTIL_MS    2000
#define SLEEPING_MS 40 /* asleep for so long: blocked */
#define NR_LOOKS    10
#define DAEMONS_MS  400 /* others keep them busy */

enum mode { MODE_CALL, MODE_START, MODE_BLOCK };

struct actor {
	char name[4];
	pid_t pid;
	int fd;
	bool is_dead;
	/* for the next call */
	enum mode mode;
	struct pointer pointer;
	struct pointer timeout_pointer;
	/* of the call under way */
	bool is_busy;
	char text[1500];
	show_fn *show;
	bool is_masked;
	struct actor_reply reply;
	char blob[ACTOR_BLOB_MAX];
};

static struct actor *actors[NR_ACTORS];
static int nr_actors;
static const char *deviation;
static FILE *held; /* output of until()'s attempts */
static char *held_text;
static size_t held_len;
static int64_t until_deadline;

/* ---- output ---------------------------------------------------------------*/

void out(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(held ? held : stdout, fmt, ap);
	va_end(ap);
	if (!held)
		fflush(stdout);
}

void complain(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(3);
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int scaled_ms(int ms)
{
	const char *slow = getenv("DIPC_TEST_SLOW");
	int n = slow ? atoi(slow) : 1;

	return ms * (n > 0 ? n : 1);
}

void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

void deviates(const char *words)
{
	deviation = words;
}

static void hold_begin(void)
{
	held = open_memstream(&held_text, &held_len);
	if (!held)
		complain("out of memory");
}

void until_begin(void)
{
	until_deadline = now_ms() + scaled_ms(UNTIL_MS);
	hold_begin();
}

bool until_done(long got, long expected)
{
	bool is_done = got == expected || now_ms() > until_deadline;

	fclose(held);
	held = NULL;
	if (is_done)
		out("%s", held_text);
	free(held_text);
	if (is_done)
		return true;
	sleep_ms(10);
	hold_begin();
	return false;
}

/* ---- start ----------------------------------------------------------------*/

static char self_path[PATH_MAX];

/* CONFORMANCE_SPAWN's words, %k replaced, then ourselves. */
static void exec_actor(int place)
{
	const char *spawn = getenv("CONFORMANCE_SPAWN");
	static char line[2 * PATH_MAX];
	size_t at = 0;
	char *argv[32];
	int n = 0;

	for (const char *s = spawn ? spawn : ""; *s && at < PATH_MAX; s++) {
		if (s[0] == '%' && s[1] == 'k') {
			line[at++] = (char)('0' + place);
			s++;
		} else {
			line[at++] = *s;
		}
	}
	line[at] = 0;
	for (char *word = strtok(line, " "); word && n < 28;
	     word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n++] = self_path;
	argv[n++] = (char *)(uintptr_t) "--actor";
	argv[n] = NULL;
	execvp(argv[0], argv);
}

static void become_actor(int fd, int place, const struct actor_options *o)
{
	int dfl[] = {SIGINT, SIGTERM, SIGPIPE, SIGALRM};

	for (size_t i = 0; i < sizeof(dfl) / sizeof(dfl[0]); i++)
		signal(dfl[i], SIG_DFL);
	/* what others have open here would keep their sockets alive */
	for (int i = 3; i < 400; i++)
		if (i != fd)
			close(i);
	if (fd != ACTOR_FD) {
		if (dup2(fd, ACTOR_FD) < 0)
			_exit(126);
		close(fd);
	}
	for (int i = 0; o->env[i]; i++)
		putenv((char *)(uintptr_t)o->env[i]);
	if (o->uid && (setgroups(0, NULL) < 0 || setgid(o->uid) < 0 ||
		       setuid(o->uid) < 0))
		_exit(126);
	exec_actor(place);
	fprintf(stderr, "cannot start an actor: %s\n", strerror(errno));
	_exit(127);
}

/* The answer is in a->reply and a->blob. False: not within MS. */
static bool receive(struct actor *a, int ms)
{
	static char buf[sizeof(a->reply) + ACTOR_BLOB_MAX];
	struct pollfd p = {.fd = a->fd, .events = POLLIN};
	ssize_t nr;

	if (poll(&p, 1, ms) <= 0)
		return false;
	nr = recv(a->fd, buf, sizeof(buf), 0);
	if (nr < (ssize_t)sizeof(a->reply)) {
		int status = 0;

		waitpid(a->pid, &status, 0);
		complain("%s died (status %#x) in %s", a->name,
			 (unsigned)status, a->text);
	}
	memcpy(&a->reply, buf, sizeof(a->reply));
	memcpy(a->blob, buf + sizeof(a->reply), a->reply.len);
	a->is_busy = false;
	return true;
}

static void transmit(struct actor *a, actor_fn *fn, const void *blob,
		     size_t len)
{
	static char buf[sizeof(struct actor_request) + ACTOR_BLOB_MAX];
	struct actor_request request = {
		.fn = (intptr_t)fn - (intptr_t)op_nothing,
		.len = len,
	};

	if (a->is_dead || a->is_busy)
		complain("%s is %s: %s", a->name, a->is_dead ? "dead" : "busy",
			 a->text);
	if (len > ACTOR_BLOB_MAX)
		complain("too large: %s", a->text);
	memcpy(buf, &request, sizeof(request));
	if (len)
		memcpy(buf + sizeof(request), blob, len);
	if (send(a->fd, buf, sizeof(request) + len, MSG_NOSIGNAL) < 0)
		complain("%s: send: %s", a->name, strerror(errno));
	a->is_busy = true;
}

struct actor *actor_start_as(int place, const struct actor_options *options)
{
	struct actor *a = calloc(1, sizeof(*a));
	int size = 2 * ACTOR_BLOB_MAX;
	int fds[2];

	if (!a || nr_actors == NR_ACTORS)
		complain("too many actors");
	if (!self_path[0] &&
	    readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) < 0)
		complain("readlink: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		complain("socketpair: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	snprintf(a->name, sizeof(a->name), "%c", 'A' + nr_actors);
	snprintf(a->text, sizeof(a->text), "start");
	fflush(stdout);
	a->pid = fork();
	if (a->pid < 0)
		complain("fork: %s", strerror(errno));
	if (a->pid == 0)
		become_actor(fds[1], place, options);
	close(fds[1]);
	a->fd = fds[0];
	if (!receive(a, scaled_ms(CALL_MS)))
		complain("%s does not start", a->name);
	name_pid(a->pid, a->name);
	actors[nr_actors++] = a;
	return a;
}

struct actor *actor_start_uid(int place, uid_t uid)
{
	struct actor_options options = {.uid = uid};

	return actor_start_as(place, &options);
}

struct actor *actor_start(int place)
{
	return actor_start_uid(place, 0);
}

pid_t actor_pid(const struct actor *a)
{
	return a->pid;
}

const char *actor_name(const struct actor *a)
{
	return a->name;
}

/* ---- ends and signals -----------------------------------------------------*/

static void buried(struct actor *a)
{
	int status;

	if (waitpid(a->pid, &status, 0) < 0)
		complain("waitpid: %s", strerror(errno));
	a->is_dead = true;
	close(a->fd);
}

void actor_kill(struct actor *a)
{
	kill(a->pid, SIGKILL);
	buried(a);
	out("%s: killed\n", a->name);
}

void actor_exit(struct actor *a)
{
	snprintf(a->text, sizeof(a->text), "exit");
	transmit(a, op_exit, NULL, 0);
	buried(a);
	out("%s: exit\n", a->name);
}

void actor_exec(struct actor *a)
{
	snprintf(a->text, sizeof(a->text), "exec");
	transmit(a, op_exec, NULL, 0);
	if (!receive(a, scaled_ms(CALL_MS)))
		complain("%s: exec: no answer", a->name);
	out("%s: exec\n", a->name);
}

void actor_signal(struct actor *a, int sig)
{
	kill(a->pid, sig);
	out("%s: SIG%s\n", a->name, sigabbrev_np(sig));
}

void actor_catch(struct actor *a, int sig, int flags)
{
	int arg[2] = {sig, flags};

	act(a, op_catch, arg, sizeof(arg), NULL, "catch SIG%s%s",
	    sigabbrev_np(sig), flags & SA_RESTART ? ", SA_RESTART" : "");
}

void actor_caught(struct actor *a)
{
	act(a, op_caught, NULL, 0, NULL, "signals caught");
}

/* ---- calls ----------------------------------------------------------------*/

struct actor *starts(struct actor *a)
{
	a->mode = MODE_START;
	return a;
}

struct actor *blocks(struct actor *a)
{
	a->mode = MODE_BLOCK;
	return a;
}

static struct actor *set_pointer(struct actor *a, struct pointer *p,
				 enum where where, int len)
{
	p->where = (int)where;
	p->len = len;
	return a;
}

struct actor *at(struct actor *a, enum where where)
{
	return set_pointer(a, &a->pointer, where, 0);
}

struct actor *at_edge(struct actor *a, int len)
{
	return set_pointer(a, &a->pointer, AT_EDGE, len);
}

struct actor *timeout_at(struct actor *a, enum where where)
{
	return set_pointer(a, &a->timeout_pointer, where, 0);
}

struct actor *timeout_at_edge(struct actor *a, int len)
{
	return set_pointer(a, &a->timeout_pointer, AT_EDGE, len);
}

struct pointer take_pointer(struct actor *a)
{
	struct pointer p = a->pointer;

	a->pointer = (struct pointer){0};
	return p;
}

struct pointer take_timeout_pointer(struct actor *a)
{
	struct pointer p = a->timeout_pointer;

	a->timeout_pointer = (struct pointer){0};
	return p;
}

const char *pointer_text(struct pointer p)
{
	static char edge[4][32];
	static unsigned next;
	char *s;

	switch ((enum where)p.where) {
	case AT_NULL:
		return "NULL";
	case AT_UNMAPPED:
		return "unmapped";
	case AT_READONLY:
		return "read-only";
	case AT_EDGE:
		s = edge[next++ % 4];
		snprintf(s, sizeof(edge[0]), "%d bytes of a page", p.len);
		return s;
	case AT_HOME:
		break;
	}
	return NULL;
}

static long show_reply(struct actor *a)
{
	long ret = (long)a->reply.ret;

	out("%s: %s = ", a->name, a->text);
	if (a->is_masked)
		out("as documented");
	else if (ret == -1)
		out("-1 %s", errno_name(a->reply.err));
	else if (a->show)
		a->show(ret, a->blob, a->reply.len);
	else
		out("%ld", ret);
	out("\n");
	return ret == -1 ? -a->reply.err : ret;
}

static bool all_threads_sleep(pid_t pid)
{
	char path[320];
	char text[512];
	struct dirent *entry;
	bool is_asleep = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (is_asleep && (entry = readdir(dir))) {
		const char *end;
		size_t len;
		FILE *f;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", pid,
			 entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue; /* that thread has just ended */
		len = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
		text[len] = 0;
		end = strrchr(text, ')');
		is_asleep = end && end[1] == ' ' && end[2] == 'S';
	}
	closedir(dir);
	return is_asleep;
}

/*
 * CONFORMANCE_DAEMONS: processes that have to be asleep, too, before who sleeps
 * in a call is believed to have arrived where it waits.
 */
static bool daemons_sleep(void)
{
	const char *s = getenv("CONFORMANCE_DAEMONS");
	char *end;

	for (; s && *s; s = end) {
		long pid = strtol(s, &end, 10);

		if (end == s)
			break;
		if (!all_threads_sleep((pid_t)pid))
			return false;
	}
	return true;
}

/*
 * True: asleep in its call. False: the call has ended, and was received. On a
 * busy machine time passes between two looks: a number of them is asked for.
 */
static bool await_sleep(struct actor *a)
{
	int64_t begin = now_ms();
	int64_t since = begin;
	int nr_seen = 0;

	for (;;) {
		if (receive(a, SLEEPING_MS / NR_LOOKS))
			return false;
		if (!all_threads_sleep(a->pid)) {
			since = now_ms();
			nr_seen = 0;
		} else if (daemons_sleep() ||
			   now_ms() - begin > scaled_ms(DAEMONS_MS)) {
			nr_seen++;
		}
		if (nr_seen >= NR_LOOKS && now_ms() - since >= SLEEPING_MS)
			return true;
		if (now_ms() - begin > scaled_ms(CALL_MS))
			complain("%s: %s neither sleeps nor ends", a->name,
				 a->text);
	}
}

static long begin_mode(struct actor *a, enum mode mode)
{
	if (mode == MODE_START) {
		out("%s: %s starts\n", a->name, a->text);
		return 0;
	}
	if (!await_sleep(a))
		return show_reply(a);
	out("%s: %s blocks\n", a->name, a->text);
	return 0;
}

long act(struct actor *a, actor_fn *fn, void *blob, size_t len, show_fn *show,
	 const char *fmt, ...)
{
	enum mode mode = a->mode;
	va_list ap;
	long ret;

	a->mode = MODE_CALL;
	a->show = show;
	a->is_masked = deviation != NULL;
	deviation = NULL;
	if (a->is_busy || a->is_dead) {
		out("%s: not free, still in %s\n", a->name, a->text);
		complain("the case cannot go on");
	}
	va_start(ap, fmt);
	vsnprintf(a->text, sizeof(a->text), fmt, ap);
	va_end(ap);
	transmit(a, fn, blob, len);
	if (mode != MODE_CALL)
		return begin_mode(a, mode);
	if (!receive(a, scaled_ms(CALL_MS)))
		complain("%s: %s blocks, and should not", a->name, a->text);
	ret = show_reply(a);
	if (blob)
		memcpy(blob, a->blob, a->reply.len);
	return ret;
}

static long finish_within(struct actor *a, int ms)
{
	if (!a->is_busy || receive(a, scaled_ms(ms)))
		return show_reply(a);
	out("%s: %s does not end\n", a->name, a->text);
	return -EINPROGRESS;
}

long finish(struct actor *a)
{
	return finish_within(a, FINISH_MS);
}

long finish_work(struct actor *a)
{
	return finish_within(a, WORK_MS);
}

bool has_ended(struct actor *a, int ms)
{
	return !a->is_busy || receive(a, ms);
}

bool has_answered(const struct actor *a)
{
	return !a->is_busy;
}

void still_blocked(struct actor *a)
{
	if (a->is_busy && await_sleep(a))
		out("%s: %s still blocked\n", a->name, a->text);
	else
		show_reply(a);
}
