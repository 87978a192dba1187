/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Private to transport/sim/. Who owns what: the world owns nodes, ends of
 * connections and requests until it is destroyed, because events on their way
 * name them; a transport owns its regions and its undelivered news.
 */
#ifndef DIPC_TRANSPORT_SIM_PRIVATE_H
#define DIPC_TRANSPORT_SIM_PRIVATE_H

#include "transport/ops.h"
#include "transport/sim/sim.h"

#define SIM_CHAIN_MAX   32u
#define SIM_DEPTH_MAX   256u
#define SIM_RD_MAX      16u
#define SIM_RECVS       1024u /* WRITE_IMMs that wait for a receiver's poll */
#define SIM_SLOT_BITS   12u
#define SIM_REGIONS_MAX (1u << SIM_SLOT_BITS)

struct sim_transport;
struct sim_conn;

/* A node's life. */
struct sim_node {
	struct dipc_list all; /* world->lives */
	struct dipc_sim *sim; /* borrowed */
	unsigned number;
	struct sim_transport *transport; /* NULL: none now */
	struct dipc_loop *loop;          /* owned; NULL: polled by its user */
	uint64_t out_free, in_free;      /* when its port is free again */
	uint64_t engine_free;
	uint64_t turn_at; /* the turn to come; DIPC_NEVER */
	bool is_dead;
	bool is_off;
	uint64_t crash_post, crash_done; /* chains until it; 0: never */
	bool is_crash_after;
	struct dipc_sim_counters counters;
};

struct sim_region {
	struct dipc_region base;
	unsigned slot;
};

enum sim_news_kind {
	SIM_NEWS_ACCEPT,
	SIM_NEWS_UP,
	SIM_NEWS_IMM,
	SIM_NEWS_DONE,
	SIM_NEWS_CLOSED,
};

/* What the user's next poll will be told. */
struct sim_news {
	struct dipc_list node; /* transport->news */
	enum sim_news_kind kind;
	struct sim_conn *conn;
	struct dipc_op *op;
	int status;
	uint32_t imm;
};

struct sim_transport {
	struct dipc_transport base;
	struct dipc_sim *sim; /* borrowed */
	struct sim_node *node;
	struct dipc_list all;   /* world->transports */
	struct dipc_list conns; /* sim_conn.node */
	struct dipc_list news;
	struct sim_region *regions[SIM_REGIONS_MAX];
	uint32_t next_gen;
	unsigned nr_regions;
	unsigned nr_recvs; /* imms in news */
	bool is_polling;
	bool is_armed;
};

enum sim_conn_state {
	SIM_CONN_CONNECTING,
	SIM_CONN_ACCEPTED, /* taken, not yet established */
	SIM_CONN_READY,
	SIM_CONN_CLOSING, /* closed here; the peer can still reach us */
	SIM_CONN_BROKEN,  /* sealed; closed() is news */
	SIM_CONN_GONE,
	SIM_CONN_NR_STATES,
};

/* One end of a connection. */
struct sim_conn {
	struct dipc_conn base;
	struct dipc_list node; /* transport->conns */
	struct dipc_list all;  /* world->conns */
	struct sim_node *home; /* whose end it is */
	struct sim_conn *peer; /* NULL until both exist */
	enum sim_conn_state state;
	bool is_connector;
	int reason;
	char address[128]; /* connecting to */
	uint8_t hello[DIPC_HELLO_MAX];
	size_t hello_len;
	uint8_t reply[DIPC_HELLO_MAX];
	size_t reply_len;
	/* sim_wr.node, in order: not yet posted to the port; not completed */
	struct dipc_list waiting, sending;
	unsigned nr_wr;           /* of ops not yet delivered */
	unsigned nr_rd;           /* READs and atomics on their way */
	uint64_t last_arrival;    /* at the peer: order */
	struct dipc_list arrived; /* sim_wr.at_target: the peer's, in order */
	bool is_serving;          /* the first of them */
	bool is_known;            /* to the user: closed() is due */
};

/* One work request. */
struct sim_wr {
	struct dipc_list node;      /* conn's waiting or sending */
	struct dipc_list at_target; /* peer's arrived */
	struct sim_conn *conn;      /* who posted it */
	struct dipc_op *op;
	struct dipc_wr wr;
	uint8_t *copy; /* owned: the payload when its buffer is the user's */
	uint64_t old;  /* of an atomic */
	/* carried out in two parts: before and behind the cut */
	uint32_t cut;
	unsigned nr_parts; /* done */
	bool is_back_first;
	bool is_last;   /* of its chain */
	bool is_flying; /* an event or a list at the target names it */
	bool is_taken;  /* its answer has passed the poster's port */
	bool is_done;   /* answered; earlier ones are not */
	bool is_listed; /* NODE is on a list: OP is waiting for it */
};

