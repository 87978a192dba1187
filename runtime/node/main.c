/* SPDX-License-Identifier: BSD-2-Clause */
/* dipcd: options, then keeper and engine. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/config.h"
#include "runtime/base/log.h"
#include "runtime/node/keeper.h"
#include "runtime/node/node.h"

#define ENGINE_HANG_MS 5000u

static const char usage[] =
	"usage: dipcd [--config FILE] [--ready-fd N]\n"
	"The node daemon of libdipc-rdma, in the foreground. See dipcd(8).\n";

struct options {
	const char *config;
	int ready_fd;
};

static int options_parse(int argc, char **argv, struct options *opts)
{
	static const struct option table[] = {
		{"config", required_argument, NULL, 'c'},
		{"ready-fd", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	opts->config = dipc_config_path();
	opts->ready_fd = -1;
	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (c) {
		case 'c':
			opts->config = optarg;
			break;
		case 'r':
			opts->ready_fd = atoi(optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	if (optind == argc)
		return 0;
	fprintf(stderr, "dipcd: unexpected argument %s\n", argv[optind]);
	return -EINVAL;
}

/*
 * A process that is connected costs three descriptors and its userfaultfd, a
 * segment in use two and, at home here on shm, a third: 4,096 segments and a
 * thousand processes must fit.
 */
#define FILES_MIN 20480u

static void raise_limits(void)
{
	struct rlimit limit, more = {FILES_MIN, FILES_MIN};

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	/* not ours to say without the privilege */
	if (limit.rlim_max < FILES_MIN && !setrlimit(RLIMIT_NOFILE, &more))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		dipc_warn("cannot raise the limit of open files: %m");
}

/* The engine's half of the fork. */
static int engine_main(const struct dipc_config *conf, int sock, int ready_fd,
		       pid_t keeper)
{
	/* without its keeper nobody would notice that the engine died */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != keeper)
		return 1;
	return dipc_node_run(conf, sock, ready_fd);
}

int main(int argc, char **argv)
{
	struct dipc_config conf;
	struct options opts;
	char err[512];
	int socks[2];
	pid_t keeper = getpid(), engine;
	int ret;

	dipc_log_init("dipcd");
	if (options_parse(argc, argv, &opts)) {
		fputs(usage, stderr);
		return 2;
	}
	ret = dipc_config_load(opts.config, &conf, err, sizeof(err));
	if (ret) {
		dipc_error("%s", err);
		return 1;
	}
	raise_limits();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks)) {
		dipc_error("socketpair: %m");
		return 1;
	}
	engine = fork();
	if (engine < 0) {
		dipc_error("fork: %m");
		return 1;
	}
	if (engine == 0) {
		close(socks[0]);
		ret = engine_main(&conf, socks[1], opts.ready_fd, keeper);
		_exit(ret);
	}
	close(socks[1]);
	if (opts.ready_fd >= 0)
		close(opts.ready_fd);
	return dipc_keeper_run(socks[0], engine, ENGINE_HANG_MS);
}
