/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a connection.
 *
 *	RESOLVING -> CONNECTING -.
 *	                          >-> UP -> DYING -> LINGER -> freed
 *	            ACCEPTING  --'           `-------------> freed
 *
 * Everything short of UP may also go to DYING. Whoever notices the end (a
 * failed completion, a CM event, a deadline, dipc_conn_close) only calls
 * dipc_vconn_break(); dipc_vconn_reap() does the rest, at the end of poll:
 *  1. handle what has been completed until now;
 *  2. destroy the queue pair, which fences the peer from our memory and our
 *     device from the memory of operations outstanding;
 *  3. fail the operations left; closed().
 * The id stays for a while if the peer has not answered our disconnect
 * request: destroying it would stop the CM from repeating a lost one.
 */
#include "transport/verbs/verbs.h"

#include <assert.h>
#include <stdlib.h>

#include "runtime/base/clock.h"

#define LINGER_MS        10000u /* the CM repeats a request every 4.3 s */
#define RNR_TIMER_640_US 12u

static const uint8_t vconn_next[VCONN_NR] __attribute__((unused)) = {
	[VCONN_RESOLVING] = 1u << VCONN_CONNECTING | 1u << VCONN_DYING,
	[VCONN_CONNECTING] = 1u << VCONN_UP | 1u << VCONN_DYING,
	[VCONN_ACCEPTING] = 1u << VCONN_UP | 1u << VCONN_DYING,
	[VCONN_UP] = 1u << VCONN_DYING,
	[VCONN_DYING] = 1u << VCONN_LINGER,
	[VCONN_LINGER] = 0,
};

void dipc_vconn_set_state(struct dipc_vconn *conn, enum dipc_vconn_state to)
{
	assert(vconn_next[conn->state] & 1u << to);
	conn->state = to;
}

struct dipc_vconn *dipc_vconn_create(struct dipc_verbs *v,
				     struct rdma_cm_id *id,
				     enum dipc_vconn_state state)
{
	struct dipc_vconn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->base.transport = &v->base;
	conn->state = state;
	conn->is_passive = state == VCONN_ACCEPTING;
	conn->id = id;
	id->context = conn;
	conn->deadline = DIPC_NEVER;
	dipc_list_init(&conn->ops);
	dipc_list_init(&conn->qpn_node);
	dipc_list_add_tail(&v->conns, &conn->node);
	return conn;
}

static void vconn_destroy_qp(struct dipc_vconn *conn)
{
	struct dipc_verbs *v = dipc_vconn_verbs(conn);

	if (!conn->has_qp)
		return;
	conn->has_qp = false;
	vb_destroy_qp(conn->id);
	v->cq_free += v->base.limits.max_depth;
}

void dipc_vconn_destroy(struct dipc_vconn *conn)
{
	if (conn->state == VCONN_UP)
		vb_disconnect(conn->id);
	vconn_destroy_qp(conn);
	vb_destroy_id(conn->id);
	dipc_list_del(&conn->qpn_node);
	dipc_list_del(&conn->node);
	free(conn);
}

void dipc_vconn_set_deadline(struct dipc_vconn *conn, unsigned ms)
{
	conn->deadline = dipc_now(dipc_clock_system()) + ms * DIPC_MSEC;
	dipc_verbs_set_timer(dipc_vconn_verbs(conn));
}

static int vconn_try_qp(struct dipc_vconn *conn, unsigned inline_len)
{
	struct dipc_verbs *v = dipc_vconn_verbs(conn);
	struct ibv_qp_init_attr attr = {
		.send_cq = v->cq,
		.recv_cq = v->cq,
		.srq = v->srq,
		.cap = {.max_send_wr = v->base.limits.max_depth,
			.max_send_sge = 1,
			.max_inline_data = inline_len},
		.qp_type = IBV_QPT_RC,
	};
	int ret = vb_create_qp(conn->id, v->pd, &attr);

	if (!ret)
		conn->max_inline = attr.cap.max_inline_data;
	return ret;
}

/* A request whose sender has given up by now has no use for a queue pair. */
static bool vconn_is_stale(const struct dipc_vconn *conn, int ret)
{
	return conn->is_passive && ret == -EINVAL;
}

