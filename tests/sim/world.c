/* SPDX-License-Identifier: BSD-2-Clause */
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_NS (20 * DIPC_SEC) /* virtual; nothing takes that long */

struct sim_world world;

/* ---- dice --------------------------------------------------------------- */

uint64_t sim_random(uint64_t below)
{
	return dipc_sim_random(world.sim, below);
}

void sim_hash(uint64_t value)
{
	world.hash = (world.hash ^ value) * 0x100000001b3u;
	world.hash ^= world.hash >> 29;
}

/* ---- what nodes are told ------------------------------------------------ */

static struct sim_segment *segment_of(int32_t id)
{
	unsigned i;

	for (i = 0; i < world.nr_segments; i++)
		if (world.segment[i].id == id)
			return &world.segment[i];
	sim_fail("there is no segment 0x%x", (unsigned)id);
}

static int on_pager_create(void *arg, struct dipc_segment *seg,
			   struct dipc_pager **pager_out)
{
	const struct sim_node *n = arg;
	struct sim_view *view = &segment_of(dipc_segment_id(seg))->view[n->id];

	sim_pager_init(&view->pager);
	view->seg = seg;
	world.totals.nr_reopened += view->nr_made++ != 0;
	*pager_out = &view->pager.base;
	return 0;
}

static void on_released(void *arg, struct dipc_segment *seg,
			struct dipc_pager *pager)
{
	const struct sim_node *n = arg;

	sim_pager_fini(sim_pager_of(pager));
	segment_of(dipc_segment_id(seg))->view[n->id].seg = NULL;
}

/* As dipcd does it: the referee's table says who is out. */
static int on_await_fenced(void *arg, unsigned other)
{
	struct sim_node *n = arg;
	struct dipc_arena_node entry;
	struct dipc_link *link;
	unsigned tries;
	int ret;

	for (tries = 0; tries < 100; tries++) {
		ret = dipc_arena_read(n->fabric,
				      dipc_fabric_super(n->fabric)->nodes_off +
					      other * sizeof(entry),
				      &entry, sizeof(entry));
		if (ret)
			return ret;
		if (entry.state >> 32 != DIPC_NODE_ALIVE) {
			dipc_fabric_fence(n->fabric, other,
					  (uint32_t)entry.state);
			return 0;
		}
		if (dipc_fabric_link(n->fabric, other, &link) == 0)
			return -EAGAIN;
		dipc_fiber_sleep(50 * DIPC_USEC);
	}
	return -EAGAIN;
}

static const struct dipc_pages_events pages_events = {
	.pager_create = on_pager_create,
	.released = on_released,
	.await_fenced = on_await_fenced,
};

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct sim_node *n = arg;

	switch (in->request.type) {
	case DIPC_REQ_CHUNK:
		dipc_homes_request(n->homes, in);
		return;
	case DIPC_REQ_FORGET:
		world.totals.nr_forgets++;
		dipc_homes_forget(n->homes, in);
		return;
	case DIPC_REQ_RECALL_RUN:
		world.totals.nr_run_recalls++;
		break;
	default:
		break;
	}
	dipc_pages_request(n->pages, in);
}

static void on_lost(void *arg, unsigned other)
{
	struct sim_node *n = arg;

	/* pages: not for lack of memory, when the world starts */
	if (n->pages)
		dipc_pages_lost(n->pages, other);
}

static const struct dipc_fabric_events node_events = {
	.request = on_request,
	.lost = on_lost,
};

static const struct dipc_fabric_events referee_events = {.request = NULL};

/* ---- nodes -------------------------------------------------------------- */

bool sim_is_dead(unsigned node)
{
	return dipc_sim_is_dead(world.sim, node);
}

void sim_spawn(unsigned node, void (*fn)(void *), void *arg)
{
	struct dipc_loop *loop;

	if (sim_is_dead(node))
		return;
	loop = dipc_sim_loop(world.sim, node);
	if (!loop || dipc_fiber_spawn(dipc_loop_sched(loop), fn, arg))
		sim_fail("no memory for a fiber");
	dipc_sim_kick(world.sim, node);
}

void sim_later(uint64_t ns, void (*fn)(void *arg), void *arg)
{
	dipc_sim_at(world.sim, ns, fn, arg);
}

static struct dipc_fabric *
fabric_start(unsigned node, const struct dipc_fabric_events *events, void *arg)
{
	static const uint8_t ticket[DIPC_TICKET_LEN];
	char address[16];
	struct dipc_fabric_config config = {
		.loop = dipc_sim_loop(world.sim, node),
		.transport = "sim",
		.listen = address,
		.events = events,
		.arg = arg,
	};
	struct dipc_fabric *f;

	snprintf(address, sizeof(address), "sim:%u", node);
	if (!config.loop || dipc_fabric_create(&config, &f))
		sim_fail("node %u cannot start", node);
	dipc_fabric_identify(f, node, 1, ticket);
	return f;
}

