/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connecting, by rdma_cm: resolve the address, then the route, send a request
 * with HELLO, get the reply.
 *
 * What the CM carries is padded with zeros to its own size. The reply has room
 * for a length before it. The request has exactly DIPC_HELLO_MAX bytes: their
 * last is the length, unless all are in use, which the flow_control bit says
 * (it is carried unchanged and means nothing with a shared receive queue).
 */
#include "transport/verbs/verbs.h"

#include <assert.h>
#include <string.h>

#define MIN_CONNECT_MS 1000u
/* Longer than the CM waits before it repeats a reply. */
#define ACCEPT_MS 6000u
/* In a rejection (IBA 12.6.7.2): no answer in time; no such service. */
#define REJ_TIMEOUT 4

static_assert(DIPC_HELLO_MAX == VERBS_REQ_BYTES, "hello fills a request");
static_assert(DIPC_HELLO_MAX < VERBS_REP_BYTES, "a reply fits with its length");

/* A CM event, copied: its original must be given back before ids can go. */
struct note {
	enum rdma_cm_event_type type;
	int status;
	struct rdma_cm_id *id;
	bool is_full; /* flow_control */
	size_t len;
	uint8_t data[256];
};

static void conn_param_init(struct rdma_conn_param *param, const uint8_t *data,
			    size_t len)
{
	*param = (struct rdma_conn_param){
		.private_data = data,
		.private_data_len = (uint8_t)len,
		.responder_resources = RDMA_MAX_RESP_RES,
		.initiator_depth = RDMA_MAX_INIT_DEPTH,
		.retry_count = VERBS_RETRIES,
		.rnr_retry_count = 7, /* for ever */
	};
}

static unsigned connect_ms(const struct dipc_verbs *v)
{
	return v->peer_timeout_ms > MIN_CONNECT_MS ? v->peer_timeout_ms
						   : MIN_CONNECT_MS;
}

/* ---- the connecting side ------------------------------------------------ */

static void connect_failed(struct dipc_vconn *conn, int err)
{
	dipc_debug("cannot connect from %s: %s", conn->base.transport->address,
		   strerror(-err));
	if (err != -ECONNREFUSED && err != -ETIMEDOUT)
		err = -EHOSTUNREACH;
	dipc_vconn_break(conn, err);
}

int dipc_vcm_connect(struct dipc_transport *t, const char *address,
		     const void *hello, size_t hello_len,
		     struct dipc_conn **conn_out)
{
	struct dipc_verbs *v = dipc_verbs_of(t);
	struct sockaddr_storage peer, source = v->source;
	struct rdma_cm_id *id;
	struct dipc_vconn *conn;
	int ret;

	if (hello_len > DIPC_HELLO_MAX || dipc_vaddr_parse(address, &peer) ||
	    peer.ss_family != source.ss_family ||
	    !dipc_vaddr_port((struct sockaddr *)&peer))
		return -EINVAL;
	ret = vb_create_id(v->cm, NULL, &id);
	if (ret)
		return ret;
	conn = dipc_vconn_create(v, id, VCONN_RESOLVING);
	if (!conn) {
		vb_destroy_id(id);
		return -ENOMEM;
	}
	if (hello_len)
		memcpy(conn->hello, hello, hello_len);
	conn->hello_len = hello_len;
	dipc_vconn_set_deadline(conn, connect_ms(v));
	ret = vb_resolve_addr(id, (struct sockaddr *)&source,
			      (struct sockaddr *)&peer, (int)connect_ms(v));
	if (ret)
		connect_failed(conn, ret);
	*conn_out = &conn->base;
	return 0;
}

static void on_addr_resolved(struct dipc_vconn *conn)
{
	int ret = dipc_vconn_create_qp(conn);

	if (!ret)
		ret = vb_resolve_route(conn->id,
				       (int)connect_ms(dipc_vconn_verbs(conn)));
	if (ret)
		connect_failed(conn, ret);
}

static void on_route_resolved(struct dipc_vconn *conn)
{
	uint8_t data[VERBS_REQ_BYTES] = {0};
	struct rdma_conn_param param;
	int ret;

	conn_param_init(&param, data, sizeof(data));
	memcpy(data, conn->hello, conn->hello_len);
	if (conn->hello_len == sizeof(data))
		param.flow_control = 1;
	else
		data[sizeof(data) - 1] = (uint8_t)conn->hello_len;
	dipc_vconn_set_state(conn, VCONN_CONNECTING);
	ret = vb_connect(conn->id, &param);
	if (ret)
		connect_failed(conn, ret);
}

static void on_rejected(struct dipc_vconn *conn, const struct note *note)
{
	if (conn->is_passive)
		dipc_vconn_break(conn, -ENOLINK);
	else
		connect_failed(conn, note->status == REJ_TIMEOUT
					     ? -ETIMEDOUT
					     : -ECONNREFUSED);
}

static void on_established(struct dipc_vconn *conn, const struct note *note)
{
	if (conn->state == VCONN_ACCEPTING)
		dipc_vconn_up(conn, NULL, 0);
	else if (conn->state != VCONN_CONNECTING)
		return; /* UP already, by a message that came first */
	else if (note->len < 1 || note->data[0] > DIPC_HELLO_MAX ||
		 note->data[0] >= note->len)
		connect_failed(conn, -EPROTO);
	else
		dipc_vconn_up(conn, note->data + 1, note->data[0]);
}

/* ---- the accepting side ------------------------------------------------- */

static void reject(struct rdma_cm_id *id, int err)
{
	uint32_t code = htonl((uint32_t)-err);
	int ret = vb_reject(id, &code, sizeof(code));

	if (ret)
		dipc_debug("cannot reject: %s", strerror(-ret));
}

