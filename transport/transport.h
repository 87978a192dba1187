/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transport contract: one-sided operations on registered memory, and a
 * WRITE that also tells the peer (WRITE_IMM). Two back ends, `verbs` and
 * `shm`, behave alike, and so does `sim`, which tests link (virtual time);
 * tests/contract/ holds them to this text.
 *
 * One thread uses a transport and everything made from it. No call blocks.
 * Callbacks run inside dipc_transport_poll() only, never inside the call that
 * started them, and may call anything here but dipc_transport_destroy() (and
 * poll, which then does nothing and returns 0).
 *
 * Order. Operations of one connection start at the peer in the order posted,
 * and a WRITE or an atomic takes effect there before any later operation of
 * the same connection. A READ or an atomic may still be *answered* after a
 * later WRITE was sent: an operation that uses the result of an earlier one
 * needs its completion, or DIPC_WR_FENCE where only its order matters.
 * A WRITE_IMM's event at the peer comes after all earlier WRITEs of that
 * connection are visible there. Nothing else may be inferred by looking at
 * memory: not from a changed byte, not from a neighbour's.
 *
 * Atomicity. CAS and FAA on an aligned 8-byte word are atomic among each
 * other, through whatever connection they come, and with nothing else: a word
 * that is changed by one of them is changed by all through a connection, its
 * owner included (a transport connects to itself for that). A READ that meets
 * a WRITE is torn beyond 8 aligned bytes.
 *
 * Failure. A connection breaks as a whole: every operation outstanding on it
 * completes once with -ENOLINK (its effect is unknown), later posts return
 * -ENOLINK, and closed() runs last. Bad arguments (-EINVAL) and a full queue
 * (-EAGAIN) do not break it. An access the peer's registration forbids breaks
 * it with -EREMOTEIO on the operation at fault.
 */
#ifndef DIPC_TRANSPORT_H
#define DIPC_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/list.h"

struct dipc_transport;
struct dipc_conn;

/* Handshake bytes that both back ends carry in each direction. */
#define DIPC_HELLO_MAX 56

/* ---- memory ------------------------------------------------------------- */

/* How a peer names registered memory: ADDR is of its first byte. */
struct dipc_remote {
	uint64_t addr;
	uint32_t rkey;
};

/* Registered memory of this process. Fields are read-only. */
struct dipc_region {
	uint8_t *base; /* page aligned */
	size_t len;
	struct dipc_remote remote; /* what to tell peers */
	uint32_t lkey;             /* back end's */
	struct dipc_transport *transport;
};

/*
 * New zeroed memory, registered. PATH names a file on tmpfs or hugetlbfs that
 * keeps the bytes after this process (made when missing, kept when its size is
 * LEN, else -EINVAL); NULL for anonymous memory. LEN is rounded up to pages.
 * 0, -ENOMEM (also: memlock limit; logged), or -errno of the file.
 */
int dipc_region_create(struct dipc_transport *t, const char *path, size_t len,
		       struct dipc_region **region_out);
/* No operation may be using it, here or at a peer. Takes NULL. */
void dipc_region_destroy(struct dipc_region *region);

/* ---- transports --------------------------------------------------------- */

struct dipc_limits {
	unsigned max_chain;      /* work requests in one post; 32 at least */
	unsigned max_depth;      /* work requests in flight on a connection */
	unsigned max_rd_atomic;  /* READs and atomics at a time on the wire; the
				    transport queues above it */
	size_t max_len;          /* bytes of one READ or WRITE */
	bool has_device_latency; /* real hardware or rxe: completions come
				    later; shm completes inside post */
};

struct dipc_transport_events {
	/*
	 * A peer asks to connect with HELLO (HELLO_LEN bytes, <=
	 * DIPC_HELLO_MAX). 0: accepted, REPLY filled (REPLY_LEN_OUT bytes, at
	 * most DIPC_HELLO_MAX); closed() will run, established() perhaps not.
	 * -errno: refused; the peer's connect fails with -ECONNREFUSED, CONN is
	 * gone and closed() does not run for it. CONN may be used after
	 * established() ran; its user pointer may be set here.
	 */
	int (*accept)(void *arg, struct dipc_conn *conn, const void *hello,
		      size_t hello_len, void *reply, size_t *reply_len_out);
	/*
	 * The connection is ready, on both sides. On the connecting side REPLY
	 * is what accept() answered; on the accepting side it is NULL.
	 */
	void (*established)(void *arg, struct dipc_conn *conn,
			    const void *reply, size_t reply_len);
	/*
	 * A peer's WRITE_IMM: its data is visible here. What completed at the
	 * peer before it closed still comes, ahead of closed(); after our own
	 * dipc_conn_close() nothing comes.
	 */
	void (*imm)(void *arg, struct dipc_conn *conn, uint32_t imm);
	/*
	 * The last event of CONN, once, after its outstanding operations have
	 * failed: REASON is 0 (dipc_conn_close was called here), -ECONNREFUSED,
	 * -ETIMEDOUT, -EHOSTUNREACH (connect failed) or -ENOLINK (broken or
	 * closed by the peer). CONN is gone when this returns.
	 */
	void (*closed)(void *arg, struct dipc_conn *conn, int reason);
};

