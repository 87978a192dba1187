/* SPDX-License-Identifier: BSD-2-Clause */
/* A node's transport: what has happened to it and was not yet told. */
#include "transport/sim/sim_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/base/log.h"

/* ---- news --------------------------------------------------------------- */

static void transport_wake(struct sim_transport *t)
{
	struct dipc_sim *sim = t->sim;

	if (t->node->loop)
		sim_node_turn_at(t->node, sim->now + sim_jitter(sim));
	if (t->is_armed && sim->config.is_self_driven)
		(void)eventfd_write(t->base.fd, 1);
}

struct sim_news *sim_news_add(struct sim_conn *conn, enum sim_news_kind kind)
{
	struct dipc_sim *sim = conn->home->sim;
	struct sim_transport *t = sim_of(conn->base.transport);
	struct dipc_list *node = dipc_list_pop(&sim->free_news);
	struct sim_news *news =
		node ? dipc_container_of(node, struct sim_news, node)
		     : sim_alloc(sizeof(*news));

	*news = (struct sim_news){.kind = kind, .conn = conn};
	dipc_list_add_tail(&t->news, &news->node);
	transport_wake(t);
	return news;
}

/* DONE: the node may be set to crash before it learns of it. */
static void deliver_done(struct sim_transport *t, const struct sim_news *news)
{
	struct sim_node *node = t->node;

	news->conn->nr_wr -= news->op->nr_wr;
	if (node->crash_done && --node->crash_done == 0)
		sim_node_crash(node);
	else
		news->op->done(news->op, news->status);
}

static void deliver_closed(struct sim_transport *t, struct sim_conn *conn)
{
	conn->state = SIM_CONN_GONE;
	dipc_list_del(&conn->node);
	if (conn->is_known)
		t->base.events->closed(t->base.arg, &conn->base, conn->reason);
}

static void news_deliver(struct sim_transport *t, const struct sim_news *news)
{
	const struct dipc_transport_events *ev = t->base.events;
	struct sim_conn *conn = news->conn;
	/* after our own close nothing comes but the end */
	bool is_closed = conn->state == SIM_CONN_CLOSING ||
			 (conn->state == SIM_CONN_BROKEN && !conn->reason);

	t->node->counters.nr_events++;
	switch (news->kind) {
	case SIM_NEWS_ACCEPT:
		sim_conn_accept(conn);
		break;
	case SIM_NEWS_UP:
		if (!is_closed)
			ev->established(t->base.arg, &conn->base,
					conn->is_connector ? conn->reply : NULL,
					conn->is_connector ? conn->reply_len
							   : 0);
		break;
	case SIM_NEWS_IMM:
		t->nr_recvs--;
		if (!is_closed)
			ev->imm(t->base.arg, &conn->base, news->imm);
		break;
	case SIM_NEWS_DONE:
		deliver_done(t, news);
		break;
	case SIM_NEWS_CLOSED:
		deliver_closed(t, conn);
		break;
	}
}

/* ---- poll --------------------------------------------------------------- */

static void transport_disarm(struct sim_transport *t)
{
	eventfd_t count;

	t->is_armed = false;
	if (t->sim->config.is_self_driven)
		(void)eventfd_read(t->base.fd, &count);
}

static unsigned sim_poll(struct dipc_transport *base, unsigned budget)
{
	struct sim_transport *t = sim_of(base);
	struct dipc_list *pos;
	unsigned n = 0;

	if (t->is_polling || !budget)
		return 0;
	t->is_polling = true;
	if (t->is_armed)
		transport_disarm(t);
	while (n < budget && !t->node->is_dead &&
	       (pos = dipc_list_pop(&t->news))) {
		struct sim_news *news =
			dipc_container_of(pos, struct sim_news, node);

		news_deliver(t, news);
		dipc_list_add_tail(&t->sim->free_news, &news->node);
		n++;
	}
	t->is_polling = false;
	if (!n && t->sim->config.is_self_driven)
		dipc_sim_step(t->sim);
	return n;
}

