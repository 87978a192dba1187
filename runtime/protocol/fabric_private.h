/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by fabric.c (links), tx.c (chains) and call.c (messages) only. */
#ifndef DIPC_PROTOCOL_FABRIC_PRIVATE_H
#define DIPC_PROTOCOL_FABRIC_PRIVATE_H

#include "runtime/protocol/fabric.h"

#define MAILBOX_SLOT       64u
#define MAILBOX_LEN        (MAILBOX_SLOT * DIPC_CALL_SLOTS)
#define MAILBOXES_PER_NODE 4u

#define BUF_MIN_SHIFT 6u  /* 64 bytes */
#define BUF_MAX_SHIFT 20u /* 1 MiB */
#define BUF_CLASSES   (BUF_MAX_SHIFT - BUF_MIN_SHIFT + 1)

/* What an immediate says: kind << 28 | value. */
enum imm_kind {
	IMM_REQUEST = 1, /* value: request slot */
	IMM_ANSWER,      /* value: answer slot */
	IMM_WAKE,        /* value: waiter index, or object slot (referee) */
	IMM_MEMBERSHIP,
};
#define IMM_SHIFT 28u
#define IMM_VALUE ((1u << IMM_SHIFT) - 1)

struct dipc_buf {
	struct dipc_list node;      /* on the pool's free list of its class */
	struct dipc_region *region; /* borrowed from the pool */
	uint8_t *data;
	unsigned class;
};

struct buf_chunk {
	struct dipc_list node;
	struct dipc_region *region; /* owned */
	struct dipc_buf *bufs;      /* owned */
};

enum link_state {
	LINK_CONNECTING,
	LINK_OPEN,
	LINK_CLOSED,
};

/*
 * A connection. One that we opened (outgoing) is on fabric->links[node] until
 * it closes, then on fabric->closed: fibers may still hold the pointer, and
 * find it closed. One that a peer opened lives until it closes.
 */
struct dipc_link {
	struct dipc_fabric *fabric;  /* borrowed */
	struct dipc_conn *conn;      /* NULL once closed */
	struct dipc_list node_entry; /* fabric->incoming or fabric->closed */
	enum link_state state;
	int error; /* why it closed */
	bool is_incoming;
	unsigned node;
	uint32_t incarnation;
	struct dipc_list backlog; /* dipc_tx that found no room */
	struct dipc_waitq opened; /* fibers waiting for LINK_OPEN */
	/* what the peer's handshake named */
	struct dipc_remote peer_mailbox;
	struct dipc_remote base;
	uint64_t generation;
	/* outgoing: answers arrive here; incoming: requests do */
	unsigned mailbox; /* index into fabric->mailboxes */
	/* outgoing: calls by slot; borrowed from their fibers */
	struct dipc_call *calls[DIPC_CALL_SLOTS];
	struct dipc_waitq slot_free;
	/* incoming: requests not yet answered */
	struct dipc_list pending;
};

struct dipc_fabric {
	struct dipc_loop *loop;           /* borrowed */
	struct dipc_sched *sched;         /* borrowed */
	struct dipc_transport *transport; /* owned */
	const struct dipc_fabric_events *events;
	void *arg;
	struct dipc_poller poller;
	struct dipc_watch watch;
	unsigned node;
	uint32_t incarnation;
	uint8_t ticket[DIPC_TICKET_LEN];
	bool is_identified;
	unsigned max_nodes;
	/* owned, by node, max_nodes + 1 of each */
	struct dipc_link **links; /* outgoing; owned */
	uint32_t *fenced;         /* incarnations up to it */
	struct dipc_list incoming, closed;
	struct dipc_arena_super super;
	struct dipc_region *arena; /* referee: served; borrowed */
	uint64_t generation;
	struct dipc_region *mailboxes; /* owned */
	bool *mailbox_used;            /* owned */
	unsigned nr_mailboxes;
	struct dipc_list buf_free[BUF_CLASSES];
	struct dipc_list buf_chunks;
	unsigned nr_backlogged; /* links with a backlog, upper bound */
	struct dipc_fabric_counters counters;
};

/* tx.c */
void dipc_fabric_init_bufs(struct dipc_fabric *f);
void dipc_fabric_fini_bufs(struct dipc_fabric *f);
void dipc_link_flush_backlog(struct dipc_link *link);
void dipc_link_fail_backlog(struct dipc_link *link);
/* Post one WRITE_IMM of LEN bytes; never waits. 0 or -errno. */
int dipc_link_send_imm(struct dipc_link *link, uint32_t imm,
		       struct dipc_remote to, const void *src, size_t len);

/* call.c */
uint8_t *dipc_link_mailbox_slot(struct dipc_link *link, unsigned slot);
void dipc_link_on_request(struct dipc_link *link, uint32_t slot);
void dipc_link_on_answer(struct dipc_link *link, uint32_t slot);
/* The connection is gone: fail calls, orphan requests. */
void dipc_link_drop_calls(struct dipc_link *link);

#endif