/* The bytes of the peer's HELLO in NOTE, or -EPROTO. */
static int hello_len(const struct note *note, size_t *len_out)
{
	size_t len;

	if (note->len < VERBS_REQ_BYTES)
		return -EPROTO;
	len = note->is_full ? VERBS_REQ_BYTES : note->data[VERBS_REQ_BYTES - 1];
	if (len > VERBS_REQ_BYTES || (len == VERBS_REQ_BYTES && !note->is_full))
		return -EPROTO;
	*len_out = len;
	return 0;
}

/* Ask the user; 0: REPLY is what to send. */
static int ask_user(struct dipc_vconn *conn, const struct note *note,
		    uint8_t *data, size_t *len_out)
{
	const struct dipc_transport *t = conn->base.transport;
	size_t len, reply_len = 0;
	int ret;

	ret = hello_len(note, &len);
	if (ret)
		return ret;
	ret = t->events->accept(t->arg, &conn->base, note->data, len, data + 1,
				&reply_len);
	if (ret)
		return ret < 0 ? ret : -EINVAL;
	assert(reply_len <= DIPC_HELLO_MAX);
	data[0] = (uint8_t)reply_len;
	*len_out = reply_len + 1;
	return 0;
}

static void on_request(struct dipc_verbs *v, const struct note *note)
{
	uint8_t data[DIPC_HELLO_MAX + 1] = {0};
	struct rdma_conn_param param;
	struct dipc_vconn *conn;
	size_t len = 0;
	int ret;

	conn = dipc_vconn_create(v, note->id, VCONN_ACCEPTING);
	if (!conn) {
		reject(note->id, -ENOMEM);
		vb_destroy_id(note->id);
		return;
	}
	/* First, so that no accepted connection can fail for lack of it. */
	ret = dipc_vconn_create_qp(conn);
	if (!ret)
		ret = ask_user(conn, note, data, &len);
	if (ret) {
		reject(note->id, ret);
		dipc_vconn_destroy(conn);
		return;
	}
	if (conn->state != VCONN_ACCEPTING) {
		reject(note->id, -ECONNREFUSED); /* closed by accept() */
		return;
	}
	dipc_vconn_set_deadline(conn, ACCEPT_MS);
	conn_param_init(&param, data, len);
	ret = vb_accept(note->id, &param);
	if (ret) {
		dipc_debug("cannot accept: %s", strerror(-ret));
		dipc_vconn_break(conn, -ENOLINK);
	}
}

/* ---- events ------------------------------------------------------------- */

static void on_disconnected(struct dipc_vconn *conn)
{
	if (conn->state == VCONN_LINGER) {
		dipc_vconn_destroy(conn);
		return;
	}
	dipc_vconn_break(conn, -ENOLINK);
	conn->must_linger = false;
}

/* Events of a connection that is over, or that this state does not expect. */
static bool is_late(const struct dipc_vconn *conn, const struct note *note)
{
	if (note->type == RDMA_CM_EVENT_DISCONNECTED)
		return false;
	if (conn->state >= VCONN_DYING)
		return true;
	return (note->type == RDMA_CM_EVENT_ADDR_RESOLVED ||
		note->type == RDMA_CM_EVENT_ROUTE_RESOLVED) &&
	       conn->state != VCONN_RESOLVING;
}

static void handle_conn_event(struct dipc_verbs *v, const struct note *note)
{
	struct dipc_vconn *conn = note->id->context;

	if (is_late(conn, note))
		return;
	switch (note->type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		on_addr_resolved(conn);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		on_route_resolved(conn);
		break;
	case RDMA_CM_EVENT_REJECTED:
		on_rejected(conn, note);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		on_established(conn, note);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		on_disconnected(conn);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		if (conn->is_passive)
			dipc_vconn_break(conn, -ENOLINK);
		else
			connect_failed(conn, note->status < 0 ? note->status
							      : -EHOSTUNREACH);
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		dipc_verbs_lost(v, "it was removed");
		break;
	case RDMA_CM_EVENT_ADDR_CHANGE:
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
	case RDMA_CM_EVENT_CONNECT_REQUEST:  /* not of a connection */
	case RDMA_CM_EVENT_CONNECT_RESPONSE: /* needs an id without queue pair */
	case RDMA_CM_EVENT_MULTICAST_JOIN:
	case RDMA_CM_EVENT_MULTICAST_ERROR:
		break;
	}
}

static void handle(struct dipc_verbs *v, const struct note *note)
{
	dipc_trace("%s, status %d", vb_event_name(note->type), note->status);
	if (note->type == RDMA_CM_EVENT_CONNECT_REQUEST)
		on_request(v, note);
	else if (note->id != v->listener)
		handle_conn_event(v, note);
	else if (note->type == RDMA_CM_EVENT_DEVICE_REMOVAL)
		dipc_verbs_lost(v, "it was removed");
}

static void note_take(struct note *note, struct rdma_cm_event *event)
{
	const struct rdma_conn_param *param = &event->param.conn;

	note->type = event->event;
	note->status = event->status;
	note->id = event->id;
	note->is_full = param->flow_control != 0;
	note->len = param->private_data ? param->private_data_len : 0;
	if (note->len)
		memcpy(note->data, param->private_data, note->len);
	vb_ack_cm_event(event);
}

unsigned dipc_vcm_poll(struct dipc_verbs *v, unsigned budget)
{
	struct rdma_cm_event *event;
	struct note note;
	unsigned nr;

	for (nr = 0; nr < budget; nr++) {
		if (vb_get_cm_event(v->cm, &event))
			break;
		note_take(&note, event);
		handle(v, &note);
	}
	return nr;
}
