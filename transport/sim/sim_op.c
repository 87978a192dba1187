/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request's way:
 *
 *	post -> waiting -> (port) -> ARRIVE -> arrived -> (port) -> EFFECT
 *	     <- done, in the order posted <- ANSWER <- (port) <- [FETCH] <-
 *
 * Requests of a connection are served one after another at their target, which
 * is the order that the contract promises. A READ only starts in its turn: its
 * bytes are fetched later, in two parts, whatever is written meanwhile.
 */
#include "transport/sim/sim_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS (20 * DIPC_USEC)

static bool wr_is_atomic(const struct sim_wr *wr)
{
	return wr->wr.op == DIPC_WR_CAS || wr->wr.op == DIPC_WR_FAA;
}

static bool wr_is_write(const struct sim_wr *wr)
{
	return wr->wr.op == DIPC_WR_WRITE || wr->wr.op == DIPC_WR_WRITE_IMM;
}

static size_t wr_len(const struct sim_wr *wr)
{
	return wr_is_atomic(wr) ? 8 : wr->wr.len;
}

/* ---- life of a request -------------------------------------------------- */

static struct sim_wr *wr_new(struct sim_conn *conn, const struct dipc_wr *from,
			     struct dipc_op *op)
{
	struct dipc_list *node = dipc_list_pop(&conn->home->sim->free_wrs);
	struct sim_wr *wr = node ? dipc_container_of(node, struct sim_wr, node)
				 : sim_alloc(sizeof(*wr));

	memset(wr, 0, sizeof(*wr));
	wr->conn = conn;
	wr->op = op;
	wr->wr = *from;
	wr->is_listed = true;
	dipc_list_init(&wr->at_target);
	dipc_list_add_tail(&conn->waiting, &wr->node);
	return wr;
}

static void wr_settle(struct sim_wr *wr)
{
	if (wr->is_flying || wr->is_listed)
		return;
	free(wr->copy);
	wr->copy = NULL;
	dipc_list_add_tail(&wr->conn->home->sim->free_wrs, &wr->node);
}

void sim_wr_unlist(struct sim_wr *wr)
{
	dipc_list_del(&wr->node);
	wr->is_listed = false;
	wr_settle(wr);
}

void sim_wr_land(struct sim_wr *wr)
{
	dipc_list_del(&wr->at_target);
	wr->is_flying = false;
	wr_settle(wr);
}

void sim_wr_detach(struct sim_wr *wr)
{
	if (wr_is_write(wr) && wr->is_flying && wr->wr.len && !wr->copy) {
		wr->copy = sim_alloc(wr->wr.len);
		memcpy(wr->copy, wr->wr.local, wr->wr.len);
	}
	wr->wr.local = NULL;
}

/* ---- posting ------------------------------------------------------------ */

static void wr_send(struct sim_wr *wr)
{
	struct sim_conn *conn = wr->conn;
	struct dipc_sim *sim = conn->home->sim;
	uint64_t at;

	dipc_list_del(&wr->node);
	dipc_list_add_tail(&conn->sending, &wr->node);
	if (!wr_is_write(wr))
		conn->nr_rd++;
	conn->home->counters.nr_out++;
	at = sim_port_out(conn->home, wr_is_write(wr) ? wr->wr.len : 0) +
	     sim->config.cost.latency_ns + sim_jitter(sim);
	if (at <= conn->last_arrival)
		at = conn->last_arrival + 1;
	conn->last_arrival = at;
	wr->is_flying = true;
	sim_event_add(sim, at, DIPC_SIM_ARRIVE, wr);
}

/* Send what may be sent. */
static void conn_pump(struct sim_conn *conn)
{
	if (conn->home->is_off)
		return;
	while (!dipc_list_is_empty(&conn->waiting)) {
		struct sim_wr *wr = dipc_container_of(conn->waiting.next,
						      struct sim_wr, node);

		if ((wr->wr.flags & DIPC_WR_FENCE) && conn->nr_rd)
			return;
		if (!wr_is_write(wr) && conn->nr_rd >= SIM_RD_MAX)
			return;
		wr_send(wr);
	}
}

/* True: the chain goes nowhere. */
static bool node_dies_at_post(struct sim_node *node)
{
	if (!node->crash_post || node->is_crash_after || --node->crash_post)
		return false;
	sim_node_crash(node);
	return true;
}

int sim_op_post(struct dipc_conn *base, const struct dipc_wr *wr, unsigned nr,
		struct dipc_op *op)
{
	struct sim_conn *conn = sim_conn_of(base);
	struct sim_node *node = conn->home;
	struct sim_wr *new = NULL;
	unsigned i;

