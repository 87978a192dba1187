/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dipc up: write the configuration of each daemon, start the referee, then all
 * nodes at once. Whatever fails, nothing that was started here stays.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/config.h"
#include "runtime/base/ticket.h"
#include "runtime/cli/conf.h"
#include "runtime/cli/daemon.h"
#include "runtime/cli/place.h"

#define REFEREE_PORT 7341u /* as in dipc.conf(5) */

struct up {
	/* options; strings are argv's; 0 and NULL: not given */
	unsigned long nodes, node, port, timeout_s;
	const char *transport, *dir_option, *join, *key;
	bool is_referee_only, is_again, has_address;
	struct dipc_conf set;
	/* found out */
	struct dipc_place place;
	char key_file[192]; /* what dipc.conf(5) can hold */
	struct dipc_dir dir;
	unsigned nr; /* daemons started */
	struct dipc_daemon daemon[DIPC_DAEMONS_MAX];
};

/* ---- options ------------------------------------------------------------ */

static int up_set_address(struct up *up, const char *text)
{
	struct in6_addr addr;

	if (!inet_pton(AF_INET, text, &addr) &&
	    !inet_pton(AF_INET6, text, &addr))
		return dipc_cli_usage("--address %.80s: not an IP address",
				      text);
	strcpy(up->place.address, text);
	up->has_address = true;
	return 0;
}

static int up_option(struct up *up, int c)
{
	switch (c) {
	case 'n':
		return dipc_cli_number("--nodes", optarg, 1, DIPC_CLI_NODES,
				       &up->nodes);
	case 'N':
		return dipc_cli_number("--node", optarg, 1, DIPC_CLI_NODES,
				       &up->node);
	case 'p':
		return dipc_cli_number("--port", optarg, 1, 65535, &up->port);
	case 'T':
		return dipc_cli_number("--timeout", optarg, 1, 3600,
				       &up->timeout_s);
	case 's':
		return dipc_conf_set(&up->set, optarg);
	case 'a':
		return up_set_address(up, optarg);
	case 't':
		up->transport = optarg;
		return 0;
	case 'd':
		up->dir_option = optarg;
		return 0;
	case 'j':
		up->join = optarg;
		return 0;
	case 'k':
		up->key = optarg;
		return 0;
	case 'r':
		up->is_referee_only = true;
		return 0;
	case 'A':
		up->is_again = true;
		return 0;
	}
	return DIPC_EXIT_USAGE; /* getopt has said it */
}

static int up_check_options(struct up *up)
{
	int modes = (up->nodes != 0) + (up->join != NULL) +
		    up->is_referee_only + up->is_again;

	if (modes > 1)
		return dipc_cli_usage("--nodes, --referee-only, --join and "
				      "--again exclude each other");
	if (modes == 0)
		up->nodes = 3;
	if ((up->join != NULL) != (up->node != 0))
		return dipc_cli_usage("--join and --node belong together");
	if (up->join && !strchr(up->join, ':'))
		return dipc_cli_usage("--join %s: not HOST:PORT", up->join);
	if (up->join && strlen(up->join) >= sizeof(up->place.referee))
		return dipc_cli_usage("--join: too long");
	if (up->join && up->port)
		return dipc_cli_usage("--port stands in --join HOST:PORT");
	if (up->transport && strcmp(up->transport, "shm") &&
	    strcmp(up->transport, "verbs"))
		return dipc_cli_usage("--transport %s: shm or verbs",
				      up->transport);
	return 0;
}

