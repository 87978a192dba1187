/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection's life: dial and handshake over a Unix socket, then shared
 * memory only; the socket stays open, because its end of file is how the
 * peer's death shows. Orderings: shm.h.
 */
#include "transport/shm/shm.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/log.h"

/* A peer that stays this long inside one operation is killed: see below. */
#define FENCE_FACTOR 5u
#define FENCE_MIN_MS 5000u
#define LOOK_MAX_MS  50u

static const uint8_t conn_next[SHM_CONN_NR_STATES] __attribute__((unused)) = {
	[SHM_CONN_DIALLING] = 1u << SHM_CONN_HELLO | 1u << SHM_CONN_CLOSING,
	[SHM_CONN_HELLO] = 1u << SHM_CONN_READY | 1u << SHM_CONN_CLOSING,
	[SHM_CONN_ACCEPTED] = 1u << SHM_CONN_READY | 1u << SHM_CONN_CLOSING,
	[SHM_CONN_READY] = 1u << SHM_CONN_CLOSING,
	[SHM_CONN_CLOSING] = 1u << SHM_CONN_GONE,
};

static bool state_is_transient(enum shm_conn_state state)
{
	return state != SHM_CONN_READY && state != SHM_CONN_GONE;
}

static void conn_set_state(struct shm_conn *conn, enum shm_conn_state to)
{
	struct shm_transport *t = shm_conn_transport(conn);

	assert(conn_next[conn->state] & 1u << to);
	t->nr_transient -= state_is_transient(conn->state);
	t->nr_transient += state_is_transient(to);
	conn->state = to;
}

/*
 * Patience runs only while we look: when this process was itself kept from
 * running, the peer is not to blame.
 */
static void conn_set_patience(struct shm_conn *conn, uint64_t ms)
{
	conn->looked_ms = shm_now_ms();
	conn->patience_ms = ms;
}

static bool conn_patience_is_over(struct shm_conn *conn)
{
	uint64_t now = shm_now_ms(), step = now - conn->looked_ms;

	conn->looked_ms = now;
	if (step > LOOK_MAX_MS)
		step = LOOK_MAX_MS;
	conn->patience_ms -=
		step < conn->patience_ms ? step : conn->patience_ms;
	return !conn->patience_ms;
}

/* ---- make and free ------------------------------------------------------ */

static struct shm_conn *conn_create(struct shm_transport *t,
				    enum shm_conn_state state)
{
	struct shm_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->base.transport = &t->base;
	conn->sock = -1;
	conn->ctl_fd = -1;
	conn->peer_event_fd = -1;
	conn->state = state;
	conn_set_patience(conn, t->peer_timeout_ms);
	dipc_list_init(&conn->pending);
	conn->maps = calloc(SHM_SLOTS, sizeof(*conn->maps));
	conn->wr = calloc(SHM_DEPTH_MAX, sizeof(*conn->wr));
	if (!conn->maps || !conn->wr) {
		free(conn->maps);
		free(conn->wr);
		free(conn);
		return NULL;
	}
	dipc_list_add_tail(&t->conns, &conn->node);
	t->nr_conns++;
	t->nr_transient++;
	t->has_work = true;
	return conn;
}

void shm_conn_free(struct shm_conn *conn)
{
	struct shm_transport *t = shm_conn_transport(conn);

	if (state_is_transient(conn->state))
		t->nr_transient--;
	t->nr_conns--;
	dipc_list_del(&conn->node);
	shm_map_fini(conn);
	if (conn->sock >= 0)
		close(conn->sock); /* leaves the epoll by that */
	if (conn->ctl_fd >= 0)
		close(conn->ctl_fd);
	if (conn->peer_event_fd >= 0)
		close(conn->peer_event_fd);
	if (conn->ctl)
		munmap(conn->ctl, sizeof(*conn->ctl));
	if (conn->peer_bell)
		munmap(conn->peer_bell, sizeof(*conn->peer_bell));
	if (conn->peer_exports)
		munmap((void *)(uintptr_t)conn->peer_exports,
		       sizeof(*conn->peer_exports));
	free(conn->peer_path);
	free(conn->wr);
	free(conn);
}

static int conn_watch(struct shm_conn *conn)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = conn};

	return epoll_ctl(conn->base.transport->fd, EPOLL_CTL_ADD, conn->sock,
			 &ev)
		       ? -errno
		       : 0;
}

/* ---- handshake ---------------------------------------------------------- */

