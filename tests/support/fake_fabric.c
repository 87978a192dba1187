/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/fake_fabric.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_SLOTS 64u

struct dipc_buf {
	size_t len;
	uint8_t data[];
};

struct dipc_link {
	unsigned from, to;
	uint64_t last; /* when its latest operation takes effect */
};

struct dipc_fabric {
	unsigned node;
	const struct dipc_fabric_events *events;
	void *arg;
	struct dipc_link links[DIPC_NODES_MAX + 1];
	uint64_t dead_at, fenced_at; /* 0: alive */
	struct dipc_list calls;      /* struct pending_call, asked by us */
	struct dipc_fabric_counters counters;
};

/* Part of one work request, carried out at its time. */
struct effect {
	struct dipc_timer timer;
	struct tx_run *run;
	const struct dipc_wr *wr;
	uint32_t off, len; /* of READ and WRITE */
	uint64_t due;
};

struct tx_run {
	struct dipc_tx *tx; /* NULL: posted, copy below */
	struct dipc_tx copy;
	struct dipc_link link;
	unsigned nr_left;
	int status;
};

struct pending_call {
	struct dipc_list node;
	struct dipc_timer timer; /* of the request, then of the answer */
	struct dipc_call *call;  /* NULL: given up */
	unsigned from, to;
	struct dipc_link link; /* what in.link shows */
	struct dipc_request request;
	struct dipc_answer answer;
	struct dipc_incoming *in; /* at the asked; NULL before and after */
};

static struct {
	struct dipc_clock clock;
	struct dipc_sched *sched;
	uint64_t now, random, max_delay;
	unsigned nr_no_memory;
	struct dipc_fabric *fabric[DIPC_NODES_MAX + 1];
	struct {
		struct dipc_arena_super super;
		struct dipc_arena_node nodes[DIPC_NODES_MAX + 1];
		uint8_t slots[ARENA_SLOTS][DIPC_OBJECT_STRIDE];
	} arena;
} world;

static uint64_t world_mono(struct dipc_clock *clock)
{
	(void)clock;
	return world.now;
}

static int64_t world_wall(struct dipc_clock *clock)
{
	(void)clock;
	return (int64_t)(world.now / DIPC_SEC);
}

void fake_world_no_memory(unsigned nr)
{
	world.nr_no_memory = nr;
}

void fake_world_start(uint64_t seed, uint64_t max_delay_ns)
{
	memset(&world, 0, sizeof(world));
	world.clock.mono_ns = world_mono;
	world.clock.wall_s = world_wall;
	world.random = seed * 0x9e3779b97f4a7c15u + 1;
	world.max_delay = max_delay_ns;
	world.now = DIPC_SEC;
	world.arena.super.nr_slots = ARENA_SLOTS;
	world.arena.super.nodes_off = (uint64_t)((uint8_t *)world.arena.nodes -
						 (uint8_t *)&world.arena);
	world.arena.super.slots_off = (uint64_t)((uint8_t *)world.arena.slots -
						 (uint8_t *)&world.arena);
	assert(dipc_sched_create(&world.clock, &world.sched) == 0);
}

void fake_world_stop(void)
{
	unsigned i;

	for (i = 0; i <= DIPC_NODES_MAX; i++)
		free(world.fabric[i]);
	dipc_sched_destroy(world.sched);
}

struct dipc_sched *fake_world_sched(void)
{
	return world.sched;
}

uint64_t fake_world_now(void)
{
	return world.now;
}

uint64_t fake_world_random(uint64_t below)
{
	world.random ^= world.random << 13;
	world.random ^= world.random >> 7;
	world.random ^= world.random << 17;
	return below ? (world.random >> 11) % below : 0;
}

/* Mostly short, now and then long. */
static uint64_t random_delay(void)
{
	uint64_t max = world.max_delay;

	return 1 + fake_world_random(fake_world_random(8) ? max / 8 : max);
}

