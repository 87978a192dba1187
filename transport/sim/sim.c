/* SPDX-License-Identifier: BSD-2-Clause */
/* The world: its events in order of time, its dice, its nodes. */
#include "transport/sim/sim_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define START_NS DIPC_SEC

struct dipc_sim *sim_world;

void *sim_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p) {
		perror("simulation");
		abort();
	}
	return p;
}

/* ---- events ------------------------------------------------------------- */

static bool event_is_before(const struct sim_event *a,
			    const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->serial < b->serial;
}

static void heap_push(struct dipc_sim *sim, struct sim_event event)
{
	unsigned i, up;

	if (sim->nr_events == sim->max_events) {
		sim->max_events = sim->max_events ? 2 * sim->max_events : 256;
		sim->heap = realloc(sim->heap,
				    sim->max_events * sizeof(*sim->heap));
		if (!sim->heap)
			abort();
	}
	for (i = sim->nr_events++; i; i = up) {
		up = (i - 1) / 2;
		if (!event_is_before(&event, &sim->heap[up]))
			break;
		sim->heap[i] = sim->heap[up];
	}
	sim->heap[i] = event;
}

static struct sim_event heap_pop(struct dipc_sim *sim)
{
	struct sim_event first = sim->heap[0];
	struct sim_event last = sim->heap[--sim->nr_events];
	unsigned i = 0, down;

	for (;;) {
		down = 2 * i + 1;
		if (down >= sim->nr_events)
			break;
		if (down + 1 < sim->nr_events &&
		    event_is_before(&sim->heap[down + 1], &sim->heap[down]))
			down++;
		if (!event_is_before(&sim->heap[down], &last))
			break;
		sim->heap[i] = sim->heap[down];
		i = down;
	}
	sim->heap[i] = last;
	return first;
}

void sim_event_add(struct dipc_sim *sim, uint64_t at, enum dipc_sim_kind kind,
		   void *subject)
{
	struct sim_event event = {
		.at = at < sim->now ? sim->now : at,
		.serial = sim->serial++,
		.kind = kind,
	};

	/* the union's pointers are one pointer */
	event.node = subject;
	heap_push(sim, event);
}

void dipc_sim_at(struct dipc_sim *sim, uint64_t ns, void (*fn)(void *arg),
		 void *arg)
{
	struct sim_event event = {
		.at = sim->now + ns,
		.serial = sim->serial++,
		.kind = DIPC_SIM_CALL,
		.call = {.fn = fn, .arg = arg},
	};

	heap_push(sim, event);
}

/* ---- a node's turn ------------------------------------------------------ */

void sim_node_turn_at(struct sim_node *node, uint64_t at)
{
	if (!node->loop || node->is_dead)
		return;
	if (at < node->engine_free)
		at = node->engine_free;
	if (at >= node->turn_at)
		return;
	node->turn_at = at;
	sim_event_add(node->sim, at, DIPC_SIM_TURN, node);
}

static void node_turn(struct sim_node *node)
{
	struct dipc_sim *sim = node->sim;
	uint64_t events = node->counters.nr_events, due;

	node->turn_at = DIPC_NEVER;
	dipc_loop_turn(node->loop);
	if (node->is_dead)
		return;
	events = node->counters.nr_events - events;
	node->counters.engine_ns += events * sim->config.cost.engine_ns;
	node->engine_free = sim->now + events * sim->config.cost.engine_ns;
	due = dipc_sched_next(dipc_loop_sched(node->loop));
	if (node->transport && !dipc_list_is_empty(&node->transport->news))
		due = sim->now + 1;
	if (due != DIPC_NEVER)
		sim_node_turn_at(node, due > sim->now ? due : sim->now + 1);
}

/* ---- steps -------------------------------------------------------------- */

static void event_trace(struct dipc_sim *sim, const struct sim_event *event,
			struct dipc_sim_event *out)
{
	const struct sim_conn *conn = NULL;

