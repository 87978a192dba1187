/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FENCE_1 Nothing of a dead node is put right before the closing of its
 * connections with us is confirmed: until then its operations may still land.
 * Nodes among each other do the same with theirs when the epoch moves.
 */
#include "referee/members.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "referee/keys.h"
#include "referee/recover.h"
#include "referee/server.h"
#include "runtime/base/log.h"

#define BEATS    5u /* heartbeats in the time after which a node is dead */
#define FENCE_NS (2 * DIPC_SEC)
#define FIRST_NS (5 * DIPC_SEC) /* from the join to the first heartbeat */

enum member_state {
	MEMBER_FREE,
	MEMBER_JOINING,
	MEMBER_ALIVE,
	MEMBER_GOING,
	MEMBER_STATES,
};

static const uint8_t member_next[MEMBER_STATES] = {
	[MEMBER_FREE] = 1u << MEMBER_JOINING,
	[MEMBER_JOINING] = 1u << MEMBER_ALIVE | 1u << MEMBER_FREE,
	[MEMBER_ALIVE] = 1u << MEMBER_GOING,
	[MEMBER_GOING] = 1u << MEMBER_FREE,
};

struct member {
	struct dipc_members *members; /* borrowed */
	enum member_state state;
	unsigned node;
	uint32_t incarnation;
	enum dipc_node_state how;  /* it ended, while GOING */
	bool has_cleaner;          /* while GOING: a fiber is at it */
	unsigned nr_conns;         /* its connections that we admitted */
	struct dipc_waitq changed; /* state or nr_conns */
	uint64_t heartbeat, seen;  /* last value, and when it was new */
	bool has_beaten;
};

struct dipc_members {
	struct dipc_referee *ref; /* borrowed */
	uint32_t incarnation;     /* of the last join */
	struct dipc_timer tick;
	uint64_t dead_ns;
	bool is_stopping;
	struct member member[DIPC_NODES_MAX + 1]; /* by id; 0 unused */
};

static void member_enter(struct member *mb, enum member_state state)
{
	if (!(member_next[mb->state] & 1u << state))
		dipc_error("bug: node %u goes from state %d to %d", mb->node,
			   (int)mb->state, (int)state);
	assert(member_next[mb->state] & 1u << state);
	mb->state = state;
	dipc_waitq_wake_all(&mb->changed);
}

static struct member *member_find(struct dipc_members *m, unsigned node,
				  uint32_t incarnation)
{
	struct member *mb;

	if (node < 1 || node > DIPC_NODES_MAX)
		return NULL;
	mb = &m->member[node];
	if (mb->state == MEMBER_FREE || mb->incarnation != incarnation)
		return NULL;
	return mb;
}

bool dipc_members_is_alive(const struct dipc_members *m, unsigned node,
			   uint32_t incarnation)
{
	return node >= 1 && node <= DIPC_NODES_MAX &&
	       m->member[node].state == MEMBER_ALIVE &&
	       m->member[node].incarnation == incarnation;
}

uint64_t dipc_members_alive(const struct dipc_members *m, uint32_t incarnation)
{
	uint64_t bits = 0;
	unsigned node;

	for (node = 1; node <= DIPC_NODES_MAX; node++)
		if (m->member[node].state == MEMBER_ALIVE &&
		    m->member[node].incarnation <= incarnation)
			bits |= 1ull << (node - 1);
	return bits;
}

uint32_t dipc_members_incarnation(const struct dipc_members *m)
{
	return m->incarnation;
}

/* ---- the node table ----------------------------------------------------- */

static uint64_t entry_off(struct dipc_members *m, unsigned node)
{
	return dipc_arena_get_super(m->ref->arena)->nodes_off +
	       node * sizeof(struct dipc_arena_node);
}

/* Fiber. */
static int entry_set_state(struct dipc_members *m, const struct member *mb,
			   enum dipc_node_state state)
{
	uint64_t word = (uint64_t)state << 32 | mb->incarnation;

	return dipc_arena_write(m->ref->fabric,
				entry_off(m, mb->node) +
					offsetof(struct dipc_arena_node, state),
				&word, sizeof(word));
}

/* Everybody is to look at the node table again. Fiber. */
static int epoch_bump(struct dipc_members *m)
{
	uint64_t old;
	int ret;

	ret = dipc_arena_faa(m->ref->fabric,
			     offsetof(struct dipc_arena_super, epoch), 1, &old);
	if (!ret)
		dipc_fabric_hint_membership(m->ref->fabric);
	return ret;
}

/* ---- leaving ------------------------------------------------------------ */

/* See FENCE_1. Fiber. */
static void member_fence(struct dipc_members *m, struct member *mb)
{
	uint64_t deadline = dipc_sched_now(m->ref->sched) + FENCE_NS;

	dipc_fabric_fence(m->ref->fabric, mb->node, mb->incarnation);
	while (mb->nr_conns)
		if (dipc_waitq_wait(&mb->changed, deadline) == -ETIMEDOUT)
			break;
	if (mb->nr_conns)
		dipc_warn("node %u: %u connections do not confirm their end",
			  mb->node, mb->nr_conns);
	mb->nr_conns = 0;
}

