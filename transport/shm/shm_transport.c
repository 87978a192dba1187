/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A transport of the shm back end: its bell, its sockets, and poll. Poll makes
 * no system call while nothing happens: the bell is one word in memory, and
 * the sockets (new peers, deaths) are looked at every few milliseconds.
 */
#include "transport/shm/shm.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/log.h"

#define SOCKETS_MS    4u  /* between two looks at the sockets while busy */
#define SOCKETS_SPINS 64u /* the same while a handshake is under way */
#define TICK_MS       5u
#define EVENTS_MAX    32
#define DESTROY_MS    100u

uint64_t shm_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- create and destroy ------------------------------------------------- */

static int watch_add(struct shm_transport *t, int *fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};

	return epoll_ctl(t->base.fd, EPOLL_CTL_ADD, *fd, &ev) ? -errno : 0;
}

static int open_fds(struct shm_transport *t)
{
	int ret;

	t->base.fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->base.fd < 0)
		return -errno;
	t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->event_fd < 0)
		return -errno;
	t->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->timer_fd < 0)
		return -errno;
	ret = watch_add(t, &t->event_fd);
	if (!ret)
		ret = watch_add(t, &t->timer_fd);
	return ret;
}

static int open_pages(struct shm_transport *t)
{
	void *map;
	int ret;

	ret = shm_page_create("dipc-bell", sizeof(*t->bell), false, &t->bell_fd,
			      &map);
	if (ret)
		return ret;
	t->bell = map;
	ret = shm_page_create("dipc-exports", sizeof(*t->exports), true,
			      &t->exports_fd, &map);
	if (ret)
		return ret;
	t->exports = map;
	t->exports->pid = (uint32_t)getpid();
	return 0;
}