int dipc_vconn_create_qp(struct dipc_vconn *conn)
{
	struct dipc_verbs *v = dipc_vconn_verbs(conn);
	unsigned depth = v->base.limits.max_depth;
	int ret;

	if (conn->id->verbs != v->device) {
		dipc_error("a peer of %s is reached through another RDMA "
			   "device: routing must keep to one device",
			   v->base.address);
		return -EHOSTUNREACH;
	}
	if (v->cq_free < depth) {
		dipc_error("no room for another connection: the completion "
			   "queue of %s is taken by %u",
			   vb_device_name(v->device), v->cq_depth / depth);
		return -ENOBUFS;
	}
	ret = vconn_try_qp(conn, v->inline_len);
	if (ret && v->inline_len) {
		ret = vconn_try_qp(conn, 0); /* perhaps it has not so much */
		if (!ret)
			v->inline_len = 0;
	}
	if (ret) {
		dipc_log(vconn_is_stale(conn, ret) ? DIPC_LOG_DEBUG
						   : DIPC_LOG_ERROR,
			 "cannot create a queue pair: %s%s", strerror(-ret),
			 ret == -ENOMEM ? "; `ulimit -l` may be too low" : "");
		return ret;
	}
	ret = vb_set_ack_timeout(conn->id, v->ack_timeout);
	if (ret)
		dipc_debug("cannot set the time-out: %s", strerror(-ret));
	conn->has_qp = true;
	conn->qpn = conn->id->qp->qp_num;
	v->cq_free -= depth;
	dipc_list_add_tail(&v->by_qpn[conn->qpn % VERBS_QPN_BUCKETS],
			   &conn->qpn_node);
	return 0;
}

struct dipc_vconn *dipc_vconn_find(struct dipc_verbs *v, uint32_t qpn)
{
	struct dipc_list *node;

	dipc_list_for_each (node, &v->by_qpn[qpn % VERBS_QPN_BUCKETS]) {
		struct dipc_vconn *conn =
			dipc_container_of(node, struct dipc_vconn, qpn_node);

		if (conn->qpn == qpn)
			return conn;
	}
	return NULL;
}

void dipc_vconn_up(struct dipc_vconn *conn, const void *reply, size_t len)
{
	const struct dipc_transport *t = conn->base.transport;
	int ret;

	dipc_vconn_set_state(conn, VCONN_UP);
	conn->deadline = DIPC_NEVER;
	/* The CM leaves it at 655 ms. */
	ret = vb_set_rnr_timer(conn->id->qp, RNR_TIMER_640_US);
	if (ret)
		dipc_debug("cannot set the RNR timer: %s", strerror(-ret));
	t->events->established(t->arg, &conn->base, reply, len);
}

void dipc_vconn_break(struct dipc_vconn *conn, int reason)
{
	struct dipc_verbs *v = dipc_vconn_verbs(conn);

	if (conn->state >= VCONN_DYING)
		return;
	conn->must_linger = conn->state == VCONN_UP;
	if (conn->state == VCONN_UP)
		vb_disconnect(conn->id);
	dipc_vconn_set_state(conn, VCONN_DYING);
	conn->reason = reason;
	conn->deadline = DIPC_NEVER;
	dipc_list_del(&conn->node);
	dipc_list_add_tail(&v->dying, &conn->node);
}

void dipc_vconn_close(struct dipc_conn *base)
{
	dipc_vconn_break(dipc_vconn_of(base), 0);
}

static void vconn_end(struct dipc_vconn *conn)
{
	struct dipc_verbs *v = dipc_vconn_verbs(conn);

	dipc_vop_drain(v);
	vconn_destroy_qp(conn);
	dipc_vop_drain(v); /* some devices keep them, some do not */
	dipc_list_del(&conn->qpn_node);
	dipc_vop_fail_all(conn);
	v->base.events->closed(v->base.arg, &conn->base, conn->reason);

	if (!conn->must_linger) {
		dipc_vconn_destroy(conn);
		return;
	}
	dipc_vconn_set_state(conn, VCONN_LINGER);
	dipc_list_add_tail(&v->conns, &conn->node);
	dipc_vconn_set_deadline(conn, LINGER_MS);
}

unsigned dipc_vconn_reap(struct dipc_verbs *v)
{
	struct dipc_list *node;
	unsigned nr = 0;

	while ((node = dipc_list_pop(&v->dying))) {
		vconn_end(dipc_container_of(node, struct dipc_vconn, node));
		nr++;
	}
	return nr;
}

void dipc_vconn_expire(struct dipc_verbs *v)
{
	uint64_t now = dipc_now(dipc_clock_system());
	struct dipc_list *node, *next;

	dipc_list_for_each_safe (node, next, &v->conns) {
		struct dipc_vconn *conn =
			dipc_container_of(node, struct dipc_vconn, node);

		if (conn->deadline > now)
			continue;
		if (conn->state == VCONN_LINGER)
			dipc_vconn_destroy(conn);
		else
			dipc_vconn_break(conn, conn->is_passive ? -ENOLINK
								: -ETIMEDOUT);
	}
}
