/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a new cluster's parts are reached. */
#ifndef DIPC_CLI_PLACE_H
#define DIPC_CLI_PLACE_H

#include <netinet/in.h>
#include <stdbool.h>

#include "runtime/cli/cli.h"

struct dipc_place {
	bool is_verbs;
	char address[INET6_ADDRSTRLEN]; /* this machine's; "" if not needed */
	char referee[160];              /* HOST:PORT */
};

/*
 * WANT is "shm", "verbs" or NULL (verbs if there is a device; said on stdout).
 * For verbs PLACE->address is filled in unless it is set. 0 or DIPC_EXIT_FAIL,
 * said.
 */
int dipc_place_transport(struct dipc_place *place, const char *want);
/* PLACE->referee: HOST (an IP address) and PORT, or a free one for 0. Same. */
int dipc_place_referee(struct dipc_place *place, const char *host,
		       unsigned port);
#endif
