/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc run: the environment that puts a program on a node, then exec. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/cli/dir.h"

#define EXIT_NO_EXEC   126 /* as env(1) and the shells */
#define EXIT_NOT_FOUND 127

/* A dipcd that hangs is not told from one that is busy: connect() is all. */
static bool is_serving(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, ret;

	if (strlen(path) >= sizeof(addr.sun_path))
		return false;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	ret = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	ret = ret && errno != EAGAIN;
	close(fd);
	return !ret;
}

/* "1, 2, 3": nodes of DIR that serve. */
static void list_nodes(const struct dipc_dir *dir, char *text, size_t size)
{
	unsigned nodes[DIPC_CLI_NODES];
	unsigned i, nr = dipc_dir_nodes(dir, nodes);
	char name[16], path[DIPC_PATH_MAX];
	size_t len = 0;

	snprintf(text, size, "none");
	for (i = 0; i < nr; i++) {
		dipc_dir_node_name(nodes[i], name);
		dipc_dir_file(dir, name, "sock", path);
		if (is_serving(path))
			len += (size_t)snprintf(text + len, size - len, "%s%u",
						len ? ", " : "", nodes[i]);
	}
}

static int set_node(const char *dir_option, unsigned node)
{
	char name[16], conf[DIPC_PATH_MAX], path[DIPC_PATH_MAX], list[256];
	unsigned nodes[DIPC_CLI_NODES];
	struct dipc_dir dir;

	if (dipc_dir_choose(dir_option, &dir))
		return DIPC_EXIT_FAIL;
	dipc_dir_node_name(node, name);
	dipc_dir_file(&dir, name, "conf", conf);
	dipc_dir_file(&dir, name, "sock", path);
	if (!dipc_dir_nodes(&dir, nodes))
		return dipc_cli_fail("no cluster in %s: `dipc up%s` starts one",
				     dir.path, dipc_dir_hint(&dir));
	/* without a daemon the program would run, on the kernel's objects */
	if (!is_serving(path)) {
		list_nodes(&dir, list, sizeof(list));
		return dipc_cli_fail("node %u does not run in %s; nodes that "
				     "do: %s",
				     node, dir.path, list);
	}
	if (setenv("DIPC_SOCKET", path, 1) || setenv("DIPC_CONF", conf, 1))
		return dipc_cli_fail("%m");
	return 0;
}

static int set_preload(void)
{
	const char *old = getenv("LD_PRELOAD");
	char library[4096], *value;
	size_t len;
	int ret;

	if (dipc_cli_find_library(library, sizeof(library)))
		return DIPC_EXIT_FAIL;
	if (strpbrk(library, " :"))
		return dipc_cli_fail("%s: LD_PRELOAD cannot hold a name with "
				     "a blank or a colon",
				     library);
	len = strlen(library);
	if (old && !strncmp(old, library, len) &&
	    (!old[len] || old[len] == ':'))
		return 0; /* we are being run by ourselves */
	if (asprintf(&value, "%s%s%s", library, old && old[0] ? ":" : "",
		     old ? old : "") < 0)
		return dipc_cli_fail("%m");
	ret = setenv("LD_PRELOAD", value, 1);
	free(value);
	return ret ? dipc_cli_fail("%m") : 0;
}

struct run {
	unsigned long node;
	const char *dir_option;
	const char *keys;
};

static int run_parse(struct run *run, int argc, char **argv)
{
	static const struct option table[] = {
		{"node", required_argument, NULL, 'n'},
		{"dir", required_argument, NULL, 'd'},
		{"all-keys", no_argument, NULL, 'a'},
		{"keys", required_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	/* +: the program's options are its own */
	while ((c = getopt_long(argc, argv, "+hn:", table, NULL)) != -1) {
		switch (c) {
		case 'n':
			if (dipc_cli_number("--node", optarg, 1, DIPC_CLI_NODES,
					    &run->node))
				return DIPC_EXIT_USAGE;
			break;
		case 'd':
			run->dir_option = optarg;
			break;
		case 'a':
			run->keys = "all";
			break;
		case 'k':
			run->keys = optarg;
			break;
		case 'h':
			exit(dipc_cli_help());
		default:
			return DIPC_EXIT_USAGE;
		}
	}
	if (!run->node)
		return dipc_cli_usage("--node K is missing");
	if (optind == argc)
		return dipc_cli_usage("no program");
	return 0;
}

int dipc_cmd_run(int argc, char **argv)
{
	struct run run = {0};

	if (run_parse(&run, argc, argv))
		return DIPC_EXIT_USAGE;
	if (set_node(run.dir_option, (unsigned)run.node) || set_preload())
		return DIPC_EXIT_FAIL;
	if (run.keys && setenv("DIPC_KEYS", run.keys, 1))
		return dipc_cli_fail("%m");
	execvp(argv[optind], argv + optind);
	dipc_cli_fail("%s: %m", argv[optind]);
	return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NO_EXEC;
}
