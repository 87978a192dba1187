/* SPDX-License-Identifier: BSD-2-Clause */
#include "referee/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "referee/keys.h"
#include "referee/members.h"
#include "referee/socket.h"
#include "runtime/base/log.h"
#include "runtime/base/tls.h"

#define BACKLOG 64
/* From the accept to a node's JOIN. */
#define JOIN_NS (2 * DIPC_TLS_HANDSHAKE_NS)
/* Complaints about strangers: this many, then one a second with a count. */
#define REFUSAL_BURST 8u

struct dipc_server {
	struct dipc_referee *ref;   /* borrowed */
	struct dipc_watch watch;    /* listening socket, owned; -1: none */
	struct dipc_list half_open; /* oldest first */
	struct dipc_list joined;
	unsigned nr_half_open;
	bool is_watched;
	bool is_stopping;
	unsigned nr_refused; /* complaints swallowed since `refused_at` */
	unsigned nr_burst;
	uint64_t refused_at;
};

/* A TCP connection. Freed when closed and no request of it is running. */
struct session {
	struct dipc_list node; /* on half_open or joined; none once closed */
	struct dipc_server *server; /* borrowed */
	struct dipc_tls *tls;       /* owned; NULL once closed */
	struct dipc_timer deadline; /* to join */
	unsigned nr_requests;
	bool is_closing; /* nothing more is taken from it */
	bool is_joining;
	bool has_left;
	unsigned member; /* 0: not joined */
	uint32_t incarnation;
	char peer[80];
};

union request_body {
	struct dipc_lookup_join join;
	struct dipc_lookup_get get;
	struct dipc_lookup_created created;
	struct dipc_lookup_remove remove;
};

union answer_body {
	struct dipc_lookup_joined joined;
	struct dipc_lookup_got got;
	struct dipc_lookup_status status;
};

struct request {
	struct session *session; /* counted in nr_requests */
	uint16_t type;
	uint32_t tag;
	union request_body body;
};

/* ---- complaints --------------------------------------------------------- */

/* Anybody can make us log by connecting: bounded. */
static void complain(struct session *s, const char *what)
{
	struct dipc_server *server = s->server;
	uint64_t now = dipc_sched_now(server->ref->sched);

	if (now - server->refused_at >= DIPC_SEC) {
		server->refused_at = now;
		server->nr_burst = 0;
	}
	if (server->nr_burst++ >= REFUSAL_BURST) {
		server->nr_refused++;
		return;
	}
	if (server->nr_refused)
		dipc_warn("%s: %s; and %u more before", s->peer, what,
			  server->nr_refused);
	else
		dipc_warn("%s: %s", s->peer, what);
	server->nr_refused = 0;
}

static const char *closed_text(int reason)
{
	switch (reason) {
	case -EKEYREJECTED:
		return "refused: it holds another cluster key";
	case -ETIMEDOUT:
		return "refused: it did not finish the handshake in time";
	case -EPROTO:
		return "refused: it does not speak our protocol";
	case -ENOBUFS:
		return "dropped: it does not read its answers";
	default:
		return strerror(-reason);
	}
}

/* ---- sessions ----------------------------------------------------------- */

static void session_put(struct session *s)
{
	if (s->tls || s->nr_requests)
		return;
	dipc_timer_cancel(&s->deadline);
	free(s);
}

/* The TCP connection ends here; requests that still run lose their answer. */
static void session_close(struct session *s)
{
	if (!s->tls)
		return;
	s->is_closing = true;
	if (!s->member)
		s->server->nr_half_open--;
	dipc_list_del(&s->node);
	dipc_timer_cancel(&s->deadline);
	dipc_tls_destroy(s->tls);
	s->tls = NULL;
	if (s->member && !s->has_left && !s->server->is_stopping)
		dipc_members_end(s->server->ref->members, s->member,
				 s->incarnation, DIPC_NODE_DEAD);
	session_put(s);
}

static void session_refuse(struct session *s, const char *what)
{
	complain(s, what);
	session_close(s);
}

static void session_expired(struct dipc_timer *timer)
{
	struct session *s = dipc_container_of(timer, struct session, deadline);

	session_refuse(s, "dropped: it has not joined in time");
}

static void on_closed(void *arg, int reason)
{
	struct session *s = arg;

	if (s->member && reason && !s->has_left)
		dipc_info("node %u: TCP session: %s", s->member,
			  closed_text(reason));
	else if (reason)
		complain(s, closed_text(reason));
	session_close(s);
}