bool fake_world_run(bool (*until)(void), uint64_t limit_ns)
{
	uint64_t limit = world.now + limit_ns;
	uint64_t next;

	for (;;) {
		dipc_sched_run(world.sched);
		if (until ? until() : dipc_sched_alive(world.sched) == 0)
			return true;
		next = dipc_sched_next(world.sched);
		if (next == DIPC_NEVER || next > limit)
			return false;
		if (next > world.now)
			world.now = next;
	}
}

/* ---- nodes -------------------------------------------------------------- */

struct dipc_fabric *fake_fabric_create(unsigned node,
				       const struct dipc_fabric_events *events,
				       void *arg)
{
	struct dipc_fabric *f = calloc(1, sizeof(*f));
	unsigned i;

	assert(f && node <= DIPC_NODES_MAX && !world.fabric[node]);
	f->node = node;
	f->events = events;
	f->arg = arg;
	dipc_list_init(&f->calls);
	for (i = 0; i <= DIPC_NODES_MAX; i++) {
		f->links[i].from = node;
		f->links[i].to = i;
	}
	world.fabric[node] = f;
	return f;
}

bool fake_node_is_dead(unsigned node)
{
	return !world.fabric[node] || world.fabric[node]->dead_at;
}

uint64_t fake_node_fenced_at(unsigned node)
{
	return world.fabric[node]->fenced_at;
}

struct lost_notice {
	struct dipc_timer timer;
	unsigned to, node;
};

static void lost_due(struct dipc_timer *timer)
{
	struct lost_notice *n =
		dipc_container_of(timer, struct lost_notice, timer);
	struct dipc_fabric *f = world.fabric[n->to];

	if (!f->dead_at && f->events->lost)
		f->events->lost(f->arg, n->node);
	free(n);
}

static void call_fail(struct pending_call *pc)
{
	struct dipc_call *call = pc->call;

	if (!call)
		return;
	pc->call = NULL;
	call->status = -ENOLINK;
	call->is_done = true;
	dipc_fiber_wake(call->fiber);
}

void fake_node_crash(unsigned node)
{
	struct dipc_fabric *f = world.fabric[node];
	struct dipc_list *pos;
	unsigned i;

	assert(f && !f->dead_at);
	f->dead_at = world.now;
	f->fenced_at = world.now + random_delay();
	for (i = 1; i <= DIPC_NODES_MAX; i++) {
		struct lost_notice *n;

		if (!world.fabric[i])
			continue;
		dipc_list_for_each (pos, &world.fabric[i]->calls) {
			struct pending_call *pc = dipc_container_of(
				pos, struct pending_call, node);

			if (pc->to == node || pc->from == node)
				call_fail(pc);
			if (pc->from == node && pc->in)
				pc->in->link = NULL;
		}
		if (i == node)
			continue;
		n = calloc(1, sizeof(*n));
		assert(n);
		n->to = i;
		n->node = node;
		dipc_timer_init(&n->timer, lost_due);
		dipc_timer_set(world.sched, &n->timer,
			       world.now + random_delay());
	}
	if (f->events->lost)
		for (i = 1; i <= DIPC_NODES_MAX; i++)
			if (world.fabric[i])
				f->events->lost(f->arg, i);
}

struct dipc_sched *dipc_fabric_sched(struct dipc_fabric *f)
{
	(void)f;
	return world.sched;
}

uint64_t dipc_fabric_now(struct dipc_fabric *f)
{
	(void)f;
	return world.now;
}

unsigned dipc_fabric_node(const struct dipc_fabric *f)
{
	return f->node;
}

uint32_t dipc_fabric_incarnation(const struct dipc_fabric *f)
{
	(void)f;
	return 1;
}

const struct dipc_fabric_counters *
dipc_fabric_counters(const struct dipc_fabric *f)
{
	return &f->counters;
}

struct dipc_arena_object *fake_world_object(uint32_t slot)
{
	assert(slot < ARENA_SLOTS);
	return (void *)world.arena.slots[slot];
}

struct dipc_arena_node *fake_world_node(unsigned node)
{
	return &world.arena.nodes[node];
}

const struct dipc_arena_super *dipc_fabric_super(struct dipc_fabric *f)
{
	(void)f;
	return &world.arena.super;
}