	if (node->is_dead)
		return -EINPROGRESS; /* for ever */
	if (conn->state >= SIM_CONN_CLOSING)
		return -ENOLINK;
	if (conn->state != SIM_CONN_READY)
		return -EINVAL;
	if (conn->nr_wr + nr > SIM_DEPTH_MAX)
		return -EAGAIN;
	if (node_dies_at_post(node))
		return -EINPROGRESS;
	op->conn = base;
	op->nr_wr = nr;
	op->status = -ENOLINK; /* of an answer that never comes */
	conn->nr_wr += nr;
	for (i = 0; i < nr; i++) {
		new = wr_new(conn, &wr[i], op);
		/* nobody may look before it is done */
		if (node->sim->config.cost.jitter_ns && !wr_is_write(new))
			memset(new->wr.local, 0xee, wr_len(new));
	}
	new->is_last = true;
	conn_pump(conn);
	if (node->crash_post && node->is_crash_after && !--node->crash_post)
		sim_node_crash(node);
	return -EINPROGRESS;
}

/* ---- at the target ------------------------------------------------------ */

static void target_serve(struct sim_conn *conn);

/* The answer starts. */
static void wr_answer(struct sim_wr *wr)
{
	struct sim_node *target = wr->conn->peer->home;
	struct dipc_sim *sim = target->sim;
	uint64_t at = sim->now;

	target->counters.nr_in++;
	if (wr->wr.op == DIPC_WR_READ)
		at = sim_port_out(target, wr->wr.len);
	sim_event_add(sim, at + sim->config.cost.latency_ns + sim_jitter(sim),
		      DIPC_SIM_ANSWER, wr);
}

/* An access that is forbidden here: both ends break. */
static void wr_refuse(struct sim_wr *wr)
{
	struct sim_conn *conn = wr->conn->peer;

	if (wr->is_listed)
		wr->op->status = -EREMOTEIO;
	sim_wr_land(wr);
	conn->is_serving = false;
	sim_conn_break(conn, -ENOLINK);
}

/*
 * The next part of LEN bytes: two if they can be torn, cut at a word. *OFF_OUT
 * and the part's length; the last one if wr->nr_parts is then 2.
 */
static uint32_t wr_next_part(struct sim_wr *wr, uint32_t *off_out)
{
	struct dipc_sim *sim = wr->conn->home->sim;
	uint32_t words = wr->wr.len / 8;
	bool is_back;

	if (!wr->nr_parts) {
		if (words < 2 || !sim->config.cost.jitter_ns) {
			wr->nr_parts = 2;
			*off_out = 0;
			return wr->wr.len;
		}
		/* word by word of the peer's memory, too */
		wr->cut = 8 + 8 * (uint32_t)dipc_sim_random(sim, words - 1) -
			  (uint32_t)(wr->wr.remote.addr % 8);
		wr->is_back_first = dipc_sim_random(sim, 2);
	}
	is_back = wr->is_back_first == !wr->nr_parts;
	wr->nr_parts++;
	*off_out = is_back ? wr->cut : 0;
	return is_back ? wr->wr.len - wr->cut : wr->cut;
}

static void apply_atomic(struct sim_wr *wr, uint8_t *at)
{
	uint64_t next;

	memcpy(&wr->old, at, 8);
	next = wr->old;
	if (wr->wr.op == DIPC_WR_FAA)
		next += wr->wr.arg;
	else if (wr->old == wr->wr.compare)
		next = wr->wr.arg;
	memcpy(at, &next, 8);
	wr->conn->peer->home->counters.nr_atomics++;
}

/* False: forbidden. */
static bool apply_write(struct sim_wr *wr)
{
	struct sim_conn *conn = wr->conn->peer;
	const uint8_t *from = wr->copy ? wr->copy : wr->wr.local;
	uint32_t off, len;
	uint8_t *at;

	if (!wr->wr.len) {
		wr->nr_parts = 2;
		return true;
	}
	at = sim_region_find(sim_of(conn->base.transport), wr->wr.remote,
			     wr->wr.len);
	if (!at)
		return false;
	len = wr_next_part(wr, &off);
	memcpy(at + off, from + off, len);
	return true;
}

static void target_imm(struct sim_conn *conn, uint32_t imm)
{
	if (conn->state == SIM_CONN_CLOSING)
		return;
	sim_of(conn->base.transport)->nr_recvs++;
	sim_news_add(conn, SIM_NEWS_IMM)->imm = imm;
}

static void wr_effect(struct sim_wr *wr)
{
	struct sim_conn *conn = wr->conn->peer;
	struct dipc_sim *sim = conn->home->sim;
	uint8_t *at;

	if (wr_is_write(wr)) {
		if (!apply_write(wr)) {
			wr_refuse(wr);
			return;
		}
		if (wr->nr_parts < 2) {
			sim_event_add(sim, sim->now + 1 + sim_jitter(sim),
				      DIPC_SIM_EFFECT, wr);
			return;
		}
		if (wr->wr.op == DIPC_WR_WRITE_IMM)
			target_imm(conn, wr->wr.imm);
	} else if (wr_is_atomic(wr)) {
		at = sim_region_find(sim_of(conn->base.transport),
				     wr->wr.remote, 8);
		if (!at) {
			wr_refuse(wr);
			return;
		}
		apply_atomic(wr, at);
	}
	dipc_list_del(&wr->at_target);
	if (wr->wr.op == DIPC_WR_READ)
		sim_event_add(sim, sim->now + sim_jitter(sim), DIPC_SIM_FETCH,
			      wr);
	else
		wr_answer(wr);
	target_serve(conn);
}