	*out = (struct dipc_sim_event){.at = sim->now, .kind = event->kind};
	switch (event->kind) {
	case DIPC_SIM_ARRIVE:
	case DIPC_SIM_EFFECT:
	case DIPC_SIM_FETCH:
	case DIPC_SIM_ANSWER:
		conn = event->kind == DIPC_SIM_ANSWER ? event->wr->conn
						      : event->wr->conn->peer;
		out->op = event->wr->wr.op;
		out->len = event->wr->wr.len;
		out->word = event->wr->old;
		break;
	case DIPC_SIM_HELLO:
	case DIPC_SIM_REPLY:
	case DIPC_SIM_UP:
	case DIPC_SIM_RETRY:
	case DIPC_SIM_FENCE:
	case DIPC_SIM_BROKEN:
		conn = event->conn;
		break;
	case DIPC_SIM_OFF:
	case DIPC_SIM_TURN:
		out->node = event->node->number;
		out->peer = out->node;
		return;
	case DIPC_SIM_CALL:
	case DIPC_SIM_NR_KINDS:
		return;
	}
	if (!conn)
		return;
	out->node = conn->home->number;
	out->peer = conn->peer ? conn->peer->home->number : out->node;
}

/* A dead node's port falls silent: now the others can notice. */
static void node_off(struct sim_node *node)
{
	struct dipc_list *pos;

	node->is_off = true;
	if (!node->transport)
		return;
	dipc_list_for_each (pos, &node->transport->conns)
		sim_conn_break_peer(
			dipc_container_of(pos, struct sim_conn, node));
}

static void step_perform(const struct sim_event *event)
{
	switch (event->kind) {
	case DIPC_SIM_HELLO:
		sim_conn_hello(event->conn);
		break;
	case DIPC_SIM_REPLY:
		sim_conn_reply(event->conn);
		break;
	case DIPC_SIM_UP:
		sim_conn_up(event->conn);
		break;
	case DIPC_SIM_FENCE:
		sim_conn_fence(event->conn);
		break;
	case DIPC_SIM_BROKEN:
		sim_conn_broken(event->conn);
		break;
	case DIPC_SIM_ARRIVE:
		sim_op_arrive(event->wr);
		break;
	case DIPC_SIM_RETRY:
		sim_op_retry(event->conn);
		break;
	case DIPC_SIM_EFFECT:
		sim_op_effect(event->wr);
		break;
	case DIPC_SIM_FETCH:
		sim_op_fetch(event->wr);
		break;
	case DIPC_SIM_ANSWER:
		sim_op_answer(event->wr);
		break;
	case DIPC_SIM_OFF:
		node_off(event->node);
		break;
	case DIPC_SIM_TURN:
		/* one that was moved forward leaves its first event behind */
		if (event->at == event->node->turn_at && !event->node->is_dead)
			node_turn(event->node);
		break;
	case DIPC_SIM_CALL:
		event->call.fn(event->call.arg);
		break;
	case DIPC_SIM_NR_KINDS:
		break;
	}
}

bool dipc_sim_step(struct dipc_sim *sim)
{
	struct dipc_sim_event trace;
	struct sim_event event;

	if (!sim->nr_events)
		return false;
	event = heap_pop(sim);
	sim->now = event.at;
	if (sim->config.on_event)
		event_trace(sim, &event, &trace);
	step_perform(&event);
	if (sim->config.on_event)
		sim->config.on_event(sim->config.arg, &trace);
	return true;
}

uint64_t dipc_sim_next(const struct dipc_sim *sim)
{
	return sim->nr_events ? sim->heap[0].at : DIPC_NEVER;
}

void dipc_sim_skip(struct dipc_sim *sim, uint64_t ns)
{
	uint64_t to = sim->now + ns;

	assert(!sim->nr_events || to <= sim->heap[0].at);
	sim->now = to;
}

/* ---- clock and dice ----------------------------------------------------- */

static uint64_t clock_mono(struct dipc_clock *clock)
{
	return dipc_container_of(clock, struct dipc_sim, clock)->now;
}

static int64_t clock_wall(struct dipc_clock *clock)
{
	return (int64_t)(clock_mono(clock) / DIPC_SEC);
}

struct dipc_clock *dipc_sim_clock(struct dipc_sim *sim)
{
	return &sim->clock;
}

