/* SPDX-License-Identifier: BSD-2-Clause */
#include "common.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/wait.h>

enum {
	TICK_USEC = 200000,
	PATIENCE = 2,    /* seconds from SIGTERM to SIGKILL for a worker */
	STATUS_LOST = 3, /* of a worker whose objects are gone */
	BAR_WIDTH = 40,
};

static struct {
	enum ex_kind kind;
	int id;
} owned[8];
static unsigned nr_owned;

static struct {
	pid_t pid; /* 0: ended */
	char *command;
} worker[EX_MAX_WORKERS + 1]; /* by number, from 1 */

static char who[32];      /* " worker 2", for messages */
static atomic_int caught; /* the signal that asks us to end */
static bool bar_open;     /* the cursor stands behind a bar */
static double heard;

double ex_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- the end ------------------------------------------------------------ */

void ex_own(enum ex_kind kind, int id)
{
	if (nr_owned == sizeof(owned) / sizeof(owned[0]))
		ex_die("too many IPC objects");
	owned[nr_owned].kind = kind;
	owned[nr_owned].id = id;
	nr_owned++;
}

static void remove_objects(void)
{
	while (nr_owned) {
		int id = owned[--nr_owned].id;

		switch (owned[nr_owned].kind) {
		case EX_SHM:
			shmctl(id, IPC_RMID, NULL);
			break;
		case EX_SEM:
			semctl(id, 0, IPC_RMID);
			break;
		case EX_MSG:
			msgctl(id, IPC_RMID, NULL);
			break;
		}
	}
}

/* Each worker leads a process group of its own, its shell included. */
static void kill_workers(int sig)
{
	unsigned k;

	for (k = 1; k <= EX_MAX_WORKERS; k++)
		if (worker[k].pid)
			kill(-worker[k].pid, sig);
}

/* Collects what has ended, without waiting. True if any is left. */
static bool reap_workers(void)
{
	bool left = false;
	unsigned k;

	for (k = 1; k <= EX_MAX_WORKERS; k++) {
		if (!worker[k].pid)
			continue;
		if (waitpid(worker[k].pid, NULL, WNOHANG) == 0)
			left = true;
		else
			worker[k].pid = 0;
	}
	return left;
}

static void stop_workers(void)
{
	const struct timespec pause = {.tv_nsec = 10000000L};
	double start = ex_now();

	kill_workers(SIGTERM);
	while (reap_workers()) {
		if (ex_now() - start > PATIENCE)
			kill_workers(SIGKILL);
		nanosleep(&pause, NULL);
	}
}

/*
 * Objects first: a worker on another node, which no signal reaches, learns
 * from EIDRM that the job is over.
 */
static void cleanup(void)
{
	remove_objects();
	stop_workers();
}

static void __attribute__((format(printf, 1, 0)))
complain(const char *fmt, va_list ap)
{
	int err = errno; /* for %m */

	fflush(stdout);
	fprintf(stderr, "%s%s%s: ", bar_open ? "\n" : "",
		program_invocation_short_name, who);
	bar_open = false;
	errno = err;
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void ex_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	exit(EXIT_FAILURE);
}

void ex_lost(const char *what)
{
	if (errno == EIDRM || errno == EINVAL)
		exit(STATUS_LOST);
	ex_die("%s: %m", what);
}

void ex_semop(int semid, struct sembuf *ops, size_t nr)
{
	while (semop(semid, ops, nr) != 0)
		if (errno != EINTR)
			ex_lost("semop");
}

/* --- options ------------------------------------------------------------ */

const char ex_help[] =
	"  --workers N    number of workers, 1 to 256 (default 2)\n"
	"  --spawn CMD    start worker number %k with the shell command\n"
	"                 CMD, where %w is the worker's command line and %%\n"
	"                 a percent sign (default: 'exec %w', on this node);\n"
	"                 e.g. 'dipc run --node %k -- %w'\n"
	"  --wait         start no worker: print their command lines\n"
	"  --timeout SEC  give up when no worker is heard of for so long\n"
	"                 (default 60; 0: never)\n"
	"  --key KEY      use KEY and KEY + 1 (default: from pid and time)\n"
	"  --local        leave IPC_DIPC out: the kernel's own System V IPC\n"
	"  --worker[=K]   be worker K of the job under --key\n";

uint64_t ex_number(const char *option, const char *arg, uint64_t min,
		   uint64_t max)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(arg, &end, 0);
	if (errno || end == arg || *end || arg[0] == '-' || n < min || n > max)
		ex_die("--%s must be a number from %ju to %ju, not '%s'",
		       option, (uintmax_t)min, (uintmax_t)max, arg);
	return n;
}