struct dipc_transport_config {
	const char *kind; /* "verbs" or "shm"; "sim": transport/sim/sim.h */
	/*
	 * Where to listen. verbs: "ADDRESS[:PORT]" of an RDMA device; port 0 or
	 * none picks a free one. shm: the path of a Unix socket, made here (a
	 * dead one in its place is replaced).
	 */
	const char *listen;
	/* A silent peer is given up after about this long (default 1000). */
	unsigned peer_timeout_ms;
	const struct dipc_transport_events *events; /* borrowed */
	void *arg;
};

/*
 * 0 or -errno; the cause is logged in one line: -ENODEV no RDMA device has
 * that address, -EADDRINUSE, -ENOMEM (memlock), -EINVAL.
 */
int dipc_transport_create(const struct dipc_transport_config *config,
			  struct dipc_transport **t_out);
/* Closes what is open, without further callbacks. Regions first. Takes NULL. */
void dipc_transport_destroy(struct dipc_transport *t);
/* What peers connect to: config.listen with the port filled in. Borrowed. */
const char *dipc_transport_address(const struct dipc_transport *t);
const struct dipc_limits *dipc_transport_limits(const struct dipc_transport *t);

/* Deliver what has happened; at most about BUDGET events. How many it was. */
unsigned dipc_transport_poll(struct dipc_transport *t, unsigned budget);
/* Readable, once armed, when there is something to poll. Fixed for life. */
int dipc_transport_fd(const struct dipc_transport *t);
/* 0: armed, may sleep on the fd. > 0: there is work already, poll first. */
int dipc_transport_arm(struct dipc_transport *t);

/* ---- connections -------------------------------------------------------- */

/*
 * Start connecting to ADDRESS (a peer's dipc_transport_address, possibly our
 * own). 0: established() or closed() will run. -errno otherwise.
 */
int dipc_conn_connect(struct dipc_transport *t, const char *address,
		      const void *hello, size_t hello_len,
		      struct dipc_conn **conn_out);
/*
 * Close, and fence: when closed() has run no operation of the peer through
 * this connection can touch our memory any more. Idempotent.
 */
void dipc_conn_close(struct dipc_conn *conn);
/* A pointer of the user's, NULL at first. */
void dipc_conn_set_user(struct dipc_conn *conn, void *user);
void *dipc_conn_user(const struct dipc_conn *conn);

/* ---- operations --------------------------------------------------------- */

enum dipc_wr_op {
	DIPC_WR_READ,
	DIPC_WR_WRITE,
	DIPC_WR_WRITE_IMM, /* len may be 0 */
	DIPC_WR_CAS,
	DIPC_WR_FAA,
};

/* Start only after every earlier READ and atomic of the connection is done. */
#define DIPC_WR_FENCE 1u

struct dipc_wr {
	enum dipc_wr_op op;
	unsigned flags;
	uint32_t len; /* bytes, not 0 for READ and WRITE; ignored by atomics */
	uint32_t imm;
	/*
	 * READ: where to; WRITE: where from; atomics: where the old value goes
	 * (8 bytes, aligned). Inside REGION, untouched until completion.
	 */
	void *local;
	struct dipc_region *region;
	struct dipc_remote remote; /* atomics: 8-byte aligned */
	uint64_t compare;          /* CAS */
	uint64_t arg;              /* CAS: new value; FAA: addend */
};

/* A chain in flight. The caller's, until done() runs. */
struct dipc_op {
	/* STATUS: 0, -ENOLINK, -EREMOTEIO. */
	void (*done)(struct dipc_op *op, int status);
	struct dipc_list node;  /* transport's */
	struct dipc_conn *conn; /* transport's */
	int status;             /* transport's */
	unsigned nr_wr;         /* transport's */
};

/*
 * Post WR[0..NR) as one chain with one doorbell; it completes as a whole, when
 * its last request has (and so all). WR is copied.
 *  0: done now, done() will not run (shm).
 *  -EINPROGRESS: done() will run once.
 *  -EAGAIN: no room; room comes with completions, so poll and try again.
 *  -ENOLINK: the connection is broken. -EINVAL: bad arguments, or not yet
 *  established; a chain is checked before any of it starts.
 */
int dipc_conn_post(struct dipc_conn *conn, const struct dipc_wr *wr,
		   unsigned nr, struct dipc_op *op);

#endif