static int open_listener(struct shm_transport *t, const char *path)
{
	int ret;

	if ((size_t)snprintf(t->base.address, sizeof(t->base.address), "%s",
			     path) >= sizeof(t->base.address))
		ret = -EINVAL;
	else
		ret = shm_sock_listen(path, &t->listen_fd, &t->sock_dev,
				      &t->sock_ino);
	if (ret) {
		errno = -ret;
		dipc_error("shm: listen at %s: %m", path);
		return ret;
	}
	return watch_add(t, &t->listen_fd);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void listener_remove(struct shm_transport *t)
{
	struct stat st;

	if (t->listen_fd < 0)
		return;
	if (!lstat(t->base.address, &st) && st.st_dev == t->sock_dev &&
	    st.st_ino == t->sock_ino)
		unlink(t->base.address);
	close(t->listen_fd);
}

/* Take what create() has made so far. */
static void shm_free(struct shm_transport *t)
{
	listener_remove(t);
	if (t->exports)
		munmap(t->exports, sizeof(*t->exports));
	if (t->bell)
		munmap(t->bell, sizeof(*t->bell));
	close_fd(t->exports_fd);
	close_fd(t->bell_fd);
	close_fd(t->timer_fd);
	close_fd(t->event_fd);
	close_fd(t->base.fd);
	free(t);
}

static int shm_create(const struct dipc_transport_config *config,
		      struct dipc_transport **t_out)
{
	struct shm_transport *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return -ENOMEM;
	t->base.ops = &dipc_shm_ops;
	t->base.events = config->events;
	t->base.arg = config->arg;
	t->base.limits = (struct dipc_limits){
		.max_chain = SHM_CHAIN_MAX,
		.max_depth = SHM_DEPTH_MAX,
		.max_rd_atomic = SHM_DEPTH_MAX,
		.max_len = 1u << 30,
	};
	t->base.fd = t->listen_fd = t->event_fd = t->timer_fd = -1;
	t->bell_fd = t->exports_fd = -1;
	t->peer_timeout_ms = config->peer_timeout_ms;
	dipc_list_init(&t->conns);
	ret = open_fds(t);
	if (!ret)
		ret = open_pages(t);
	if (!ret)
		ret = open_listener(t, config->listen);
	if (ret) {
		shm_free(t);
		return ret;
	}
	*t_out = &t->base;
	return 0;
}

/* Let a peer leave the operation it is in, within reason. */
static void conn_end(struct shm_conn *conn)
{
	uint64_t until = shm_now_ms() + DESTROY_MS;

	shm_conn_break(conn, 0);
	while (conn->ctl && !conn->is_dead &&
	       atomic_load(&conn->in->in_flight) && shm_now_ms() < until)
		usleep(100);
	shm_conn_free(conn);
}

static void shm_destroy(struct dipc_transport *base)
{
	struct shm_transport *t = shm_of(base);
	struct dipc_list *pos, *tmp;

	if (t->nr_regions)
		dipc_error("shm: %u regions outlive their transport",
			   t->nr_regions);
	dipc_list_for_each_safe (pos, tmp, &t->conns)
		conn_end(dipc_container_of(pos, struct shm_conn, node));
	shm_free(t);
}

/* ---- poll --------------------------------------------------------------- */

static unsigned take_peers(struct shm_transport *t)
{
	unsigned n = 0;
	int sock;

	for (;;) {
		sock = accept4(t->listen_fd, NULL, NULL,
			       SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (sock < 0)
			break;
		n += shm_conn_accept(t, sock);
	}
	if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		dipc_warn("shm: accept: %m");
	return n;
}

static void drain_fd(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		dipc_warn("shm: wake-up: %m");
}

/* What only a system call can tell. How many events it made. */
static unsigned check_sockets(struct shm_transport *t)
{
	struct epoll_event ev[EVENTS_MAX];
	struct dipc_list *pos;
	unsigned n = 0;
	int i, nr;

	t->sockets_ms = shm_now_ms();
	t->nr_spins = 0;
	nr = epoll_wait(t->base.fd, ev, EVENTS_MAX, 0);
	for (i = 0; i < nr; i++) {
		if (ev[i].data.ptr == &t->listen_fd)
			n += take_peers(t);
		else if (ev[i].data.ptr == &t->event_fd)
			drain_fd(t->event_fd);
		else if (ev[i].data.ptr == &t->timer_fd)
			drain_fd(t->timer_fd);
		else
			n += shm_conn_readable(ev[i].data.ptr);
	}
	if (t->nr_transient)
		t->has_work = true; /* deadlines, fences */
	dipc_list_for_each (pos, &t->conns) {
		struct shm_conn *conn =
			dipc_container_of(pos, struct shm_conn, node);

		if (conn->state == SHM_CONN_READY)
			shm_map_sweep(conn);
	}
	return n;
}

/*
 * Let each connection go on once. The list is turned, so that where the budget
 * ends now is where the next scan starts.
 */
static unsigned scan_conns(struct shm_transport *t, unsigned budget)
{
	unsigned i, n = 0;

	t->has_work = false;
	/* WAKE_1: take the bell's word down before looking for the news */
	atomic_exchange(&t->bell->rung, 0);
	for (i = t->nr_conns; i && n < budget; i--) {
		struct dipc_list *node = dipc_list_pop(&t->conns);

		dipc_list_add_tail(&t->conns, node);
		n += shm_conn_progress(
			dipc_container_of(node, struct shm_conn, node),
			budget - n);
	}
	if (i)
		t->has_work = true;
	return n;
}

static bool sockets_are_due(struct shm_transport *t)
{
	if (t->nr_transient && ++t->nr_spins >= SOCKETS_SPINS)
		return true;
	return shm_now_ms() - t->sockets_ms >= SOCKETS_MS;
}

static unsigned shm_poll(struct dipc_transport *base, unsigned budget)
{
	struct shm_transport *t = shm_of(base);
	unsigned n = 0;

	if (t->is_polling || !budget)
		return 0;
	t->is_polling = true;
	if (t->is_armed) {
		t->is_armed = false;
		atomic_store(&t->bell->is_armed, 0);
		n += check_sockets(t);
	} else if (sockets_are_due(t)) {
		n += check_sockets(t);
	}
	if (t->has_work ||
	    atomic_load_explicit(&t->bell->rung, memory_order_relaxed))
		n += scan_conns(t, n < budget ? budget - n : 1);
	t->is_polling = false;
	return n;
}

/* ---- sleep -------------------------------------------------------------- */

/* Handshakes and fences have deadlines: tick while there are any. */
static void set_ticking(struct shm_transport *t, bool is_ticking)
{
	struct timespec tick = {.tv_nsec = TICK_MS * 1000000l};
	struct itimerspec spec = {{0, 0}, {0, 0}};

	if (is_ticking == t->is_ticking)
		return;
	t->is_ticking = is_ticking;
	if (is_ticking)
		spec = (struct itimerspec){tick, tick};
	if (timerfd_settime(t->timer_fd, 0, &spec, NULL))
		dipc_warn("shm: timer: %m");
}

static int shm_arm(struct dipc_transport *base)
{
	struct shm_transport *t = shm_of(base);

	if (t->has_work)
		return 1;
	set_ticking(t, t->nr_transient > 0);
	t->is_armed = true;
	/* WAKE_1, pairs with shm_conn_ring() */
	atomic_store(&t->bell->is_armed, 1);
	if (!atomic_load(&t->bell->rung))
		return 0;
	atomic_store(&t->bell->is_armed, 0);
	t->is_armed = false;
	return 1;
}

const struct dipc_transport_ops dipc_shm_ops = {
	.kind = "shm",
	.create = shm_create,
	.destroy = shm_destroy,
	.poll = shm_poll,
	.arm = shm_arm,
	.region_create = shm_region_create,
	.region_destroy = shm_region_destroy,
	.connect = shm_conn_connect,
	.close = shm_conn_close,
	.post = shm_conn_post,
};