bool ex_option(struct ex_job *job, int opt, const char *arg)
{
	switch (opt) {
	case 'n':
		job->workers =
			(unsigned)ex_number("workers", arg, 1, EX_MAX_WORKERS);
		return true;
	case 's':
		job->spawn = arg;
		return true;
	case 'w':
		job->wait = true;
		return true;
	case 't':
		job->timeout = (unsigned)ex_number("timeout", arg, 0, 86400);
		return true;
	case 'k':
		job->key = (key_t)ex_number("key", arg, 1, INT_MAX - 1);
		return true;
	case 'l':
		job->local = true;
		return true;
	case 'W':
		job->is_worker = true;
		if (arg)
			job->number = (unsigned)ex_number("worker", arg, 1,
							  EX_MAX_WORKERS);
		return true;
	default:
		return false;
	}
}

/*
 * ftok(3) gives two runs of one program the same key. Pid and time do not,
 * on this node nor between nodes.
 */
static key_t key_choose(void)
{
	uint64_t hash = EX_FNV;
	struct timespec ts;
	unsigned i;

	clock_gettime(CLOCK_REALTIME, &ts);
	for (i = 0; i < 32; i += 8) {
		hash = ex_fnv(hash, (unsigned char)(getpid() >> i));
		hash = ex_fnv(hash, (unsigned char)(ts.tv_nsec >> i));
		hash = ex_fnv(hash, (unsigned char)(ts.tv_sec >> i));
	}
	/* Even, so that key + 1 is nobody's key; bit 30 keeps it above 0. */
	return (key_t)((hash & 0x3ffffffe) | 0x40000000);
}

void ex_job_check(struct ex_job *job)
{
	if (job->is_worker) {
		if (!job->key)
			ex_die("--worker needs the --key of its job");
		if (job->number)
			snprintf(who, sizeof(who), " worker %u", job->number);
		else
			snprintf(who, sizeof(who), " worker");
	} else if (!job->key) {
		job->key = key_choose();
	}
}

/* --- the watch ---------------------------------------------------------- */

static void on_stop(int sig)
{
	atomic_store(&caught, sig);
}

/* Does nothing: that a wait ends with EINTR is the point. */
static void on_wake(int sig)
{
	(void)sig;
}

/*
 * A page whose last copy died with its node. The fault is in our own code,
 * never inside a library, so that a handler may call anything here.
 */
static void on_lost_page(int sig)
{
	signal(sig, SIG_DFL);
	ex_die("a page of shared memory was lost with its node");
}

static const struct {
	int sig;
	void (*handler)(int);
} guarded[] = {
	{SIGINT, on_stop},      {SIGTERM, on_stop}, {SIGHUP, on_stop},
	{SIGPIPE, on_stop},     {SIGCHLD, on_wake}, {SIGALRM, on_wake},
	{SIGBUS, on_lost_page},
};
#define NR_GUARDED (sizeof(guarded) / sizeof(guarded[0]))

void ex_guard(void)
{
	const struct itimerval tick = {{0, TICK_USEC}, {0, TICK_USEC}};
	struct sigaction sa, old;
	size_t i;

	memset(&sa, 0, sizeof(sa)); /* no SA_RESTART: waits must end */
	sigemptyset(&sa.sa_mask);
	for (i = 0; i < NR_GUARDED; i++) {
		sa.sa_handler = guarded[i].handler;
		sigaction(guarded[i].sig, &sa, &old);
		if (old.sa_handler == SIG_IGN && sa.sa_handler == on_stop)
			sigaction(guarded[i].sig, &old, NULL); /* nohup */
	}
	atexit(cleanup);
	heard = ex_now();

	/*
	 * A signal that arrives just before a wait does not interrupt it. The
	 * next tick does: that is why there is a timer at all.
	 */
	setitimer(ITIMER_REAL, &tick, NULL);
}

static void unguard(void)
{
	const struct itimerval never = {{0, 0}, {0, 0}};
	size_t i;

	setitimer(ITIMER_REAL, &never, NULL);
	for (i = 0; i < NR_GUARDED; i++)
		if (signal(guarded[i].sig, SIG_DFL) == SIG_IGN)
			signal(guarded[i].sig, SIG_IGN);
}

/* Die of SIG, as a shell expects, but clean up first. */
static _Noreturn void end_by_signal(int sig)
{
	fprintf(stderr, "%s%s: %s\n", bar_open ? "\n" : "",
		program_invocation_short_name, strsignal(sig));
	cleanup();
	unguard();
	raise(sig);
	_exit(128 + sig);
}

