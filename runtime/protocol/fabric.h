/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fabric: what every protocol stands on. Links to the referee's arena and
 * to other nodes, chains of one-sided operations run from fibers, and small
 * request/answer messages between nodes.
 *
 * "Fiber" marks functions that may park: never from a handler or callback.
 *
 * Messages. A link's opener owns DIPC_CALL_SLOTS request slots in the peer's
 * memory and as many answer slots in its own; a request is WRITTEN into slot
 * i with a WRITE_IMM naming i, its answer into answer slot i likewise, and the
 * slot is free again when the answer is in. So nobody's mailbox can overflow,
 * whatever the peers do. A handler never waits on the network (the deadlock
 * rule); it may answer later.
 */
#ifndef DIPC_PROTOCOL_FABRIC_H
#define DIPC_PROTOCOL_FABRIC_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/loop.h"
#include "runtime/protocol/arena.h"
#include "transport/transport.h"

#define DIPC_CALL_SLOTS  64u
#define DIPC_TICKET_LEN  16u
#define DIPC_REFEREE     0u /* node id of the referee */
#define DIPC_REQUEST_MAX 48u

struct dipc_fabric;
struct dipc_link; /* an open connection to one node, or to the referee */

/* ---- messages ----------------------------------------------------------- */

enum dipc_request_type {
	DIPC_REQ_INVALIDATE = 1, /* pages.c: a sharer drops its copy */
	DIPC_REQ_RECALL,         /* pages.c: the holder gives the page up */
	DIPC_REQ_PING,
	DIPC_REQ_CHUNK, /* pages_home.c: where is `page`'s chunk? The answer:
			   arg[0] its words, arg[1] its contents, flags the
			   rkey */
	DIPC_REQ_FORGET = 6,     /* pages_home.c: the asker's segment is dead */
	DIPC_REQ_RECALL_RUN = 7, /* pages_request.c: RECALL of several pages:
				    bit i of arg[0] is page + i. The answer's
				    arg[0]: those that it has never held */
	DIPC_REQ_SEM_FORGET = 10, /* sem_peers.c: READ the slot again */
	DIPC_REQ_SEM_CLEAR, /* clear adjustments of arg[0], a semaphore or -1;
			       arg[1]: the new epoch */
	DIPC_REQ_SEM_REMOVED,
	DIPC_REQ_FUTEX_WAIT = 20, /* futex.c: to the home */
	DIPC_REQ_FUTEX_WITHDRAW,
	DIPC_REQ_FUTEX_WAKE,
	DIPC_REQ_FUTEX_WOKEN, /* from the home */
	DIPC_REQ_OWNER,       /* node/owner.c: is arg[0] alive? */
};

struct dipc_request {
	uint16_t type;
	uint16_t flags;
	uint32_t object; /* its identifier: slot and generation */
	uint64_t page;
	uint64_t arg[4];
};

static_assert(sizeof(struct dipc_request) <= DIPC_REQUEST_MAX, "wire");

struct dipc_answer {
	int32_t status;
	uint32_t flags;
	uint64_t arg[2];
};

/* A request that has come in and must be answered exactly once. */
struct dipc_incoming {
	uint16_t from; /* node */
	uint16_t slot; /* private */
	struct dipc_request request;
	struct dipc_link *link; /* private; NULL once the peer is gone */
	struct dipc_list node;  /* private until answered */
	struct dipc_list user;  /* the handler's, to queue it */
};

struct dipc_fabric_events {
	/*
	 * Referee: a node's hint (dipc_fabric_hint_reap) comes as wake() with
	 * the object's slot.
	 *
	 * request: answer with dipc_incoming_answer() now or later; IN lives until then.
	 * Must not park.
	 */
	void (*request)(void *arg, struct dipc_incoming *in);
	/* A waiter of this node (its index) may be done: look at its record. */
	void (*wake)(void *arg, uint32_t waiter);
	/* The referee's epoch has moved: read the node table again. */
	void (*membership)(void *arg);
	/* The link from or to NODE is gone. */
	void (*lost)(void *arg, unsigned node);
	/* Is TICKET what NODE (this incarnation) has to show? 0 or -errno. */
	int (*admit)(void *arg, unsigned node, uint32_t incarnation,
		     const uint8_t ticket[DIPC_TICKET_LEN]);
};

struct dipc_fabric_config {
	struct dipc_loop *loop; /* borrowed */
	const char *transport;  /* "verbs" or "shm" */
	const char *listen;
	unsigned peer_timeout_ms;
	/* The largest node id; 0: DIPC_NODES_MAX. More only in simulation: the
	   referee and the arena know no others. */
	unsigned max_nodes;
	const struct dipc_fabric_events *events; /* borrowed */
	void *arg;
};

/* Opens the transport and listens. 0 or -errno, cause logged. */
int dipc_fabric_create(const struct dipc_fabric_config *config,
		       struct dipc_fabric **fabric_out);
