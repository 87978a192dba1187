/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/node/job.h"
#include "runtime/node/job_futex.h"
#include "runtime/node/segments.h"

#define SOCK_FDS     4u
#define ACCEPT_BATCH 16u
#define POLL_BUSY    16u /* clients, each time */
#define POLL_IDLE    16u /* and of the others */

/* ---- life --------------------------------------------------------------- */

/* Off the list, and out of the way of who walks over it. */
static void client_unlist(struct dipc_client *c)
{
	if (c->node->next_idle == &c->entry)
		c->node->next_idle = c->entry.next;
	dipc_list_del(&c->entry);
}

static void client_free(struct dipc_client *c)
{
	client_unlist(c);
	if (c->bell.fd >= 0)
		close(c->bell.fd);
	if (c->area)
		munmap(c->area, sizeof(*c->area));
	dipc_process_put(c->process);
	free(c->groups);
	free(c);
}

void dipc_client_get(struct dipc_client *client)
{
	client->nr_jobs++;
}

void dipc_client_put(struct dipc_client *client)
{
	client->nr_jobs--;
	if (client->is_closed && client->nr_jobs == 0)
		client_free(client);
}

/* The connection is gone: give up what it waits for. */
static void client_close(struct dipc_client *c)
{
	unsigned i;

	if (c->is_closed)
		return;
	c->is_closed = true;
	c->polled = NULL;
	if (c->area)
		atomic_store_explicit(&c->area->is_closed, 1,
				      memory_order_release);
	dipc_loop_unwatch(c->node->loop, &c->watch);
	close(c->watch.fd);
	if (c->bell.fd >= 0)
		dipc_loop_unwatch(c->node->loop, &c->bell);
	dipc_client_get(c);
	for (i = 0; i < DIPC_SLOTS; i++)
		if (c->jobs[i])
			dipc_cancel_set(&c->jobs[i]->cancel);
	dipc_job_futex_forget(c);
	dipc_segments_forget(c);
	/* an exec closes the socket when the old address space is gone */
	if (c->space)
		dipc_space_check(c->space);
	dipc_client_put(c);
}

/* ---- slots -------------------------------------------------------------- */

/* How many calls it had posted. */
static unsigned client_poll(struct dipc_client *c)
{
	struct dipc_area *area = c->polled;
	unsigned i, nr = 0;

	if (!area ||
	    !atomic_load_explicit(&area->has_posted, memory_order_relaxed))
		return 0;
	/* LOCAL_POST: pairs with the client's release, as below */
	(void)atomic_exchange_explicit(&area->has_posted, 0,
				       memory_order_acquire);
	for (i = 0; i < DIPC_SLOTS / 64; i++) {
		_Atomic uint64_t *posted = &area->posted[i];
		uint64_t bits;

		if (!atomic_load_explicit(posted, memory_order_relaxed))
			continue;
		bits = atomic_exchange_explicit(posted, 0,
						memory_order_acquire);
		for (; bits; bits &= bits - 1, nr++)
			dipc_job_start(
				c, i * 64 + (unsigned)__builtin_ctzll(bits));
	}
	return nr;
}

/* It was idle and is not: it is polled each time from now on. */
static void client_to_front(struct dipc_client *c)
{
	client_unlist(c);
	dipc_list_add_tail(c->node->clients.next, &c->entry);
}

/* A sleeping engine is awake; the one who woke it need not wait its turn. */
static void bell_rings(struct dipc_watch *watch, uint32_t events)
{
	struct dipc_client *c =
		dipc_container_of(watch, struct dipc_client, bell);

	(void)events;
	if (client_poll(c))
		client_to_front(c);
}

/*
 * Clients that were busy lately, each time; of the others a few in turn, or
 * ALL. A thousand idle ones must not slow a busy one down.
 */
