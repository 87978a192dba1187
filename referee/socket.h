/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening on "HOST:PORT". */
#ifndef DIPC_REFEREE_SOCKET_H
#define DIPC_REFEREE_SOCKET_H

#include <stddef.h>
#include <sys/socket.h>

/*
 * A non-blocking socket that listens on WHERE, the setting `referee`. 0, or
 * -errno with one line in ERR that names the cause and the way out. May block
 * on a name server.
 */
int dipc_socket_listen(const char *where, int backlog, char *err, size_t size,
		       int *fd_out);
/* The local port of FD, 0 if it has none. */
unsigned dipc_socket_port(int fd);
/* "ADDRESS:PORT" for the log. */
void dipc_socket_text(const struct sockaddr *addr, socklen_t len, char *text,
		      size_t size);

#endif