void dipc_fabric_destroy(struct dipc_fabric *f);
struct dipc_sched *dipc_fabric_sched(struct dipc_fabric *f);
struct dipc_loop *dipc_fabric_loop(struct dipc_fabric *f);
struct dipc_transport *dipc_fabric_transport(struct dipc_fabric *f);
uint64_t dipc_fabric_now(struct dipc_fabric *f);
int64_t dipc_fabric_wall(struct dipc_fabric *f);

/*
 * Who this is, as the referee said at the join: needed before any link.
 * TICKET is shown on every connection made; NODE is DIPC_REFEREE there.
 */
void dipc_fabric_identify(struct dipc_fabric *f, unsigned node,
			  uint32_t incarnation,
			  const uint8_t ticket[DIPC_TICKET_LEN]);
unsigned dipc_fabric_node(const struct dipc_fabric *f);
uint32_t dipc_fabric_incarnation(const struct dipc_fabric *f);
/* Referee: the memory that the handshake tells everyone about. */
void dipc_fabric_serve_arena(struct dipc_fabric *f, struct dipc_region *arena,
			     uint64_t generation);

/*
 * Connect to the referee's memory at ADDRESS (the referee itself: to its own).
 * Fiber. 0 or -errno.
 */
int dipc_fabric_open_arena(struct dipc_fabric *f, const char *address);
struct dipc_link *dipc_fabric_arena(struct dipc_fabric *f);
/* The first page of the arena as it was when it was opened. */
const struct dipc_arena_super *dipc_fabric_super(struct dipc_fabric *f);

/*
 * The link to NODE, opened if need be with the address in the node table; to
 * oneself too. Fiber. 0; -ENOLINK: not alive, or the connection failed.
 */
int dipc_fabric_link(struct dipc_fabric *f, unsigned node,
		     struct dipc_link **link_out);
unsigned dipc_link_node(const struct dipc_link *link);

struct dipc_fabric_counters {
	uint64_t nr_reads, nr_writes, nr_atomics, nr_imms, nr_chains;
};
const struct dipc_fabric_counters *
dipc_fabric_counters(const struct dipc_fabric *f);

/* Transactions of one purpose; see dipc_tx_begin(). */
struct dipc_tx_counters {
	uint64_t nr_doorbells, nr_ops;
	uint64_t bytes_in, bytes_out; /* of READs and WRITEs */
};

/* ---- one-sided operations ----------------------------------------------- */

#define DIPC_TX_MAX 16u /* work requests in a transaction */
#define DIPC_TX_RUN 32u /* in one with dipc_tx_lend() */

/*
 * A chain under construction and then in flight. Its buffer is registered
 * memory from the fabric's pool. Use:
 *
 *	struct dipc_tx tx;
 *	ret = dipc_tx_begin(&tx, link, bytes);
 *	old = dipc_tx_cas(&tx, dipc_tx_at(link, off), 0, mine);
 *	obj = dipc_tx_read(&tx, dipc_tx_at(link, off2), sizeof(*obj));
 *	ret = dipc_tx_run(&tx);		(fiber; one doorbell, one wait)
 *	... use *old, *obj ...
 *	dipc_tx_end(&tx);
 *
 * The results are valid from a successful run to end. BYTES covers all
 * buffers: 8 for an atomic, LEN rounded up to 8 for a READ or WRITE.
 */
struct dipc_tx {
	struct dipc_link *link;
	/* NULL, or borrowed until it is posted: where it counts. Set after
	   begin */
	struct dipc_tx_counters *counters;
	struct dipc_buf *buf; /* owned until end */
	size_t used;          /* bytes of the buffer */
	size_t used_by_words; /* of these, at its end */
	unsigned nr;
	int status;
	bool is_posted;  /* nobody waits: freed when done */
	bool must_fence; /* dipc_tx_fence() was called */
	struct dipc_fiber *fiber;
	struct dipc_list node; /* private: the link's backlog */
	struct dipc_op op;
	struct dipc_wr *wr; /* `few`, or borrowed: dipc_tx_lend() */
	unsigned max;
	struct dipc_wr few[DIPC_TX_MAX];
};

/* TX has been posted: where it counts. */
static inline void dipc_tx_count(const struct dipc_tx *tx)
{
	struct dipc_tx_counters *c = tx->counters;
	unsigned i;

	if (!c)
		return;
	c->nr_doorbells++;
	c->nr_ops += tx->nr;
	for (i = 0; i < tx->nr; i++) {
		if (tx->wr[i].op == DIPC_WR_READ)
			c->bytes_in += tx->wr[i].len;
		else if (tx->wr[i].op == DIPC_WR_WRITE)
			c->bytes_out += tx->wr[i].len;
	}
}

