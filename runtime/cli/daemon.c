/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/cli/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define READY_FD 3
#define STOP_MS  5000 /* for a clean end */
#define KILL_MS  2000
#define LOG_TAIL 4096

/* ^C while daemons are being started: they must not stay half started. */
static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	is_interrupted = 1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static bool is_referee(const char *name)
{
	return !strcmp(name, "referee");
}

/* ---- starting ----------------------------------------------------------- */

/* The child's half of the fork: never returns. */
static _Noreturn void daemon_exec(const char *program, const char *conf,
				  const char *foreground, int log_fd,
				  int ready_fd)
{
	char ready[16];
	int null_fd;

	setsid();
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	null_fd = open("/dev/null", O_RDONLY);
	dup2(null_fd, STDIN_FILENO);
	dup2(log_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	if (ready_fd == READY_FD)
		fcntl(ready_fd, F_SETFD, 0);
	else
		dup2(ready_fd, READY_FD);
	/* whatever else our caller left open (a pipe it reads to its end) */
	syscall(SYS_close_range, READY_FD + 1, ~0u, 0);
	if (chdir("/")) {
		/* then it keeps this one busy, no more */
	}
	/* a preloaded library is for programs, not for the daemon under it */
	unsetenv("LD_PRELOAD");
	snprintf(ready, sizeof(ready), "%d", READY_FD);
	execl(program, program, "--config", conf, "--ready-fd", ready,
	      foreground, (char *)NULL);
	fprintf(stderr, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

static int pid_file_write(const char *path, pid_t pid)
{
	FILE *f = fopen(path, "we");
	int ret = 0;

	if (!f)
		return -errno;
	if (fprintf(f, "%d\n", (int)pid) < 0)
		ret = -EIO;
	if (fclose(f))
		ret = -errno;
	return ret;
}

static int log_open(const struct dipc_dir *dir, struct dipc_daemon *d)
{
	char path[DIPC_PATH_MAX];
	struct stat st;
	int fd;

	dipc_dir_file(dir, d->name, "log", path);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
		  0644);
	if (fd < 0 || fstat(fd, &st)) {
		dipc_cli_fail("%s: %m", path);
		return -1;
	}
	d->log_start = st.st_size;
	return fd;
}

static int daemon_fork(const struct dipc_dir *dir, struct dipc_daemon *d,
		       const char *program, int log_fd, int ready_fd)
{
	char conf[DIPC_PATH_MAX], path[DIPC_PATH_MAX];
	int ret;

	dipc_dir_file(dir, d->name, "conf", conf);
	dipc_dir_file(dir, d->name, "pid", path);
	d->pid = fork();
	if (d->pid < 0)
		return dipc_cli_fail("%s: %m", program);
	if (d->pid == 0)
		daemon_exec(program, conf,
			    is_referee(d->name) ? "--foreground" : NULL, log_fd,
			    ready_fd);
	d->pid_fd = pidfd_open(d->pid);
	ret = d->pid_fd < 0 ? -errno : pid_file_write(path, d->pid);
	if (ret) {
		kill(d->pid, SIGKILL);
		return dipc_cli_fail("%s: %s", path, strerror(-ret));
	}
	return 0;
}

int dipc_daemon_start(const struct dipc_dir *dir, const char *name,
		      struct dipc_daemon *daemon_out)
{
	const struct sigaction action = {.sa_handler = on_interrupt};
	struct dipc_daemon *d = daemon_out;
	char program[4096];
	int pipe_fds[2];
	int log_fd, ret;

	*d = (struct dipc_daemon){.pid_fd = -1, .ready_fd = -1};
	snprintf(d->name, sizeof(d->name), "%s", name);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (dipc_cli_find_program(is_referee(name) ? "dipc-referee" : "dipcd",
				  program, sizeof(program)))
		return DIPC_EXIT_FAIL;
	log_fd = log_open(dir, d);
	if (log_fd < 0)
		return DIPC_EXIT_FAIL;
	if (pipe2(pipe_fds, O_CLOEXEC)) {
		close(log_fd);
		return dipc_cli_fail("pipe: %m");
	}
	ret = daemon_fork(dir, d, program, log_fd, pipe_fds[1]);
	close(log_fd);
	close(pipe_fds[1]);
	d->ready_fd = pipe_fds[0];
	if (ret)
		dipc_daemon_release(d);
	return ret;
}

/* ---- waiting until they are ready ---------------------------------------- */

/* The last line of its log; "" if it said nothing. */
static void log_last_line(const struct dipc_dir *dir,
			  const struct dipc_daemon *d, char text[LOG_TAIL])
{
	char path[DIPC_PATH_MAX], *line;
	ssize_t n = 0;
	off_t from = d->log_start;
	struct stat st;
	int fd;

	text[0] = '\0';
	dipc_dir_file(dir, d->name, "log", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!fstat(fd, &st)) {
		if (st.st_size - from >= LOG_TAIL)
			from = st.st_size - LOG_TAIL + 1;
		n = pread(fd, text, LOG_TAIL - 1, from);
	}
	close(fd);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n > 0 ? n : 0] = '\0';
	line = strrchr(text, '\n');
	if (line)
		memmove(text, line + 1, strlen(line));
}

static int complain(const struct dipc_dir *dir, const struct dipc_daemon *d,
		    const char *what)
{
	char path[DIPC_PATH_MAX], text[LOG_TAIL];

	log_last_line(dir, d, text);
	dipc_dir_file(dir, d->name, "log", path);
	if (text[0])
		return dipc_cli_fail("%s %s: %s", d->name, what, text);
	return dipc_cli_fail("%s %s and said nothing in %s", d->name, what,
			     path);
}

/* 0, the descriptor closed when it is ready; or < 0, said. */
static int ready_read(const struct dipc_dir *dir, struct dipc_daemon *d)
{
	char text[16];
	ssize_t n = read(d->ready_fd, text, sizeof(text));

	if (n < 0 && errno == EINTR)
		return 0;
	close(d->ready_fd);
	d->ready_fd = -1;
	if (n > 0 && !strncmp(text, "ready", 5))
		return 0;
	/* its log is complete when it has ended, a moment after the pipe */
	poll(&(struct pollfd){.fd = d->pid_fd, .events = POLLIN}, 1, 1000);
	complain(dir, d, "did not start");
	return -1;
}

/* poll() has returned RET; how many are waited for still, < 0: give up. */
static int ready_collect(const struct dipc_dir *dir,
			 struct dipc_daemon *daemons, const struct pollfd *fds,
			 unsigned nr, int ret)
{
	unsigned i;
	int left = 0;

	for (i = 0; i < nr; i++) {
		if (daemons[i].ready_fd < 0)
			continue;
		if (ret == 0) {
			complain(dir, &daemons[i], "is not ready in time");
			return -1;
		}
		if (ret > 0 && fds[i].revents &&
		    ready_read(dir, &daemons[i]) < 0)
			return -1;
		left += daemons[i].ready_fd >= 0;
	}
	return left;
}

int dipc_daemons_await(const struct dipc_dir *dir, struct dipc_daemon *daemons,
		       unsigned nr, unsigned timeout_ms)
{
	struct pollfd fds[DIPC_DAEMONS_MAX];
	uint64_t now, end = now_ms() + timeout_ms;
	int left = 0, ret;
	unsigned i;

	for (i = 0; i < nr; i++)
		left += daemons[i].ready_fd >= 0;
	while (left > 0) {
		for (i = 0; i < nr; i++)
			fds[i] = (struct pollfd){.fd = daemons[i].ready_fd,
						 .events = POLLIN};
		now = now_ms();
		ret = poll(fds, nr, now < end ? (int)(end - now) : 0);
		if (is_interrupted)
			return dipc_cli_fail("interrupted");
		left = ready_collect(dir, daemons, fds, nr, ret);
	}
	return left ? DIPC_EXIT_FAIL : 0;
}

/* ---- finding ------------------------------------------------------------- */

/* The pid may have gone to a stranger: ours was started with CONF. */
static bool is_started_with(pid_t pid, const char *conf)
{
	char path[64], args[2048];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, args, sizeof(args));
	close(fd);
	return n > 0 && memmem(args, (size_t)n, conf, strlen(conf) + 1);
}

