/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations: posting chains, and what the completion queue says of them.
 *
 * Only the last request of a chain is signalled. A queue pair completes in
 * order, so a success belongs to the first operation of dipc_vconn.ops, and
 * so does the first failure, whichever request of its chain it names. What
 * follows a failure is noise (flushed requests, signalled or not): the
 * operations left are completed when the queue pair is gone, because until
 * then the device might still write into their memory.
 *
 * Completions are matched by queue pair number. Some devices (rxe) leave
 * those of a destroyed queue pair in the queue; they find no connection.
 */
#include "transport/verbs/verbs.h"

#define ATOMIC_LEN 8u

/* ---- posting (transport.c has checked the local side of every request) -- */

static bool wr_is_atomic(const struct dipc_wr *wr)
{
	return wr->op == DIPC_WR_CAS || wr->op == DIPC_WR_FAA;
}

static bool wr_is_write(const struct dipc_wr *wr)
{
	return wr->op == DIPC_WR_WRITE || wr->op == DIPC_WR_WRITE_IMM;
}

static uint32_t wr_len(const struct dipc_wr *wr)
{
	return wr_is_atomic(wr) ? ATOMIC_LEN : wr->len;
}

static enum ibv_wr_opcode wr_opcode(enum dipc_wr_op op)
{
	static const enum ibv_wr_opcode opcode[] = {
		[DIPC_WR_READ] = IBV_WR_RDMA_READ,
		[DIPC_WR_WRITE] = IBV_WR_RDMA_WRITE,
		[DIPC_WR_WRITE_IMM] = IBV_WR_RDMA_WRITE_WITH_IMM,
		[DIPC_WR_CAS] = IBV_WR_ATOMIC_CMP_AND_SWP,
		[DIPC_WR_FAA] = IBV_WR_ATOMIC_FETCH_AND_ADD,
	};

	return opcode[op];
}

static void wr_fill(const struct dipc_vconn *conn, const struct dipc_wr *wr,
		    struct ibv_sge *sge, struct ibv_send_wr *out)
{
	sge->addr = (uintptr_t)wr->local;
	sge->length = wr_len(wr);
	sge->lkey = sge->length ? wr->region->lkey : 0;

	*out = (struct ibv_send_wr){
		.opcode = wr_opcode(wr->op),
		.sg_list = sge,
		.num_sge = sge->length ? 1 : 0,
	};
	if (wr->flags & DIPC_WR_FENCE)
		out->send_flags |= IBV_SEND_FENCE;
	if (wr_is_write(wr) && sge->length && sge->length <= conn->max_inline)
		out->send_flags |= IBV_SEND_INLINE;
	if (wr_is_atomic(wr)) {
		out->wr.atomic.remote_addr = wr->remote.addr;
		out->wr.atomic.rkey = wr->remote.rkey;
		/* FAA takes the addend from where CAS takes the expected. */
		out->wr.atomic.compare_add =
			wr->op == DIPC_WR_CAS ? wr->compare : wr->arg;
		out->wr.atomic.swap = wr->op == DIPC_WR_CAS ? wr->arg : 0;
		return;
	}
	out->wr.rdma.remote_addr = wr->remote.addr;
	out->wr.rdma.rkey = wr->remote.rkey;
	if (wr->op == DIPC_WR_WRITE_IMM)
		out->imm_data = htonl(wr->imm);
}

int dipc_vop_post(struct dipc_conn *base, const struct dipc_wr *wr, unsigned nr,
		  struct dipc_op *op)
{
	struct dipc_vconn *conn = dipc_vconn_of(base);
	struct dipc_verbs *v = dipc_vconn_verbs(conn);
	struct ibv_send_wr *bad = NULL;
	unsigned i;
	int ret;

	if (conn->state >= VCONN_DYING)
		return -ENOLINK;
	if (conn->state != VCONN_UP)
		return -EINVAL;
	if (conn->nr_wr + nr > v->base.limits.max_depth)
		return -EAGAIN;

	for (i = 0; i < nr; i++) {
		wr_fill(conn, &wr[i], &v->sges[i], &v->wrs[i]);
		v->wrs[i].wr_id = (uintptr_t)op;
		v->wrs[i].next = i + 1 < nr ? &v->wrs[i + 1] : NULL;
	}
	v->wrs[nr - 1].send_flags |= IBV_SEND_SIGNALED;

