/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "runtime/base/sys.h"

#define FD_FLOOR 400 /* out of the way of programs that count on low numbers */

/* ---- descriptors -------------------------------------------------------- */

int dipc_own_fd_set(struct dipc_own_fd *own, int fd)
{
	int high = dipc_sys_fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);
	struct stat st;
	int ret;

	if (high >= 0) {
		dipc_sys_close(fd);
		fd = high;
	}
	ret = dipc_sys_fstat(fd, &st);
	if (ret) {
		dipc_sys_close(fd);
		return ret;
	}
	own->fd = fd;
	own->dev = st.st_dev;
	own->ino = st.st_ino;
	return 0;
}

bool dipc_own_fd_is_ours(const struct dipc_own_fd *own)
{
	struct stat st;

	return own->fd >= 0 && dipc_sys_fstat(own->fd, &st) == 0 &&
	       st.st_dev == own->dev && st.st_ino == own->ino;
}

void dipc_own_fd_close(struct dipc_own_fd *own)
{
	if (dipc_own_fd_is_ours(own))
		dipc_sys_close(own->fd);
	own->fd = -1;
}

/* ---- the socket --------------------------------------------------------- */

int dipc_sock_send(const struct dipc_own_fd *sock,
		   const struct dipc_sock_msg *msg, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg,
			    .iov_len = sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *cm = &control.head;

		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	}
	do {
		n = dipc_sys_sendmsg(sock->fd, &mh, MSG_NOSIGNAL);
	} while (n == -EINTR);
	return n < 0 ? -ENOLINK : 0;
}

int dipc_sock_receive(const struct dipc_own_fd *sock, struct dipc_sock_msg *msg,
		      int *fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(DIPC_HELLO_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *cm;
	size_t nr = 0;
	ssize_t n;

	do {
		n = dipc_sys_recvmsg(sock->fd, &mh, MSG_CMSG_CLOEXEC);
	} while (n == -EINTR);
	if (n != sizeof(*msg))
		return -ENOLINK;
	cm = CMSG_FIRSTHDR(&mh);
	if (cm && cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS) {
		nr = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(cm), nr * sizeof(int));
	}
	return (int)nr;
}

void dipc_sock_close_all(const int *fds, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		dipc_sys_close(fds[i]);
}

int dipc_sock_ask(const struct dipc_own_fd *sock,
		  const struct dipc_sock_msg *question, int fd_in,
		  struct dipc_sock_msg *answer, int *fd_out)
{
	struct dipc_sock_msg q = *question;
	int fds[DIPC_HELLO_FDS];
	int nr, ret;

	if (!dipc_own_fd_is_ours(sock))
		return -ENOLINK;
	q.magic = DIPC_LOCAL_MAGIC;
	q.version = DIPC_LOCAL_VERSION;
	ret = dipc_sock_send(sock, &q, fd_in);
	if (ret)
		return ret;
	nr = dipc_sock_receive(sock, answer, fds);
	if (nr >= 0 && answer->type != q.type) {
		dipc_sock_close_all(fds, nr);
		nr = -EPROTO;
	}
	if (nr < 0) {
		/* a late answer must not be taken for the next question's */
		dipc_sys_shutdown(sock->fd, SHUT_RDWR);
		return nr;
	}
	if (fd_out) {
		*fd_out = nr > 0 ? fds[0] : -1;
		if (nr > 1)
			dipc_sock_close_all(fds + 1, nr - 1);
	} else {
		dipc_sock_close_all(fds, nr);
	}
	return 0;
}
