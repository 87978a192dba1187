/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc key: what every machine of a cluster, and nobody else, has. */
#include <getopt.h>
#include <stdio.h>

#include "runtime/base/ticket.h"
#include "runtime/cli/cli.h"

#define KEY_DEFAULT "/etc/dipc.key" /* as in dipc.conf(5) */

int dipc_cmd_key(int argc, char **argv)
{
	static const struct option table[] = {
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *path = KEY_DEFAULT;
	char err[512];
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1)
		return c == 'h' ? dipc_cli_help() : DIPC_EXIT_USAGE;
	if (optind < argc)
		path = argv[optind++];
	if (optind < argc)
		return dipc_cli_usage("unexpected argument %s", argv[optind]);
	if (dipc_key_make(path, err, sizeof(err)))
		return dipc_cli_fail("%s", err);
	printf("%s: a new cluster key; copy it, mode 0600, to every machine\n",
	       path);
	return 0;
}
