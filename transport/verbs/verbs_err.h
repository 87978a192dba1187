/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libibverbs and librdmacm as the rest of this project expects calls to be:
 * 0 or -errno, objects through an out parameter written only on success.
 * Their own three conventions (-1 and errno; a positive errno; NULL and errno)
 * stop here: no other file calls ibv_*() or rdma_*().
 *
 * Destroying cannot fail for our callers; what the library says is logged.
 */
#ifndef DIPC_TRANSPORT_VERBS_ERR_H
#define DIPC_TRANSPORT_VERBS_ERR_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "runtime/base/log.h"

/* The library failed and set errno; a few of its paths forget to. */
static inline int vb_errno(void)
{
	return errno > 0 ? -errno : -EIO;
}

/* rdma_*(): -1 and errno. Some answer with -errno or a positive one. */
static inline int vb_cm(int ret)
{
	if (ret == 0)
		return 0;
	if (ret == -1)
		return vb_errno();
	return ret < 0 ? ret : -ret;
}

/* ibv_*() that return errno itself; some providers return -1 and set it. */
static inline int vb_ib(int ret)
{
	if (ret < 0)
		return vb_errno();
	return -ret;
}

static inline void vb_gone(const char *what, int ret)
{
	if (ret)
		dipc_warn("cannot destroy a %s: %s", what, strerror(-ret));
}

/* ---- librdmacm ---------------------------------------------------------- */

static inline int vb_create_channel(struct rdma_event_channel **channel_out)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();

	if (!channel)
		return vb_errno();
	*channel_out = channel;
	return 0;
}

static inline void vb_destroy_channel(struct rdma_event_channel *channel)
{
	rdma_destroy_event_channel(channel);
}

static inline int vb_create_id(struct rdma_event_channel *channel,
			       void *context, struct rdma_cm_id **id_out)
{
	return vb_cm(rdma_create_id(channel, id_out, context, RDMA_PS_TCP));
}

/* Every event of ID must have been acknowledged, or this waits for ever. */
static inline void vb_destroy_id(struct rdma_cm_id *id)
{
	vb_gone("connection id", vb_cm(rdma_destroy_id(id)));
}

static inline int vb_bind_addr(struct rdma_cm_id *id, struct sockaddr *addr)
{
	return vb_cm(rdma_bind_addr(id, addr));
}

static inline int vb_listen(struct rdma_cm_id *id, int backlog)
{
	return vb_cm(rdma_listen(id, backlog));
}

static inline int vb_resolve_addr(struct rdma_cm_id *id, struct sockaddr *src,
				  struct sockaddr *dst, int timeout_ms)
{
	return vb_cm(rdma_resolve_addr(id, src, dst, timeout_ms));
}

static inline int vb_resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
	return vb_cm(rdma_resolve_route(id, timeout_ms));
}

static inline int vb_connect(struct rdma_cm_id *id,
			     struct rdma_conn_param *param)
{
	return vb_cm(rdma_connect(id, param));
}

static inline int vb_accept(struct rdma_cm_id *id,
			    struct rdma_conn_param *param)
{
	return vb_cm(rdma_accept(id, param));
}

static inline int vb_reject(struct rdma_cm_id *id, const void *data,
			    uint8_t len)
{
	return vb_cm(rdma_reject(id, data, len));
}

/* Errors mean that the other side was first. */
static inline int vb_disconnect(struct rdma_cm_id *id)
{
	return vb_cm(rdma_disconnect(id));
}

/* Retransmit after 4.096 us * 2^CODE without an answer. */
static inline int vb_set_ack_timeout(struct rdma_cm_id *id, uint8_t code)
{
	return vb_cm(rdma_set_option(id, RDMA_OPTION_ID,
				     RDMA_OPTION_ID_ACK_TIMEOUT, &code,
				     sizeof(code)));
}

/* -EAGAIN when there is none (the channel is non-blocking). */
static inline int vb_get_cm_event(struct rdma_event_channel *channel,
				  struct rdma_cm_event **event_out)
{
	return vb_cm(rdma_get_cm_event(channel, event_out));
}

static inline void vb_ack_cm_event(struct rdma_cm_event *event)
{
	rdma_ack_cm_event(event);
}

static inline const char *vb_event_name(enum rdma_cm_event_type event)
{
	return rdma_event_str(event);
}

static inline struct sockaddr *vb_local_addr(struct rdma_cm_id *id)
{
	return rdma_get_local_addr(id);
}

static inline int vb_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd,
			       struct ibv_qp_init_attr *attr)
{
	return vb_cm(rdma_create_qp(id, pd, attr));
}

static inline void vb_destroy_qp(struct rdma_cm_id *id)
{
	rdma_destroy_qp(id);
}

