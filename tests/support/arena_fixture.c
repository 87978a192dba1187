/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/arena_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/protocol/futex.h"
#include "runtime/protocol/object.h"

#define SLOTS      16u
#define BODY_SIZE  (8ull << 20)
#define POOL_SIZE  (1ull << 20)
#define GENERATION 3u /* of every object */
#define SPIN_NS    (100 * DIPC_USEC)

static uint64_t body_take(struct arena_fixture *fx, uint64_t size)
{
	uint64_t off = fx->body;

	fx->body += (size + 63) & ~63ull;
	assert_true(fx->body <= fx->super->body_end);
	return off;
}

static void super_format(struct arena_fixture *fx)
{
	static const uint32_t block[DIPC_POOL_CLASSES] = {256, 2048, 16384};
	struct dipc_arena_super *super = fx->super;
	unsigned i;

	super->magic = DIPC_ARENA_MAGIC;
	super->version = DIPC_ARENA_VERSION;
	super->nr_slots = SLOTS;
	super->size = fx->arena->len;
	super->generation = 1;
	super->epoch = 1;
	super->nodes_off = 4096;
	super->slots_off =
		super->nodes_off +
		(DIPC_NODES_MAX + 1) * sizeof(struct dipc_arena_node);
	super->waiters_off = super->slots_off + SLOTS * DIPC_OBJECT_STRIDE;
	super->body_off = super->waiters_off +
			  (uint64_t)DIPC_NODES_MAX * DIPC_WAITERS_PER_NODE *
				  sizeof(struct dipc_arena_waiter);
	super->body_end = super->body_off + BODY_SIZE;
	super->msgmax = 8192;
	super->msgmnb = 16384;
	super->semmsl = 32000;
	super->semopm = 500;
	super->shmmax = 1ull << 40;
	fx->body = super->body_off;
	for (i = 0; i < DIPC_POOL_CLASSES; i++) {
		super->pool[i].bump = body_take(fx, POOL_SIZE);
		super->pool[i].end = super->pool[i].bump + POOL_SIZE;
		super->pool[i].block_size = block[i];
		super->pool[i].batch = 4;
	}
}

static void sem_format(struct arena_fixture *fx, struct dipc_arena_object *obj,
		       uint32_t nr)
{
	uint64_t *word;
	uint32_t i;

	obj->sem.nr = nr;
	obj->sem.words = body_take(fx, dipc_sem_body_size(nr));
	obj->sem.redo_area = obj->sem.words + 8ull * nr;
	word = (void *)(fx->arena->base + obj->sem.words);
	for (i = 0; i < nr; i++)
		word[i] = dipc_sem_word_initial(GENERATION);
}

static void object_format(struct arena_fixture *fx, uint32_t slot,
			  const struct fixture_object *spec)
{
	struct dipc_arena_object *obj = arena_fixture_object(fx, slot);

	obj->key = (int32_t)(slot + 1);
	obj->id = dipc_id_make(slot, GENERATION);
	obj->uid = obj->cuid = spec->uid;
	obj->gid = obj->cgid = spec->gid;
	obj->mode = spec->mode;
	obj->seq = GENERATION;
	if (spec->kind == DIPC_KIND_SEM)
		sem_format(fx, obj, spec->nr);
	else if (spec->kind == DIPC_KIND_MSG)
		obj->msg.qbytes = spec->qbytes;
	obj->state = (uint64_t)spec->kind << 32 | GENERATION;
}

/* ---- nodes -------------------------------------------------------------- */

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct fixture_node *node = arg;
	struct dipc_answer answer = {0};

	if (node->sems)
		dipc_sems_request(node->sems, in);
	else if (node->futexes)
		dipc_futexes_request(node->futexes, in);
	else
		dipc_incoming_answer(in, &answer);
}

static void on_wake(void *arg, uint32_t waiter)
{
	struct fixture_node *node = arg;

	node->nr_wakes++;
	if (node->ws && !node->is_deaf)
		dipc_waiters_hint(node->ws, waiter);
}

static const struct dipc_fabric_events events = {
	.request = on_request,
	.wake = on_wake,
};

static void node_create(struct arena_fixture *fx, struct fixture_node *node,
			unsigned id)
{
	static const uint8_t ticket[DIPC_TICKET_LEN] = {1};
	struct dipc_fabric_config config = {
		.loop = fx->loop,
		.transport = "shm",
		.peer_timeout_ms = 1000,
		.events = &events,
		.arg = node,
	};
	char path[96];

	snprintf(path, sizeof(path), "%s/%u", fx->dir, id);
	config.listen = path;
	assert_int_equal(dipc_fabric_create(&config, &node->fabric), 0);
	dipc_fabric_identify(node->fabric, id, 1, ticket);
}

/* So that a first wake-up is not slower than the next ones. */
static void link_all(struct arena_fixture *fx, struct dipc_fabric *f)
{
	struct dipc_link *link;
	unsigned i;

	for (i = 1; i <= fx->nr_nodes; i++)
		if (i != dipc_fabric_node(f))
			assert_int_equal(dipc_fabric_link(f, i, &link), 0);
}