static struct dipc_arena_node *arena_node(unsigned node)
{
	struct dipc_arena_node *table = (void *)(world.arena->base + 4096);

	return &table[node];
}

static void referee_start(void)
{
	struct dipc_arena_super *super;
	unsigned i;

	world.referee = fabric_start(DIPC_REFEREE, &referee_events, NULL);
	if (dipc_region_create(dipc_fabric_transport(world.referee), NULL,
			       65536, &world.arena))
		sim_fail("no memory for an arena");
	super = (void *)world.arena->base;
	super->magic = DIPC_ARENA_MAGIC;
	super->version = DIPC_ARENA_VERSION;
	super->nodes_off = 4096;
	for (i = 1; i <= world.nr_nodes; i++) {
		arena_node(i)->state = (uint64_t)DIPC_NODE_ALIVE << 32 | 1;
		snprintf(arena_node(i)->address, sizeof(arena_node(i)->address),
			 "sim:%u", i);
	}
	dipc_fabric_serve_arena(world.referee, world.arena, 1);
}

static void node_fiber(void *arg)
{
	struct sim_node *n = arg;

	if (dipc_fabric_open_arena(n->fabric, "sim:0"))
		sim_fail("node %u cannot reach the arena", n->id);
	n->is_ready = true;
}

static void node_start(unsigned id)
{
	struct sim_node *n = &world.node[id];
	struct dipc_pages_config config = {
		.hold_ns = world.hold_ns,
		.prefetch_pages = world.prefetch_pages,
		.cache_pages = world.cache_pages,
		.events = &pages_events,
		.arg = n,
	};
	struct dipc_homes_config homes_config = {.max_nodes = world.max_nodes};

	n->id = id;
	n->fabric = fabric_start(id, &node_events, n);
	config.fabric = n->fabric;
	homes_config.fabric = n->fabric;
	if (dipc_pages_create(&config, &n->pages) ||
	    dipc_homes_create(&homes_config, &n->homes))
		sim_fail("no memory for node %u", id);
	/* more than the cache would allow: windows push pages out */
	n->pages->prefetch_pages = world.prefetch_pages;
	sim_spawn(id, node_fiber, n);
}

static bool nodes_are_ready(void)
{
	unsigned i;

	for (i = 1; i <= world.nr_nodes; i++)
		if (!world.node[i].is_ready)
			return false;
	return true;
}

/* One home or several; pages in a row in one chunk, or in up to three. */
static void segment_draw(struct sim_segment *s)
{
	unsigned nr_chunks = 1 + (unsigned)sim_random(2) * 2;
	unsigned most = (world.is_long ? SIM_PAGES : 6) / nr_chunks;
	unsigned per_chunk =
		world.is_long ? most : 1 + (unsigned)sim_random(most);
	unsigned i;

	s->nr_pages = nr_chunks * per_chunk;
	for (i = 0; i < s->nr_pages; i++)
		s->index[i] = i / per_chunk * DIPC_CHUNK_PAGES + i % per_chunk;
	s->shm.home = 1 + (unsigned)sim_random(world.nr_nodes);
	s->shm.homes = 1ull << (s->shm.home - 1);
	if (nr_chunks > 1)
		s->shm.homes |= sim_random(1u << world.nr_nodes);
	s->shm.block_chunks = 1;
	s->shm.unit_pages = 1u << sim_random(3);
	world.totals.nr_units += s->shm.unit_pages > 1;
	s->shm.nr_pages = s->index[s->nr_pages - 1] + 1;
	s->shm.size = (uint64_t)s->shm.nr_pages * DIPC_PAGE_SIZE;
	s->shm.nr_sharer_words = dipc_entry_sharer_words(world.max_nodes);
}

static void segment_start(unsigned i)
{
	struct sim_segment *s = &world.segment[i];
	unsigned k;

	s->id = (int32_t)(0x40000001 + i);
	segment_draw(s);
	s->home.shm = &s->shm;
	s->home.id = s->id;
	for (k = 1; k <= world.nr_nodes; k++) {
		s->view[k].node = &world.node[k];
		s->home.homes[k] = world.node[k].homes;
		if (sim_is_home(s, k) &&
		    dipc_homes_add(world.node[k].homes, s->id, &s->shm))
			sim_fail("no memory for a segment");
	}
}

