/* SPDX-License-Identifier: BSD-2-Clause */
#include "world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_NS (600 * DIPC_SEC) /* virtual; nothing takes that long */
#define NODES_AT 4096u            /* in the arena */

struct scale_world world;

void scale_fail(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "scale: %u nodes: ", world.nr_nodes);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

/* ---- pagers that know what is there ------------------------------------- */

static struct scale_view *view_of(struct dipc_pager *pager)
{
	return dipc_container_of(pager, struct scale_view, base);
}

static int view_install(struct dipc_pager *pager, uint64_t first, unsigned nr,
			const void *data, uint64_t who, bool is_write)
{
	struct scale_view *v = view_of(pager);

	(void)data;
	(void)who;
	memset(v->state + first, is_write ? 2 : 1, nr);
	dipc_waitq_wake_all(&v->changed);
	return 0;
}

static int view_resolve(struct dipc_pager *pager, uint64_t page, uint64_t who,
			bool is_write)
{
	struct scale_view *v = view_of(pager);

	(void)who;
	if (is_write)
		v->state[page] = 2;
	dipc_waitq_wake_all(&v->changed);
	return 0;
}

static int view_copy(struct dipc_pager *pager, uint64_t first, unsigned nr,
		     void *data)
{
	memset(view_of(pager)->state + first, 1, nr);
	memset(data, 0, (size_t)nr * DIPC_PAGE_SIZE);
	return 0;
}

static int view_drop(struct dipc_pager *pager, uint64_t first, unsigned nr)
{
	memset(view_of(pager)->state + first, 0, nr);
	return 0;
}

static int view_poison(struct dipc_pager *pager, uint64_t page, uint64_t who)
{
	(void)pager;
	(void)who;
	scale_fail("page %llu is lost", (unsigned long long)page);
}

static void view_kill(struct dipc_pager *pager)
{
	scale_fail("node %u lost a segment", view_of(pager)->node->id);
}

static const struct dipc_pager_ops view_ops = {
	.install = view_install,
	.resolve = view_resolve,
	.protect_and_copy = view_copy,
	.drop = view_drop,
	.poison = view_poison,
	.kill = view_kill,
};

/* ---- what nodes are told ------------------------------------------------ */

static struct scale_view *opening; /* the one whose pager is asked for */

static int on_pager_create(void *arg, struct dipc_segment *seg,
			   struct dipc_pager **pager_out)
{
	(void)arg;
	(void)seg;
	*pager_out = &opening->base;
	return 0;
}

static void on_released(void *arg, struct dipc_segment *seg,
			struct dipc_pager *pager)
{
	(void)arg;
	(void)seg;
	view_of(pager)->seg = NULL;
	scale_end();
}

static const struct dipc_pages_events pages_events = {
	.pager_create = on_pager_create,
	.released = on_released,
};

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct scale_node *n = arg;

	if (in->request.type == DIPC_REQ_CHUNK)
		dipc_homes_request(n->homes, in);
	else
		dipc_pages_request(n->pages, in);
}

static const struct dipc_fabric_events node_events = {.request = on_request};
static const struct dipc_fabric_events referee_events = {.request = NULL};

/* ---- a world ------------------------------------------------------------ */

void scale_spawn(unsigned node, void (*fn)(void *), void *arg)
{
	struct dipc_loop *loop = dipc_sim_loop(world.sim, node);

	if (!loop || dipc_fiber_spawn(dipc_loop_sched(loop), fn, arg))
		scale_fail("no memory for a fiber");
	world.nr_busy++;
	dipc_sim_kick(world.sim, node);
}

void scale_end(void)
{
	world.nr_busy--;
}

void scale_run(void)
{
	while (world.nr_busy) {
		if (!dipc_sim_step(world.sim))
			scale_fail("stuck, %u fibers", world.nr_busy);
		if (dipc_sim_now(world.sim) > LIMIT_NS)
			scale_fail("it takes for ever");
	}
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
		.max_nodes = SCALE_NODES_MAX,
		.events = events,
		.arg = arg,
	};
	struct dipc_fabric *f;

	snprintf(address, sizeof(address), "sim:%u", node);
	if (!config.loop || dipc_fabric_create(&config, &f))
		scale_fail("node %u cannot start", node);
	dipc_fabric_identify(f, node, 1, ticket);
	return f;
}

static void referee_start(void)
{
	size_t len = NODES_AT +
		     (SCALE_NODES_MAX + 1) * sizeof(struct dipc_arena_node);
	struct dipc_arena_super *super;
	struct dipc_arena_node *table;
	unsigned i;

	world.referee = fabric_start(DIPC_REFEREE, &referee_events, NULL);
	if (dipc_region_create(dipc_fabric_transport(world.referee), NULL, len,
			       &world.arena))
		scale_fail("no memory for an arena");
	super = (void *)world.arena->base;
	super->magic = DIPC_ARENA_MAGIC;
	super->version = DIPC_ARENA_VERSION;
	super->nodes_off = NODES_AT;
	table = (void *)(world.arena->base + NODES_AT);
	for (i = 1; i <= world.nr_nodes; i++) {
		table[i].state = (uint64_t)DIPC_NODE_ALIVE << 32 | 1;
		snprintf(table[i].address, sizeof(table[i].address), "sim:%u",
			 i);
	}
	dipc_fabric_serve_arena(world.referee, world.arena, 1);
}

