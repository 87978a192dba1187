/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim_peer.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/sim/sim.h"

#define ACTORS_MAX 32
#define IDLE_NS    DIPC_MSEC /* how time passes where nothing happens */

struct actor {
	struct dipc_fiber *fiber; /* NULL: it has ended */
	struct dipc_list nodes;
	char role[16], address[128];
	unsigned arg;
	bool is_stopped, is_killed;
	jmp_buf end;
};

static struct dipc_sim *sim;
static struct dipc_sched *sched;
static struct actor actors[ACTORS_MAX];
static unsigned nr_actors;
static uint64_t seed;

void ct_sim_setup(void)
{
	struct dipc_sim_config config = {
		.seed = ++seed,
		.cost = {.latency_ns = 1000,
			 .bytes_per_s = 10000000000,
			 .message_ns = 20,
			 .atomic_ns = 50,
			 .jitter_ns = 2000},
		.linger_ns = 50 * DIPC_USEC,
		.notice_ns = 20 * DIPC_MSEC,
		.is_self_driven = true,
	};

	assert_int_equal(dipc_sim_create(&config, &sim), 0);
	assert_int_equal(dipc_sched_create(dipc_sim_clock(sim), &sched), 0);
	nr_actors = 0;
}

uint64_t ct_sim_now_ms(void)
{
	return dipc_sim_now(sim) / DIPC_MSEC;
}

static struct actor *actor_self(void)
{
	unsigned i;

	for (i = 0; i < nr_actors; i++)
		if (actors[i].fiber && actors[i].fiber == dipc_fiber_self())
			return &actors[i];
	return NULL;
}

struct dipc_list *ct_sim_nodes(struct dipc_list *mains)
{
	struct actor *self = actor_self();

	return self ? &self->nodes : mains;
}

/* ---- turns -------------------------------------------------------------- */

/* An actor's turn is over until the main side polls again. */
static void actor_rest(struct actor *self)
{
	(void)dipc_fiber_park(DIPC_NEVER);
	if (self->is_killed)
		longjmp(self->end, 1);
}

void ct_sim_pass(void)
{
	struct actor *self = actor_self();
	unsigned i;

	if (self) {
		actor_rest(self);
		return;
	}
	for (i = 0; i < nr_actors; i++)
		if (actors[i].fiber && !actors[i].is_stopped)
			dipc_fiber_wake(actors[i].fiber);
	dipc_sched_run(sched);
	if (dipc_sim_next(sim) == DIPC_NEVER)
		dipc_sim_skip(sim, IDLE_NS);
}

void ct_sim_step(void)
{
	if (!dipc_sim_step(sim))
		dipc_sim_skip(sim, IDLE_NS);
}

void ct_sim_pause(unsigned us)
{
	struct actor *self = actor_self();
	uint64_t until = dipc_sim_now(sim) + us * DIPC_USEC;

	do
		actor_rest(self);
	while (dipc_sim_now(sim) < until);
}

/* ---- lives -------------------------------------------------------------- */

static void actor_fiber(void *arg)
{
	struct actor *self = arg;

	self->fiber = dipc_fiber_self();
	if (!setjmp(self->end))
		assert_int_equal(
			ct_peer_main(self->role, self->arg, self->address), 0);
	self->fiber = NULL;
}

pid_t ct_sim_spawn(const char *role, unsigned arg, const char *address)
{
	struct actor *actor = &actors[nr_actors++];

	assert_true(nr_actors <= ACTORS_MAX);
	memset(actor, 0, sizeof(*actor));
	dipc_list_init(&actor->nodes);
	snprintf(actor->role, sizeof(actor->role), "%s", role);
	snprintf(actor->address, sizeof(actor->address), "%s", address);
	actor->arg = arg;
	assert_int_equal(dipc_fiber_spawn(sched, actor_fiber, actor), 0);
	dipc_sched_run(sched); /* from here on it is known by its fiber */
	return (pid_t)nr_actors;
}

/* Of its transport's address nobody is left. */
static void actor_kill(struct actor *actor)
{
	struct dipc_list *pos;

	if (actor->is_killed)
		return;
	actor->is_killed = true;
	dipc_list_for_each (pos, &actor->nodes)
		dipc_sim_crash_transport(
			dipc_container_of(pos, struct ct_node, node)->t);
	if (!actor->fiber)
		return;
	dipc_fiber_wake(actor->fiber);
	dipc_sched_run(sched);
}

void ct_sim_signal(pid_t pid, int sig)
{
	struct actor *actor = &actors[pid - 1];

	if (sig == SIGKILL)
		actor_kill(actor);
	else
		actor->is_stopped = sig == SIGSTOP;
}

bool ct_sim_has_ended(pid_t pid)
{
	return !actors[pid - 1].fiber;
}

void ct_sim_teardown(void)
{
	struct dipc_list *pos;
	unsigned i;

	for (i = 0; i < nr_actors; i++) {
		actor_kill(&actors[i]);
		while ((pos = dipc_list_pop(&actors[i].nodes)))
			ct_node_destroy(
				dipc_container_of(pos, struct ct_node, node));
	}
	dipc_sched_destroy(sched);
	dipc_sim_destroy(sim);
}
