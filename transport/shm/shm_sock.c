/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix sockets of the handshake, and pages that can be handed through them. */
#include "transport/shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/base/log.h"

#define MSG_MAGIC   0x68736469u /* "idsh" */
#define MSG_VERSION 1u

/* ---- pages -------------------------------------------------------------- */

int shm_page_create(const char *name, size_t len, bool is_owners, int *fd_out,
		    void **map_out)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	void *map;
	int ret, fd;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len)) {
		ret = -errno;
		goto err_fd;
	}
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		ret = -errno;
		goto err_fd;
	}
	if (is_owners)
		seals |= F_SEAL_FUTURE_WRITE; /* leaves MAP as it is */
	if (fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SEAL)) {
		ret = -errno;
		goto err_map;
	}
	*fd_out = fd;
	*map_out = map;
	return 0;

err_map:
	munmap(map, len);
err_fd:
	close(fd);
	return ret;
}

int shm_page_map(int fd, size_t len, int prot, void **map_out)
{
	struct stat st;
	void *map;
	int seals;

	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) ||
	    (uint64_t)st.st_size < len)
		return -EPROTO; /* could become SIGBUS */
	map = mmap(NULL, len, prot, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*map_out = map;
	return 0;
}

/* ---- sockets ------------------------------------------------------------ */

static int sock_addr(const char *path, struct sockaddr_un *addr)
{
	size_t len = strlen(path);

	memset(addr, 0, sizeof(*addr));
	if (!len || len >= sizeof(addr->sun_path))
		return -EINVAL;
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path, path, len);
	return 0;
}

int shm_sock_connect(const char *path, int *fd_out)
{
	struct sockaddr_un addr;
	int ret, fd;

	ret = sock_addr(path, &addr);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		ret = -errno;
		close(fd);
		return ret;
	}
	*fd_out = fd;
	return 0;
}

/* Take away a socket file that nobody listens on. 0, or why it must stay. */
static int sock_remove_stale(const char *path)
{
	struct stat st;
	int ret, fd;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	ret = shm_sock_connect(path, &fd);
	if (!ret)
		close(fd);
	if (ret != -ECONNREFUSED)
		return -EADDRINUSE; /* alive, or not ours to judge */
	return unlink(path) && errno != ENOENT ? -errno : 0;
}

/* A lock on PATH's folder: two that start at once remove no live socket. */
static int sock_lock_folder(const char *path)
{
	char *copy = strdup(path);
	int fd;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	free(copy);
	if (fd >= 0)
		flock(fd, LOCK_EX); /* without it: only that race is back */
	return fd;
}

static int sock_bind(int fd, const char *path, dev_t *dev_out, ino_t *ino_out)
{
	struct sockaddr_un addr;
	struct stat st;
	int ret;

	ret = sock_addr(path, &addr);
	if (ret)
		return ret;
	ret = sock_remove_stale(path);
	if (ret)
		return ret;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	if (chmod(path, 0600) || stat(path, &st) || listen(fd, SOMAXCONN)) {
		ret = -errno;
		unlink(path);
		return ret;
	}
	*dev_out = st.st_dev;
	*ino_out = st.st_ino;
	return 0;
}

int shm_sock_listen(const char *path, int *fd_out, dev_t *dev_out,
		    ino_t *ino_out)
{
	int ret, fd, folder;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	folder = sock_lock_folder(path);
	if (folder < 0) {
		ret = folder;
		goto err_fd;
	}
	ret = sock_bind(fd, path, dev_out, ino_out);
	close(folder);
	if (ret)
		goto err_fd;
	*fd_out = fd;
	return 0;

err_fd:
	close(fd);
	return ret;
}

int shm_sock_peer(int fd, pid_t *pid_out)
{
	uid_t self = geteuid();
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -errno;
	if (self && cred.uid && cred.uid != self) {
		dipc_warn("shm: refused a peer of user %u", cred.uid);
		return -EACCES;
	}
	if (cred.pid <= 0) {
		dipc_warn("shm: refused a peer of another pid namespace");
		return -EACCES;
	}
	*pid_out = cred.pid;
	return 0;
}

int shm_sock_send(int fd, struct shm_msg *msg, const int *fds, unsigned nr_fds)
{
	union {
		char buf[CMSG_SPACE(SHM_MSG_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(*msg)};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	msg->magic = MSG_MAGIC;
	msg->version = MSG_VERSION;
	if (nr_fds) {
		memset(&control, 0, sizeof(control));
		hdr.msg_control = control.buf;
		hdr.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nr_fds * sizeof(int));
	}
	return sendmsg(fd, &hdr, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static bool msg_is_sound(const struct shm_msg *msg, ssize_t len, int flags)
{
	return len == (ssize_t)sizeof(*msg) &&
	       !(flags & (MSG_TRUNC | MSG_CTRUNC)) && msg->magic == MSG_MAGIC &&
	       msg->version == MSG_VERSION && msg->len <= sizeof(msg->data);
}

int shm_sock_recv(int fd, struct shm_msg *msg, int *fds, unsigned *nr_fds_out)
{
	union {
		char buf[CMSG_SPACE(SHM_MSG_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(*msg)};
	struct msghdr hdr = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *cmsg;
	unsigned i, nr = 0;
	ssize_t len;

	len = recvmsg(fd, &hdr, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (len < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPIPE;
	cmsg = CMSG_FIRSTHDR(&hdr);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET &&
	    cmsg->cmsg_type == SCM_RIGHTS) {
		nr = (unsigned)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		if (nr > SHM_MSG_FDS)
			nr = SHM_MSG_FDS; /* cannot be: CTRUNC */
		memcpy(fds, CMSG_DATA(cmsg), nr * sizeof(int));
	}
	if (msg_is_sound(msg, len, hdr.msg_flags)) {
		*nr_fds_out = nr;
		return 0;
	}
	for (i = 0; i < nr; i++)
		close(fds[i]);
	return len ? -EPROTO : -EPIPE;
}
