/* SPDX-License-Identifier: BSD-2-Clause */
/* From an address to a device with its queues; and what it can do. */
#include "transport/verbs/verbs.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static unsigned min_u(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static int set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int device_open_channel(struct dipc_verbs *v)
{
	int ret = vb_create_channel(&v->cm);

	if (ret == -ENODEV || ret == -ENOENT) {
		dipc_error(
			"transport = verbs: no RDMA on this machine: `modprobe rdma_ucm`; for "
			"soft-RoCE `rdma link add rxe0 type rxe netdev "
			"IFACE`");
		return -ENODEV;
	}
	if (ret) {
		dipc_error("cannot open /dev/infiniband/rdma_cm: %s",
			   strerror(-ret));
		return ret;
	}
	return set_nonblock(v->cm->fd);
}

/* Bind the listener to ADDRESS: that is what finds the device. */
static int device_bind(struct dipc_verbs *v, const char *address)
{
	struct sockaddr_storage addr;
	struct sockaddr *bound;
	int ret;

	if (dipc_vaddr_parse(address, &addr)) {
		dipc_error("bad address `%s': ADDRESS[:PORT] expected, numeric",
			   address);
		return -EINVAL;
	}
	ret = vb_create_id(v->cm, NULL, &v->listener);
	if (!ret)
		ret = vb_bind_addr(v->listener, (struct sockaddr *)&addr);
	if (ret == -EADDRINUSE) {
		dipc_error("address %s is in use", address);
		return ret;
	}
	if ((!ret && !v->listener->verbs) || ret == -ENODEV ||
	    ret == -EADDRNOTAVAIL) {
		dipc_error("no RDMA device has address %s: see `rdma link` and "
			   "`ip addr`; for soft-RoCE `rdma link add rxe0 type "
			   "rxe netdev IFACE`",
			   address);
		return -ENODEV;
	}
	if (ret) {
		dipc_error("cannot use RDMA address %s: %s", address,
			   strerror(-ret));
		return ret;
	}
	v->device = v->listener->verbs;
	bound = vb_local_addr(v->listener);
	dipc_vaddr_format(bound, v->base.address, sizeof(v->base.address));
	memcpy(&v->source, &addr, sizeof(addr));
	dipc_vaddr_set_port((struct sockaddr *)&v->source, 0);
	return 0;
}

/*
 * The smaller side of both directions, because a peer is a device like ours
 * and any connection may be to ourselves.
 */
static unsigned device_rd_atomic(const struct ibv_device_attr *attr)
{
	int nr = attr->max_qp_rd_atom < attr->max_qp_init_rd_atom
			 ? attr->max_qp_rd_atom
			 : attr->max_qp_init_rd_atom;

	return nr < 1 ? 0 : min_u((unsigned)nr, 254);
}

static int device_check(struct dipc_verbs *v)
{
	const char *name = vb_device_name(v->device);
	struct dipc_limits *limits = &v->base.limits;
	struct ibv_device_attr attr;
	struct ibv_port_attr port;
	int ret;

	ret = vb_query_device(v->device, &attr);
	if (!ret)
		ret = vb_query_port(v->device, v->listener->port_num, &port);
	if (ret) {
		dipc_error("RDMA device %s does not answer: %s", name,
			   strerror(-ret));
		return ret;
	}
	limits->max_rd_atomic = device_rd_atomic(&attr);
	if (attr.atomic_cap == IBV_ATOMIC_NONE || !limits->max_rd_atomic ||
	    attr.max_srq < 1) {
		dipc_error("RDMA device %s has no %s: it cannot be used", name,
			   attr.max_srq < 1 ? "shared receive queue"
					    : "atomic operations");
		return -ENODEV;
	}
	/* a chain of the longest must fit a queue: protocols count on it */
	if (attr.max_qp_wr < (int)VERBS_MAX_CHAIN) {
		dipc_error(
			"RDMA device %s has queues of %d work requests only, "
			"%u are needed: it cannot be used",
			name, attr.max_qp_wr, VERBS_MAX_CHAIN);
		return -ENODEV;
	}
	limits->max_depth = min_u(VERBS_MAX_DEPTH, (unsigned)attr.max_qp_wr);
	limits->max_chain = VERBS_MAX_CHAIN;
	limits->max_len = port.max_msg_sz;
	limits->has_device_latency = true;
	v->cq_depth = min_u(VERBS_CQ_DEPTH, (unsigned)attr.max_cqe);
	v->nr_recv_used = min_u(VERBS_SRQ_DEPTH, (unsigned)attr.max_srq_wr) /
			  VERBS_RECV_BATCH * VERBS_RECV_BATCH;
	v->cq_free = v->cq_depth - min_u(v->cq_depth, v->nr_recv_used);
	v->inline_len = VERBS_INLINE;
	return 0;
}

/* Receives only carry the immediate value: no buffers. */
static int device_make_queues(struct dipc_verbs *v)
{
	struct ibv_srq_init_attr attr = {
		.attr = {.max_wr = v->nr_recv_used, .max_sge = 1},
	};
	unsigned i;
	int ret;

	ret = vb_alloc_pd(v->device, &v->pd);
	if (!ret)
		ret = vb_create_comp(v->device, &v->comp);
	if (!ret)
		ret = set_nonblock(v->comp->fd);
	if (!ret)
		ret = vb_create_cq(v->device, (int)v->cq_depth, v->comp,
				   &v->cq);
	if (!ret)
		ret = vb_create_srq(v->pd, &attr, &v->srq);
	for (i = 0; i < VERBS_RECV_BATCH; i++) {
		v->recvs[i].wr_id = VERBS_RECV_ID;
		v->recvs[i].next =
			i + 1 < VERBS_RECV_BATCH ? &v->recvs[i + 1] : NULL;
	}
	if (!ret)
		ret = dipc_vop_post_recvs(v, v->nr_recv_used);
	if (ret)
		dipc_error("cannot make queues on RDMA device %s: %s%s",
			   vb_device_name(v->device), strerror(-ret),
			   ret == -ENOMEM ? "; `ulimit -l` may be too low"
					  : "");
	return ret;
}

int dipc_vdevice_open(struct dipc_verbs *v, const char *address)
{
	int ret;

	ret = device_open_channel(v);
	if (!ret)
		ret = device_bind(v, address);
	if (!ret)
		ret = device_check(v);
	if (!ret)
		ret = device_make_queues(v);
	return ret;
}

void dipc_vdevice_close(struct dipc_verbs *v)
{
	if (v->srq)
		vb_destroy_srq(v->srq);
	if (v->cq) {
		vb_ack_cq_events(v->cq, v->nr_cq_events);
		vb_destroy_cq(v->cq);
	}
	if (v->comp)
		vb_destroy_comp(v->comp);
	if (v->pd)
		vb_dealloc_pd(v->pd);
	if (v->listener)
		vb_destroy_id(v->listener);
	if (v->cm)
		vb_destroy_channel(v->cm);
}