static void wr_fetch(struct sim_wr *wr)
{
	struct sim_conn *conn = wr->conn->peer;
	struct dipc_sim *sim = conn->home->sim;
	uint32_t off, len;
	uint8_t *at;

	at = sim_region_find(sim_of(conn->base.transport), wr->wr.remote,
			     wr->wr.len);
	if (!at) {
		wr_refuse(wr);
		return;
	}
	len = wr_next_part(wr, &off);
	if (wr->is_listed && wr->wr.local)
		memcpy((uint8_t *)wr->wr.local + off, at + off, len);
	if (wr->nr_parts < 2)
		sim_event_add(sim, sim->now + 1 + sim_jitter(sim),
			      DIPC_SIM_FETCH, wr);
	else
		wr_answer(wr);
}

/* Start with the first that has arrived. */
static void target_serve(struct sim_conn *conn)
{
	struct dipc_sim *sim = conn->home->sim;

	conn->is_serving = false;
	while (!dipc_list_is_empty(&conn->arrived)) {
		struct sim_wr *wr = dipc_container_of(conn->arrived.next,
						      struct sim_wr, at_target);
		uint64_t more =
			wr_is_atomic(wr) ? sim->config.cost.atomic_ns : 0;

		if (!sim_conn_takes(conn)) {
			sim_wr_land(wr);
			continue;
		}
		conn->is_serving = true;
		if (wr->wr.op == DIPC_WR_WRITE_IMM &&
		    sim_of(conn->base.transport)->nr_recvs >= SIM_RECVS) {
			sim_event_add(sim, sim->now + RETRY_NS, DIPC_SIM_RETRY,
				      conn);
			return;
		}
		sim_event_add(sim,
			      sim_port_in(conn->home,
					  wr_is_write(wr) ? wr->wr.len : 0,
					  more),
			      DIPC_SIM_EFFECT, wr);
		return;
	}
}

/* ---- back at the poster ------------------------------------------------- */

static void conn_complete(struct sim_conn *conn)
{
	while (!dipc_list_is_empty(&conn->sending)) {
		struct sim_wr *wr = dipc_container_of(conn->sending.next,
						      struct sim_wr, node);

		if (!wr->is_done)
			break;
		if (wr->is_last) {
			struct sim_news *news =
				sim_news_add(conn, SIM_NEWS_DONE);

			news->op = wr->op;
			news->status = 0;
		}
		sim_wr_unlist(wr);
	}
}

void sim_op_answer(struct sim_wr *wr)
{
	struct sim_conn *conn = wr->conn;
	struct dipc_sim *sim = conn->home->sim;
	uint64_t at;

	if (!wr->is_listed || conn->home->is_off) {
		sim_wr_land(wr);
		return;
	}
	if (wr->wr.op == DIPC_WR_READ && !wr->is_taken) {
		/* its bytes come through our port, too */
		wr->is_taken = true;
		at = sim_port_in(conn->home, wr->wr.len, 0);
		if (at > sim->now) {
			sim_event_add(sim, at, DIPC_SIM_ANSWER, wr);
			return;
		}
	}
	if (wr_is_atomic(wr))
		memcpy(wr->wr.local, &wr->old, 8);
	if (!wr_is_write(wr))
		conn->nr_rd--;
	wr->is_done = true;
	sim_wr_land(wr);
	conn_complete(conn);
	conn_pump(conn);
}

/* ---- steps -------------------------------------------------------------- */

void sim_op_arrive(struct sim_wr *wr)
{
	struct sim_conn *target = wr->conn->peer;

	if (!sim_conn_takes(target)) {
		sim_wr_land(wr);
		return;
	}
	dipc_list_add_tail(&target->arrived, &wr->at_target);
	if (!target->is_serving)
		target_serve(target);
}

void sim_op_retry(struct sim_conn *target)
{
	target_serve(target);
}

void sim_op_effect(struct sim_wr *wr)
{
	struct sim_conn *target = wr->conn->peer;

	if (sim_conn_takes(target)) {
		wr_effect(wr);
		return;
	}
	sim_wr_land(wr);
	target_serve(target);
}

void sim_op_fetch(struct sim_wr *wr)
{
	if (sim_conn_takes(wr->conn->peer))
		wr_fetch(wr);
	else
		sim_wr_land(wr);
}