static void clean_fiber(void *arg)
{
	struct member *mb = arg;
	struct dipc_members *m = mb->members;
	struct dipc_referee *ref = m->ref;

	dipc_info("node %u %s", mb->node,
		  mb->how == DIPC_NODE_LEFT ? "has left" : "is dead: fenced");
	if (entry_set_state(m, mb, mb->how))
		goto out; /* our own link: the referee is ending */
	member_fence(m, mb);
	if (epoch_bump(m))
		goto out;
	dipc_keys_node_gone(ref->keys, mb->node, mb->incarnation);
	dipc_recover_node(ref, mb->node, mb->incarnation);
out:
	mb->has_cleaner = false;
	member_enter(mb, MEMBER_FREE);
}

static void member_clean(struct member *mb)
{
	if (mb->has_cleaner)
		return;
	mb->has_cleaner = true;
	/* without memory: the next tick tries again */
	if (dipc_fiber_spawn(mb->members->ref->sched, clean_fiber, mb))
		mb->has_cleaner = false;
}

void dipc_members_end(struct dipc_members *m, unsigned node,
		      uint32_t incarnation, enum dipc_node_state how)
{
	struct member *mb = member_find(m, node, incarnation);

	if (!mb || mb->state != MEMBER_ALIVE || m->is_stopping)
		return;
	mb->how = how;
	member_enter(mb, MEMBER_GOING);
	member_clean(mb);
}

void dipc_members_await(struct dipc_members *m, unsigned node)
{
	if (node < 1 || node > DIPC_NODES_MAX)
		return;
	while (m->member[node].state == MEMBER_GOING)
		(void)dipc_waitq_wait(&m->member[node].changed, DIPC_NEVER);
}

/* ---- joining ------------------------------------------------------------ */

static bool is_text(const char *s, size_t size)
{
	return s[0] && memchr(s, '\0', size);
}

static int join_check(struct dipc_members *m,
		      const struct dipc_lookup_join *join)
{
	const char *transport = m->ref->conf->transport;

	if (join->node > DIPC_NODES_MAX ||
	    !is_text(join->transport, sizeof(join->transport)) ||
	    !is_text(join->address, sizeof(join->address)) ||
	    !memchr(join->name, '\0', sizeof(join->name)))
		return -EINVAL;
	if (strcmp(join->transport, transport)) {
		dipc_warn("%s: its transport is %s, the cluster's %s",
			  join->name, join->transport, transport);
		return -EPROTONOSUPPORT;
	}
	return 0;
}

/* The member to become: the one asked for, or the lowest that is free. Fiber.
 */
static int join_pick(struct dipc_members *m, unsigned want,
		     struct member **mb_out)
{
	unsigned node = want;

	if (want) {
		dipc_members_await(m, want);
	} else {
		for (node = 1; node <= DIPC_NODES_MAX; node++)
			if (m->member[node].state == MEMBER_FREE)
				break;
		if (node > DIPC_NODES_MAX)
			return -ENOSPC;
	}
	if (m->member[node].state != MEMBER_FREE)
		return -EEXIST;
	*mb_out = &m->member[node];
	return 0;
}

/* Fiber. */
static int join_publish(struct dipc_members *m, struct member *mb,
			const struct dipc_lookup_join *join)
{
	struct dipc_arena_node entry = {0};
	size_t at = offsetof(struct dipc_arena_node, address);
	int ret;

	memcpy(entry.address, join->address, sizeof(entry.address));
	memcpy(entry.name, join->name, sizeof(entry.name));
	ret = dipc_arena_write(m->ref->fabric, entry_off(m, mb->node) + at,
			       (const char *)&entry + at, sizeof(entry) - at);
	if (!ret)
		ret = entry_set_state(m, mb, DIPC_NODE_ALIVE);
	return ret;
}

static uint64_t heartbeat_of(struct dipc_members *m, const struct member *mb)
{
	struct dipc_arena_node *entry =
		dipc_arena_node_at(m->ref->arena, mb->node);
	_Atomic uint64_t *at = (_Atomic uint64_t *)&entry->heartbeat;

	/* one aligned word the NIC writes: only whether it moved matters */
	return atomic_load_explicit(at, memory_order_relaxed);
}

static void join_answer(struct dipc_members *m, const struct member *mb,
			struct dipc_lookup_joined *joined)
{
	struct dipc_referee *ref = m->ref;
	const char *address =
		dipc_transport_address(dipc_fabric_transport(ref->fabric));