static void conn_use_ctl(struct shm_conn *conn, struct shm_ctl *ctl,
			 unsigned half)
{
	conn->ctl = ctl;
	conn->out = &ctl->half[half];
	conn->in = &ctl->half[!half];
}

/* FDS: the peer's bell, exports and eventfd; taken over on success only. */
static int conn_use_peer(struct shm_conn *conn, const int *fds)
{
	void *bell, *exports;
	int ret;

	ret = shm_page_map(fds[0], sizeof(*conn->peer_bell),
			   PROT_READ | PROT_WRITE, &bell);
	if (ret)
		return ret;
	ret = shm_page_map(fds[1], sizeof(*conn->peer_exports), PROT_READ,
			   &exports);
	if (ret) {
		munmap(bell, sizeof(*conn->peer_bell));
		return ret;
	}
	conn->peer_bell = bell;
	conn->peer_exports = exports;
	conn->peer_removed = atomic_load_explicit(
		&conn->peer_exports->nr_removed, memory_order_acquire);
	close(fds[0]);
	close(fds[1]);
	conn->peer_event_fd = fds[2];
	return 0;
}

static void close_fds(const int *fds, unsigned nr)
{
	while (nr)
		close(fds[--nr]);
}

/* Try to reach the peer; what fails for good is told to closed(). */
static void conn_dial(struct shm_conn *conn)
{
	struct shm_transport *t = shm_conn_transport(conn);
	struct shm_msg msg = {.kind = SHM_MSG_HELLO,
			      .len = (uint32_t)conn->hello_len};
	int fds[SHM_MSG_FDS] = {conn->ctl_fd, t->bell_fd, t->exports_fd,
				t->event_fd};
	int ret;

	ret = shm_sock_connect(conn->peer_path, &conn->sock);
	if (ret == -EAGAIN)
		return; /* its backlog is full: next tick */
	if (ret) {
		shm_conn_break(conn,
			       ret == -ECONNREFUSED ? ret : -EHOSTUNREACH);
		return;
	}
	memcpy(msg.data, conn->hello, conn->hello_len);
	ret = shm_sock_peer(conn->sock, &conn->peer_pid);
	if (!ret)
		ret = conn_watch(conn);
	if (!ret)
		ret = shm_sock_send(conn->sock, &msg, fds, SHM_MSG_FDS);
	if (ret) {
		shm_conn_break(conn, -ECONNREFUSED);
		return;
	}
	close(conn->ctl_fd);
	conn->ctl_fd = -1;
	conn_set_state(conn, SHM_CONN_HELLO);
}

int shm_conn_connect(struct dipc_transport *base, const char *address,
		     const void *hello, size_t hello_len,
		     struct dipc_conn **conn_out)
{
	struct shm_conn *conn;
	void *ctl;
	int ret;

	conn = conn_create(shm_of(base), SHM_CONN_DIALLING);
	if (!conn)
		return -ENOMEM;
	ret = shm_page_create("dipc-conn", sizeof(*conn->ctl), false,
			      &conn->ctl_fd, &ctl);
	if (ret)
		goto err_conn;
	conn_use_ctl(conn, ctl, 0);
	conn->peer_path = strdup(address);
	if (!conn->peer_path) {
		ret = -ENOMEM;
		goto err_conn;
	}
	if (hello_len)
		memcpy(conn->hello, hello, hello_len);
	conn->hello_len = hello_len;
	conn_dial(conn);
	*conn_out = &conn->base;
	return 0;

err_conn:
	shm_conn_free(conn);
	return ret;
}

unsigned shm_conn_accept(struct shm_transport *t, int sock)
{
	struct shm_conn *conn = conn_create(t, SHM_CONN_ACCEPTED);

	if (!conn) {
		close(sock);
		return 0;
	}
	conn->is_silent = true;
	conn->sock = sock;
	if (shm_sock_peer(sock, &conn->peer_pid) || conn_watch(conn)) {
		shm_conn_break(conn, 0);
		return 0;
	}
	return shm_conn_readable(conn); /* the hello is often there */
}

