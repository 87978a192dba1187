/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/lookup.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/hostport.h"
#include "runtime/base/log.h"
#include "runtime/base/tls.h"

/* Longer than the referee lets anybody wait for a creator. */
#define ANSWER_NS (15 * DIPC_SEC)

struct dipc_lookup {
	struct dipc_loop *loop; /* borrowed */
	void (*lost)(void *arg, int reason);
	void *arg;
	struct dipc_tls *tls;           /* owned; NULL once closed */
	struct dipc_tls_counters bytes; /* of closed streams */
	struct dipc_waitq opened;
	bool is_open;              /* connect has succeeded */
	int reason;                /* why it closed */
	char detail[128];          /* in TLS's words */
	uint32_t tag;              /* of the last request */
	struct dipc_list requests; /* struct request, on their fibers' stacks */
};

struct request {
	struct dipc_list node;
	struct dipc_waitq answered;
	uint32_t tag;
	uint16_t type;
	bool is_done;
	int status; /* 0: the answer is in; or -ENOLINK */
	void *answer;
	size_t answer_len;
};

/* ---- what the stream calls ---------------------------------------------- */

static void request_end(struct request *r, int status)
{
	dipc_list_del(&r->node);
	r->status = status;
	r->is_done = true;
	dipc_waitq_wake_all(&r->answered);
}

static void on_ready(void *arg)
{
	struct dipc_lookup *l = arg;

	l->is_open = true;
	dipc_waitq_wake_all(&l->opened);
}

static void on_frame(void *arg, const struct dipc_lookup_head *head,
		     const void *body)
{
	struct dipc_lookup *l = arg;
	struct dipc_list *pos;

	dipc_list_for_each (pos, &l->requests) {
		struct request *r =
			dipc_container_of(pos, struct request, node);

		if (r->tag != head->tag)
			continue;
		if (r->type != head->type || r->answer_len != head->body_len)
			break;
		memcpy(r->answer, body, r->answer_len);
		request_end(r, 0);
		return;
	}
	/* the answer to a request given up, or nonsense: harmless */
	dipc_warn("the referee sent an answer nobody waits for");
}

static void lookup_drop(struct dipc_lookup *l)
{
	const struct dipc_tls_counters *bytes = dipc_tls_counters(l->tls);

	l->bytes.tx_bytes += bytes->tx_bytes;
	l->bytes.rx_bytes += bytes->rx_bytes;
	dipc_tls_destroy(l->tls);
	l->tls = NULL;
}

static void on_closed(void *arg, int reason)
{
	struct dipc_lookup *l = arg;
	struct dipc_list *node;

	l->reason = reason ? reason : -ECONNRESET;
	strncpy(l->detail, dipc_tls_error(l->tls), sizeof(l->detail) - 1);
	lookup_drop(l);
	dipc_waitq_wake_all(&l->opened);
	while ((node = dipc_list_pop(&l->requests)))
		request_end(dipc_container_of(node, struct request, node),
			    -ENOLINK);
	if (l->is_open)
		l->lost(l->arg, l->reason);
}

static const struct dipc_tls_events lookup_events = {
	.ready = on_ready,
	.frame = on_frame,
	.closed = on_closed,
};

/* ---- connecting --------------------------------------------------------- */

/* Fiber. Until the stream is ready or closed. */
static int connect_one(struct dipc_lookup *l, const struct addrinfo *ai,
		       const uint8_t key[DIPC_KEY_LEN])
{
	int one = 1;
	int ret, fd;

	fd = socket(ai->ai_family,
		    ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
		    ai->ai_protocol);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) && errno != EINPROGRESS) {
		ret = -errno;
		close(fd);
		return ret;
	}
	ret = dipc_tls_create(l->loop, fd, false, key, &lookup_events, l,
			      &l->tls);
	if (ret) {
		close(fd);
		return ret;
	}
	while (l->tls && !l->is_open)
		(void)dipc_waitq_wait(&l->opened, DIPC_NEVER);
	return l->is_open ? 0 : l->reason;
}

static void connect_log(const struct dipc_lookup *l,
			const struct dipc_config *conf, int ret)
{
	switch (ret) {
	case -EKEYREJECTED:
		dipc_error("the referee at %s refused the cluster key in "
			   "key-file %s: every machine needs the same",
			   conf->referee, conf->key_file);
		return;
	case -ECONNREFUSED:
		dipc_error("no referee at %s: connection refused; start it, or "
			   "set `referee`",
			   conf->referee);
		return;
	case -ETIMEDOUT:
		dipc_error("no answer from the referee at %s; is that where "
			   "it runs, and does a firewall let us through?",
			   conf->referee);
		return;
	case -EPROTO:
		dipc_error("what answers at %s is not a referee: %s",
			   conf->referee, l->detail);
		return;
	default:
		dipc_error("the referee at %s: %s", conf->referee,
			   strerror(-ret));
	}
}

