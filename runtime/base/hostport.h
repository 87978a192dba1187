/* SPDX-License-Identifier: BSD-2-Clause */
/* "HOST:PORT", "[ADDRESS]:PORT": the setting `referee`. */
#ifndef DIPC_BASE_HOSTPORT_H
#define DIPC_BASE_HOSTPORT_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Resolve TEXT. PASSIVE: to listen there. May block on a name server. 0, the
 * list is the caller's to freeaddrinfo(); or -errno (-EINVAL: not HOST:PORT;
 * -EHOSTUNREACH: no such host) with one line in ERR that names the setting.
 */
int dipc_hostport_resolve(const char *text, bool passive, char *err,
			  size_t size, struct addrinfo **list_out);

#endif
