/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The controller's half of a round: start the workers, role 0 first, since it
 * makes the objects; end them in the other order, since it removes them.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60 /* for a round, times $DIPC_TEST_SLOW */
#define ARGS_MAX   24

extern char **environ;

struct worker {
	pid_t pid; /* 0: not running */
	int to;    /* owned; its stdin, -1: none */
	int from;  /* owned; its stdout, -1: none */
};

/* relaxed: nothing else is handed over with it; lock-free, so for handlers */
static atomic_bool is_stopped;

static void on_signal(int signo)
{
	(void)signo;
	atomic_store_explicit(&is_stopped, true, memory_order_relaxed);
}

void bench_catch_signals(void)
{
	/* no SA_RESTART: poll() below has to notice */
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

bool bench_is_stopped(void)
{
	return atomic_load_explicit(&is_stopped, memory_order_relaxed);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t deadline_ms(void)
{
	const char *text = getenv("DIPC_TEST_SLOW");
	int slow = text ? atoi(text) : 1;

	return now_ms() + 1000ll * PATIENCE_S * (slow > 0 ? slow : 1);
}

/* ---- one worker --------------------------------------------------------- */

static int spawn(struct worker *worker, const int in[2], const int out[2],
		 const char **args)
{
	posix_spawn_file_actions_t actions;
	int ret;

	ret = posix_spawn_file_actions_init(&actions);
	if (ret)
		return ret;
	ret = posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(&actions, out[1],
						       STDOUT_FILENO);
	if (!ret)
		ret = posix_spawn(&worker->pid, args[0], &actions, NULL,
				  (char *const *)args, environ);
	posix_spawn_file_actions_destroy(&actions);
	return ret;
}

static int worker_start(struct worker *worker, const char **args)
{
	int in[2], out[2], ret;

	if (pipe2(in, O_CLOEXEC))
		return bench_fail("pipe");
	if (pipe2(out, O_CLOEXEC)) {
		bench_fail("pipe");
		goto err_in;
	}
	ret = spawn(worker, in, out, args);
	if (ret) {
		worker->pid = 0;
		errno = ret;
		bench_fail("%s", args[0]);
		goto err_out;
	}
	close(in[0]);
	close(out[1]);
	worker->to = in[1];
	worker->from = out[0];
	return 0;

err_out:
	close(out[0]);
	close(out[1]);
err_in:
	close(in[0]);
	close(in[1]);
	return -1;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Whatever it is doing. */
static void worker_fini(struct worker *worker)
{
	fd_close(&worker->to);
	fd_close(&worker->from);
	if (!worker->pid)
		return;
	kill(worker->pid, SIGKILL);
	while (waitpid(worker->pid, NULL, 0) < 0 && errno == EINTR)
		;
	worker->pid = 0;
}

/* LEN bytes of what it says: 0, or -1, said. */
static int worker_read(struct worker *worker, void *bytes, size_t len,
		       int64_t deadline)
{
	struct pollfd pfd = {.fd = worker->from, .events = POLLIN};
	char *pos = bytes;

	while (len) {
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (bench_is_stopped())
			return -1;
		if (left <= 0) {
			errno = ETIMEDOUT;
			return bench_fail("worker");
		}
		if (poll(&pfd, 1, (int)left) <= 0)
			continue;
		n = read(worker->from, pos, len);
		if (n <= 0) {
			errno = n ? errno : EPIPE;
			return bench_fail("worker has ended early");
		}
		pos += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- a round ------------------------------------------------------------ */

static int role_start(const struct bench_cluster *cluster,
		      const struct bench *bench, unsigned side, unsigned role,
		      key_t key, unsigned count, struct worker *worker)
{
	char side_text[12], role_text[12], node_text[12], key_text[16];
	char count_text[12];
	const char *args[ARGS_MAX];
	unsigned n = 0;
	int ret;

	snprintf(side_text, sizeof(side_text), "%u", side);
	snprintf(role_text, sizeof(role_text), "%u", role);
	snprintf(node_text, sizeof(node_text), "%u",
		 bench->side[side].is_one_node ? 1 : role + 1);
	snprintf(key_text, sizeof(key_text), "%#x", (unsigned)key);
	snprintf(count_text, sizeof(count_text), "%u", count);
	if (bench->side[side].is_on_nodes) {
		args[n++] = cluster->dipc;
		args[n++] = "run";
		args[n++] = "--node";
		args[n++] = node_text;
		args[n++] = "--dir";
		args[n++] = cluster->dir;
		args[n++] = "--";
	}
	args[n++] = cluster->self;
	args[n++] = "--worker";
	args[n++] = bench->name;
	args[n++] = side_text;
	args[n++] = role_text;
	args[n++] = key_text;
	args[n++] = count_text;
	args[n++] = cluster->transport;
	args[n++] = cluster->address;
	args[n] = NULL;
	if (bench->side[side].faults)
		setenv("DIPC_FAULTS", bench->side[side].faults, 1);
	ret = worker_start(worker, args);
	if (bench->side[side].faults)
		unsetenv("DIPC_FAULTS");
	return ret;
}

static int roles_run(const struct bench_cluster *cluster,
		     const struct bench *bench, unsigned side, key_t key,
		     unsigned count, struct worker *workers,
		     struct bench_result *result_out)
{
	unsigned role, nr = bench->side[side].nr_roles;
	int64_t deadline = deadline_ms();
	struct bench_result result;
	char ready;

	for (role = 0; role < nr; role++) {
		if (role_start(cluster, bench, side, role, key, count,
			       &workers[role]) ||
		    worker_read(&workers[role], &ready, 1, deadline))
			return -1;
	}
	while (role--) {
		fd_close(&workers[role].to); /* ends bench_run_hold() */
		if (worker_read(&workers[role], &result, sizeof(result),
				deadline))
			return -1;
		if (result.ops_per_s > 0)
			*result_out = result;
	}
	return 0;
}

int bench_round(const struct bench_cluster *cluster, const struct bench *bench,
		unsigned side, key_t key, unsigned count,
		struct bench_result *result_out)
{
	struct worker workers[BENCH_ROLES_MAX];
	unsigned role;
	int ret;

	for (role = 0; role < BENCH_ROLES_MAX; role++)
		workers[role] = (struct worker){.to = -1, .from = -1};
	ret = roles_run(cluster, bench, side, key, count, workers, result_out);
	/* who has sent its result has nothing more to do */
	for (role = 0; role < BENCH_ROLES_MAX; role++)
		worker_fini(&workers[role]);
	if (ret && !bench_is_stopped())
		fprintf(stderr, "dipc-bench: %s: the side '%s' has failed\n",
			bench->name, bench->side[side].name);
	return ret;
}
