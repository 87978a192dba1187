/* SPDX-License-Identifier: BSD-2-Clause */
/* Writing a configuration file, dipc.conf(5), for one daemon. */
#ifndef DIPC_CLI_CONF_H
#define DIPC_CLI_CONF_H

#include "runtime/cli/cli.h"

#define DIPC_CONF_LINES_MAX 32u

struct dipc_conf_line {
	char section[16];
	char name[32];
	char value[160];
};

struct dipc_conf {
	unsigned nr;
	struct dipc_conf_line line[DIPC_CONF_LINES_MAX];
};

/* "SECTION.NAME=VALUE" of --set. 0, or DIPC_EXIT_USAGE, said. */
int dipc_conf_set(struct dipc_conf *conf, const char *text);
/* One of ours. 0, or DIPC_EXIT_FAIL, said: --set may not change it. */
int dipc_conf_add(struct dipc_conf *conf, const char *section, const char *name,
		  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Into PATH, and read back. 0, or DIPC_EXIT_FAIL, said. */
int dipc_conf_write(const struct dipc_conf *conf, const char *path);

#endif