static void join_fiber(void *arg)
{
	struct scale_node *n = arg;

	if (dipc_fabric_open_arena(n->fabric, "sim:0"))
		scale_fail("node %u cannot reach the arena", n->id);
	scale_end();
}

void scale_start(unsigned nr_nodes, unsigned max_nodes,
		 const struct dipc_sim_cost *cost)
{
	struct dipc_sim_config config = {.seed = 1, .cost = *cost};
	struct dipc_homes_config hc = {.max_nodes = max_nodes};
	uint64_t since;
	unsigned i;

	memset(&world, 0, sizeof(world));
	world.nr_nodes = nr_nodes;
	world.max_nodes = max_nodes;
	if (dipc_sim_create(&config, &world.sim))
		scale_fail("no memory");
	referee_start();
	since = dipc_sim_now(world.sim);
	for (i = 1; i <= nr_nodes; i++) {
		struct scale_node *n = &world.node[i];
		struct dipc_pages_config pc = {.events = &pages_events,
					       .arg = n};

		n->id = i;
		n->fabric = fabric_start(i, &node_events, n);
		pc.fabric = n->fabric;
		hc.fabric = n->fabric;
		if (dipc_pages_create(&pc, &n->pages) ||
		    (i <= SCALE_HOMES_MAX && dipc_homes_create(&hc, &n->homes)))
			scale_fail("no memory for node %u", i);
		scale_spawn(i, join_fiber, n);
	}
	scale_run();
	world.join_ns = dipc_sim_now(world.sim) - since;
}

void scale_stop(void)
{
	unsigned i;

	/* the links' ends; nobody waits for anything any more */
	for (i = 1; i <= world.nr_nodes; i++) {
		dipc_pages_destroy(world.node[i].pages);
		dipc_homes_destroy(world.node[i].homes);
		dipc_fabric_destroy(world.node[i].fabric);
	}
	dipc_region_destroy(world.arena);
	dipc_fabric_destroy(world.referee);
	dipc_sim_destroy(world.sim);
}

/* ---- segments ----------------------------------------------------------- */

struct scale_segment *scale_segment_create(unsigned home)
{
	static int32_t last_id = 0x40000000;
	struct scale_segment *s = calloc(1, sizeof(*s));

	if (!s)
		scale_fail("no memory for a segment");
	s->id = ++last_id;
	s->home = home;
	s->shm = (struct dipc_arena_shm){
		.size = SCALE_PAGES * DIPC_PAGE_SIZE,
		.home = home,
		.homes = 1ull << (home - 1),
		.block_chunks = 1,
		.unit_pages = 1,
		.nr_pages = SCALE_PAGES,
		.nr_sharer_words = dipc_entry_sharer_words(world.max_nodes),
	};
	if (dipc_homes_add(world.node[home].homes, s->id, &s->shm))
		scale_fail("no memory for a segment");
	return s;
}

void scale_segment_destroy(struct scale_segment *s)
{
	free(s);
}

uint64_t *scale_segment_entry(struct scale_segment *s, unsigned page)
{
	const void *entry, *data;

	if (!dipc_homes_look(world.node[s->home].homes, s->id, page, &entry,
			     &data))
		scale_fail("page %u has no memory", page);
	return (uint64_t *)(uintptr_t)entry;
}

struct scale_view *scale_view_open(struct scale_segment *s, unsigned node)
{
	struct scale_view *v = s->view[node];

	if (v)
		return v;
	v = calloc(1, sizeof(*v));
	if (!v)
		scale_fail("no memory");
	v->base.ops = &view_ops;
	v->node = &world.node[node];
	dipc_waitq_init(&v->changed);
	s->view[node] = v;
	/* the link first, so that the pager is asked for without parking */
	if (dipc_fabric_link(v->node->fabric, s->shm.home,
			     &(struct dipc_link *){NULL}))
		scale_fail("node %u cannot reach node %u", node, s->shm.home);
	opening = v;
	if (dipc_segment_open(v->node->pages, s->id, &s->shm, &v->seg))
		scale_fail("node %u cannot open a segment", node);
	if (dipc_page_locate(dipc_page_get(v->seg, 0)))
		scale_fail("node %u cannot find a chunk", node);
	return v;
}

static void close_fiber(void *arg)
{
	struct scale_view *v = arg;

	dipc_segment_put(v->seg); /* on_released() ends what was begun */
}

void scale_segment_close(struct scale_segment *s)
{
	unsigned i;

	for (i = 1; i <= world.nr_nodes; i++)
		if (s->view[i])
			scale_spawn(i, close_fiber, s->view[i]);
	scale_run();
	for (i = 1; i <= world.nr_nodes; i++) {
		free(s->view[i]);
		s->view[i] = NULL;
	}
}

uint64_t scale_access(struct scale_view *v, unsigned page, bool is_write)
{
	uint64_t since = dipc_fabric_now(v->node->fabric);

	while (v->state[page] < (is_write ? 2 : 1)) {
		if (dipc_pages_fault(v->seg, page, is_write, 0))
			scale_fail("a fault is refused");
		if (v->state[page] >= (is_write ? 2 : 1))
			break;
		(void)dipc_waitq_wait(&v->changed, DIPC_NEVER);
	}
	return dipc_fabric_now(v->node->fabric) - since;
}
