/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back end `sim`: a world of nodes in one process and in virtual time. A
 * seed decides every delay, order, break and crash, so that a run can be had
 * again. It keeps the contract of transport.h and promises no more than that:
 * beyond 8 bytes READs and WRITEs are torn, READs are late, completions come
 * when they come, and what a dead node had posted may still land.
 *
 * There is one world in a process at a time; transports of kind "sim" belong
 * to it. The transport at "sim:N" is node N's; any other name gets a number by
 * itself. Memory is this process's, an address is a pointer.
 *
 * Not in any product: this is linked into tests and tools only.
 */
#ifndef DIPC_TRANSPORT_SIM_H
#define DIPC_TRANSPORT_SIM_H

#include "runtime/base/loop.h"
#include "transport/transport.h"

#define DIPC_SIM_NODES_MAX 4096u

struct dipc_sim;

/*
 * What things take. A port sends and receives one thing at a time, so that
 * whoever asks a busy node waits for those before him.
 */
struct dipc_sim_cost {
	uint64_t latency_ns;  /* one way, of wires and switches */
	uint64_t bytes_per_s; /* of a port, in each direction; 0: no limit */
	uint64_t message_ns;  /* of a port, for each request beside its bytes */
	uint64_t atomic_ns;   /* of the target's port, for each CAS or FAA */
	uint64_t engine_ns;   /* of a node's processor, for each event */
	/*
	 * At most; random time added to every step, mostly little of it. 0:
	 * nothing is random, and READs and WRITEs are not torn.
	 */
	uint64_t jitter_ns;
};

enum dipc_sim_kind {
	DIPC_SIM_HELLO,  /* a connect request has arrived */
	DIPC_SIM_REPLY,  /* ... its answer */
	DIPC_SIM_UP,     /* ... the acceptor may use the connection */
	DIPC_SIM_ARRIVE, /* a request is at its target */
	DIPC_SIM_RETRY,  /* a WRITE_IMM that found no room tries again */
	DIPC_SIM_EFFECT, /* part of a request is carried out */
	DIPC_SIM_FETCH,  /* part of a READ is taken from memory */
	DIPC_SIM_ANSWER, /* the answer is back */
	DIPC_SIM_FENCE,  /* a closed end is sealed */
	DIPC_SIM_BROKEN, /* an end learns that its connection is broken */
	DIPC_SIM_OFF,    /* a crashed node's port falls silent */
	DIPC_SIM_TURN,   /* a node's loop turns */
	DIPC_SIM_CALL,   /* dipc_sim_at() */
	DIPC_SIM_NR_KINDS,
};

/* Something that has just happened. */
struct dipc_sim_event {
	uint64_t at;
	enum dipc_sim_kind kind;
	unsigned node; /* where */
	unsigned peer; /* whose request; NODE where there is none */
	/* of ARRIVE, EFFECT, FETCH, ANSWER */
	enum dipc_wr_op op;
	uint32_t len;
	uint64_t word; /* an atomic's ANSWER: the old value */
};

struct dipc_sim_config {
	uint64_t seed;
	struct dipc_sim_cost cost;
	uint64_t linger_ns; /* a crashed node's port works on, at most */
	uint64_t notice_ns; /* until a break is noticed, at most */
	/*
	 * Nobody calls dipc_sim_step(): dipc_transport_poll() lets time pass
	 * when it has nothing to deliver.
	 */
	bool is_self_driven;
	/* After each step, for traces. May be NULL. */
	void (*on_event)(void *arg, const struct dipc_sim_event *event);
	void *arg;
};

/* 0 or -ENOMEM. */
int dipc_sim_create(const struct dipc_sim_config *config,
		    struct dipc_sim **sim_out);
/*
 * Transports go first, those of crashed nodes excepted. What fibers of crashed
 * nodes had in their hands is not freed: nothing of such a node runs again.
 */
void dipc_sim_destroy(struct dipc_sim *sim);

/* ---- time --------------------------------------------------------------- */

/* Virtual; stands still while anything runs. */
struct dipc_clock *dipc_sim_clock(struct dipc_sim *sim);
uint64_t dipc_sim_now(const struct dipc_sim *sim);
/* The world's dice: 0..BELOW-1; 0 if BELOW is. */
uint64_t dipc_sim_random(struct dipc_sim *sim, uint64_t below);
/* The next thing happens. False: nothing ever will. */
bool dipc_sim_step(struct dipc_sim *sim);
/* When it will; DIPC_NEVER. */
uint64_t dipc_sim_next(const struct dipc_sim *sim);
/* Call FN(ARG) as a step of its own after NS; it belongs to no node. */
void dipc_sim_at(struct dipc_sim *sim, uint64_t ns, void (*fn)(void *arg),
		 void *arg);
/* Let time pass where nothing happens. */
void dipc_sim_skip(struct dipc_sim *sim, uint64_t ns);

/* ---- nodes -------------------------------------------------------------- */

/*
 * Node N's loop, made at the first call, and after a crash a new one: the
 * node's next life. The world turns it when it has work, as if it never slept;
 * what is put on it from outside (a fiber) needs dipc_sim_kick(). NULL: no
 * memory.
 */
struct dipc_loop *dipc_sim_loop(struct dipc_sim *sim, unsigned node);
void dipc_sim_kick(struct dipc_sim *sim, unsigned node);

/*
 * NODE stops for good: its loop does not turn again. Requests that it had
 * posted are carried out for a while, those after they have left its port
 * until the other end is destroyed; so are others' requests to it. Every
 * connection with it breaks. It may crash itself, inside its own turn: what it
 * posts from then on goes nowhere, what it does to its memory has no witness.
 */
void dipc_sim_crash(struct dipc_sim *sim, unsigned node);
/* The same for the node that has T. */
void dipc_sim_crash_transport(struct dipc_transport *t);
bool dipc_sim_is_dead(const struct dipc_sim *sim, unsigned node);
/* The port of the dead NODE is silent: it reads and posts nothing any more. */
bool dipc_sim_is_off(const struct dipc_sim *sim, unsigned node);
/* Every connection between A and B breaks. */
void dipc_sim_break(struct dipc_sim *sim, unsigned a, unsigned b);

enum dipc_sim_moment {
	DIPC_SIM_BEFORE_POST, /* the chain is not posted */
	DIPC_SIM_AFTER_POST,  /* it is, and may land or not */
	DIPC_SIM_BEFORE_DONE, /* it has landed; the node never learns */
};

/*
 * Crash NODE at its K-th chain from now on (from 1): at every wait of a
 * protocol, if K is counted up from 1 until the run ends without a crash.
 */
void dipc_sim_crash_at(struct dipc_sim *sim, unsigned node,
		       enum dipc_sim_moment moment, uint64_t k);

struct dipc_sim_counters {
	uint64_t nr_out, nr_in;       /* requests posted, and served */
	uint64_t bytes_out, bytes_in; /* through its port */
	uint64_t nr_atomics;          /* served */
	uint64_t busy_out_ns, busy_in_ns;
	uint64_t nr_events; /* delivered to its loop */
	uint64_t engine_ns; /* what they cost it */
};

/* Of NODE's present life. NULL: there is no such node. */
const struct dipc_sim_counters *dipc_sim_counters(const struct dipc_sim *sim,
						  unsigned node);

#endif
