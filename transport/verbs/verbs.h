/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to transport/verbs/: its two objects, and who implements what. */
#ifndef DIPC_TRANSPORT_VERBS_H
#define DIPC_TRANSPORT_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#include <netinet/in.h>

#include "runtime/base/list.h"
#include "transport/ops.h"
#include "transport/verbs/verbs_err.h"

#define VERBS_MAX_CHAIN    64u
#define VERBS_MAX_DEPTH    256u
#define VERBS_SRQ_DEPTH    1024u  /* WRITE_IMMs of all peers, not yet polled */
#define VERBS_RECV_BATCH   32u    /* receives posted at a time */
#define VERBS_WC_BATCH     32     /* completions fetched at a time */
#define VERBS_CQ_DEPTH     32768u /* at most; it bounds the connections */
#define VERBS_INLINE       64u
#define VERBS_QPN_BUCKETS  256u
#define VERBS_BACKLOG      128
#define VERBS_CM_PERIOD_NS 1000000u /* CM events while spinning */

/* Not 7: to rxe that means for ever. */
#define VERBS_RETRIES 6u

/* What rdma_cm carries of ours in a request (RDMA_PS_TCP) and in a reply. */
#define VERBS_REQ_BYTES 56u
#define VERBS_REP_BYTES 196u

/* wr_id of every receive; a send's is its struct dipc_op. */
#define VERBS_RECV_ID 0u

struct dipc_verbs {
	struct dipc_transport base;
	struct rdma_event_channel *cm; /* owned; non-blocking */
	struct rdma_cm_id *listener;   /* owned; keeps the device open */
	struct ibv_context *device;    /* borrowed from listener */
	struct ibv_pd *pd;             /* owned, as are the next three */
	struct ibv_comp_channel *comp; /* non-blocking */
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct sockaddr_storage source; /* our address with port 0 */
	unsigned peer_timeout_ms;
	uint8_t ack_timeout;
	int timer_fd; /* owned; the earliest deadline of a connection */

	struct dipc_list conns; /* dipc_vconn.node: those not in dying */
	struct dipc_list dying; /* dipc_vconn.node: to be ended by poll */
	struct dipc_list by_qpn[VERBS_QPN_BUCKETS]; /* dipc_vconn.qpn_node */

	/*
	 * Completion queue entries not promised to anybody: its overflow would
	 * break every connection, so each queue pair reserves its depth.
	 */
	unsigned cq_free;
	unsigned cq_depth;
	unsigned nr_recv_used; /* receives to post again */
	unsigned inline_len;

	/* Fetched, not handled: arm() may find some and must not lose them. */
	struct ibv_wc wc[VERBS_WC_BATCH];
	int wc_next, wc_nr;

	bool is_polling;
	bool is_armed;         /* poll() must look at every fd */
	bool is_notify_asked;  /* a notification of cq is still to come */
	bool is_dead;          /* the device is gone */
	unsigned nr_cq_events; /* to acknowledge */
	uint64_t next_cm;      /* when to look for CM events, while spinning */

	struct ibv_recv_wr recvs[VERBS_RECV_BATCH]; /* one chain, all alike */
	struct ibv_send_wr wrs[VERBS_MAX_CHAIN];    /* of the running post */
	struct ibv_sge sges[VERBS_MAX_CHAIN];
};

enum dipc_vconn_state {
	VCONN_RESOLVING,  /* asked for the address, then the route */
	VCONN_CONNECTING, /* request sent */
	VCONN_ACCEPTING,  /* reply sent, or about to be */
	VCONN_UP,
	VCONN_DYING,  /* on verbs.dying */
	VCONN_LINGER, /* closed() ran; the id waits for the peer's answer */
	VCONN_NR
};

struct dipc_vconn {
	struct dipc_conn base;
	enum dipc_vconn_state state;
	struct dipc_list node;
	struct dipc_list qpn_node;
	struct rdma_cm_id *id; /* owned, with its queue pair */
	bool has_qp;
	bool is_passive;
	bool must_linger; /* the peer has not answered our disconnect */
	uint32_t qpn;
	unsigned max_inline;
	unsigned nr_wr;       /* work requests in the send queue */
	struct dipc_list ops; /* dipc_op.node; completed in this order */
	uint64_t deadline;    /* monotonic ns, DIPC_NEVER */
	int reason;           /* of closed() */
	size_t hello_len;
	uint8_t hello[DIPC_HELLO_MAX];
};

static inline struct dipc_verbs *dipc_verbs_of(struct dipc_transport *t)
{
	return dipc_container_of(t, struct dipc_verbs, base);
}

