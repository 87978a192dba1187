/* SPDX-License-Identifier: BSD-2-Clause */
#include "referee/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/hostport.h"

static int listen_on(const struct addrinfo *ai, int backlog, int *fd_out)
{
	int one = 1;
	int ret, fd;

	fd = socket(ai->ai_family,
		    ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
		    ai->ai_protocol);
	if (fd < 0)
		return -errno;
	/* a port whose last sessions are still in TIME_WAIT is free */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, backlog)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	*fd_out = fd;
	return 0;
}

static const char *way_out(int ret)
{
	switch (ret) {
	case -EADDRINUSE:
		return "; another referee runs there, or set `referee` to a "
		       "free port";
	case -EADDRNOTAVAIL:
		return "; set `referee` to an address of this machine";
	case -EACCES:
		return "; set `referee` to a port above 1023";
	default:
		return "";
	}
}

int dipc_socket_listen(const char *where, int backlog, char *err, size_t size,
		       int *fd_out)
{
	struct addrinfo *list, *ai;
	int ret;

	ret = dipc_hostport_resolve(where, true, err, size, &list);
	if (ret)
		return ret;
	ret = -EADDRNOTAVAIL;
	for (ai = list; ai; ai = ai->ai_next) {
		ret = listen_on(ai, backlog, fd_out);
		if (!ret)
			break;
	}
	freeaddrinfo(list);
	if (ret)
		snprintf(err, size, "referee = %s: cannot listen: %s%s", where,
			 strerror(-ret), way_out(ret));
	return ret;
}

unsigned dipc_socket_port(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		return 0;
	if (addr.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&addr)->sin_port);
	if (addr.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
	return 0;
}

void dipc_socket_text(const struct sockaddr *addr, socklen_t len, char *text,
		      size_t size)
{
	char host[64], port[8];

	if (getnameinfo(addr, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(text, size, "somebody");
	else
		snprintf(text, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s",
			 host, port);
}