static int sim_arm(struct dipc_transport *base)
{
	struct sim_transport *t = sim_of(base);

	if (!dipc_list_is_empty(&t->news))
		return 1;
	/* who lets time pass must not sleep while something is under way */
	if (t->sim->config.is_self_driven && t->sim->nr_events)
		return 1;
	t->is_armed = true;
	return 0;
}

/* ---- life --------------------------------------------------------------- */

struct sim_transport *sim_transport_find(struct dipc_sim *sim,
					 const char *address)
{
	struct dipc_list *pos;

	dipc_list_for_each (pos, &sim->transports) {
		struct sim_transport *t =
			dipc_container_of(pos, struct sim_transport, all);

		if (!t->node->is_dead && !strcmp(t->base.address, address))
			return t;
	}
	return NULL;
}

/* "sim:N" is node N; others are numbered from above. */
static struct sim_node *node_of(struct dipc_sim *sim, const char *address)
{
	unsigned number;
	char rest;

	if (sscanf(address, "sim:%u%c", &number, &rest) == 1)
		return number < DIPC_SIM_NODES_MAX ? sim_node_get(sim, number)
						   : NULL;
	return sim_node_get(sim, sim->next_number--);
}

static int sim_transport_create(const struct dipc_transport_config *config,
				struct dipc_transport **t_out)
{
	struct dipc_sim *sim = sim_world;
	struct sim_transport *t;
	struct sim_node *node;

	if (!sim || strlen(config->listen) >= sizeof(t->base.address))
		return -EINVAL;
	if (sim_transport_find(sim, config->listen)) {
		dipc_error("sim: %s is in use", config->listen);
		return -EADDRINUSE;
	}
	node = node_of(sim, config->listen);
	if (!node || node->transport)
		return -EINVAL;
	t = sim_alloc(sizeof(*t));
	t->base.ops = &dipc_sim_ops;
	t->base.events = config->events;
	t->base.arg = config->arg;
	t->base.limits = (struct dipc_limits){
		.max_chain = SIM_CHAIN_MAX,
		.max_depth = SIM_DEPTH_MAX,
		.max_rd_atomic = SIM_RD_MAX,
		.max_len = 1u << 30,
		.has_device_latency = true,
	};
	strcpy(t->base.address, config->listen);
	t->base.fd = sim->fd;
	if (sim->config.is_self_driven) {
		t->base.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (t->base.fd < 0) {
			free(t);
			return -errno;
		}
	}
	t->sim = sim;
	t->node = node;
	node->transport = t;
	dipc_list_init(&t->conns);
	dipc_list_init(&t->news);
	dipc_list_add_tail(&sim->transports, &t->all);
	*t_out = &t->base;
	return 0;
}

void sim_transport_free(struct sim_transport *t)
{
	struct dipc_list *pos;
	unsigned i;

	for (i = 0; t->nr_regions && i < SIM_REGIONS_MAX; i++)
		if (t->regions[i])
			sim_region_destroy(&t->regions[i]->base);
	while ((pos = dipc_list_pop(&t->news)))
		dipc_list_add_tail(&t->sim->free_news, pos);
	if (t->base.fd != t->sim->fd)
		close(t->base.fd);
	if (t->node->transport == t)
		t->node->transport = NULL;
	dipc_list_del(&t->all);
	free(t);
}

static void sim_transport_destroy(struct dipc_transport *base)
{
	struct sim_transport *t = sim_of(base);

	if (t->nr_regions)
		dipc_error("sim: %u regions outlive their transport",
			   t->nr_regions);
	while (!dipc_list_is_empty(&t->conns))
		sim_conn_forget(dipc_container_of(t->conns.next,
						  struct sim_conn, node));
	sim_transport_free(t);
}

const struct dipc_transport_ops dipc_sim_ops = {
	.kind = "sim",
	.create = sim_transport_create,
	.destroy = sim_transport_destroy,
	.poll = sim_poll,
	.arm = sim_arm,
	.region_create = sim_region_create,
	.region_destroy = sim_region_destroy,
	.connect = sim_conn_connect,
	.close = sim_conn_close,
	.post = sim_op_post,
};