static inline struct dipc_vconn *dipc_vconn_of(struct dipc_conn *conn)
{
	return dipc_container_of(conn, struct dipc_vconn, base);
}

static inline struct dipc_verbs *dipc_vconn_verbs(struct dipc_vconn *conn)
{
	return dipc_verbs_of(conn->base.transport);
}

/* ---- verbs.c ------------------------------------------------------------ */

/* A deadline has changed: set the timer to the earliest. */
void dipc_verbs_set_timer(struct dipc_verbs *v);
/* The device does not work any more: break every connection. */
void dipc_verbs_lost(struct dipc_verbs *v, const char *why);

/* ---- verbs_device.c ----------------------------------------------------- */

/*
 * Find the device that has ADDRESS, make the queues on it, fill in limits and
 * base.address. Not listening yet. On an error the caller closes.
 */
int dipc_vdevice_open(struct dipc_verbs *v, const char *address);
/* Also after a part of opening only. Connections and regions first. */
void dipc_vdevice_close(struct dipc_verbs *v);

/* ---- verbs_addr.c ------------------------------------------------------- */

/*
 * "A.B.C.D", "A.B.C.D:PORT", "[IPv6]", "[IPv6]:PORT" or "IPv6"; names are not
 * looked up. Port 0 if none. 0 or -EINVAL.
 */
int dipc_vaddr_parse(const char *text, struct sockaddr_storage *addr_out);
/* The same text again, always with the port. */
void dipc_vaddr_format(const struct sockaddr *addr, char *text, size_t size);
uint16_t dipc_vaddr_port(const struct sockaddr *addr);
void dipc_vaddr_set_port(struct sockaddr *addr, uint16_t port);

/* ---- verbs_cm.c --------------------------------------------------------- */

/* Handle up to BUDGET events of the CM channel. How many it was. */
unsigned dipc_vcm_poll(struct dipc_verbs *v, unsigned budget);
int dipc_vcm_connect(struct dipc_transport *t, const char *address,
		     const void *hello, size_t hello_len,
		     struct dipc_conn **conn_out);

/* ---- verbs_conn.c ------------------------------------------------------- */

/* ID becomes the connection's. NULL: no memory, ID stays the caller's. */
struct dipc_vconn *dipc_vconn_create(struct dipc_verbs *v,
				     struct rdma_cm_id *id,
				     enum dipc_vconn_state state);
/* At once and without callbacks; takes the queue pair and id along. */
void dipc_vconn_destroy(struct dipc_vconn *conn);
void dipc_vconn_set_state(struct dipc_vconn *conn, enum dipc_vconn_state to);
void dipc_vconn_set_deadline(struct dipc_vconn *conn, unsigned ms);
int dipc_vconn_create_qp(struct dipc_vconn *conn);
struct dipc_vconn *dipc_vconn_find(struct dipc_verbs *v, uint32_t qpn);
/* Run established(). */
void dipc_vconn_up(struct dipc_vconn *conn, const void *reply, size_t len);
/*
 * Stop: tell the peer, post nothing more, have dipc_vconn_reap() do the rest
 * from poll. Harmless when it has been done already.
 */
void dipc_vconn_break(struct dipc_vconn *conn, int reason);
void dipc_vconn_close(struct dipc_conn *base);
/* End the dying: queue pair, operations, closed(). How many. */
unsigned dipc_vconn_reap(struct dipc_verbs *v);
/* Give up every connection whose deadline has passed. */
void dipc_vconn_expire(struct dipc_verbs *v);

/* ---- verbs_op.c --------------------------------------------------------- */

int dipc_vop_post(struct dipc_conn *base, const struct dipc_wr *wr, unsigned nr,
		  struct dipc_op *op);
/* Handle about BUDGET completions. How many it was. */
unsigned dipc_vop_poll(struct dipc_verbs *v, unsigned budget);
/* Fetch completions if none are left. Is there one? */
bool dipc_vop_is_ready(struct dipc_verbs *v);
/* Handle what the completion queue holds now, without a budget. */
void dipc_vop_drain(struct dipc_verbs *v);
/* Complete what is left on CONN, whose queue pair is gone. */
void dipc_vop_fail_all(struct dipc_vconn *conn);
/* Post NR (a multiple of VERBS_RECV_BATCH) receives. */
int dipc_vop_post_recvs(struct dipc_verbs *v, unsigned nr);

/* ---- verbs_region.c ----------------------------------------------------- */

int dipc_vregion_create(struct dipc_transport *t, const char *path, size_t len,
			struct dipc_region **region_out);
void dipc_vregion_destroy(struct dipc_region *base);

#endif