static void session_joined(struct session *s,
			   const struct dipc_lookup_joined *joined)
{
	struct dipc_server *server = s->server;

	s->member = joined->node;
	s->incarnation = joined->incarnation;
	dipc_timer_cancel(&s->deadline);
	server->nr_half_open--;
	dipc_list_del(&s->node);
	dipc_list_add_tail(&server->joined, &s->node);
}

/* ---- requests ----------------------------------------------------------- */

/* Fiber, as what follows. */
static int request_join(struct request *r, struct dipc_lookup_joined *joined)
{
	struct session *s = r->session;
	struct dipc_members *members = s->server->ref->members;

	joined->status = dipc_members_join(members, &r->body.join, joined);
	s->is_joining = false;
	if (joined->status)
		return joined->status;
	if (!s->tls) /* it went while we let it in */
		dipc_members_end(members, joined->node, joined->incarnation,
				 DIPC_NODE_DEAD);
	else
		session_joined(s, joined);
	return 0;
}

static int request_leave(struct session *s)
{
	struct dipc_members *members = s->server->ref->members;

	s->has_left = true;
	dipc_members_end(members, s->member, s->incarnation, DIPC_NODE_LEFT);
	dipc_members_await(members, s->member);
	return 0;
}

static size_t request_run(struct request *r, union answer_body *answer)
{
	struct session *s = r->session;
	struct dipc_keys *keys = s->server->ref->keys;
	unsigned node = s->member;
	uint32_t life = s->incarnation;

	switch ((enum dipc_lookup_type)r->type) {
	case DIPC_LOOKUP_JOIN:
		(void)request_join(r, &answer->joined);
		return sizeof(answer->joined);
	case DIPC_LOOKUP_LEAVE:
		answer->status.status = request_leave(s);
		break;
	case DIPC_LOOKUP_GET:
		answer->got.status = dipc_keys_get(keys, node, life,
						   &r->body.get, &answer->got);
		return sizeof(answer->got);
	case DIPC_LOOKUP_CREATED:
		answer->status.status =
			dipc_keys_created(keys, node, life, &r->body.created);
		break;
	case DIPC_LOOKUP_REMOVE:
		answer->status.status =
			dipc_keys_remove(keys, r->body.remove.id);
		break;
	}
	return sizeof(answer->status);
}

static void request_fiber(void *arg)
{
	struct request *r = arg;
	struct session *s = r->session;
	union answer_body answer;
	size_t len;

	memset(&answer, 0, sizeof(answer));
	len = request_run(r, &answer);
	if (s->tls)
		(void)dipc_tls_send(s->tls, r->type, r->tag, &answer, len);
	s->nr_requests--;
	session_put(s);
	free(r);
}

/* Length of the body of a request; SIZE_MAX: no such request. */
static size_t request_len(unsigned type)
{
	switch (type) {
	case DIPC_LOOKUP_JOIN:
		return sizeof(struct dipc_lookup_join);
	case DIPC_LOOKUP_LEAVE:
		return 0;
	case DIPC_LOOKUP_GET:
		return sizeof(struct dipc_lookup_get);
	case DIPC_LOOKUP_CREATED:
		return sizeof(struct dipc_lookup_created);
	case DIPC_LOOKUP_REMOVE:
		return sizeof(struct dipc_lookup_remove);
	default:
		return SIZE_MAX;
	}
}

static const char *request_check(const struct session *s,
				 const struct dipc_lookup_head *head)
{
	if (head->body_len != request_len(head->type))
		return "refused: a malformed request";
	if (head->type == DIPC_LOOKUP_JOIN)
		return s->member || s->is_joining ? "refused: a second join"
						  : NULL;
	if (!s->member || s->has_left)
		return "refused: a request from outside the cluster";
	if (s->nr_requests >= DIPC_SERVER_REQUESTS)
		return "dropped: too many requests at a time";
	return NULL;
}