bool sim_is_home(const struct sim_segment *s, unsigned node)
{
	return dipc_shm_is_home(&s->shm, node);
}

bool sim_has_lost_home(const struct sim_segment *s, unsigned page)
{
	return sim_is_dead(
		dipc_shm_home_of(&s->shm, s->index[page] / DIPC_CHUNK_PAGES));
}

/* ---- crashes ------------------------------------------------------------ */

struct burial {
	struct sim_node *by;
	unsigned who;
};

/* As dipcd does it: fence first, recover afterwards. */
static void bury_fiber(void *arg)
{
	struct burial b = *(struct burial *)arg;
	struct sim_node *n = b.by;

	free(arg);
	dipc_fabric_fence(n->fabric, b.who, 1);
	while (!dipc_fabric_is_fenced(n->fabric, b.who, 1))
		dipc_fiber_sleep(DIPC_USEC);
	dipc_pages_lost(n->pages, b.who);
	if (dipc_homes_evict(n->homes, b.who))
		sim_fail("home %u keeps traces of node %u", n->id, b.who);
	n->has_buried[b.who] = true;
	sim_say("node %u has buried node %u", n->id, b.who);
}

static void bury_later(void *arg)
{
	const struct burial *b = arg;

	sim_spawn(b->by->id, bury_fiber, arg);
}

static void declare_dead(void *arg)
{
	struct sim_node *dead = arg;
	unsigned i;

	arena_node(dead->id)->state = (uint64_t)DIPC_NODE_DEAD << 32 | 1;
	sim_say("node %u is declared dead", dead->id);
	for (i = 1; i <= world.nr_nodes; i++) {
		struct burial *b;

		if (i == dead->id || sim_is_dead(i))
			continue;
		b = calloc(1, sizeof(*b));
		if (!b)
			sim_fail("no memory");
		b->by = &world.node[i];
		b->who = dead->id;
		sim_later(sim_random(200 * DIPC_USEC), bury_later, b);
	}
}

/* NODE has just crashed: what follows from it. */
static void node_has_crashed(unsigned node)
{
	unsigned i, k;

	world.node[node].is_over = true;
	sim_say("node %u crashes", node);
	world.totals.nr_crashes++;
	for (i = 0; i < world.nr_segments; i++) {
		if (!sim_is_home(&world.segment[i], node))
			continue;
		world.totals.nr_home_crashes++;
		for (k = 1; k <= world.nr_nodes; k++)
			world.segment[i].view[k].may_die = true;
	}
	sim_note_holder_gone(node);
	sim_later(sim_random(2 * DIPC_MSEC), declare_dead, &world.node[node]);
}

void sim_break(unsigned a, unsigned b)
{
	unsigned i;

	sim_say("links of nodes %u and %u break", a, b);
	world.totals.nr_breaks++;
	for (i = 0; i < world.nr_segments; i++) {
		if (sim_is_home(&world.segment[i], a))
			world.segment[i].view[b].may_die = true;
		if (sim_is_home(&world.segment[i], b))
			world.segment[i].view[a].may_die = true;
	}
	dipc_sim_break(world.sim, a, b);
}

/* ---- running ------------------------------------------------------------ */

static void on_event(void *arg, const struct dipc_sim_event *e)
{
	static const char *const names[DIPC_SIM_NR_KINDS] = {
		[DIPC_SIM_HELLO] = "hello",
		[DIPC_SIM_REPLY] = "reply",
		[DIPC_SIM_UP] = "up",
		[DIPC_SIM_ARRIVE] = "arrives",
		[DIPC_SIM_RETRY] = "retries",
		[DIPC_SIM_EFFECT] = "takes effect",
		[DIPC_SIM_FETCH] = "fetches",
		[DIPC_SIM_ANSWER] = "is answered",
		[DIPC_SIM_FENCE] = "fence",
		[DIPC_SIM_BROKEN] = "broken",
		[DIPC_SIM_OFF] = "off",
		[DIPC_SIM_TURN] = "turn",
		[DIPC_SIM_CALL] = "call",
	};
	static const char *const ops[] = {[DIPC_WR_READ] = "READ",
					  [DIPC_WR_WRITE] = "WRITE",
					  [DIPC_WR_WRITE_IMM] = "WRITE_IMM",
					  [DIPC_WR_CAS] = "CAS",
					  [DIPC_WR_FAA] = "FAA"};

	(void)arg;
	sim_hash(e->at);
	sim_hash((uint64_t)e->kind << 48 | (uint64_t)e->op << 40 |
		 (uint64_t)e->node << 20 | e->peer);
	sim_hash(e->word);
	if (!world.is_verbose || e->kind == DIPC_SIM_TURN ||
	    e->kind == DIPC_SIM_CALL)
		return;
	if (e->kind == DIPC_SIM_ARRIVE || e->kind == DIPC_SIM_EFFECT ||
	    e->kind == DIPC_SIM_FETCH)
		sim_say("at %u, of %u: %s of %u bytes %s", e->node, e->peer,
			ops[e->op], e->len, names[e->kind]);
	else if (e->kind == DIPC_SIM_ANSWER)
		sim_say("at %u, by %u: %s of %u bytes %s, 0x%llx", e->node,
			e->peer, ops[e->op], e->len, names[e->kind],
			(unsigned long long)e->word);
	else
		sim_say("at %u, with %u: %s", e->node, e->peer, names[e->kind]);
}