static int up_parse(struct up *up, int argc, char **argv)
{
	static const struct option table[] = {
		{"nodes", required_argument, NULL, 'n'},
		{"node", required_argument, NULL, 'N'},
		{"transport", required_argument, NULL, 't'},
		{"dir", required_argument, NULL, 'd'},
		{"address", required_argument, NULL, 'a'},
		{"port", required_argument, NULL, 'p'},
		{"key", required_argument, NULL, 'k'},
		{"timeout", required_argument, NULL, 'T'},
		{"set", required_argument, NULL, 's'},
		{"join", required_argument, NULL, 'j'},
		{"referee-only", no_argument, NULL, 'r'},
		{"again", no_argument, NULL, 'A'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	up->timeout_s = 10;
	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		if (c == 'h')
			exit(dipc_cli_help());
		if (up_option(up, c))
			return DIPC_EXIT_USAGE;
	}
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	return up_check_options(up);
}

/* ---- configuration ------------------------------------------------------ */

static int up_find_key(struct up *up)
{
	uint8_t key[DIPC_KEY_LEN];
	char err[512], full[4096];
	int ret;

	if (up->key) {
		if (!realpath(up->key, full))
			return dipc_cli_fail("--key %s: %m", up->key);
		if (strlen(full) >= sizeof(up->key_file))
			return dipc_cli_fail("--key %s: its name is too long",
					     full);
		strcpy(up->key_file, full);
	} else {
		dipc_dir_file(&up->dir, "cluster.key", NULL, full);
		strcpy(up->key_file, full);
		if (up->join && access(full, F_OK))
			return dipc_cli_fail("--join needs --key: a copy of "
					     "the cluster's key");
		ret = up->join ? -EEXIST
			       : dipc_key_make(full, err, sizeof(err));
		if (ret && ret != -EEXIST)
			return dipc_cli_fail("%s", err);
	}
	if (dipc_key_load(up->key_file, key, err, sizeof(err)))
		return dipc_cli_fail("%s", err);
	explicit_bzero(key, sizeof(key));
	return 0;
}

static int conf_add_cluster(const struct up *up, struct dipc_conf *conf)
{
	*conf = up->set;
	if (dipc_conf_add(conf, "cluster", "referee", "%s",
			  up->place.referee) ||
	    dipc_conf_add(conf, "cluster", "key-file", "%s", up->key_file) ||
	    dipc_conf_add(conf, "cluster", "transport", "%s",
			  up->place.is_verbs ? "verbs" : "shm"))
		return DIPC_EXIT_FAIL;
	return 0;
}

static int conf_add_address(const struct up *up, struct dipc_conf *conf,
			    const char *daemon, const char *section,
			    const char *name)
{
	char path[DIPC_PATH_MAX];

	dipc_dir_file(&up->dir, daemon, "shm", path);
	return dipc_conf_add(conf, section, name, "%s",
			     up->place.is_verbs ? up->place.address : path);
}

static int conf_write(const struct up *up, const struct dipc_conf *conf,
		      const char *name)
{
	char path[DIPC_PATH_MAX];

	dipc_dir_file(&up->dir, name, "conf", path);
	return dipc_conf_write(conf, path);
}

static int up_write_referee(const struct up *up)
{
	struct dipc_conf conf;

	return conf_add_cluster(up, &conf) ||
	       conf_add_address(up, &conf, "referee", "referee",
				"referee-address") ||
	       conf_write(up, &conf, "referee");
}

static int up_write_node(const struct up *up, unsigned node)
{
	char name[16], path[DIPC_PATH_MAX];
	struct dipc_conf conf;

	dipc_dir_node_name(node, name);
	dipc_dir_file(&up->dir, name, "sock", path);
	return conf_add_cluster(up, &conf) ||
	       dipc_conf_add(&conf, "node", "node", "%u", node) ||
	       dipc_conf_add(&conf, "node", "socket", "%s", path) ||
	       conf_add_address(up, &conf, name, "node", "address") ||
	       conf_write(up, &conf, name);
}

static int up_configure(struct up *up)
{
	const char *host = up->has_address ? up->place.address : "127.0.0.1";
	unsigned port = (unsigned)up->port;
	unsigned node;

	if (dipc_place_transport(&up->place, up->transport) || up_find_key(up))
		return DIPC_EXIT_FAIL;
	if (up->join) {
		strcpy(up->place.referee, up->join);
		return up_write_node(up, (unsigned)up->node);
	}
	if (up->is_referee_only && up->place.is_verbs)
		host = up->place.address;
	if (up->is_referee_only && !port)
		port = REFEREE_PORT;
	if (dipc_place_referee(&up->place, host, port) || up_write_referee(up))
		return DIPC_EXIT_FAIL;
	for (node = 1; node <= up->nodes; node++)
		if (up_write_node(up, node))
			return DIPC_EXIT_FAIL;
	return 0;
}

/* ---- starting ----------------------------------------------------------- */

static bool is_running(const struct up *up, const char *name)
{
	struct dipc_daemon d;

	if (!dipc_daemon_find(&up->dir, name, &d))
		return false;
	dipc_daemon_release(&d);
	return true;
}

/* Nothing may be running that this would start. */
static int up_check_free(const struct up *up)
{
	char name[16] = "referee";
	unsigned node, last = up->nodes ? DIPC_CLI_NODES : 0;

	if (up->join)
		dipc_dir_node_name((unsigned)up->node, name);
	for (node = 0; node <= last; node++) {
		if (node)
			dipc_dir_node_name(node, name);
		if (is_running(up, name))
			return dipc_cli_fail(
				"%s is already running in %s: `dipc down%s` "
				"stops it, `dipc up --again` adds what died",
				name, up->dir.path, dipc_dir_hint(&up->dir));
	}
	return 0;
}

static int up_start(struct up *up, const char *name)
{
	if (dipc_daemon_start(&up->dir, name, &up->daemon[up->nr]))
		return DIPC_EXIT_FAIL;
	up->nr++;
	return 0;
}

static int up_await(struct up *up)
{
	return dipc_daemons_await(&up->dir, up->daemon, up->nr,
				  (unsigned)up->timeout_s * 1000);
}

/* Every daemon that has a configuration and does not run. */
static int up_start_all(struct up *up)
{
	char name[16], path[DIPC_PATH_MAX];
	unsigned nodes[DIPC_CLI_NODES];
	unsigned i, nr = dipc_dir_nodes(&up->dir, nodes);

	dipc_dir_file(&up->dir, "referee", "conf", path);
	if (!up->join && !access(path, F_OK) && !is_running(up, "referee") &&
	    (up_start(up, "referee") || up_await(up)))
		return DIPC_EXIT_FAIL;
	for (i = 0; i < nr; i++) {
		if (up->is_referee_only || (up->join && nodes[i] != up->node))
			continue;
		dipc_dir_node_name(nodes[i], name);
		if (!is_running(up, name) && up_start(up, name))
			return DIPC_EXIT_FAIL;
	}
	return up_await(up);
}

/* What a fresh start would have: all names; else the one that it is about. */
static void up_forget(const struct up *up)
{
	char name[16] = "referee";
	unsigned node, last = up->nodes ? DIPC_CLI_NODES : 0;

	if (up->join)
		dipc_dir_node_name((unsigned)up->node, name);
	for (node = 0; node <= last; node++) {
		if (node)
			dipc_dir_node_name(node, name);
		dipc_daemon_forget(&up->dir, name);
	}
}

static void up_undo(struct up *up)
{
	/* the referee is the first, if it was started: nodes before it */
	if (up->nr > 1)
		dipc_daemons_stop(&up->dir, up->daemon + 1, up->nr - 1);
	if (up->nr)
		dipc_daemons_stop(&up->dir, up->daemon, 1);
	if (!up->is_again)
		up_forget(up);
}

/* ---- the end of it ------------------------------------------------------- */

/* Where the referee listens; with --again only its configuration knows. */
static const char *referee_address(struct up *up)
{
	char path[DIPC_PATH_MAX], err[256];
	struct dipc_config conf;

	dipc_dir_file(&up->dir, "referee", "conf", path);
	if (!up->place.referee[0] &&
	    !dipc_config_load(path, &conf, err, sizeof(err))) {
		snprintf(up->place.referee, sizeof(up->place.referee), "%s",
			 conf.referee);
		dipc_config_fini(&conf);
	}
	return up->place.referee;
}

static void report_how_to_join(const struct up *up)
{
	if (up->place.is_verbs)
		printf("other machines, each with a copy of %s:\n"
		       "  dipc up --join %s --node K --address IP "
		       "--key FILE\n",
		       up->key_file, up->place.referee);
	else
		printf("its nodes, on this machine:\n"
		       "  dipc up%s --join %s --node K --transport shm\n",
		       dipc_dir_hint(&up->dir), up->place.referee);
}

static void up_report(struct up *up)
{
	const char *hint = dipc_dir_hint(&up->dir);
	unsigned i, node, first = 0;

	for (i = 0; i < up->nr; i++) {
		const struct dipc_daemon *d = &up->daemon[i];

		if (sscanf(d->name, "node%u", &node) == 1) {
			printf("node %u: %s/%s.sock, pid %d\n", node,
			       up->dir.path, d->name, (int)d->pid);
			first = first ? first : node;
		} else {
			printf("referee: %s, pid %d\n", referee_address(up),
			       (int)d->pid);
		}
	}
	if (!up->nr)
		puts("everything is running");
	if (up->is_referee_only)
		report_how_to_join(up);
	if (first)
		printf("run a program:  dipc run%s --node %u -- PROGRAM\n",
		       hint, first);
	printf("stop:           dipc down%s\n", hint);
}

int dipc_cmd_up(int argc, char **argv)
{
	static struct up up; /* large, and zero */
	unsigned i;
	int ret;

	if (up_parse(&up, argc, argv))
		return DIPC_EXIT_USAGE;
	if (dipc_dir_choose_own(up.dir_option, &up.dir) ||
	    dipc_dir_make(&up.dir) || dipc_dir_lock(&up.dir))
		return DIPC_EXIT_FAIL;
	if (!up.is_again) {
		if (up_check_free(&up))
			return DIPC_EXIT_FAIL;
		up_forget(&up); /* what a crash has left */
	}
	ret = up.is_again ? 0 : up_configure(&up);
	if (!ret)
		ret = up_start_all(&up);
	if (ret) {
		up_undo(&up);
		return DIPC_EXIT_FAIL;
	}
	up_report(&up);
	for (i = 0; i < up.nr; i++)
		dipc_daemon_release(&up.daemon[i]);
	return 0;
}