static unsigned clients_poll(struct dipc_node *node, bool all)
{
	struct dipc_list *head = &node->clients, *pos = head->next;
	unsigned i, nr = 0;

	for (i = 0; pos != head && (all || i < POLL_BUSY); i++) {
		nr += client_poll(
			dipc_container_of(pos, struct dipc_client, entry));
		pos = pos->next;
	}
	if (pos == head)
		return nr;
	if (node->next_idle)
		pos = node->next_idle;
	for (i = 0; i < POLL_IDLE; i++) {
		struct dipc_client *c;
		unsigned got;

		if (pos == head)
			pos = head->next;
		c = dipc_container_of(pos, struct dipc_client, entry);
		pos = pos->next;
		got = client_poll(c);
		if (got)
			client_to_front(c);
		nr += got;
	}
	node->next_idle = pos;
	return nr;
}

static unsigned slots_poll(struct dipc_poller *poller)
{
	return clients_poll(dipc_container_of(poller, struct dipc_node, slots),
			    false);
}

/* ---- the socket --------------------------------------------------------- */

void dipc_client_reply(struct dipc_client *client,
		       const struct dipc_sock_msg *msg, const int *fds,
		       unsigned nr)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(SOCK_FDS * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg,
			    .iov_len = sizeof(*msg)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (client->is_closed)
		return;
	if (nr) {
		struct cmsghdr *cm = &control.head;

		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nr * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nr * sizeof(int));
	}
	if (sendmsg(client->watch.fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		dipc_debug("process %u does not read its answer: %m",
			   client->process->pid);
		client_close(client);
	}
}

/* A new client's slots. The descriptor is for the hello's answer. */
static int client_map_area(struct dipc_client *c, int *fd_out)
{
	int fd = memfd_create("dipc-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *map;
	int ret;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(*c->area)) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		goto err_fd;
	map = mmap(NULL, sizeof(*c->area), PROT_READ | PROT_WRITE, MAP_SHARED,
		   fd, 0);
	if (map == MAP_FAILED)
		goto err_fd;
	c->area = map;
	c->polled = map;
	*fd_out = fd;
	return 0;

err_fd:
	ret = -errno;
	close(fd);
	return ret;
}

static int client_open_bell(struct dipc_client *c)
{
	int ret;

	c->bell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->bell.fd < 0)
		return -errno;
	c->bell.fn = bell_rings;
	ret = dipc_loop_watch(c->node->loop, &c->bell, EPOLLIN | EPOLLET);
	if (ret == 0)
		return 0;
	close(c->bell.fd);
	c->bell.fd = -1;
	return ret;
}

static void client_hello(struct dipc_client *c)
{
	struct dipc_node *node = c->node;
	struct dipc_sock_msg answer = {.magic = DIPC_LOCAL_MAGIC,
				       .version = DIPC_LOCAL_VERSION,
				       .type = DIPC_SOCK_HELLO,
				       .addr = node->name,
				       .node = dipc_fabric_node(node->fabric)};
	int fds[SOCK_FDS];
	unsigned nr = 3;
	int area_fd = -1;

	if (c->area) {
		client_close(c); /* says hello twice */
		return;
	}
	answer.status = client_open_bell(c);
	if (answer.status == 0)
		answer.status = client_map_area(c, &area_fd);
	if (answer.status) {
		dipc_client_reply(c, &answer, NULL, 0);
		return;
	}
	fds[0] = area_fd;
	fds[1] = node->page_fd;
	fds[2] = c->bell.fd;
	if (node->uffd_dev >= 0) {
		fds[nr++] = node->uffd_dev;
		answer.flags = DIPC_SOCK_HAS_UFFD_DEV;
	}
	dipc_client_reply(c, &answer, fds, nr);
	close(area_fd);
}