bool dipc_daemon_find(const struct dipc_dir *dir, const char *name,
		      struct dipc_daemon *daemon_out)
{
	char path[DIPC_PATH_MAX], conf[DIPC_PATH_MAX];
	struct dipc_daemon *d = daemon_out;
	int pid = 0;
	FILE *f;

	*d = (struct dipc_daemon){.pid_fd = -1, .ready_fd = -1};
	snprintf(d->name, sizeof(d->name), "%s", name);
	dipc_dir_file(dir, name, "pid", path);
	dipc_dir_file(dir, name, "conf", conf);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fscanf(f, "%d", &pid) != 1 || pid <= 1)
		pid = 0;
	fclose(f);
	if (!pid)
		return false;
	d->pid = pid;
	/* first hold it, then look who it is: no reuse in between */
	d->pid_fd = pidfd_open(pid);
	if (d->pid_fd >= 0 && is_started_with(pid, conf))
		return true;
	dipc_daemon_release(d);
	return false;
}

/* ---- stopping ------------------------------------------------------------ */

static void daemons_await_end(struct dipc_daemon *daemons, unsigned nr,
			      unsigned timeout_ms)
{
	uint64_t now, end = now_ms() + timeout_ms;
	unsigned i;

	for (i = 0; i < nr; i++) {
		struct pollfd fd = {.fd = daemons[i].pid_fd, .events = POLLIN};

		if (fd.fd < 0)
			continue;
		do {
			now = now_ms();
		} while (poll(&fd, 1, now < end ? (int)(end - now) : 0) < 0 &&
			 errno == EINTR);
		if (fd.revents)
			dipc_daemon_release(&daemons[i]);
	}
}