int dipc_arena_read(struct dipc_fabric *f, uint64_t off, void *dst, size_t len)
{
	dipc_fiber_sleep(random_delay());
	if (f->dead_at)
		return -ENOLINK;
	assert(off + len <= sizeof(world.arena));
	memcpy(dst, (uint8_t *)&world.arena + off, len);
	dipc_fiber_sleep(random_delay());
	return 0;
}

struct dipc_transport *dipc_fabric_transport(struct dipc_fabric *f)
{
	(void)f;
	return NULL;
}

/* Registered memory is plain memory here; an address is a pointer. */
int dipc_region_create(struct dipc_transport *t, const char *path, size_t len,
		       struct dipc_region **region_out)
{
	struct dipc_region *region = calloc(1, sizeof(*region));

	(void)t;
	(void)path;
	assert(region);
	len = (len + 4095) & ~(size_t)4095;
	region->base = aligned_alloc(4096, len);
	assert(region->base);
	memset(region->base, 0, len);
	region->len = len;
	region->remote.addr = (uintptr_t)region->base;
	region->remote.rkey = 7;
	*region_out = region;
	return 0;
}

void dipc_region_destroy(struct dipc_region *region)
{
	if (!region)
		return;
	free(region->base);
	free(region);
}

static bool link_is_broken(const struct dipc_link *link)
{
	return fake_node_is_dead(link->from) || fake_node_is_dead(link->to);
}

int dipc_fabric_link(struct dipc_fabric *f, unsigned node,
		     struct dipc_link **link_out)
{
	if (fake_world_random(4) == 0)
		dipc_fiber_sleep(random_delay());
	if (link_is_broken(&f->links[node]))
		return -ENOLINK;
	*link_out = &f->links[node];
	return 0;
}

unsigned dipc_link_node(const struct dipc_link *link)
{
	return link->to;
}

/* ---- one-sided operations ----------------------------------------------- */

int dipc_tx_begin(struct dipc_tx *tx, struct dipc_link *link, size_t bytes)
{
	tx->link = NULL;
	if (!link || link_is_broken(link))
		return -ENOLINK;
	if (world.nr_no_memory) {
		world.nr_no_memory--;
		return -ENOMEM;
	}
	tx->buf = malloc(sizeof(*tx->buf) + bytes);
	if (!tx->buf)
		return -ENOMEM;
	tx->buf->len = bytes;
	tx->link = link;
	tx->counters = NULL;
	tx->status = 0;
	tx->wr = tx->few;
	tx->max = DIPC_TX_MAX;
	dipc_tx_again(tx);
	return 0;
}

void dipc_tx_again(struct dipc_tx *tx)
{
	tx->used = 0;
	tx->nr = 0;
}

void dipc_tx_lend(struct dipc_tx *tx, struct dipc_wr wr[DIPC_TX_RUN])
{
	assert(tx->nr == 0);
	tx->wr = wr;
	tx->max = DIPC_TX_RUN;
}

void dipc_tx_end(struct dipc_tx *tx)
{
	if (!tx->link)
		return;
	free(tx->buf);
	tx->link = NULL;
}

static struct dipc_wr *tx_add(struct dipc_tx *tx, enum dipc_wr_op op,
			      struct dipc_remote remote, size_t len)
{
	struct dipc_wr *wr = &tx->wr[tx->nr++];

	assert(tx->nr <= tx->max && tx->used + len <= tx->buf->len);
	memset(wr, 0, sizeof(*wr));
	wr->op = op;
	wr->len = (uint32_t)len;
	wr->remote = remote;
	wr->local = tx->buf->data + tx->used;
	tx->used += (len + 7) & ~(size_t)7;
	return wr;
}

void *dipc_tx_read(struct dipc_tx *tx, struct dipc_remote from, size_t len)
{
	void *local = tx_add(tx, DIPC_WR_READ, from, len)->local;

	memset(local, 0xee, len); /* nobody may look before the end */
	return local;
}