static void open_all(void *arg)
{
	struct arena_fixture *fx = arg;
	const char *address = dipc_transport_address(
		dipc_fabric_transport(fx->referee.fabric));
	unsigned i;

	assert_int_equal(dipc_fabric_open_arena(fx->referee.fabric, address),
			 0);
	for (i = 1; i <= fx->nr_nodes; i++) {
		struct fixture_node *node = &fx->node[i];

		assert_int_equal(dipc_fabric_open_arena(node->fabric, address),
				 0);
		assert_int_equal(dipc_waiters_create(node->fabric, &node->ws),
				 0);
	}
	link_all(fx, fx->referee.fabric);
	for (i = 1; i <= fx->nr_nodes; i++)
		link_all(fx, fx->node[i].fabric);
}

static void node_announce(struct arena_fixture *fx, unsigned id)
{
	struct dipc_arena_node *table =
		(void *)(fx->arena->base + fx->super->nodes_off);
	struct dipc_transport *t = dipc_fabric_transport(fx->node[id].fabric);

	table[id].state = (uint64_t)DIPC_NODE_ALIVE << 32 | 1;
	snprintf(table[id].address, sizeof(table[id].address), "%s",
		 dipc_transport_address(t));
}

void arena_fixture_start(struct arena_fixture *fx, unsigned nr_nodes,
			 const struct fixture_object *objects, unsigned nr)
{
	size_t len = (64ull << 20);
	unsigned i;

	memset(fx, 0, sizeof(*fx));
	assert_true(nr_nodes <= FIXTURE_NODES && nr <= SLOTS);
	fx->nr_nodes = nr_nodes;
	strcpy(fx->dir, "/tmp/dipc-unit-XXXXXX");
	assert_non_null(mkdtemp(fx->dir));
	assert_int_equal(
		dipc_loop_create(dipc_clock_system(), SPIN_NS, &fx->loop), 0);
	node_create(fx, &fx->referee, DIPC_REFEREE);
	assert_int_equal(
		dipc_region_create(dipc_fabric_transport(fx->referee.fabric),
				   NULL, len, &fx->arena),
		0);
	fx->super = (void *)fx->arena->base;
	super_format(fx);
	for (i = 0; i < nr; i++)
		object_format(fx, i, &objects[i]);
	dipc_fabric_serve_arena(fx->referee.fabric, fx->arena, 1);
	for (i = 1; i <= nr_nodes; i++) {
		node_create(fx, &fx->node[i], i);
		node_announce(fx, i);
	}
	arena_fixture_run(fx, open_all, fx);
}

void arena_fixture_stop(struct arena_fixture *fx)
{
	unsigned i;

	/* let what was posted and not waited for land */
	for (i = 0; i < 100; i++)
		dipc_loop_once(fx->loop, 0);
	for (i = 1; i <= fx->nr_nodes; i++) {
		dipc_waiters_destroy(fx->node[i].ws);
		dipc_fabric_destroy(fx->node[i].fabric);
	}
	dipc_region_destroy(fx->arena);
	dipc_fabric_destroy(fx->referee.fabric);
	dipc_loop_destroy(fx->loop);
	rmdir(fx->dir);
}

/* ---- what tests use ----------------------------------------------------- */

struct dipc_arena_object *arena_fixture_object(struct arena_fixture *fx,
					       uint32_t slot)
{
	return (void *)(fx->arena->base + fx->super->slots_off +
			(uint64_t)slot * DIPC_OBJECT_STRIDE);
}

int32_t arena_fixture_id(struct arena_fixture *fx, uint32_t slot)
{
	return arena_fixture_object(fx, slot)->id;
}

void arena_fixture_remove(struct arena_fixture *fx, uint32_t slot)
{
	struct dipc_arena_object *obj = arena_fixture_object(fx, slot);
	uint64_t off = dipc_object_off(fx->super, slot);
	uint64_t old = 0;

	assert_int_equal(dipc_arena_cas(fx->referee.fabric, off, obj->state,
					obj->state | DIPC_OBJECT_REMOVED, &old),
			 0);
}

struct job {
	void (*fn)(void *);
	void *arg;
};

void arena_fixture_spawn(struct arena_fixture *fx, void (*fn)(void *),
			 void *arg)
{
	assert_int_equal(dipc_fiber_spawn(dipc_loop_sched(fx->loop), fn, arg),
			 0);
}

void arena_fixture_run(struct arena_fixture *fx, void (*fn)(void *), void *arg)
{
	uint64_t end = dipc_now(dipc_clock_system()) + 20 * DIPC_SEC;

	arena_fixture_spawn(fx, fn, arg);
	while (dipc_sched_alive(dipc_loop_sched(fx->loop))) {
		assert_int_equal(dipc_loop_once(fx->loop, DIPC_MSEC), 0);
		if (dipc_now(dipc_clock_system()) > end)
			fail_msg("fibers are stuck");
	}
}