/* Ask the user, and answer. MSG is the peer's hello, then our reply. */
static unsigned conn_ask_user(struct shm_conn *conn, struct shm_msg *msg)
{
	struct shm_transport *t = shm_conn_transport(conn);
	const struct dipc_transport_events *events = t->base.events;
	int fds[] = {t->bell_fd, t->exports_fd, t->event_fd};
	uint8_t reply[DIPC_HELLO_MAX];
	size_t len = 0;
	int ret;

	ret = events->accept(t->base.arg, &conn->base, msg->data, msg->len,
			     reply, &len);
	if (!ret && len > sizeof(reply)) {
		dipc_error("shm: a reply of %zu bytes", len);
		ret = -EINVAL;
	}
	memset(msg, 0, sizeof(*msg));
	if (ret) {
		msg->kind = SHM_MSG_REFUSE;
		shm_sock_send(conn->sock, msg, NULL, 0);
		shm_conn_break(conn, 0);
		return 1;
	}
	conn->is_silent = false;
	if (conn->state != SHM_CONN_ACCEPTED)
		return 1; /* closed in the callback */
	msg->kind = SHM_MSG_REPLY;
	msg->len = (uint32_t)len;
	memcpy(msg->data, reply, len);
	ret = shm_sock_send(conn->sock, msg, fds, 3);
	if (ret) {
		shm_conn_break(conn, -ENOLINK);
		return 1;
	}
	conn_set_state(conn, SHM_CONN_READY);
	events->established(t->base.arg, &conn->base, NULL, 0);
	return 2;
}

static unsigned conn_got_hello(struct shm_conn *conn, struct shm_msg *msg,
			       const int *fds, unsigned nr_fds)
{
	void *ctl;
	int ret = -EPROTO;

	if (msg->kind != SHM_MSG_HELLO || nr_fds != 4)
		goto err_fds;
	ret = shm_page_map(fds[0], sizeof(*conn->ctl), PROT_READ | PROT_WRITE,
			   &ctl);
	if (ret)
		goto err_fds;
	conn_use_ctl(conn, ctl, 1);
	ret = conn_use_peer(conn, &fds[1]);
	if (ret)
		goto err_fds;
	close(fds[0]);
	return conn_ask_user(conn, msg);

err_fds:
	errno = -ret;
	dipc_warn("shm: bad hello from process %d: %m", (int)conn->peer_pid);
	close_fds(fds, nr_fds);
	shm_conn_break(conn, 0);
	return 0;
}

static unsigned conn_got_reply(struct shm_conn *conn, const struct shm_msg *msg,
			       const int *fds, unsigned nr_fds)
{
	const struct dipc_transport *t = conn->base.transport;

	if (msg->kind != SHM_MSG_REPLY || nr_fds != 3 ||
	    conn_use_peer(conn, fds)) {
		if (msg->kind != SHM_MSG_REFUSE)
			dipc_warn("shm: bad reply from process %d",
				  (int)conn->peer_pid);
		close_fds(fds, nr_fds);
		shm_conn_break(conn, -ECONNREFUSED);
		return 0;
	}
	conn_set_state(conn, SHM_CONN_READY);
	t->events->established(t->arg, &conn->base, msg->data, msg->len);
	/* The peer may have written, or closed, since. */
	shm_conn_transport(conn)->has_work = true;
	return 1;
}

unsigned shm_conn_readable(struct shm_conn *conn)
{
	int fds[SHM_MSG_FDS];
	struct shm_msg msg;
	unsigned nr_fds;
	int ret;

	ret = shm_sock_recv(conn->sock, &msg, fds, &nr_fds);
	if (ret == -EAGAIN)
		return 0;
	if (!ret && conn->state == SHM_CONN_ACCEPTED)
		return conn_got_hello(conn, &msg, fds, nr_fds);
	if (!ret && conn->state == SHM_CONN_HELLO)
		return conn_got_reply(conn, &msg, fds, nr_fds);
	if (!ret)
		close_fds(fds, nr_fds); /* nobody sends that */
	/*
	 * The end. When the peer is a dead process none of its threads runs
	 * any more (files are closed after the address space was left), and
	 * when it closed the socket it had closed the connection.
	 */
	epoll_ctl(conn->base.transport->fd, EPOLL_CTL_DEL, conn->sock, NULL);
	conn->is_dead = true;
	shm_conn_transport(conn)->has_work = true;
	if (conn->state == SHM_CONN_HELLO)
		shm_conn_break(conn, -ECONNREFUSED);
	else if (conn->state == SHM_CONN_ACCEPTED)
		shm_conn_break(conn, 0);
	return 0;
}

/* ---- the end ------------------------------------------------------------ */

void shm_conn_ring(struct shm_conn *conn)
{
	static const uint64_t one = 1;

	/* WAKE_1, pairs with shm_arm() */
	atomic_store(&conn->peer_bell->rung, 1);
	if (!atomic_load(&conn->peer_bell->is_armed) ||
	    !atomic_exchange(&conn->peer_bell->is_armed, 0))
		return;
	if (write(conn->peer_event_fd, &one, sizeof(one)) < 0)
		dipc_warn("shm: wake process %d: %m", (int)conn->peer_pid);
}

