/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/base/hostport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Cut TEXT (copied into BUF) at its last colon. 0 or -EINVAL. */
static int hostport_split(const char *text, char *buf, size_t size,
			  char **host_out, char **port_out)
{
	size_t len = strlen(text);
	char *colon, *end;
	long port;

	if (len >= size)
		return -EINVAL;
	memcpy(buf, text, len + 1);
	colon = strrchr(buf, ':');
	if (!colon || colon == buf)
		return -EINVAL;
	*colon = '\0';
	if (colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtol(colon + 1, &end, 10);
	if (*end || port > 65535)
		return -EINVAL;
	if (buf[0] == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		buf++;
	} else if (strchr(buf, ':')) {
		return -EINVAL; /* an IPv6 address without its brackets */
	}
	*host_out = buf;
	*port_out = colon + 1;
	return 0;
}

int dipc_hostport_resolve(const char *text, bool passive, char *err,
			  size_t size, struct addrinfo **list_out)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICSERV};
	char buf[160], *host, *port;
	int ret;

	if (hostport_split(text, buf, sizeof(buf), &host, &port)) {
		snprintf(err, size, "referee = %.128s: not HOST:PORT", text);
		return -EINVAL;
	}
	if (passive)
		hints.ai_flags |= AI_PASSIVE;
	ret = getaddrinfo(host, port, &hints, list_out);
	if (!ret)
		return 0;
	snprintf(err, size, "referee = %.128s: %s cannot be resolved: %s", text,
		 host, gai_strerror(ret));
	return ret == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH;
}