/* 0, -ENOMEM, -ENOLINK. */
int dipc_tx_begin(struct dipc_tx *tx, struct dipc_link *link, size_t bytes);
void dipc_tx_end(struct dipc_tx *tx);
/*
 * Make room for DIPC_TX_RUN work requests, in WR, the caller's until the end.
 * TX is empty, and not for dipc_tx_post().
 */
void dipc_tx_lend(struct dipc_tx *tx, struct dipc_wr wr[DIPC_TX_RUN]);
/* How many work requests may still be added. */
static inline unsigned dipc_tx_room(const struct dipc_tx *tx)
{
	return tx->max - tx->nr;
}
/* Offset OFF of the memory that LINK's handshake named (the arena). */
struct dipc_remote dipc_tx_at(const struct dipc_link *link, uint64_t off);
/* Each adds one work request; too many or too large is a bug (asserted). */
void *dipc_tx_read(struct dipc_tx *tx, struct dipc_remote from, size_t len);
void dipc_tx_write(struct dipc_tx *tx, struct dipc_remote to, const void *src,
		   size_t len);
/* The same; fill what is returned before the transaction is run. */
void *dipc_tx_write_here(struct dipc_tx *tx, struct dipc_remote to, size_t len);
const uint64_t *dipc_tx_cas(struct dipc_tx *tx, struct dipc_remote at,
			    uint64_t compare, uint64_t swap);
const uint64_t *dipc_tx_faa(struct dipc_tx *tx, struct dipc_remote at,
			    uint64_t add);
/* The next request starts only when earlier READs and atomics are done. */
void dipc_tx_fence(struct dipc_tx *tx);
/* Fiber: post, wait. 0, -ENOLINK. May be reused after dipc_tx_again(). */
int dipc_tx_run(struct dipc_tx *tx);
/* Empty the transaction, keep the buffer. */
void dipc_tx_again(struct dipc_tx *tx);
/*
 * Post and wait later, so that several links work at once. Fiber.
 * start: 0 or -ENOLINK (then do not wait). TX must stay put until wait.
 */
int dipc_tx_start(struct dipc_tx *tx);
int dipc_tx_wait(struct dipc_tx *tx);
/*
 * Post and forget: nobody waits, the result is not seen; order on the link
 * still holds. Ends TX. Not a fiber's privilege: handlers may. 0 or -errno.
 */
int dipc_tx_post(struct dipc_tx *tx);

/* Shorthands on the arena for single words and small records. Fiber. */
int dipc_arena_read(struct dipc_fabric *f, uint64_t off, void *dst, size_t len);
int dipc_arena_write(struct dipc_fabric *f, uint64_t off, const void *src,
		     size_t len);
int dipc_arena_cas(struct dipc_fabric *f, uint64_t off, uint64_t compare,
		   uint64_t swap, uint64_t *old_out);
int dipc_arena_faa(struct dipc_fabric *f, uint64_t off, uint64_t add,
		   uint64_t *old_out);

/* ---- requests ----------------------------------------------------------- */

/* A request in flight: the caller's until dipc_call_wait() returned. */
struct dipc_call {
	struct dipc_answer answer;
	int status;
	bool is_done;
	struct dipc_fiber *fiber; /* private: who waits */
};

/* Fiber (waits for a free slot). 0 or -ENOLINK (then do not wait). */
int dipc_call_start(struct dipc_link *link, const struct dipc_request *request,
		    struct dipc_call *call);
/* Fiber. 0: call->answer is in. -ENOLINK: the peer is gone. */
int dipc_call_wait(struct dipc_call *call);
void dipc_incoming_answer(struct dipc_incoming *in,
			  const struct dipc_answer *answer);
/*
 * Is the link that IN came by the only one its sender has to us? Older ones,
 * which have broken at his end, are closed, and gone after a while. If there is
 * a newer one this one has broken, and will go with IN.
 */
bool dipc_incoming_is_alone(const struct dipc_incoming *in);

/*
 * Tell NODE that its waiter INDEX may be done. A hint: losing it costs time
 * only, since nodes with sleepers look at their records once a second. Opens
 * the link on a fiber of its own if need be; never waits.
 */
void dipc_fabric_wake(struct dipc_fabric *f, unsigned node, uint32_t index);
/* Referee -> all nodes: the epoch moved. Node -> referee: look for objects to
   reap (removed, no longer attached). Hints too. */
void dipc_fabric_hint_membership(struct dipc_fabric *f);
void dipc_fabric_hint_reap(struct dipc_fabric *f, uint32_t object);

/*
 * Fence NODE up to INCARNATION: close every connection with it and refuse new
 * ones. Only when is_fenced() says so nothing of it can land here any more;
 * that takes no more than the transport's close.
 */
void dipc_fabric_fence(struct dipc_fabric *f, unsigned node,
		       uint32_t incarnation);
bool dipc_fabric_is_fenced(const struct dipc_fabric *f, unsigned node,
			   uint32_t incarnation);

#endif
