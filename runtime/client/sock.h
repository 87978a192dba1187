/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors of ours that the program may close behind our back, and messages
 * on the socket to dipcd. System calls are direct: base/sys.h says why.
 */
#ifndef DIPC_CLIENT_SOCK_H
#define DIPC_CLIENT_SOCK_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/base/local.h"

#define DIPC_HELLO_FDS 4

struct dipc_own_fd {
	int fd; /* -1: none */
	dev_t dev;
	ino_t ino;
};

/* Takes FD, on failure too, and moves it out of the way. 0 or -errno. */
int dipc_own_fd_set(struct dipc_own_fd *own, int fd);
/* Is it still the file that we opened, and not one of the program's? */
bool dipc_own_fd_is_ours(const struct dipc_own_fd *own);
/* Closes what is ours. */
void dipc_own_fd_close(struct dipc_own_fd *own);

/* FD_IN: -1, or one to send along. 0 or -ENOLINK. */
int dipc_sock_send(const struct dipc_own_fd *sock,
		   const struct dipc_sock_msg *msg, int fd_in);
/* Up to DIPC_HELLO_FDS descriptors into FDS: how many came, or -errno. */
int dipc_sock_receive(const struct dipc_own_fd *sock, struct dipc_sock_msg *msg,
		      int *fds);
void dipc_sock_close_all(const int *fds, int nr);
/*
 * One question and its answer. *FD_OUT (may be NULL): the descriptor that
 * came, or -1. 0 or -errno; the answer's status is the caller's to look at.
 */
int dipc_sock_ask(const struct dipc_own_fd *sock,
		  const struct dipc_sock_msg *question, int fd_in,
		  struct dipc_sock_msg *answer, int *fd_out);

#endif
