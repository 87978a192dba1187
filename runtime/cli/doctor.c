/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dipc doctor: the machine (host.c), then each configuration: its key, its
 * referee, its dipcd. Exit status 0 if nothing has to be mended.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/hostport.h"
#include "runtime/base/ticket.h"
#include "runtime/cli/dir.h"
#include "runtime/cli/finding.h"
#include "runtime/cli/session.h"

#define CONNECT_MS 3000

static unsigned nr_fails;

/* ---- findings ----------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void
finding(const char *word, const char *fmt, va_list ap)
{
	printf("%-5s ", word);
	vprintf(fmt, ap);
	putchar('\n');
}

void dipc_finding_ok(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	finding("ok", fmt, ap);
	va_end(ap);
}

void dipc_finding_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	finding("note", fmt, ap);
	va_end(ap);
}

void dipc_finding_fail(const char *mend, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	finding("FAIL", fmt, ap);
	va_end(ap);
	if (mend)
		printf("      mend: %s\n", mend);
	nr_fails++;
}

/* ---- one configuration -------------------------------------------------- */

static void check_key(const struct dipc_config *conf)
{
	uint8_t key[DIPC_KEY_LEN];
	char err[512], mend[256];
	int ret = dipc_key_load(conf->key_file, key, err, sizeof(err));

	explicit_bzero(key, sizeof(key));
	if (!ret) {
		dipc_finding_ok("key %s", conf->key_file);
		return;
	}
	if (ret == -EACCES) {
		dipc_finding_note("key-file %s: not yours to read: run the "
				  "doctor as the user of dipcd",
				  conf->key_file);
		return;
	}
	snprintf(mend, sizeof(mend), "dipc key %s", conf->key_file);
	dipc_finding_fail(mend, "%s", err);
}

/* 0 or -errno, within CONNECT_MS. */
static int connect_to(const struct addrinfo *info)
{
	struct pollfd p = {.events = POLLOUT};
	socklen_t len = sizeof(int);
	int err = 0;

	p.fd = socket(info->ai_family,
		      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p.fd < 0)
		return -errno;
	if (connect(p.fd, info->ai_addr, info->ai_addrlen)) {
		err = errno;
		if (err == EINPROGRESS && poll(&p, 1, CONNECT_MS) == 0)
			err = ETIMEDOUT;
		else if (err == EINPROGRESS)
			getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &err, &len);
	}
	close(p.fd);
	return -err;
}

static void check_referee(const struct dipc_config *conf)
{
	struct addrinfo *list, *info;
	char err[256];
	int ret;

	if (dipc_hostport_resolve(conf->referee, false, err, sizeof(err),
				  &list)) {
		dipc_finding_fail(NULL, "%s", err);
		return;
	}
	ret = -EHOSTUNREACH;
	for (info = list; info && ret; info = info->ai_next)
		ret = connect_to(info);
	freeaddrinfo(list);
	if (!ret)
		dipc_finding_ok("referee %s takes connections", conf->referee);
	else
		dipc_finding_fail("start dipc-referee there, or open that port "
				  "in the firewall",
				  "referee %s: %s", conf->referee,
				  strerror(-ret));
}

static void check_dipcd(const struct dipc_config *conf)
{
	struct dipc_session *session;
	struct dipc_status st;
	int ret = dipc_session_open(conf->socket, &session);

	if (ret == -ENOENT) {
		dipc_finding_fail("dipcd --config FILE, or `dipc up`",
				  "dipcd does not run: no socket %s",
				  conf->socket);
		return;
	}
	if (!ret) {
		ret = dipc_session_status(session, &st);
		dipc_session_close(session);
	}
	if (!ret)
		dipc_finding_ok("dipcd of node %u answers: %s %s, %u node%s in "
				"the cluster",
				st.node, st.transport, st.address, st.nr_nodes,
				st.nr_nodes == 1 ? "" : "s");
	else
		dipc_finding_fail("look into its log; then start it again",
				  "dipcd at %s: %s", conf->socket,
				  ret == -ECONNREFUSED ? "it has crashed"
						       : strerror(-ret));
}

/* ---- all of them -------------------------------------------------------- */

struct visit {
	bool is_host_checked;
	char referee[128]; /* the last one looked at */
};

static void check_file(struct visit *visit, const char *path, bool is_node)
{
	struct dipc_config conf;
	char err[512];
	int ret = dipc_config_load(path, &conf, err, sizeof(err));

	if (ret) {
		dipc_finding_fail("dipc.conf(5)", "%s", err);
		return;
	}
	if (!visit->is_host_checked) {
		dipc_host_check(&conf);
		visit->is_host_checked = true;
	}
	dipc_finding_ok("configuration %s", path);
	if (strcmp(visit->referee, conf.referee)) {
		snprintf(visit->referee, sizeof(visit->referee), "%s",
			 conf.referee);
		check_key(&conf);
		check_referee(&conf);
	}
	if (is_node)
		check_dipcd(&conf);
	dipc_config_fini(&conf);
}

/* Nothing is configured: what this machine could do. */
static void check_bare_host(const struct dipc_dir *dir)
{
	struct dipc_config conf;
	char err[256];

	/* an empty file: every setting at its default */
	if (dipc_config_load("/dev/null", &conf, err, sizeof(err))) {
		dipc_finding_fail(NULL, "%s", err);
		return;
	}
	dipc_host_check(&conf);
	dipc_config_fini(&conf);
	dipc_finding_note("no cluster in %s and no %s: `dipc up%s` starts one "
			  "on this machine",
			  dir->path, dipc_config_path(), dipc_dir_hint(dir));
}

static int doctor(const char *dir_option, const char *config)
{
	char name[16], path[DIPC_PATH_MAX];
	unsigned nodes[DIPC_CLI_NODES];
	struct visit visit = {0};
	struct dipc_dir dir;
	unsigned i, nr;

	if (dipc_dir_choose(dir_option, &dir))
		return DIPC_EXIT_FAIL;
	nr = config ? 0 : dipc_dir_nodes(&dir, nodes);
	for (i = 0; i < nr; i++) {
		dipc_dir_node_name(nodes[i], name);
		dipc_dir_file(&dir, name, "conf", path);
		check_file(&visit, path, true);
	}
	dipc_dir_file(&dir, "referee", "conf", path);
	if (!nr && config)
		check_file(&visit, config, true);
	else if (!nr && !access(path, F_OK))
		check_file(&visit, path, false);
	else if (!nr && !dir_option && !access(dipc_config_path(), F_OK))
		check_file(&visit, dipc_config_path(), true);
	else if (!nr)
		check_bare_host(&dir);
	if (nr_fails)
		printf("%u to mend\n", nr_fails);
	return nr_fails ? DIPC_EXIT_FAIL : DIPC_EXIT_OK;
}

int dipc_cmd_doctor(int argc, char **argv)
{
	static const struct option table[] = {
		{"dir", required_argument, NULL, 'd'},
		{"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *dir_option = NULL, *config = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		if (c == 'h')
			return dipc_cli_help();
		else if (c == 'd')
			dir_option = optarg;
		else if (c == 'c')
			config = optarg;
		else
			return DIPC_EXIT_USAGE;
	}
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	return doctor(dir_option, config);
}
