/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/cli/place.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/cli/device.h"

/* ---- transport ---------------------------------------------------------- */

int dipc_place_transport(struct dipc_place *place, const char *want)
{
	struct dipc_device devices[DIPC_DEVICES_MAX];

	if (want) {
		place->is_verbs = !strcmp(want, "verbs");
	} else if (dipc_devices_find(devices)) {
		place->is_verbs = true;
		printf("transport: verbs, on RDMA device %s\n",
		       devices[0].name);
	} else {
		place->is_verbs = false;
		puts("transport: shm, for want of an RDMA device: nodes on "
		     "this machine only");
	}
	if (place->is_verbs && !place->address[0])
		return dipc_device_address(place->address,
					   sizeof(place->address));
	return 0;
}

/* ---- the referee's port ------------------------------------------------- */

/* INFO with its port filled in by the kernel, if it was 0. -errno. */
static int port_bind(const struct addrinfo *info, unsigned *port_out)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} name;
	socklen_t len = sizeof(name);
	const int one = 1;
	int fd, ret = 0;

	fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, 1) ||
	    getsockname(fd, &name.any, &len))
		ret = -errno;
	else if (name.any.sa_family == AF_INET6)
		*port_out = ntohs(name.v6.sin6_port);
	else
		*port_out = ntohs(name.v4.sin_port);
	close(fd);
	return ret;
}

/*
 * The port is free now; that nobody takes it in the milliseconds until the
 * referee does is likely, and the referee's error if not.
 */
int dipc_place_referee(struct dipc_place *place, const char *host,
		       unsigned port)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST,
				       .ai_socktype = SOCK_STREAM};
	bool is_v6 = strchr(host, ':');
	struct addrinfo *info;
	char text[16];
	int ret;

	snprintf(text, sizeof(text), "%u", port);
	if (getaddrinfo(host, text, &hints, &info))
		return dipc_cli_fail("%s: not an IP address", host);
	ret = port_bind(info, &port);
	freeaddrinfo(info);
	if (ret)
		return dipc_cli_fail("the referee cannot listen on %s port %u: "
				     "%s",
				     host, port, strerror(-ret));
	snprintf(place->referee, sizeof(place->referee), "%s%s%s:%u",
		 is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
	return 0;
}