bool sim_world_run(bool (*until)(void))
{
	unsigned i;

	while (!until || !until()) {
		if (!dipc_sim_step(world.sim))
			return false;
		for (i = 1; i <= world.nr_nodes; i++)
			if (sim_is_dead(i) && !world.node[i].is_over)
				node_has_crashed(i);
		if (dipc_sim_now(world.sim) > LIMIT_NS)
			sim_fail("it takes for ever");
		world.totals.nr_steps++;
		if (world.nr_segments && !world.is_blind)
			sim_check_invariants();
	}
	return true;
}

/* Kinds of network, from a quick and orderly one to one of whims. */
static struct dipc_sim_cost network_draw(uint64_t dice)
{
	static const uint64_t jitters[] = {500, 3000, 20000, 60000};
	struct dipc_sim_cost cost = {
		.latency_ns = 700,
		.bytes_per_s = 12 * DIPC_SEC,
		.message_ns = 50,
		.atomic_ns = 30,
		.engine_ns = 200,
	};

	cost.jitter_ns = jitters[dice % 4];
	return cost;
}

void sim_world_start(uint64_t seed)
{
	struct dipc_sim_config config = {
		.seed = seed,
		.cost = network_draw(seed / 5),
		.linger_ns = 100 * DIPC_USEC,
		.notice_ns = 500 * DIPC_USEC,
		.on_event = on_event,
	};
	bool is_verbose = world.is_verbose, is_blind = world.is_blind;
	struct sim_totals totals = world.totals;
	unsigned i;

	memset(&world, 0, sizeof(world));
	world.is_verbose = is_verbose;
	world.is_blind = is_blind;
	world.totals = totals;
	world.seed = seed;
	world.hash = 1;
	if (dipc_sim_create(&config, &world.sim))
		sim_fail("no memory for a world");
	world.nr_nodes = 2 + (unsigned)sim_random(SIM_NODES - 1);
	world.is_quiet = !sim_random(3);
	world.hold_ns = sim_random(3) ? 0 : 30 * DIPC_USEC;
	world.is_long = !sim_random(4);
	world.prefetch_pages = sim_random(world.is_long ? 8 : 2) ? 16 : 0;
	if (world.prefetch_pages && world.is_long)
		world.prefetch_pages >>= sim_random(3);
	world.cache_pages =
		sim_random(2) ? 0 : 1 + sim_random(world.is_long ? 12 : 4);
	world.percent_puts = 1 + (unsigned)sim_random(3) * 5;
	/* both layouts of the directory */
	world.max_nodes = sim_random(3) ? 0 : 2 * DIPC_NODES_MAX;
	sim_history_start();
	referee_start();
	for (i = 1; i <= world.nr_nodes; i++)
		node_start(i);
	if (!sim_world_run(nodes_are_ready))
		sim_fail("nodes do not get ready");
	for (i = 0; i < 1 + sim_random(SIM_SEGMENTS); i++)
		segment_start(i);
	world.nr_segments = i;
}

/* What dead nodes had is not freed: see transport/sim/sim.h. */
void sim_world_stop(void)
{
	unsigned i;

	for (i = 1; i <= world.nr_nodes; i++) {
		if (!sim_is_dead(i))
			dipc_pages_destroy(world.node[i].pages);
	}
	for (i = 1; i <= world.nr_nodes; i++) {
		if (!sim_is_dead(i))
			dipc_homes_destroy(world.node[i].homes);
		dipc_fabric_destroy(world.node[i].fabric);
	}
	dipc_region_destroy(world.arena);
	dipc_fabric_destroy(world.referee);
	world.totals.virtual_ns += dipc_sim_now(world.sim) - DIPC_SEC;
	world.totals.nr_seeds++;
	dipc_sim_destroy(world.sim);
}