/* ---- libibverbs: objects ------------------------------------------------ */

static inline int vb_query_device(struct ibv_context *device,
				  struct ibv_device_attr *attr_out)
{
	return vb_ib(ibv_query_device(device, attr_out));
}

static inline int vb_query_port(struct ibv_context *device, uint8_t port,
				struct ibv_port_attr *attr_out)
{
	return vb_ib(ibv_query_port(device, port, attr_out));
}

static inline const char *vb_device_name(struct ibv_context *device)
{
	return ibv_get_device_name(device->device);
}

static inline int vb_alloc_pd(struct ibv_context *device,
			      struct ibv_pd **pd_out)
{
	struct ibv_pd *pd = ibv_alloc_pd(device);

	if (!pd)
		return vb_errno();
	*pd_out = pd;
	return 0;
}

static inline void vb_dealloc_pd(struct ibv_pd *pd)
{
	vb_gone("protection domain", vb_ib(ibv_dealloc_pd(pd)));
}

static inline int vb_create_comp(struct ibv_context *device,
				 struct ibv_comp_channel **comp_out)
{
	struct ibv_comp_channel *comp = ibv_create_comp_channel(device);

	if (!comp)
		return vb_errno();
	*comp_out = comp;
	return 0;
}

static inline void vb_destroy_comp(struct ibv_comp_channel *comp)
{
	vb_gone("completion channel", vb_ib(ibv_destroy_comp_channel(comp)));
}

static inline int vb_create_cq(struct ibv_context *device, int nr,
			       struct ibv_comp_channel *comp,
			       struct ibv_cq **cq_out)
{
	struct ibv_cq *cq = ibv_create_cq(device, nr, NULL, comp, 0);

	if (!cq)
		return vb_errno();
	*cq_out = cq;
	return 0;
}

/* Every event of CQ must have been acknowledged, or this waits for ever. */
static inline void vb_destroy_cq(struct ibv_cq *cq)
{
	vb_gone("completion queue", vb_ib(ibv_destroy_cq(cq)));
}

static inline int vb_create_srq(struct ibv_pd *pd,
				struct ibv_srq_init_attr *attr,
				struct ibv_srq **srq_out)
{
	struct ibv_srq *srq = ibv_create_srq(pd, attr);

	if (!srq)
		return vb_errno();
	*srq_out = srq;
	return 0;
}

static inline void vb_destroy_srq(struct ibv_srq *srq)
{
	vb_gone("receive queue", vb_ib(ibv_destroy_srq(srq)));
}

static inline int vb_reg_mr(struct ibv_pd *pd, void *base, size_t len,
			    unsigned access, struct ibv_mr **mr_out)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, base, len, access);

	if (!mr)
		return vb_errno();
	*mr_out = mr;
	return 0;
}

static inline void vb_dereg_mr(struct ibv_mr *mr)
{
	vb_gone("memory registration", vb_ib(ibv_dereg_mr(mr)));
}

/* How long a peer that met no receive of ours waits: table 45 of the IBA. */
static inline int vb_set_rnr_timer(struct ibv_qp *qp, uint8_t code)
{
	struct ibv_qp_attr attr = {.min_rnr_timer = code};

	return vb_ib(ibv_modify_qp(qp, &attr, IBV_QP_MIN_RNR_TIMER));
}

/* ---- libibverbs: work --------------------------------------------------- */

static inline int vb_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
			       struct ibv_send_wr **bad_out)
{
	return vb_ib(ibv_post_send(qp, wr, bad_out));
}

static inline int vb_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr)
{
	struct ibv_recv_wr *bad;

	return vb_ib(ibv_post_srq_recv(srq, wr, &bad));
}

/* How many, or -EIO. */
static inline int vb_poll_cq(struct ibv_cq *cq, int nr, struct ibv_wc *wc_out)
{
	int ret = ibv_poll_cq(cq, nr, wc_out);

	return ret < 0 ? -EIO : ret;
}

static inline const char *vb_status_name(enum ibv_wc_status status)
{
	return ibv_wc_status_str(status);
}

static inline int vb_req_notify(struct ibv_cq *cq)
{
	return vb_ib(ibv_req_notify_cq(cq, 0));
}

/* Take one notification; -EAGAIN when there is none. */
static inline int vb_get_cq_event(struct ibv_comp_channel *comp)
{
	struct ibv_cq *cq;
	void *context;

	return vb_cm(ibv_get_cq_event(comp, &cq, &context));
}

static inline void vb_ack_cq_events(struct ibv_cq *cq, unsigned nr)
{
	ibv_ack_cq_events(cq, nr);
}

#endif
