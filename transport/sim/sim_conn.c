/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections: a handshake of three messages (HELLO, REPLY, UP), and how an
 * end breaks. The two ends break each by itself, at different times, as queue
 * pairs do.
 */
#include "transport/sim/sim_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- ends --------------------------------------------------------------- */

static struct sim_conn *conn_new(struct sim_transport *t,
				 enum sim_conn_state state)
{
	struct sim_conn *conn = sim_alloc(sizeof(*conn));

	conn->base.transport = &t->base;
	conn->home = t->node;
	conn->state = state;
	dipc_list_init(&conn->waiting);
	dipc_list_init(&conn->sending);
	dipc_list_init(&conn->arrived);
	dipc_list_add_tail(&t->conns, &conn->node);
	dipc_list_add_tail(&t->sim->conns, &conn->all);
	return conn;
}

bool sim_conn_takes(const struct sim_conn *conn)
{
	if (!conn || !conn->base.transport || conn->home->is_off)
		return false;
	return conn->state == SIM_CONN_ACCEPTED ||
	       conn->state == SIM_CONN_READY || conn->state == SIM_CONN_CLOSING;
}

/* When what CONN's end sends now may be at the other one. */
static uint64_t message_due(struct sim_conn *conn)
{
	struct dipc_sim *sim = conn->home->sim;

	return sim_port_out(conn->home, DIPC_HELLO_MAX) +
	       sim->config.cost.latency_ns + sim_jitter(sim);
}

/* ---- breaking ----------------------------------------------------------- */

void sim_conn_break_peer(struct sim_conn *conn)
{
	struct dipc_sim *sim = conn->home->sim;

	if (conn->peer)
		sim_event_add(
			sim,
			sim->now + sim->config.cost.latency_ns +
				sim_jitter(sim) +
				dipc_sim_random(sim, sim->config.notice_ns),
			DIPC_SIM_BROKEN, conn->peer);
}

/* End every request of LIST; NEWS: and tell its user. */
static void requests_fail(struct dipc_list *list, bool is_news)
{
	while (!dipc_list_is_empty(list)) {
		struct sim_wr *wr =
			dipc_container_of(list->next, struct sim_wr, node);

		if (wr->is_last && is_news) {
			struct sim_news *news =
				sim_news_add(wr->conn, SIM_NEWS_DONE);

			news->op = wr->op;
			news->status = wr->op->status;
		}
		sim_wr_detach(wr);
		sim_wr_unlist(wr);
	}
}

void sim_conn_break(struct sim_conn *conn, int reason)
{
	if (conn->state >= SIM_CONN_BROKEN)
		return;
	conn->state = SIM_CONN_BROKEN;
	conn->reason = reason;
	requests_fail(&conn->sending, true);
	requests_fail(&conn->waiting, true);
	sim_news_add(conn, SIM_NEWS_CLOSED);
	sim_conn_break_peer(conn);
}

void sim_conn_forget(struct sim_conn *conn)
{
	if (conn->state < SIM_CONN_BROKEN)
		sim_conn_break_peer(conn);
	conn->state = SIM_CONN_GONE;
	requests_fail(&conn->sending, false);
	requests_fail(&conn->waiting, false);
	dipc_list_del(&conn->node);
	conn->base.transport = NULL;
}

void sim_conn_close(struct dipc_conn *base)
{
	struct sim_conn *conn = sim_conn_of(base);
	struct dipc_sim *sim = conn->home->sim;

	if (conn->state >= SIM_CONN_CLOSING)
		return;
	conn->state = SIM_CONN_CLOSING;
	sim_event_add(sim, sim->now + 1 + sim_jitter(sim), DIPC_SIM_FENCE,
		      conn);
}

/* ---- the handshake ------------------------------------------------------ */

int sim_conn_connect(struct dipc_transport *base, const char *address,
		     const void *hello, size_t hello_len,
		     struct dipc_conn **conn_out)
{
	struct sim_transport *t = sim_of(base);
	struct sim_conn *conn;

	if (strlen(address) >= sizeof(conn->address))
		return -EINVAL;
	conn = conn_new(t, SIM_CONN_CONNECTING);
	conn->is_connector = true;
	conn->is_known = true;
	strcpy(conn->address, address);
	conn->hello_len = hello_len;
	if (hello_len)
		memcpy(conn->hello, hello, hello_len);
	/* of a dead node nothing goes out */
	if (!t->node->is_dead)
		sim_event_add(t->sim, message_due(conn), DIPC_SIM_HELLO, conn);
	*conn_out = &conn->base;
	return 0;
}

void sim_conn_hello(struct sim_conn *conn)
{
	struct sim_transport *t;

	if (conn->state != SIM_CONN_CONNECTING || conn->home->is_off)
		return; /* closed meanwhile, or dead */
	t = sim_transport_find(conn->home->sim, conn->address);
	if (!t) {
		sim_conn_break(conn, -ECONNREFUSED);
		return;
	}
	conn->peer = conn_new(t, SIM_CONN_ACCEPTED);
	conn->peer->peer = conn;
	sim_news_add(conn->peer, SIM_NEWS_ACCEPT);
}

/* Called by poll. */
void sim_conn_accept(struct sim_conn *conn)
{
	struct dipc_transport *t = conn->base.transport;
	const struct sim_conn *peer = conn->peer;

	if (conn->state != SIM_CONN_ACCEPTED)
		return; /* broken by now: the user never hears of it */
	conn->is_known = true;
	if (t->events->accept(t->arg, &conn->base, peer->hello, peer->hello_len,
			      conn->reply, &conn->reply_len)) {
		conn->state = SIM_CONN_GONE;
		dipc_list_del(&conn->node);
	}
	sim_event_add(conn->home->sim, message_due(conn), DIPC_SIM_REPLY,
		      conn->peer);
}

void sim_conn_reply(struct sim_conn *conn)
{
	struct sim_conn *peer = conn->peer;
	struct dipc_sim *sim = conn->home->sim;

	if (conn->state != SIM_CONN_CONNECTING || conn->home->is_off)
		return;
	if (peer->state != SIM_CONN_ACCEPTED) {
		sim_conn_break(conn, -ECONNREFUSED);
		return;
	}
	memcpy(conn->reply, peer->reply, peer->reply_len);
	conn->reply_len = peer->reply_len;
	conn->state = SIM_CONN_READY;
	sim_news_add(conn, SIM_NEWS_UP);
	/* ahead of everything that will be posted */
	conn->last_arrival = message_due(conn);
	sim_event_add(sim, conn->last_arrival, DIPC_SIM_UP, peer);
}

void sim_conn_up(struct sim_conn *conn)
{
	if (conn->state != SIM_CONN_ACCEPTED || conn->home->is_off)
		return;
	conn->state = SIM_CONN_READY;
	sim_news_add(conn, SIM_NEWS_UP);
}

void sim_conn_broken(struct sim_conn *conn)
{
	/* one that is closing ends by itself */
	if (!conn->base.transport || conn->state == SIM_CONN_CLOSING)
		return;
	sim_conn_break(conn, conn->state == SIM_CONN_CONNECTING ? -ETIMEDOUT
								: -ENOLINK);
}

void sim_conn_fence(struct sim_conn *conn)
{
	if (conn->base.transport)
		sim_conn_break(conn, 0);
}
