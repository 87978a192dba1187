/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locking: `lock` guards everything here and shm.c's table. It is taken before
 * fork and released on both sides, so that a child never inherits it held.
 *
 * `state` is read without it: CONN_STATE is stored with RELEASE after the
 * connection is complete, and read with ACQUIRE before it is used.
 */
#include "runtime/client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/base/config.h"
#include "runtime/base/sys.h"
#include "runtime/client/fork.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define HELLO_FDS 4
#define FD_FLOOR  400 /* out of the way of programs that count on low numbers */

enum conn_state {
	CONN_UNDECIDED,
	CONN_KERNEL,
	CONN_DIPC,
	CONN_BROKEN,
};

/* A descriptor that the program may have closed behind our back. */
struct own_fd {
	int fd;
	dev_t dev;
	ino_t ino;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static _Atomic int state = CONN_UNDECIDED;
static struct dipc_client_conn conn; /* guarded by lock; see CONN_STATE */
static struct own_fd sock = {.fd = -1};
static struct own_fd bell = {.fd = -1};     /* the engine's eventfd */
static struct own_fd uffd_dev = {.fd = -1}; /* as dipcd handed it over */
static bool was_dipc;                       /* so a child may not fall back */
static bool has_faults;

/* ---- descriptors -------------------------------------------------------- */

static int own_fd_set(struct own_fd *own, int fd)
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

/* Is it still the file we opened, and not one of the program's? */
static bool own_fd_is_ours(const struct own_fd *own)
{
	struct stat st;

	return own->fd >= 0 && dipc_sys_fstat(own->fd, &st) == 0 &&
	       st.st_dev == own->dev && st.st_ino == own->ino;
}

static void own_fd_close(struct own_fd *own)
{
	if (own_fd_is_ours(own))
		dipc_sys_close(own->fd);
	own->fd = -1;
}

/* ---- complaints --------------------------------------------------------- */

void dipc_conn_complain(const char *what)
{
	static const char *said[8];
	char line[320];
	unsigned i;
	int n;

	for (i = 0; i < 8 && said[i]; i++)
		if (said[i] == what)
			return;
	if (i < 8)
		said[i] = what;
	n = snprintf(line, sizeof(line), "libdipc-rdma: %s\n", what);
	if (n > 0 && dipc_sys_write(STDERR_FILENO, line, (size_t)n) < 0) {
		/* nowhere to say it */
	}
}

/* ---- the socket --------------------------------------------------------- */

static int sock_send(const struct dipc_sock_msg *msg, int fd)
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
		n = dipc_sys_sendmsg(sock.fd, &mh, MSG_NOSIGNAL);
	} while (n == -EINTR);
	return n < 0 ? -ENOLINK : 0;
}

/* Up to HELLO_FDS descriptors into FDS; how many came, or -errno. */
static int sock_receive(struct dipc_sock_msg *msg, int *fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(HELLO_FDS * sizeof(int))];
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
		n = dipc_sys_recvmsg(sock.fd, &mh, MSG_CMSG_CLOEXEC);
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

static void close_all(const int *fds, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		dipc_sys_close(fds[i]);
}

int dipc_conn_ask(const struct dipc_sock_msg *question, int fd_in,
		  struct dipc_sock_msg *answer, int *fd_out)
{
	struct dipc_sock_msg q = *question;
	int fds[HELLO_FDS];
	int nr, ret;

	if (!own_fd_is_ours(&sock))
		return -ENOLINK;
	q.magic = DIPC_LOCAL_MAGIC;
	q.version = DIPC_LOCAL_VERSION;
	ret = sock_send(&q, fd_in);
	if (ret)
		return ret;
	nr = sock_receive(answer, fds);
	if (nr >= 0 && answer->type != q.type) {
		close_all(fds, nr);
		nr = -EPROTO;
	}
	if (nr < 0) {
		/* a late answer must not be taken for the next question's */
		dipc_sys_shutdown(sock.fd, SHUT_RDWR);
		return nr;
	}
	if (fd_out) {
		*fd_out = nr > 0 ? fds[0] : -1;
		if (nr > 1)
			close_all(fds + 1, nr - 1);
	} else {
		close_all(fds, nr);
	}
	return 0;
}