	ret = vb_post_send(conn->id->qp, v->wrs, &bad);
	if (ret) {
		dipc_error("queue pair %u refused %u requests: %s", conn->qpn,
			   nr, strerror(-ret));
		dipc_vconn_break(conn, -ENOLINK);
		if (bad == v->wrs)
			return -ENOLINK;
		/* Part of the chain is out: completed when it has stopped. */
	}
	op->conn = base;
	op->nr_wr = nr;
	op->status = -ENOLINK; /* of a completion that never comes */
	conn->nr_wr += nr;
	dipc_list_add_tail(&conn->ops, &op->node);
	return -EINPROGRESS;
}

/* ---- completions -------------------------------------------------------- */

/* End the first operation of CONN. False: there is none. */
static bool vop_finish(struct dipc_vconn *conn, bool is_success)
{
	struct dipc_list *node = dipc_list_pop(&conn->ops);
	struct dipc_op *op;

	if (!node)
		return false;
	op = dipc_container_of(node, struct dipc_op, node);
	conn->nr_wr -= op->nr_wr;
	op->done(op, is_success ? 0 : op->status);
	return true;
}

void dipc_vop_fail_all(struct dipc_vconn *conn)
{
	while (vop_finish(conn, false))
		;
}

/* The first failure of CONN; the operation at fault is its first. */
static void vop_fail(struct dipc_vconn *conn, const struct ibv_wc *wc)
{
	bool is_refused = wc->status == IBV_WC_REM_ACCESS_ERR ||
			  wc->status == IBV_WC_REM_OP_ERR ||
			  wc->status == IBV_WC_REM_INV_REQ_ERR;

	if (conn->state >= VCONN_DYING)
		return;
	if (is_refused && !dipc_list_is_empty(&conn->ops))
		dipc_container_of(conn->ops.next, struct dipc_op, node)
			->status = -EREMOTEIO;
	dipc_debug("queue pair %u broke: %s, vendor code 0x%x", conn->qpn,
		   vb_status_name(wc->status), wc->vendor_err);
	dipc_vconn_break(conn, -ENOLINK);
}

static void vop_imm(struct dipc_vconn *conn, const struct ibv_wc *wc)
{
	const struct dipc_transport *t = conn->base.transport;

	/* The peer's first message may overtake the CM's last one. */
	if (conn->state == VCONN_ACCEPTING)
		dipc_vconn_up(conn, NULL, 0);
	/* Nothing more for who has closed; what came before a break counts. */
	if (conn->state == VCONN_DYING && conn->reason == 0)
		return;
	if (wc->wc_flags & IBV_WC_WITH_IMM)
		t->events->imm(t->arg, &conn->base, ntohl(wc->imm_data));
}

static void vop_complete(struct dipc_verbs *v, const struct ibv_wc *wc)
{
	struct dipc_vconn *conn = dipc_vconn_find(v, wc->qp_num);

	if (wc->wr_id == VERBS_RECV_ID) {
		v->nr_recv_used++;
		if (conn && wc->status == IBV_WC_SUCCESS)
			vop_imm(conn, wc);
	} else if (conn && wc->status == IBV_WC_SUCCESS) {
		vop_finish(conn, true);
	} else if (conn) {
		vop_fail(conn, wc);
	}
}

int dipc_vop_post_recvs(struct dipc_verbs *v, unsigned nr)
{
	int ret;

	for (; nr >= VERBS_RECV_BATCH; nr -= VERBS_RECV_BATCH) {
		ret = vb_post_srq_recv(v->srq, v->recvs);
		if (ret)
			return ret;
		v->nr_recv_used -= VERBS_RECV_BATCH;
	}
	return 0;
}

bool dipc_vop_is_ready(struct dipc_verbs *v)
{
	if (v->wc_next < v->wc_nr)
		return true;
	v->wc_next = 0;
	v->wc_nr = vb_poll_cq(v->cq, VERBS_WC_BATCH, v->wc);
	if (v->wc_nr >= 0)
		return v->wc_nr > 0;
	v->wc_nr = 0;
	dipc_verbs_lost(v, "its completion queue failed");
	return false;
}

unsigned dipc_vop_poll(struct dipc_verbs *v, unsigned budget)
{
	unsigned nr = 0;
	struct ibv_wc wc;

	while (nr < budget && dipc_vop_is_ready(v)) {
		wc = v->wc[v->wc_next++];
		vop_complete(v, &wc);
		nr++;
	}
	if (v->nr_recv_used >= VERBS_RECV_BATCH &&
	    dipc_vop_post_recvs(v, v->nr_recv_used))
		dipc_verbs_lost(v, "its receive queue failed");
	return nr;
}

void dipc_vop_drain(struct dipc_verbs *v)
{
	dipc_vop_poll(v, v->cq_depth);
}