static void client_message(struct dipc_client *c,
			   const struct dipc_sock_msg *msg, int fd)
{
	switch ((enum dipc_sock_type)msg->type) {
	case DIPC_SOCK_HELLO:
		client_hello(c);
		break;
	case DIPC_SOCK_FAULTS:
		dipc_segments_faults(c, msg, fd);
		return; /* has taken FD */
	case DIPC_SOCK_FAULTS_TAG:
		dipc_segments_faults_tag(c, msg);
		break;
	case DIPC_SOCK_ATTACH:
		dipc_segments_attach(c, msg);
		break;
	case DIPC_SOCK_MAPPED:
		dipc_segments_mapped(c, msg);
		break;
	case DIPC_SOCK_NOT_MAPPED:
		dipc_segments_forget(c);
		dipc_client_reply(c, msg, NULL, 0);
		break;
	default:
		client_close(c);
	}
	if (fd >= 0)
		close(fd);
}

static void client_readable(struct dipc_watch *watch, uint32_t events)
{
	struct dipc_client *c =
		dipc_container_of(watch, struct dipc_client, watch);
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct dipc_sock_msg msg;
	struct iovec iov = {.iov_base = &msg, .iov_len = sizeof(msg)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    /* CMSG_SPACE pads: room for a second one */
			    .msg_controllen = CMSG_LEN(sizeof(int))};
	struct cmsghdr *cm;
	int fd = -1;
	ssize_t n;

	(void)events;
	n = recvmsg(watch->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	cm = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
	if (cm && cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS &&
	    cm->cmsg_len >= CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
	if (n != sizeof(msg) || msg.magic != DIPC_LOCAL_MAGIC ||
	    msg.version != DIPC_LOCAL_VERSION) {
		if (n > 0)
			dipc_warn("process %u does not speak our protocol",
				  c->process->pid);
		if (fd >= 0)
			close(fd);
		client_close(c);
		return;
	}
	client_message(c, &msg, fd);
}

/* ---- accepting ---------------------------------------------------------- */

static int client_create(struct dipc_node *node, int fd)
{
	struct dipc_client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->node = node;
	c->bell.fd = -1;
	dipc_list_init(&c->futex_waits);
	ret = dipc_process_cred(fd, &c->cred, &c->groups);
	if (ret)
		goto err_client;
	ret = dipc_process_get(node, c->cred.pid, &c->process);
	if (ret)
		goto err_groups;
	c->watch.fd = fd;
	c->watch.fn = client_readable;
	ret = dipc_loop_watch(node->loop, &c->watch, EPOLLIN);
	if (ret)
		goto err_process;
	dipc_list_add_tail(&node->clients, &c->entry);
	/* its hello comes with the connect: spare it a turn of the loop. This
	   may be the end of C. */
	client_readable(&c->watch, EPOLLIN);
	return 0;

err_process:
	dipc_process_put(c->process);
err_groups:
	free(c->groups);
err_client:
	free(c);
	return ret;
}

static void listener_accept(struct dipc_node *node,
			    const struct dipc_watch *watch)
{
	unsigned i;

	/* programs that start others do so by the hundred */
	for (i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(watch->fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);
		int ret;

		if (fd < 0)
			return;
		ret = client_create(node, fd);
		if (ret) {
			dipc_warn("cannot serve a process: %s", strerror(-ret));
			close(fd);
		}
	}
}

static void listener_readable(struct dipc_watch *watch, uint32_t events)
{
	(void)events;
	listener_accept(dipc_container_of(watch, struct dipc_node, listener),
			watch);
}

static void by_name_readable(struct dipc_watch *watch, uint32_t events)
{
	(void)events;
	listener_accept(dipc_container_of(watch, struct dipc_node, by_name),
			watch);
}

/* Clients spin only where the engine would. */
static void node_publish_spin(struct dipc_node *node)
{
	uint32_t spin = node->conf->spin_us * 1000u;

	if (dipc_loop_is_crowded(node->loop))
		spin = 0;
	atomic_store_explicit(&node->page->spin_ns, spin, memory_order_relaxed);
}

static int slots_arm(struct dipc_poller *poller)
{
	struct dipc_node *node =
		dipc_container_of(poller, struct dipc_node, slots);

	node_publish_spin(node);
	/* LOCAL_SLEEP: pairs with the client's fence after its post */
	atomic_store_explicit(&node->page->is_asleep, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	return clients_poll(node, true) ? 1 : 0;
}

static void slots_disarm(struct dipc_poller *poller)
{
	struct dipc_node *node =
		dipc_container_of(poller, struct dipc_node, slots);

	atomic_store_explicit(&node->page->is_asleep, 0, memory_order_relaxed);
}

/* ---- listening ---------------------------------------------------------- */

/* Is somebody answering at PATH? A dead socket is only a file in the way. */
static bool socket_is_live(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool is_live;

	if (fd < 0)
		return false;
	is_live =
		connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0;
	close(fd);
	return is_live;
}

static int listen_by_name(struct dipc_node *node)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint64_t name;
	int fd, len, ret;

	if (getrandom(&name, sizeof(name), 0) != sizeof(name))
		return -errno;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* an empty string first: a name, not a path */
	len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1,
		       DIPC_LOCAL_NAME, (unsigned long long)name);
	if (bind(fd, (struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) +
			 (socklen_t)len) ||
	    listen(fd, 512)) {
		ret = -errno;
		goto err_fd;
	}
	node->by_name.fd = fd;
	node->by_name.fn = by_name_readable;
	ret = dipc_loop_watch(node->loop, &node->by_name, EPOLLIN);
	if (ret)
		goto err_watch;
	node->name = name;
	return 0;

err_watch:
	node->by_name.fd = -1;
err_fd:
	close(fd);
	return ret;
}

int dipc_clients_listen(struct dipc_node *node)
{
	const char *path = node->conf->socket;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, ret;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		dipc_error("socket = %s: longer than %zu bytes", path,
			   sizeof(addr.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strcpy(addr.sun_path, path);
	if (socket_is_live(&addr)) {
		dipc_error("socket = %s: another dipcd serves there", path);
		return -EADDRINUSE;
	}
	unlink(path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* any user may connect: modes of objects decide what he may do */
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    chmod(path, 0666) || listen(fd, 512)) {
		ret = -errno;
		dipc_error("socket = %s: %m", path);
		goto err_fd;
	}
	node->listener.fd = fd;
	node->listener.fn = listener_readable;
	ret = dipc_loop_watch(node->loop, &node->listener, EPOLLIN);
	if (ret)
		goto err_fd;
	ret = listen_by_name(node);
	if (ret)
		dipc_warn("programs in a chroot cannot connect again: %s",
			  strerror(-ret));
	node->slots.poll = slots_poll;
	node->slots.arm = slots_arm;
	node->slots.disarm = slots_disarm;
	dipc_loop_add_poller(node->loop, &node->slots);
	return 0;

err_fd:
	close(fd);
	return ret;
}

void dipc_clients_drop(struct dipc_node *node,
		       const struct dipc_process *process)
{
	struct dipc_list *pos, *tmp;

	dipc_list_for_each_safe (pos, tmp, &node->clients) {
		struct dipc_client *c =
			dipc_container_of(pos, struct dipc_client, entry);

		if (c->process == process)
			client_close(c);
	}
}

void dipc_clients_close(struct dipc_node *node)
{
	struct dipc_list *pos, *tmp;

	if (node->listener.fd < 0)
		return;
	unlink(node->conf->socket);
	dipc_loop_unwatch(node->loop, &node->listener);
	close(node->listener.fd);
	node->listener.fd = -1;
	if (node->by_name.fd >= 0) {
		dipc_loop_unwatch(node->loop, &node->by_name);
		close(node->by_name.fd);
		node->by_name.fd = -1;
	}
	dipc_list_for_each_safe (pos, tmp, &node->clients)
		client_close(dipc_container_of(pos, struct dipc_client, entry));
}