	joined->node = mb->node;
	joined->incarnation = mb->incarnation;
	memcpy(joined->secret, ref->secret, sizeof(joined->secret));
	strncpy(joined->arena_address, address,
		sizeof(joined->arena_address) - 1);
	joined->dead_ms = (uint32_t)(m->dead_ns / DIPC_MSEC);
	joined->heartbeat_ms = joined->dead_ms / BEATS;
}

int dipc_members_join(struct dipc_members *m,
		      const struct dipc_lookup_join *join,
		      struct dipc_lookup_joined *joined)
{
	struct member *mb;
	int ret;

	ret = join_check(m, join);
	if (ret)
		return ret;
	ret = join_pick(m, join->node, &mb);
	if (ret)
		return ret;
	mb->incarnation = ++m->incarnation;
	mb->nr_conns = 0;
	member_enter(mb, MEMBER_JOINING);
	ret = dipc_ticket_make(m->ref->secret, mb->node, mb->incarnation,
			       joined->ticket);
	if (!ret)
		ret = join_publish(m, mb, join);
	if (ret) {
		member_enter(mb, MEMBER_FREE);
		return ret;
	}
	mb->heartbeat = heartbeat_of(m, mb);
	mb->has_beaten = false;
	mb->seen = dipc_sched_now(m->ref->sched);
	member_enter(mb, MEMBER_ALIVE);
	join_answer(m, mb, joined);
	dipc_info("node %u joins: %s at %s", mb->node, join->name,
		  join->address);
	return epoch_bump(m);
}

/* ---- heartbeats --------------------------------------------------------- */

static void member_check(struct dipc_members *m, struct member *mb,
			 uint64_t now)
{
	uint64_t beat = heartbeat_of(m, mb);
	uint64_t limit = m->dead_ns;

	if (beat != mb->heartbeat) {
		mb->heartbeat = beat;
		mb->seen = now;
		mb->has_beaten = true;
		return;
	}
	/* it has to connect first */
	if (!mb->has_beaten && limit < FIRST_NS)
		limit = FIRST_NS;
	if (now - mb->seen < limit)
		return;
	dipc_warn("node %u: no heartbeat for %llu ms", mb->node,
		  (unsigned long long)((now - mb->seen) / DIPC_MSEC));
	dipc_server_drop(m->ref->server, mb->node, mb->incarnation);
	dipc_members_end(m, mb->node, mb->incarnation, DIPC_NODE_DEAD);
}

static void tick(struct dipc_timer *timer)
{
	struct dipc_members *m =
		dipc_container_of(timer, struct dipc_members, tick);
	uint64_t now = dipc_sched_now(m->ref->sched);
	unsigned node;

	for (node = 1; node <= DIPC_NODES_MAX; node++) {
		struct member *mb = &m->member[node];

		if (mb->state == MEMBER_ALIVE)
			member_check(m, mb, now);
		if (mb->state == MEMBER_GOING)
			member_clean(mb);
	}
	dipc_timer_set(m->ref->sched, timer, now + m->dead_ns / BEATS);
}

/* ---- the fabric's events ------------------------------------------------ */

int dipc_members_admit(struct dipc_members *m, unsigned node,
		       uint32_t incarnation,
		       const uint8_t ticket[DIPC_TICKET_LEN])
{
	if (!dipc_ticket_is_valid(m->ref->secret, node, incarnation, ticket))
		return -EACCES;
	if (node == DIPC_REFEREE)
		return 0; /* ourselves: nobody else has that ticket */
	if (!dipc_members_is_alive(m, node, incarnation))
		return -ESTALE;
	m->member[node].nr_conns++;
	return 0;
}

void dipc_members_lost(struct dipc_members *m, unsigned node)
{
	struct member *mb;

	if (node < 1 || node > DIPC_NODES_MAX)
		return;
	mb = &m->member[node];
	if (mb->nr_conns)
		mb->nr_conns--;
	dipc_waitq_wake_all(&mb->changed);
}

/* ---- life --------------------------------------------------------------- */

int dipc_members_create(struct dipc_referee *ref,
			struct dipc_members **members_out)
{
	struct dipc_members *m = calloc(1, sizeof(*m));
	unsigned node;

	if (!m)
		return -ENOMEM;
	m->ref = ref;
	m->dead_ns = ref->conf->peer_timeout_ms * DIPC_MSEC;
	dipc_timer_init(&m->tick, tick);
	for (node = 0; node <= DIPC_NODES_MAX; node++) {
		m->member[node].members = m;
		m->member[node].node = node;
		dipc_waitq_init(&m->member[node].changed);
	}
	*members_out = m;
	return 0;
}

void dipc_members_start(struct dipc_members *m)
{
	tick(&m->tick);
}

void dipc_members_stop(struct dipc_members *m)
{
	m->is_stopping = true;
	dipc_timer_cancel(&m->tick);
}

void dipc_members_destroy(struct dipc_members *m)
{
	if (!m)
		return;
	dipc_timer_cancel(&m->tick);
	free(m);
}