/* Fiber. Address after address, since a name may have several. */
static int lookup_open(struct dipc_lookup *l, const struct dipc_config *conf)
{
	struct addrinfo *list, *ai;
	uint8_t key[DIPC_KEY_LEN];
	char err[384];
	int ret;

	ret = dipc_key_load(conf->key_file, key, err, sizeof(err));
	if (!ret)
		ret = dipc_hostport_resolve(conf->referee, false, err,
					    sizeof(err), &list);
	if (ret) {
		dipc_error("%s", err);
		return ret;
	}
	ret = -EHOSTUNREACH;
	for (ai = list; ai; ai = ai->ai_next) {
		ret = connect_one(l, ai, key);
		if (!ret || ret == -EKEYREJECTED)
			break;
	}
	freeaddrinfo(list);
	explicit_bzero(key, sizeof(key));
	if (ret)
		connect_log(l, conf, ret);
	return ret;
}

int dipc_lookup_connect(struct dipc_loop *loop, const struct dipc_config *conf,
			void (*lost)(void *arg, int reason), void *arg,
			struct dipc_lookup **lookup_out)
{
	struct dipc_lookup *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return -ENOMEM;
	l->loop = loop;
	l->lost = lost;
	l->arg = arg;
	dipc_waitq_init(&l->opened);
	dipc_list_init(&l->requests);
	ret = lookup_open(l, conf);
	if (ret) {
		free(l);
		return ret;
	}
	*lookup_out = l;
	return 0;
}

void dipc_lookup_destroy(struct dipc_lookup *l)
{
	if (!l)
		return;
	if (l->tls)
		lookup_drop(l);
	free(l);
}

/* ---- requests ----------------------------------------------------------- */

/* Fiber. ANSWER is filled in when 0 returns. */
static int lookup_ask(struct dipc_lookup *l, enum dipc_lookup_type type,
		      const void *body, size_t len, void *answer,
		      size_t answer_len)
{
	struct dipc_sched *sched = dipc_loop_sched(l->loop);
	uint64_t deadline = dipc_sched_now(sched) + ANSWER_NS;
	struct request r = {.type = (uint16_t)type,
			    .tag = ++l->tag,
			    .answer = answer,
			    .answer_len = answer_len};

	if (!l->tls || dipc_tls_send(l->tls, r.type, r.tag, body, len))
		return -ENOLINK;
	dipc_waitq_init(&r.answered);
	dipc_list_add_tail(&l->requests, &r.node);
	while (!r.is_done)
		if (dipc_waitq_wait(&r.answered, deadline) == -ETIMEDOUT)
			break;
	if (r.is_done)
		return r.status;
	dipc_list_del(&r.node);
	dipc_warn("the referee does not answer");
	return -ENOLINK;
}

/* For those whose answer is a status and nothing else. */
static int lookup_tell(struct dipc_lookup *l, enum dipc_lookup_type type,
		       const void *body, size_t len)
{
	struct dipc_lookup_status status;
	int ret;

	ret = lookup_ask(l, type, body, len, &status, sizeof(status));
	return ret ? ret : status.status;
}

int dipc_lookup_join(struct dipc_lookup *l, const struct dipc_lookup_join *join,
		     struct dipc_lookup_joined *joined_out)
{
	return lookup_ask(l, DIPC_LOOKUP_JOIN, join, sizeof(*join), joined_out,
			  sizeof(*joined_out));
}

int dipc_lookup_get(struct dipc_lookup *l, const struct dipc_lookup_get *get,
		    struct dipc_lookup_got *got_out)
{
	return lookup_ask(l, DIPC_LOOKUP_GET, get, sizeof(*get), got_out,
			  sizeof(*got_out));
}

int dipc_lookup_created(struct dipc_lookup *l,
			const struct dipc_lookup_created *created)
{
	return lookup_tell(l, DIPC_LOOKUP_CREATED, created, sizeof(*created));
}

int dipc_lookup_remove(struct dipc_lookup *l, int32_t id)
{
	struct dipc_lookup_remove remove = {.id = id};

	return lookup_tell(l, DIPC_LOOKUP_REMOVE, &remove, sizeof(remove));
}

int dipc_lookup_leave(struct dipc_lookup *l)
{
	return lookup_tell(l, DIPC_LOOKUP_LEAVE, NULL, 0);
}

/* ---- state -------------------------------------------------------------- */

bool dipc_lookup_is_up(const struct dipc_lookup *l)
{
	return l->tls != NULL;
}

void dipc_lookup_bytes(const struct dipc_lookup *l, uint64_t *tx_out,
		       uint64_t *rx_out)
{
	*tx_out = l->bytes.tx_bytes;
	*rx_out = l->bytes.rx_bytes;
	if (l->tls) {
		*tx_out += dipc_tls_counters(l->tls)->tx_bytes;
		*rx_out += dipc_tls_counters(l->tls)->rx_bytes;
	}
}