struct sim_event {
	uint64_t at, serial;
	enum dipc_sim_kind kind;
	union {
		struct sim_node *node;
		struct sim_conn *conn;
		struct sim_wr *wr;
		struct {
			void (*fn)(void *arg);
			void *arg;
		} call;
	};
};

struct dipc_sim {
	struct dipc_clock clock;
	struct dipc_sim_config config;
	uint64_t now, random, serial;
	struct sim_event *heap; /* owned; by time, then serial */
	unsigned nr_events, max_events;
	struct sim_node *nodes[DIPC_SIM_NODES_MAX];
	unsigned next_number; /* for transports that name none */
	struct dipc_list lives, transports, conns;
	struct dipc_list free_wrs, free_news;
	int fd; /* owned; for those who watch a fd and never sleep on it */
};

static inline struct sim_transport *sim_of(struct dipc_transport *t)
{
	return dipc_container_of(t, struct sim_transport, base);
}

static inline struct sim_conn *sim_conn_of(struct dipc_conn *conn)
{
	return dipc_container_of(conn, struct sim_conn, base);
}

/* ---- sim.c ---- */
extern struct dipc_sim *sim_world;
/* Allocation that a world cannot go on without. */
void *sim_alloc(size_t size);
void sim_event_add(struct dipc_sim *sim, uint64_t at, enum dipc_sim_kind kind,
		   void *subject);
/* Random, within the jitter. */
uint64_t sim_jitter(struct dipc_sim *sim);
/* The life of NUMBER that goes on now, or a new one. */
struct sim_node *sim_node_get(struct dipc_sim *sim, unsigned number);
void sim_node_turn_at(struct sim_node *node, uint64_t at);
void sim_node_crash(struct sim_node *node);
/* Reserve the port from now on; when that is over. */
uint64_t sim_port_out(struct sim_node *node, size_t bytes);
uint64_t sim_port_in(struct sim_node *node, size_t bytes, uint64_t more_ns);

/* ---- sim_transport.c ---- */
extern const struct dipc_transport_ops dipc_sim_ops;
struct sim_transport *sim_transport_find(struct dipc_sim *sim,
					 const char *address);
struct sim_news *sim_news_add(struct sim_conn *conn, enum sim_news_kind kind);
void sim_transport_free(struct sim_transport *t);

/* ---- sim_region.c ---- */
int sim_region_create(struct dipc_transport *base, const char *path, size_t len,
		      struct dipc_region **region_out);
void sim_region_destroy(struct dipc_region *base);
/* NULL: forbidden. */
uint8_t *sim_region_find(struct sim_transport *t, struct dipc_remote remote,
			 size_t len);

/* ---- sim_conn.c ---- */
int sim_conn_connect(struct dipc_transport *base, const char *address,
		     const void *hello, size_t hello_len,
		     struct dipc_conn **conn_out);
void sim_conn_close(struct dipc_conn *base);
/* Fail what is outstanding, then closed(REASON). Nothing lands here again. */
void sim_conn_break(struct sim_conn *conn, int reason);
/* The other end will learn of it. */
void sim_conn_break_peer(struct sim_conn *conn);
void sim_conn_accept(struct sim_conn *conn);
/* Its transport goes: no news. */
void sim_conn_forget(struct sim_conn *conn);
/* Steps. */
void sim_conn_hello(struct sim_conn *conn);
void sim_conn_reply(struct sim_conn *conn);
void sim_conn_up(struct sim_conn *conn);
void sim_conn_fence(struct sim_conn *conn);
void sim_conn_broken(struct sim_conn *conn);
/* Can the peer's requests be carried out at this end? */
bool sim_conn_takes(const struct sim_conn *conn);

/* ---- sim_op.c ---- */
int sim_op_post(struct dipc_conn *base, const struct dipc_wr *wr, unsigned nr,
		struct dipc_op *op);
void sim_op_arrive(struct sim_wr *wr);
void sim_op_retry(struct sim_conn *target);
void sim_op_effect(struct sim_wr *wr);
void sim_op_fetch(struct sim_wr *wr);
void sim_op_answer(struct sim_wr *wr);
/* WR's local buffer becomes the user's again; what it sends is kept. */
void sim_wr_detach(struct sim_wr *wr);
/* Its poster does not wait for it any more. */
void sim_wr_unlist(struct sim_wr *wr);
/* Nothing of it is on its way any more. */
void sim_wr_land(struct sim_wr *wr);

#endif
