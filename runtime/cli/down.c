/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc down: nodes first, so that they can say good-bye; then the referee. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cli/daemon.h"

static unsigned find_nodes(const struct dipc_dir *dir,
			   struct dipc_daemon daemons[DIPC_CLI_NODES])
{
	unsigned node, nr = 0;
	char name[16];

	for (node = 1; node <= DIPC_CLI_NODES; node++) {
		dipc_dir_node_name(node, name);
		if (dipc_daemon_find(dir, name, &daemons[nr]))
			nr++;
	}
	return nr;
}

/* What daemons that were killed, or crashed, have left. */
static void forget_all(const struct dipc_dir *dir)
{
	char name[16];
	unsigned node;

	dipc_daemon_forget(dir, "referee");
	for (node = 1; node <= DIPC_CLI_NODES; node++) {
		dipc_dir_node_name(node, name);
		dipc_daemon_forget(dir, name);
	}
}

static int down(const struct dipc_dir *dir)
{
	struct dipc_daemon nodes[DIPC_CLI_NODES], referee;
	unsigned nr = find_nodes(dir, nodes);
	bool has_referee = dipc_daemon_find(dir, "referee", &referee);
	int ret = 0;

	if (nr)
		ret = dipc_daemons_stop(dir, nodes, nr);
	if (has_referee && dipc_daemons_stop(dir, &referee, 1))
		ret = DIPC_EXIT_FAIL;
	if (ret)
		return ret;
	forget_all(dir);
	if (nr || has_referee)
		printf("stopped: %u node%s%s\n", nr, nr == 1 ? "" : "s",
		       has_referee ? " and the referee" : "");
	else
		printf("nothing is running in %s\n", dir->path);
	return 0;
}

int dipc_cmd_down(int argc, char **argv)
{
	static const struct option table[] = {
		{"dir", required_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *dir_option = NULL;
	struct dipc_dir dir;
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		if (c == 'h')
			return dipc_cli_help();
		if (c != 'd')
			return DIPC_EXIT_USAGE;
		dir_option = optarg;
	}
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	if (dipc_dir_choose_own(dir_option, &dir))
		return DIPC_EXIT_FAIL;
	if (access(dir.path, F_OK)) {
		printf("nothing is running in %s\n", dir.path);
		return 0;
	}
	if (access(dir.path, W_OK))
		return dipc_cli_fail("%s: %m", dir.path);
	if (dipc_dir_lock(&dir))
		return DIPC_EXIT_FAIL;
	return down(&dir);
}