/* ---- connecting --------------------------------------------------------- */

/* Where dipcd's socket is; 0 or -errno with a complaint. */
static int socket_path(struct sockaddr_un *addr)
{
	const char *path = getenv("DIPC_SOCKET");
	struct dipc_config conf;
	static char err[256];
	int ret;

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (path) {
		snprintf(addr->sun_path, sizeof(addr->sun_path), "%s", path);
		return 0;
	}
	ret = dipc_config_load(dipc_config_path(), &conf, err, sizeof(err));
	if (ret) {
		if (ret != -ENOENT)
			dipc_conn_complain(err);
		return ret;
	}
	snprintf(addr->sun_path, sizeof(addr->sun_path), "%s", conf.socket);
	dipc_config_fini(&conf);
	return 0;
}

static int hello_map(const int *fds)
{
	void *area =
		dipc_sys_mmap(NULL, sizeof(struct dipc_area),
			      PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	void *page =
		dipc_sys_mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[1], 0);

	if (dipc_sys_mmap_error(area) || dipc_sys_mmap_error(page))
		return -ENOMEM;
	/* a fork must not share the slots; the child makes its own connection
	 */
	dipc_sys_madvise(area, sizeof(struct dipc_area), MADV_DONTFORK);
	conn.area = area;
	conn.engine = page;
	return 0;
}

static int hello(void)
{
	struct dipc_sock_msg q = {.magic = DIPC_LOCAL_MAGIC,
				  .version = DIPC_LOCAL_VERSION,
				  .type = DIPC_SOCK_HELLO};
	struct dipc_sock_msg a;
	int fds[HELLO_FDS];
	int nr, ret;

	ret = sock_send(&q, -1);
	if (ret)
		return ret;
	nr = sock_receive(&a, fds);
	if (nr < 0)
		return nr;
	ret = a.status;
	if (ret || nr < 3)
		goto err_fds;
	ret = hello_map(fds);
	if (ret)
		goto err_fds;
	dipc_sys_close(fds[0]);
	dipc_sys_close(fds[1]);
	ret = own_fd_set(&bell, fds[2]);
	if (nr > 3 && own_fd_set(&uffd_dev, fds[3]))
		uffd_dev.fd = -1;
	has_faults = false;
	return ret;

err_fds:
	close_all(fds, nr);
	return ret ? ret : -EPROTO;
}

/* Called with the lock held: the decision. */
static enum conn_state conn_decide(void)
{
	const struct timeval limit = {.tv_sec = 10};
	const char *fallback = getenv("DIPC_FALLBACK");
	bool may_fall_back =
		!was_dipc && !(fallback && !strcmp(fallback, "never"));
	struct sockaddr_un addr;
	int fd, ret;

	ret = socket_path(&addr);
	if (ret)
		goto err_none;
	fd = dipc_sys_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		goto err_broken;
	ret = own_fd_set(&sock, fd);
	if (ret)
		goto err_broken;
	ret = dipc_sys_connect(sock.fd, &addr, sizeof(addr));
	if (ret) {
		own_fd_close(&sock);
		if (ret == -ENOENT)
			goto err_none;
		goto err_broken;
	}
	dipc_sys_setsockopt(sock.fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
			    sizeof(limit));
	if (hello() == 0) {
		was_dipc = true;
		return CONN_DIPC;
	}
	own_fd_close(&sock);

err_broken:
	dipc_conn_complain("dipcd does not answer on its socket: distributed "
			   "objects fail with ENOLINK; start it again");
	return CONN_BROKEN;

err_none:
	if (may_fall_back)
		return CONN_KERNEL;
	dipc_conn_complain("no dipcd on this machine, and DIPC_FALLBACK=never "
			   "or an earlier dipcd forbids the kernel's objects");
	return CONN_BROKEN;
}