static void daemons_signal(struct dipc_daemon *daemons, unsigned nr, int sig)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		struct dipc_daemon *d = &daemons[i];

		if (d->pid_fd < 0)
			continue;
		if (sig == SIGKILL) {
			dipc_cli_fail("%s (pid %d) did not stop in %d s: "
				      "killed",
				      d->name, (int)d->pid, STOP_MS / 1000);
			/* dipcd is two processes, in the session we made */
			kill(-d->pid, SIGKILL);
		}
		syscall(SYS_pidfd_send_signal, d->pid_fd, sig, NULL, 0);
	}
}

int dipc_daemons_stop(const struct dipc_dir *dir, struct dipc_daemon *daemons,
		      unsigned nr)
{
	char path[DIPC_PATH_MAX];
	int ret = 0;
	unsigned i;

	daemons_signal(daemons, nr, SIGTERM);
	daemons_await_end(daemons, nr, STOP_MS);
	daemons_signal(daemons, nr, SIGKILL);
	daemons_await_end(daemons, nr, KILL_MS);
	for (i = 0; i < nr; i++) {
		if (daemons[i].pid_fd < 0) {
			dipc_dir_file(dir, daemons[i].name, "pid", path);
			unlink(path);
			continue;
		}
		ret = dipc_cli_fail("%s (pid %d) cannot be stopped",
				    daemons[i].name, (int)daemons[i].pid);
		dipc_daemon_release(&daemons[i]);
	}
	return ret;
}

void dipc_daemon_forget(const struct dipc_dir *dir, const char *name)
{
	static const char *const suffixes[] = {"pid", "sock", "shm", "conf"};
	char path[DIPC_PATH_MAX];
	unsigned i;

	for (i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		dipc_dir_file(dir, name, suffixes[i], path);
		unlink(path);
	}
}

void dipc_daemon_release(struct dipc_daemon *daemon)
{
	if (daemon->pid_fd >= 0)
		close(daemon->pid_fd);
	if (daemon->ready_fd >= 0)
		close(daemon->ready_fd);
	daemon->pid_fd = -1;
	daemon->ready_fd = -1;
}