void dipc_tx_write(struct dipc_tx *tx, struct dipc_remote to, const void *src,
		   size_t len)
{
	memcpy(dipc_tx_write_here(tx, to, len), src, len);
}

void *dipc_tx_write_here(struct dipc_tx *tx, struct dipc_remote to, size_t len)
{
	return tx_add(tx, DIPC_WR_WRITE, to, len)->local;
}

const uint64_t *dipc_tx_cas(struct dipc_tx *tx, struct dipc_remote at,
			    uint64_t compare, uint64_t swap)
{
	struct dipc_wr *wr = tx_add(tx, DIPC_WR_CAS, at, 8);

	wr->compare = compare;
	wr->arg = swap;
	return wr->local;
}

const uint64_t *dipc_tx_faa(struct dipc_tx *tx, struct dipc_remote at,
			    uint64_t add)
{
	struct dipc_wr *wr = tx_add(tx, DIPC_WR_FAA, at, 8);

	wr->arg = add;
	return wr->local;
}

static void wr_apply(const struct dipc_wr *wr, uint32_t off, uint32_t len)
{
	uint8_t *at = (uint8_t *)(uintptr_t)wr->remote.addr;
	uint64_t old, next;

	switch (wr->op) {
	case DIPC_WR_READ:
		memcpy((uint8_t *)wr->local + off, at + off, len);
		return;
	case DIPC_WR_WRITE:
	case DIPC_WR_WRITE_IMM:
		memcpy(at + off, (uint8_t *)wr->local + off, len);
		return;
	case DIPC_WR_CAS:
	case DIPC_WR_FAA:
		memcpy(&old, at, 8);
		next = wr->op == DIPC_WR_FAA ? old + wr->arg
		       : old == wr->compare  ? wr->arg
					     : old;
		memcpy(at, &next, 8);
		memcpy(wr->local, &old, 8);
		return;
	}
}

/* Of a node that died, effects up to its fencing are carried out. */
static bool effect_is_lost(const struct effect *e)
{
	const struct dipc_fabric *from = world.fabric[e->run->link.from];

	if (fake_node_is_dead(e->run->link.to))
		return true;
	return from->dead_at && e->due > from->fenced_at;
}

static void run_finish(struct tx_run *run)
{
	if (!run->tx) {
		dipc_tx_end(&run->copy);
	} else {
		run->tx->status =
			link_is_broken(&run->link) ? -ENOLINK : run->status;
		dipc_fiber_wake(run->tx->fiber);
	}
	free(run);
}

static void effect_due(struct dipc_timer *timer)
{
	struct effect *e = dipc_container_of(timer, struct effect, timer);
	struct tx_run *run = e->run;

	if (effect_is_lost(e))
		run->status = -ENOLINK;
	else if (e->wr)
		wr_apply(e->wr, e->off, e->len);
	free(e);
	if (--run->nr_left == 0)
		run_finish(run);
}

static void effect_add(struct tx_run *run, const struct dipc_wr *wr,
		       uint32_t off, uint32_t len, uint64_t due)
{
	struct effect *e = calloc(1, sizeof(*e));

	assert(e);
	e->run = run;
	e->wr = wr;
	e->off = off;
	e->len = len;
	e->due = due;
	run->nr_left++;
	dipc_timer_init(&e->timer, effect_due);
	dipc_timer_set(world.sched, &e->timer, due);
}

static int tx_launch(struct dipc_tx *tx, bool is_posted)
{
	struct dipc_link *link = tx->link;
	uint64_t t, end = 0;
	struct tx_run *run;
	unsigned i;

	if (link_is_broken(link))
		return -ENOLINK;
	run = calloc(1, sizeof(*run));
	assert(run);
	run->link = *link;
	if (is_posted) {
		run->copy = *tx;
		run->copy.wr = run->copy.few;
	} else {
		run->tx = tx;
	}
	tx->status = -EINPROGRESS;
	dipc_tx_count(tx);
	t = world.now + random_delay();
	for (i = 0; i < tx->nr; i++) {
		const struct dipc_wr *wr =
			is_posted ? &run->copy.wr[i] : &tx->wr[i];
		uint32_t half = wr->len / 16 * 8;

		if (t <= link->last)
			t = link->last + 1;
		effect_add(run, wr, 0, half ? half : wr->len, t);
		link->last = t;
		if (half) {
			t += random_delay();
			effect_add(run, wr, half, wr->len - half, t);
			if (wr->op != DIPC_WR_READ) /* a READ may be late */
				link->last = t;
		}
		end = t > end ? t : end;
		/* mostly close behind each other */
		t = link->last + 1 +
		    (fake_world_random(8) ? fake_world_random(3) * 100
					  : random_delay());
	}
	effect_add(run, NULL, 0, 0, end + random_delay());
	if (is_posted)
		tx->link = NULL;
	return 0;
}