static void worker_check(unsigned k, int status)
{
	worker[k].pid = 0;
	if (WIFSIGNALED(status))
		ex_die("worker %u was killed by signal %d (%s): %s", k,
		       WTERMSIG(status), strsignal(WTERMSIG(status)),
		       worker[k].command);
	if (WEXITSTATUS(status) == STATUS_LOST)
		ex_die("worker %u found the job's IPC objects gone", k);
	if (WEXITSTATUS(status))
		ex_die("worker %u failed with status %d: %s", k,
		       WEXITSTATUS(status), worker[k].command);
	/* 0 may be a shell that left the worker to run elsewhere. */
}

void ex_heard(void)
{
	heard = ex_now();
}

void ex_watch(const struct ex_job *job)
{
	int sig = atomic_load(&caught);
	int status;
	unsigned k;

	if (sig)
		end_by_signal(sig);

	for (k = 1; k <= job->workers; k++)
		if (worker[k].pid &&
		    waitpid(worker[k].pid, &status, WNOHANG) > 0)
			worker_check(k, status);

	if (job->timeout && ex_now() - heard > job->timeout)
		ex_die("no worker was heard of for %u seconds", job->timeout);
}

void ex_finish(const struct ex_job *job)
{
	int status;
	unsigned k;

	for (k = 1; k <= job->workers; k++) {
		while (worker[k].pid) {
			if (waitpid(worker[k].pid, &status, 0) > 0)
				worker_check(k, status);
			else
				ex_watch(job);
		}
	}
	remove_objects();
	unguard();
}

/* --- starting workers --------------------------------------------------- */

/* TEXT as one word of a shell command. */
static void put_quoted(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", out);
		else
			fputc(*text, out);
	}
	fputc('\'', out);
}

static void put_worker_command(FILE *out, const struct ex_job *job, unsigned k)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		ex_die("/proc/self/exe: %m");
	self[len] = '\0';
	put_quoted(out, self);
	fprintf(out, " --worker=%u --key 0x%x%s", k, (unsigned)job->key,
		job->local ? " --local" : "");
}

/* Fills in %k and %w. The caller frees the result. */
static char *command_expand(const struct ex_job *job, unsigned k)
{
	const char *p;
	char *command;
	size_t size;
	FILE *out = open_memstream(&command, &size);

	if (!out)
		ex_die("out of memory");
	for (p = job->wait ? "%w" : job->spawn; *p; p++) {
		if (*p != '%')
			fputc(*p, out);
		else if (*++p == 'k')
			fprintf(out, "%u", k);
		else if (*p == 'w')
			put_worker_command(out, job, k);
		else if (*p == '%')
			fputc('%', out);
		else
			ex_die("--spawn knows %%k, %%w and %%%% only");
	}
	if (fclose(out) != 0)
		ex_die("out of memory");
	return command;
}

static _Noreturn void child_run(const char *command, pid_t parent)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM); /* if the parent gets SIGKILL */
	if (getppid() != parent)
		_exit(STATUS_LOST);
	if (!freopen("/dev/null", "r", stdin)) /* a ssh would read it */
		_exit(STATUS_LOST);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

void ex_spawn(const struct ex_job *job)
{
	pid_t parent = getpid();
	unsigned k;

	fflush(NULL);
	for (k = 1; k <= job->workers; k++) {
		char *command = command_expand(job, k);
		pid_t pid;

		if (job->wait) {
			fprintf(stderr, "start worker %u: %s\n", k, command);
			free(command);
			continue;
		}
		pid = fork();
		if (pid < 0)
			ex_die("fork: %m");
		if (pid == 0)
			child_run(command, parent);
		setpgid(pid, pid); /* whoever of the two comes first */
		worker[k].pid = pid;
		worker[k].command = command;
	}
	heard = ex_now();
}

/* --- the progress bar --------------------------------------------------- */

void ex_bar_show(struct ex_bar *bar, uint64_t done)
{
	static const char full[] = "########################################";
	unsigned percent = 100;

	if (bar->total)
		percent = (unsigned)((double)done * 100 / (double)bar->total);

	if (isatty(STDERR_FILENO)) {
		if (percent == bar->shown && bar_open)
			return;
		fprintf(stderr, "\r%s [%-*.*s] %3u%%", bar->label, BAR_WIDTH,
			(int)(percent * BAR_WIDTH / 100), full, percent);
		bar_open = percent < 100;
		if (!bar_open)
			fputc('\n', stderr);
	} else if (percent / 25 != bar->shown / 25) {
		fprintf(stderr, "%s %u%%\n", bar->label, percent);
	}
	bar->shown = percent;
}