uint64_t dipc_sim_now(const struct dipc_sim *sim)
{
	return sim->now;
}

uint64_t dipc_sim_random(struct dipc_sim *sim, uint64_t below)
{
	sim->random ^= sim->random << 13;
	sim->random ^= sim->random >> 7;
	sim->random ^= sim->random << 17;
	return below ? (sim->random >> 11) % below : 0;
}

uint64_t sim_jitter(struct dipc_sim *sim)
{
	uint64_t max = sim->config.cost.jitter_ns;

	if (!max)
		return 0;
	return dipc_sim_random(sim, dipc_sim_random(sim, 8) ? max / 8 : max);
}

/* ---- ports -------------------------------------------------------------- */

static uint64_t port_time(const struct dipc_sim *sim, size_t bytes)
{
	const struct dipc_sim_cost *cost = &sim->config.cost;
	uint64_t ns = cost->message_ns;

	if (cost->bytes_per_s)
		ns += bytes * DIPC_SEC / cost->bytes_per_s;
	return ns;
}

uint64_t sim_port_out(struct sim_node *node, size_t bytes)
{
	uint64_t ns = port_time(node->sim, bytes);

	if (node->out_free < node->sim->now)
		node->out_free = node->sim->now;
	node->out_free += ns;
	node->counters.busy_out_ns += ns;
	node->counters.bytes_out += bytes;
	return node->out_free;
}

uint64_t sim_port_in(struct sim_node *node, size_t bytes, uint64_t more_ns)
{
	uint64_t ns = port_time(node->sim, bytes) + more_ns;

	if (node->in_free < node->sim->now)
		node->in_free = node->sim->now;
	node->in_free += ns;
	node->counters.busy_in_ns += ns;
	node->counters.bytes_in += bytes;
	return node->in_free;
}

/* ---- nodes -------------------------------------------------------------- */

struct sim_node *sim_node_get(struct dipc_sim *sim, unsigned number)
{
	struct sim_node *node = sim->nodes[number];

	if (node && !node->is_dead)
		return node;
	node = sim_alloc(sizeof(*node));
	node->sim = sim;
	node->number = number;
	node->turn_at = DIPC_NEVER;
	dipc_list_add_tail(&sim->lives, &node->all);
	sim->nodes[number] = node;
	return node;
}

struct dipc_loop *dipc_sim_loop(struct dipc_sim *sim, unsigned number)
{
	struct sim_node *node;

	assert(number < DIPC_SIM_NODES_MAX);
	node = sim_node_get(sim, number);
	if (!node->loop && dipc_loop_create(&sim->clock, 0, &node->loop))
		return NULL;
	return node->loop;
}

void dipc_sim_kick(struct dipc_sim *sim, unsigned node)
{
	if (sim->nodes[node])
		sim_node_turn_at(sim->nodes[node], sim->now + sim_jitter(sim));
}

void sim_node_crash(struct sim_node *node)
{
	struct dipc_sim *sim = node->sim;

	if (node->is_dead)
		return;
	node->is_dead = true;
	sim_event_add(sim,
		      sim->now + dipc_sim_random(sim, sim->config.linger_ns),
		      DIPC_SIM_OFF, node);
}

void dipc_sim_crash(struct dipc_sim *sim, unsigned node)
{
	if (sim->nodes[node])
		sim_node_crash(sim->nodes[node]);
}

void dipc_sim_crash_transport(struct dipc_transport *t)
{
	sim_node_crash(sim_of(t)->node);
}

bool dipc_sim_is_dead(const struct dipc_sim *sim, unsigned node)
{
	return !sim->nodes[node] || sim->nodes[node]->is_dead;
}

bool dipc_sim_is_off(const struct dipc_sim *sim, unsigned node)
{
	return !sim->nodes[node] || sim->nodes[node]->is_off;
}