static void on_frame(void *arg, const struct dipc_lookup_head *head,
		     const void *body)
{
	struct session *s = arg;
	const char *error = request_check(s, head);
	struct request *r;

	if (error) {
		session_refuse(s, error);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		goto err_session;
	r->session = s;
	r->type = head->type;
	r->tag = head->tag;
	memcpy(&r->body, body, head->body_len);
	if (dipc_fiber_spawn(s->server->ref->sched, request_fiber, r))
		goto err_request;
	s->nr_requests++;
	if (head->type == DIPC_LOOKUP_JOIN)
		s->is_joining = true;
	return;

err_request:
	free(r);
err_session:
	session_refuse(s, "dropped: out of memory");
}

static void on_ready(void *arg)
{
	(void)arg;
}

static const struct dipc_tls_events session_events = {
	.ready = on_ready,
	.frame = on_frame,
	.closed = on_closed,
};

/* ---- accepting ---------------------------------------------------------- */

static void session_open(struct dipc_server *server, int fd,
			 const struct sockaddr *addr, socklen_t len)
{
	struct session *s = calloc(1, sizeof(*s));
	struct dipc_sched *sched = server->ref->sched;
	int one = 1;

	if (!s)
		goto err_fd;
	s->server = server;
	dipc_socket_text(addr, len, s->peer, sizeof(s->peer));
	dipc_timer_init(&s->deadline, session_expired);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (dipc_tls_create(server->ref->loop, fd, true, server->ref->key,
			    &session_events, s, &s->tls))
		goto err_session;
	dipc_timer_set(sched, &s->deadline, dipc_sched_now(sched) + JOIN_NS);
	dipc_list_add_tail(&server->half_open, &s->node);
	if (++server->nr_half_open > DIPC_SERVER_HALF_OPEN)
		session_refuse(dipc_container_of(server->half_open.next,
						 struct session, node),
			       "dropped: too many that have not joined");
	return;

err_session:
	free(s);
err_fd:
	dipc_warn("no memory for a connection");
	close(fd);
}

static void on_accept(struct dipc_watch *watch, uint32_t events)
{
	struct dipc_server *server =
		dipc_container_of(watch, struct dipc_server, watch);
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int fd;

	(void)events;
	fd = accept4(watch->fd, (struct sockaddr *)&addr, &len,
		     SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		session_open(server, fd, (struct sockaddr *)&addr, len);
		return;
	}
	if (errno != EMFILE && errno != ENFILE)
		return; /* the peer has gone again, or nothing was there */
	/* else the loop would spin: make room */
	if (server->nr_half_open)
		session_refuse(dipc_container_of(server->half_open.next,
						 struct session, node),
			       "dropped: out of file descriptors");
}

/* ---- life --------------------------------------------------------------- */

int dipc_server_create(struct dipc_referee *ref, char *err, size_t size,
		       struct dipc_server **server_out)
{
	struct dipc_server *server = calloc(1, sizeof(*server));
	int ret;

	if (!server) {
		snprintf(err, size, "out of memory");
		return -ENOMEM;
	}
	server->ref = ref;
	server->watch.fn = on_accept;
	dipc_list_init(&server->half_open);
	dipc_list_init(&server->joined);
	ret = dipc_socket_listen(ref->conf->referee, BACKLOG, err, size,
				 &server->watch.fd);
	if (ret) {
		free(server);
		return ret;
	}
	*server_out = server;
	return 0;
}

int dipc_server_start(struct dipc_server *server)
{
	int ret = dipc_loop_watch(server->ref->loop, &server->watch, EPOLLIN);

	server->is_watched = ret == 0;
	return ret;
}

static void sessions_close(struct dipc_list *head)
{
	while (!dipc_list_is_empty(head))
		session_close(
			dipc_container_of(head->next, struct session, node));
}

void dipc_server_stop(struct dipc_server *server)
{
	server->is_stopping = true;
	if (server->is_watched)
		dipc_loop_unwatch(server->ref->loop, &server->watch);
	server->is_watched = false;
	if (server->watch.fd >= 0)
		close(server->watch.fd);
	server->watch.fd = -1;
	sessions_close(&server->half_open);
	sessions_close(&server->joined);
}

void dipc_server_destroy(struct dipc_server *server)
{
	if (!server)
		return;
	dipc_server_stop(server);
	free(server);
}

unsigned dipc_server_port(const struct dipc_server *server)
{
	return dipc_socket_port(server->watch.fd);
}

void dipc_server_drop(struct dipc_server *server, unsigned node,
		      uint32_t incarnation)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &server->joined) {
		struct session *s =
			dipc_container_of(pos, struct session, node);

		if (s->member == node && s->incarnation == incarnation) {
			session_close(s);
			return;
		}
	}
}