int dipc_tx_run(struct dipc_tx *tx)
{
	int ret;

	tx->fiber = dipc_fiber_self();
	ret = tx_launch(tx, false);
	if (ret)
		return ret;
	while (tx->status == -EINPROGRESS)
		(void)dipc_fiber_park(DIPC_NEVER);
	return tx->status;
}

int dipc_tx_post(struct dipc_tx *tx)
{
	int ret = tx_launch(tx, true);

	dipc_tx_end(tx); /* nothing to do if it was launched */
	return ret;
}

/* ---- requests ----------------------------------------------------------- */

static void answer_due(struct dipc_timer *timer)
{
	struct pending_call *pc =
		dipc_container_of(timer, struct pending_call, timer);

	if (pc->call) {
		pc->call->answer = pc->answer;
		pc->call->status = 0;
		pc->call->is_done = true;
		dipc_fiber_wake(pc->call->fiber);
	}
	dipc_list_del(&pc->node);
	free(pc);
}

void dipc_incoming_answer(struct dipc_incoming *in,
			  const struct dipc_answer *answer)
{
	struct pending_call *pc =
		dipc_container_of(in->node.next, struct pending_call, node);

	pc->in = NULL;
	pc->answer = *answer;
	dipc_timer_init(&pc->timer, answer_due);
	dipc_timer_set(world.sched, &pc->timer, world.now + random_delay());
	free(in);
}

/* There is one link each way here, for life. */
bool dipc_incoming_is_alone(const struct dipc_incoming *in)
{
	return in->link;
}

static void request_due(struct dipc_timer *timer)
{
	struct pending_call *pc =
		dipc_container_of(timer, struct pending_call, timer);
	struct dipc_fabric *to = world.fabric[pc->to];
	struct dipc_incoming *in;

	if (to->dead_at) {
		call_fail(pc);
		dipc_list_del(&pc->node);
		free(pc);
		return;
	}
	in = calloc(1, sizeof(*in));
	assert(in);
	in->from = (uint16_t)pc->from;
	in->request = pc->request;
	in->link = fake_node_is_dead(pc->from) ? NULL : &pc->link;
	in->node.next = &pc->node; /* only to find it again */
	dipc_list_init(&in->user);
	pc->in = in;
	to->events->request(to->arg, in);
}

int dipc_call_start(struct dipc_link *link, const struct dipc_request *request,
		    struct dipc_call *call)
{
	struct dipc_fabric *f = world.fabric[link->from];
	struct pending_call *pc;
	uint64_t due = world.now + random_delay();

	if (link_is_broken(link))
		return -ENOLINK;
	pc = calloc(1, sizeof(*pc));
	assert(pc);
	call->is_done = false;
	call->fiber = dipc_fiber_self();
	pc->call = call;
	pc->from = link->from;
	pc->to = link->to;
	pc->link = *link;
	pc->request = *request;
	if (due <= link->last)
		due = link->last + 1;
	link->last = due;
	dipc_list_add_tail(&f->calls, &pc->node);
	dipc_timer_init(&pc->timer, request_due);
	dipc_timer_set(world.sched, &pc->timer, due);
	return 0;
}

int dipc_call_wait(struct dipc_call *call)
{
	while (!call->is_done)
		(void)dipc_fiber_park(DIPC_NEVER);
	return call->status;
}