void dipc_sim_break(struct dipc_sim *sim, unsigned a, unsigned b)
{
	const struct sim_node *node = sim->nodes[a];
	struct dipc_list *pos;

	if (!node || !node->transport)
		return;
	dipc_list_for_each (pos, &node->transport->conns) {
		struct sim_conn *conn =
			dipc_container_of(pos, struct sim_conn, node);

		if (!conn->peer || conn->peer->home->number != b)
			continue;
		sim_conn_break_peer(conn);
		sim_conn_break_peer(conn->peer);
	}
}

void dipc_sim_crash_at(struct dipc_sim *sim, unsigned number,
		       enum dipc_sim_moment moment, uint64_t k)
{
	struct sim_node *node = sim_node_get(sim, number);

	node->crash_post = moment == DIPC_SIM_BEFORE_DONE ? 0 : k;
	node->crash_done = moment == DIPC_SIM_BEFORE_DONE ? k : 0;
	node->is_crash_after = moment == DIPC_SIM_AFTER_POST;
}

const struct dipc_sim_counters *dipc_sim_counters(const struct dipc_sim *sim,
						  unsigned node)
{
	return sim->nodes[node] ? &sim->nodes[node]->counters : NULL;
}

/* ---- life --------------------------------------------------------------- */

int dipc_sim_create(const struct dipc_sim_config *config,
		    struct dipc_sim **sim_out)
{
	struct dipc_sim *sim;
	int ret;

	assert(!sim_world);
	ret = dipc_transport_add(&dipc_sim_ops);
	if (ret)
		return ret;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -ENOMEM;
	sim->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sim->fd < 0) {
		free(sim);
		return -errno;
	}
	sim->config = *config;
	sim->clock.mono_ns = clock_mono;
	sim->clock.wall_s = clock_wall;
	sim->now = START_NS;
	sim->random = config->seed * 0x9e3779b97f4a7c15u + 1;
	sim->next_number = DIPC_SIM_NODES_MAX - 1;
	dipc_list_init(&sim->lives);
	dipc_list_init(&sim->transports);
	dipc_list_init(&sim->conns);
	dipc_list_init(&sim->free_wrs);
	dipc_list_init(&sim->free_news);
	sim_world = sim;
	*sim_out = sim;
	return 0;
}

/* Requests that were on their way. */
static void flights_end(struct dipc_sim *sim)
{
	struct sim_event event;

	while (sim->nr_events) {
		event = heap_pop(sim);
		if (event.kind == DIPC_SIM_ARRIVE ||
		    event.kind == DIPC_SIM_EFFECT ||
		    event.kind == DIPC_SIM_FETCH ||
		    event.kind == DIPC_SIM_ANSWER)
			sim_wr_land(event.wr);
	}
}

static void conns_free(struct dipc_sim *sim)
{
	struct dipc_list *pos;

	/* first all requests, which know two ends each */
	dipc_list_for_each (pos, &sim->conns) {
		struct sim_conn *conn =
			dipc_container_of(pos, struct sim_conn, all);

		while (!dipc_list_is_empty(&conn->arrived))
			sim_wr_land(dipc_container_of(
				conn->arrived.next, struct sim_wr, at_target));
	}
	while ((pos = dipc_list_pop(&sim->conns))) {
		struct sim_conn *conn =
			dipc_container_of(pos, struct sim_conn, all);

		sim_conn_forget(conn);
		free(conn);
	}
}

void dipc_sim_destroy(struct dipc_sim *sim)
{
	struct dipc_list *pos;

	if (!sim)
		return;
	flights_end(sim);
	conns_free(sim);
	while (!dipc_list_is_empty(&sim->transports))
		sim_transport_free(dipc_container_of(
			sim->transports.next, struct sim_transport, all));
	while ((pos = dipc_list_pop(&sim->lives))) {
		struct sim_node *node =
			dipc_container_of(pos, struct sim_node, all);

		dipc_loop_destroy(node->loop);
		free(node);
	}
	while ((pos = dipc_list_pop(&sim->free_wrs)))
		free(dipc_container_of(pos, struct sim_wr, node));
	while ((pos = dipc_list_pop(&sim->free_news)))
		free(dipc_container_of(pos, struct sim_news, node));
	free(sim->heap);
	close(sim->fd);
	free(sim);
	sim_world = NULL;
}