/* Forget the connection; the lock is held, or this is a forked child. */
static void conn_drop(void)
{
	own_fd_close(&sock);
	own_fd_close(&bell);
	own_fd_close(&uffd_dev);
	/* the old mappings stay: another thread may still look at them */
	has_faults = false;
	atomic_store_explicit(&state, CONN_UNDECIDED, memory_order_release);
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void fork_child(void)
{
	if (atomic_load_explicit(&state, memory_order_relaxed) == CONN_DIPC)
		conn_drop();
	dipc_slot_after_fork();
	pthread_mutex_unlock(&lock);
}

static void fork_init(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

int dipc_conn_use(void)
{
	/* CONN_STATE */
	int now = atomic_load_explicit(&state, memory_order_acquire);
	int saved = errno;

	if (now == CONN_DIPC && dipc_area_is_closed(conn.area)) {
		pthread_mutex_lock(&lock);
		/* another thread may have connected anew meanwhile */
		now = atomic_load_explicit(&state, memory_order_relaxed);
		if (now == CONN_DIPC && dipc_area_is_closed(conn.area)) {
			conn_drop();
			now = CONN_UNDECIDED;
		}
		pthread_mutex_unlock(&lock);
	}
	if (now == CONN_UNDECIDED) {
		pthread_once(&fork_once, fork_init);
		pthread_mutex_lock(&lock);
		now = atomic_load_explicit(&state, memory_order_relaxed);
		if (now == CONN_UNDECIDED) {
			now = (int)conn_decide();
			atomic_store_explicit(&state, now,
					      memory_order_release);
		}
		pthread_mutex_unlock(&lock);
	}
	errno = saved;
	if (now == CONN_DIPC)
		return 1;
	return now == CONN_KERNEL ? 0 : -ENOLINK;
}

const struct dipc_client_conn *dipc_client_conn(void)
{
	return &conn;
}

void dipc_conn_lock(void)
{
	pthread_mutex_lock(&lock);
}

void dipc_conn_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void dipc_conn_ring(void)
{
	const uint64_t one = 1;

	/* LOCAL_SLEEP */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&conn.engine->is_asleep,
				  memory_order_relaxed))
		return;
	if (own_fd_is_ours(&bell) &&
	    dipc_sys_write(bell.fd, &one, sizeof(one)) < 0) {
		/* full means it is rung already */
	}
}

bool dipc_conn_is_alive(void)
{
	struct pollfd p = {.fd = sock.fd, .events = POLLRDHUP};

	if (!own_fd_is_ours(&sock))
		return false;
	return dipc_sys_poll(&p, 1, 0) == 0 ||
	       !(p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* ---- userfaultfd -------------------------------------------------------- */

static int faults_open(void)
{
	int fd = -1;

	if (own_fd_is_ours(&uffd_dev))
		fd = dipc_sys_ioctl(uffd_dev.fd, USERFAULTFD_IOC_NEW,
				    O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = (int)dipc_sys3(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0,
				    0);
	return fd;
}

int dipc_conn_need_faults(void)
{
	struct dipc_sock_msg q = {.type = DIPC_SOCK_FAULTS};
	struct dipc_sock_msg a;
	int fd, ret;

	if (has_faults)
		return 0;
	fd = faults_open();
	if (fd < 0) {
		dipc_conn_complain("userfaultfd is not permitted: `dipc "
				   "doctor` tells how to allow it");
		return fd;
	}
	ret = dipc_conn_ask(&q, fd, &a, NULL);
	dipc_sys_close(fd);
	if (ret == 0)
		ret = a.status;
	has_faults = ret == 0;
	return ret;
}
