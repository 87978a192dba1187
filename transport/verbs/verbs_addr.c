/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/verbs/verbs.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_port(const char *text, uint16_t *port_out)
{
	unsigned long port;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	port = strtoul(text, &end, 10);
	if (*end || port > 65535)
		return -EINVAL;
	*port_out = (uint16_t)port;
	return 0;
}

/*
 * Copy TEXT's address part to HOST, without brackets. *PORT_OUT: what follows
 * its colon, NULL if nothing does.
 */
static int split(const char *text, char *host, size_t size,
		 const char **port_out)
{
	const char *start = text, *end, *port = NULL;

	if (*text == '[') {
		start = text + 1;
		end = strchr(start, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		if (end[1])
			port = end + 2;
	} else {
		end = strchr(text, ':');
		if (end && !strchr(end + 1, ':'))
			port = end + 1;
		else
			end = text + strlen(text);
	}
	if (end == start || (size_t)(end - start) >= size)
		return -EINVAL;
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	*port_out = port;
	return 0;
}

int dipc_vaddr_parse(const char *text, struct sockaddr_storage *addr_out)
{
	/* getaddrinfo for the scope of fe80::1%eth0. */
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	struct sockaddr_storage addr = {0};
	struct addrinfo *info;
	const char *port_text;
	uint16_t port = 0;
	char host[64];

	if (split(text, host, sizeof(host), &port_text))
		return -EINVAL;
	if (port_text && parse_port(port_text, &port))
		return -EINVAL;
	if (getaddrinfo(host, NULL, &hints, &info))
		return -EINVAL;
	memcpy(&addr, info->ai_addr, info->ai_addrlen);
	freeaddrinfo(info);
	dipc_vaddr_set_port((struct sockaddr *)&addr, port);
	*addr_out = addr;
	return 0;
}

void dipc_vaddr_format(const struct sockaddr *addr, char *text, size_t size)
{
	char host[64] = "?";
	socklen_t len = addr->sa_family == AF_INET6
				? sizeof(struct sockaddr_in6)
				: sizeof(struct sockaddr_in);

	getnameinfo(addr, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	snprintf(text, size, addr->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u",
		 host, dipc_vaddr_port(addr));
}

uint16_t dipc_vaddr_port(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)addr)
				     ->sin6_port);
	return ntohs(
		((const struct sockaddr_in *)(const void *)addr)->sin_port);
}

void dipc_vaddr_set_port(struct sockaddr *addr, uint16_t port)
{
	if (addr->sa_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)addr)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)(void *)addr)->sin_port = htons(port);
}