void shm_conn_break(struct shm_conn *conn, int reason)
{
	struct shm_transport *t = shm_conn_transport(conn);
	uint64_t fence_ms = (uint64_t)t->peer_timeout_ms * FENCE_FACTOR;

	if (conn->state == SHM_CONN_CLOSING || conn->state == SHM_CONN_GONE)
		return;
	conn->reason = reason;
	conn_set_state(conn, SHM_CONN_CLOSING);
	if (fence_ms < FENCE_MIN_MS)
		fence_ms = FENCE_MIN_MS;
	conn_set_patience(conn, fence_ms);
	t->has_work = true;
	if (conn->ctl)
		atomic_store(&conn->out->is_closed, 1); /* FENCE_1 */
	if (conn->peer_bell)
		shm_conn_ring(conn);
}

void shm_conn_close(struct dipc_conn *base)
{
	struct shm_conn *conn = dipc_container_of(base, struct shm_conn, base);

	shm_conn_break(conn, 0);
	conn->reason = 0; /* also when it was broken already */
}

/* Can no operation of the peer be under way? */
static bool conn_is_fenced(struct shm_conn *conn)
{
	if (!conn->ctl || conn->is_dead)
		return true;
	/* FENCE_1, pairs with flight_begin() */
	return !atomic_load(&conn->in->in_flight);
}

/*
 * The peer was stopped (or starved) inside an operation: when it goes on it
 * will write into our memory. No system call takes a mapping away from another
 * process, so the only fence left is to end it, as one resets a node.
 */
static void conn_force_fence(struct shm_conn *conn)
{
	if (!conn_patience_is_over(conn) || conn->peer_pid == getpid())
		return;
	conn_set_patience(conn, FENCE_MIN_MS);
	dipc_error("shm: process %d hangs inside an operation on our memory: "
		   "killed",
		   (int)conn->peer_pid);
	if (kill(conn->peer_pid, SIGKILL))
		dipc_error("shm: kill %d: %m", (int)conn->peer_pid);
}

static unsigned closing_progress(struct shm_conn *conn, unsigned budget)
{
	struct shm_transport *t = shm_conn_transport(conn);
	bool is_empty = true;
	unsigned n = 0;

	/* What the peer sent before it went still counts, unless we closed. */
	if (conn->reason == -ENOLINK)
		n = shm_ring_drain(conn, budget, &is_empty);
	n += shm_op_fail(conn, n < budget ? budget - n : 0);
	if (!is_empty || !dipc_list_is_empty(&conn->pending)) {
		t->has_work = true;
		return n;
	}
	if (!conn_is_fenced(conn)) {
		conn_force_fence(conn);
		return n; /* a tick brings us back */
	}
	conn_set_state(conn, SHM_CONN_GONE);
	if (!conn->is_silent)
		t->base.events->closed(t->base.arg, &conn->base, conn->reason);
	shm_conn_free(conn);
	return n + 1;
}

static unsigned ready_progress(struct shm_conn *conn, unsigned budget)
{
	/* Looked at before the ring: what came ahead of the end is delivered */
	bool is_over = conn->is_dead || atomic_load(&conn->in->is_closed);
	bool is_empty;
	unsigned n;

	n = shm_ring_drain(conn, budget, &is_empty);
	if (!is_over && n < budget)
		n += shm_op_run(conn, budget - n);
	else if (is_empty && is_over)
		shm_conn_break(conn, -ENOLINK);
	if (n >= budget)
		shm_conn_transport(conn)->has_work = true;
	return n;
}

unsigned shm_conn_progress(struct shm_conn *conn, unsigned budget)
{
	switch (conn->state) {
	case SHM_CONN_DIALLING:
	case SHM_CONN_HELLO:
	case SHM_CONN_ACCEPTED:
		if (conn_patience_is_over(conn))
			shm_conn_break(conn, -ETIMEDOUT);
		else if (conn->state == SHM_CONN_DIALLING)
			conn_dial(conn);
		return 0;
	case SHM_CONN_READY:
		return ready_progress(conn, budget);
	case SHM_CONN_CLOSING:
		return closing_progress(conn, budget);
	case SHM_CONN_GONE:
	case SHM_CONN_NR_STATES:
		break;
	}
	return 0;
}
