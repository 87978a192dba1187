/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dipc-referee: options, signals, and how it goes into the background. A start
 * that fails says why in one line on stderr and exits with 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "referee/referee.h"
#include "runtime/base/log.h"

#define SPIN_NS (20 * DIPC_USEC)
/* How long the fibers may take to end at a stop. */
#define STOP_NS (2 * DIPC_SEC)

struct options {
	const char *config;
	int ready_fd; /* -1: none */
	bool is_foreground;
};

struct program {
	struct options opt;
	struct dipc_config conf;
	struct dipc_loop *loop;
	struct dipc_referee *ref;
	struct dipc_watch signals;
	int parent_fd; /* background: tells the waiting parent; -1: none */
	int status;
};

static const char usage[] =
	"usage: dipc-referee [--config FILE] [--ready-fd N] [--foreground]\n";

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"ready-fd", required_argument, NULL, 'r'},
	{"foreground", no_argument, NULL, 'f'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* ---- options ------------------------------------------------------------ */

static int parse_fd(const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (!*text || *end || fd < 0 || fd > 1 << 20 ||
	    fcntl((int)fd, F_GETFD) < 0)
		return -1;
	return (int)fd;
}

/* Returns on success only. */
static void options_parse(int argc, char **argv, struct options *opt)
{
	int c;

	while ((c = getopt_long(argc, argv, "c:r:fh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			opt->config = optarg;
			break;
		case 'r':
			opt->ready_fd = parse_fd(optarg);
			if (opt->ready_fd < 0) {
				dipc_error("--ready-fd %s: not an open file "
					   "descriptor",
					   optarg);
				exit(2);
			}
			break;
		case 'f':
			opt->is_foreground = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		exit(2);
	}
}

/* ---- the background ----------------------------------------------------- */

/*
 * The parent waits until the child is ready, so that whoever started us can
 * go on; it exits as the child says. Before anything is opened: verbs does not
 * survive a fork.
 */
static int background(struct program *p)
{
	unsigned char status = 1;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid) {
		close(fds[1]);
		while (read(fds[0], &status, 1) < 0 && errno == EINTR)
			continue;
		_exit(status);
	}
	close(fds[0]);
	p->parent_fd = fds[1];
	setsid();
	return 0;
}

/* Off the terminal's input and output; log lines still go to stderr. */
static void background_done(struct program *p)
{
	unsigned char status = 0;
	int null;

	if (p->parent_fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		close(null);
	}
	if (write(p->parent_fd, &status, 1) != 1)
		dipc_warn("going into the background: %m");
	close(p->parent_fd);
	p->parent_fd = -1;
}

/* ---- running ------------------------------------------------------------ */

static void on_ready(void *arg, int status)
{
	static const char text[] = "ready\n";
	struct program *p = arg;

	if (status) {
		p->status = 1;
		dipc_loop_stop(p->loop);
		return;
	}
	if (p->opt.ready_fd >= 0) {
		if (write(p->opt.ready_fd, text, sizeof(text) - 1) < 0)
			dipc_warn("--ready-fd: %m");
		close(p->opt.ready_fd);
		p->opt.ready_fd = -1;
	}
	background_done(p);
}

static void on_signal(struct dipc_watch *watch, uint32_t events)
{
	struct program *p = dipc_container_of(watch, struct program, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	p->status = 0;
	dipc_loop_stop(p->loop);
}

static int signals_watch(struct program *p)
{
	sigset_t set;
	int ret;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	p->signals.fn = on_signal;
	p->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (p->signals.fd < 0)
		return -errno;
	ret = dipc_loop_watch(p->loop, &p->signals, EPOLLIN);
	if (ret)
		close(p->signals.fd);
	return ret;
}

/* Let the fibers end; what does not is left to the end of the process. */
static bool drain(struct program *p)
{
	struct dipc_sched *sched = dipc_loop_sched(p->loop);
	uint64_t deadline = dipc_sched_now(sched) + STOP_NS;

	dipc_referee_stop(p->ref);
	while (dipc_sched_alive(sched) && dipc_sched_now(sched) < deadline)
		if (dipc_loop_once(p->loop, 10 * DIPC_MSEC))
			break;
	return !dipc_sched_alive(sched);
}

/* With the loop made and signals watched. The exit status. */
static int serve(struct program *p)
{
	char err[512] = "";
	int ret;

	ret = dipc_referee_create(&p->conf, p->loop, on_ready, p, err,
				  sizeof(err), &p->ref);
	if (ret) {
		if (err[0]) /* else its cause was logged */
			dipc_error("%s", err);
		return 1;
	}
	p->status = 1; /* unless a signal ends the loop */
	ret = dipc_loop_run(p->loop);
	if (ret)
		dipc_error("event loop: %s", strerror(-ret));
	if (drain(p))
		dipc_referee_destroy(p->ref);
	return p->status;
}

static int run(struct program *p)
{
	int ret, status = 1;

	ret = dipc_loop_create(dipc_clock_system(), SPIN_NS, &p->loop);
	if (ret)
		goto err_log;
	ret = signals_watch(p);
	if (ret)
		goto err_loop;
	status = serve(p);
	dipc_loop_unwatch(p->loop, &p->signals);
	close(p->signals.fd);
err_loop:
	/* fibers that did not end have stacks the loop still refers to */
	if (!dipc_sched_alive(dipc_loop_sched(p->loop)))
		dipc_loop_destroy(p->loop);
err_log:
	if (ret)
		dipc_error("cannot start: %s", strerror(-ret));
	return status;
}

int main(int argc, char **argv)
{
	struct program p = {
		.opt = {.config = dipc_config_path(), .ready_fd = -1},
		.parent_fd = -1};
	char err[512];
	int ret;

	dipc_log_init("dipc-referee");
	options_parse(argc, argv, &p.opt);
	ret = dipc_config_load(p.opt.config, &p.conf, err, sizeof(err));
	if (ret) {
		dipc_error("%s", err);
		return 1;
	}
	if (!p.opt.is_foreground) {
		ret = background(&p);
		if (ret) {
			dipc_error("cannot fork: %s", strerror(-ret));
			return 1;
		}
	}
	ret = run(&p);
	dipc_config_fini(&p.conf);
	return ret;
}
