/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Futexes in a simulated cluster: a seed decides the order of all events. No
 * wake-up is lost, whatever times out or dies; none is taken twice; order.
 *
 * test_futex            everything
 * test_futex SEED       the random runs with this seed only
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/protocol/futex.h"
#include "tests/support/fake_fabric.h"

#define MAX_NODES   5u
#define MAX_THREADS 40u
#define DELAY       (20 * DIPC_USEC)
#define LIMIT       (60 * DIPC_SEC)
#define HOME        1u

struct sim_node {
	struct dipc_fabric *fabric;
	struct dipc_futexes *fs;
};

struct sim_thread {
	unsigned node, index, left;
	uint32_t bitset;
	uint64_t timeout_ns; /* DIPC_NEVER: none */
	struct dipc_cancel cancel;
	bool is_queued, is_over;
	int result;
	unsigned place; /* who ended before */
};

static struct {
	unsigned nr_nodes, nr_threads;
	struct sim_node node[MAX_NODES + 1];
	struct sim_thread thread[MAX_THREADS];
	uint32_t word, inside, done; /* coherent memory */
	unsigned nr_over, nr_takers, nr_woken;
	bool takes_nothing; /* says may_take(); and no more WAKEs */
	uint32_t bitset;    /* of WAKEs */
	int result;
} sim;

static const struct dipc_futex_key key = {
	.id = 0x40000007, .home = HOME, .off = 4096};

static uint64_t one_seed;

/* ---- the cluster -------------------------------------------------------- */

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct sim_node *n = arg;

	dipc_futexes_request(n->fs, in);
}

static void on_lost(void *arg, unsigned node)
{
	struct sim_node *n = arg;

	dipc_futexes_lost(n->fs, node);
	dipc_futexes_evict(n->fs, node);
}

static const struct dipc_fabric_events events = {
	.request = on_request,
	.lost = on_lost,
};

static bool may_take(const struct dipc_futex_wait *wait)
{
	(void)wait;
	return !sim.takes_nothing;
}

static void sim_start(uint64_t seed, unsigned nr_nodes)
{
	unsigned i;

	memset(&sim, 0, sizeof(sim));
	sim.nr_nodes = nr_nodes;
	sim.bitset = DIPC_FUTEX_ANY;
	fake_world_start(seed, DELAY);
	for (i = 1; i <= nr_nodes; i++) {
		struct sim_node *n = &sim.node[i];

		n->fabric = fake_fabric_create(i, &events, n);
		assert_int_equal(
			dipc_futexes_create(n->fabric, may_take, &n->fs), 0);
	}
}

static bool never(void)
{
	return false;
}

/* Nothing is left in any queue that a living node could still be asked for. */
static void sim_stop(void)
{
	unsigned i;

	(void)fake_world_run(never, LIMIT); /* what is under way arrives */
	if (!fake_node_is_dead(HOME))
		assert_int_equal(dipc_futexes_queued(sim.node[HOME].fs, &key),
				 0);
	for (i = 1; i <= sim.nr_nodes; i++)
		dipc_futexes_destroy(sim.node[i].fs);
	fake_world_stop();
}

static struct sim_thread *sim_spawn(unsigned node, void (*fn)(void *))
{
	struct sim_thread *t = &sim.thread[sim.nr_threads];

	t->node = node;
	t->index = sim.nr_threads++;
	t->timeout_ns = DIPC_NEVER;
	t->bitset = DIPC_FUTEX_ANY;
	assert_int_equal(dipc_fiber_spawn(fake_world_sched(), fn, t), 0);
	return t;
}

/* A page fault now and then: time between deciding and doing. */
static void sim_pause(void)
{
	if (fake_world_random(3) == 0)
		dipc_fiber_sleep(1 + fake_world_random(DELAY));
}

/* ---- what the client library makes of it -------------------------------- */

static int sim_wait(struct sim_thread *t, uint32_t expected)
{
	struct dipc_futexes *fs = sim.node[t->node].fs;
	uint64_t deadline = t->timeout_ns == DIPC_NEVER
				    ? DIPC_NEVER
				    : fake_world_now() + t->timeout_ns;
	struct dipc_futex_wait wait = {.bitset = t->bitset};
	int ret;

	if (sim.word != expected)
		return -EAGAIN;
	sim_pause();
	if (dipc_futex_register(fs, &key, &wait))
		return 0;
	sim_pause();
	t->is_queued = true;
	if (sim.word != expected)
		ret = -EAGAIN;
	else
		ret = dipc_futex_sleep(fs, &wait, deadline, &t->cancel);
	sim_pause();
	if (dipc_futex_withdraw(fs, &wait))
		ret = 0;
	return ret;
}

static int sim_wake(unsigned node, uint32_t nr)
{
	sim_pause();
	return dipc_futex_wake(sim.node[node].fs, &key, sim.bitset, nr);
}

/* ---- a lock: 0 free, 1 held, 2 held and somebody may sleep --------------- */

static void lock_take(struct sim_thread *t)
{
	uint32_t seen = sim.word;

	if (seen == 0) {
		sim.word = 1;
		return;
	}
	if (seen == 1)
		sim.word = 2;
	for (;;) {
		(void)sim_wait(t, 2);
		seen = sim.word;
		sim.word = 2;
		if (seen == 0)
			return;
	}
}

static void lock_give(struct sim_thread *t)
{
	uint32_t seen = sim.word;

	sim.word = 0;
	if (seen == 2)
		(void)sim_wake(t->node, 1);
}

static void lock_main(void *arg)
{
	struct sim_thread *t = arg;

	for (; t->left; t->left--) {
		lock_take(t);
		assert_int_equal(sim.inside++, 0);
		sim_pause();
		assert_int_equal(--sim.inside, 0);
		sim.done++;
		lock_give(t);
		sim_pause();
	}
}

static void lock_run(uint64_t seed, uint64_t timeout_ns)
{
	unsigned i, nr = 2 + (unsigned)(seed % 9);

	sim_start(seed, 2 + (unsigned)(seed % 3));
	for (i = 0; i < nr; i++) {
		struct sim_thread *t =
			sim_spawn(1 + i % sim.nr_nodes, lock_main);

		t->left = 12;
		t->timeout_ns = timeout_ns;
	}
	if (!fake_world_run(NULL, LIMIT))
		fail_msg("seed %lu: somebody sleeps for ever",
			 (unsigned long)seed);
	assert_int_equal(sim.done, nr * 12);
	sim_stop();
}

static void lock__no_wake_is_lost(void **state)
{
	uint64_t seed;

	(void)state;
	for (seed = 1; seed <= 400; seed++) {
		if (one_seed && seed != one_seed)
			continue;
		lock_run(seed, DIPC_NEVER);
		/* so short that most waits end so, and race with wake-ups */
		lock_run(seed, DELAY * 3);
	}
}

/* ---- waking one after the other ----------------------------------------- */

static void sleeper_main(void *arg)
{
	struct sim_thread *t = arg;

	t->result = sim_wait(t, 0);
	t->is_over = true;
	t->place = sim.nr_over++;
}

static bool all_queued(void)
{
	return dipc_futexes_queued(sim.node[HOME].fs, &key) == sim.nr_threads;
}

static bool all_over(void)
{
	return sim.nr_over == sim.nr_threads;
}

/* NR sleepers over the nodes, queued one after the other. */
static void sleepers_start(uint64_t seed, unsigned nr_nodes, unsigned nr)
{
	unsigned i;

	sim_start(seed, nr_nodes);
	for (i = 0; i < nr; i++) {
		sim_spawn(1 + i % nr_nodes, sleeper_main);
		assert_true(fake_world_run(all_queued, LIMIT));
	}
	assert_int_equal(sim.nr_over, 0);
}

static void wake_each_main(void *arg)
{
	struct sim_thread *t = arg;
	unsigned i;

	for (i = 0; i < sim.nr_threads - 1; i++) {
		assert_int_equal(sim_wake(t->node, 1), 1);
		while (sim.nr_over < i + 1)
			dipc_fiber_sleep(DIPC_USEC);
	}
	assert_int_equal(sim_wake(t->node, 1), 0);
	t->is_over = true;
	sim.nr_over++;
}

static void wake_one__first_come_first_served(void **state)
{
	unsigned i, node;

	(void)state;
	for (node = 1; node <= 3; node++) {
		sleepers_start(node, 3, 12);
		sim_spawn(node, wake_each_main);
		assert_true(fake_world_run(NULL, LIMIT));
		for (i = 0; i < 12; i++) {
			assert_int_equal(sim.thread[i].result, 0);
			assert_int_equal(sim.thread[i].place, i);
		}
		sim_stop();
	}
}

static void wake_some_main(void *arg)
{
	struct sim_thread *t = arg;

	sim.result = sim_wake(t->node, t->left);
}

/* WAKE(NR) from NODE; what it said. */
static int wake_run(unsigned node, uint32_t nr)
{
	struct sim_thread t = {.node = node, .left = nr};

	sim.result = -EINPROGRESS;
	assert_int_equal(
		dipc_fiber_spawn(fake_world_sched(), wake_some_main, &t), 0);
	while (sim.result == -EINPROGRESS)
		assert_true(fake_world_run(NULL, LIMIT) ||
			    sim.result != -EINPROGRESS);
	return sim.result;
}

static void wake_some__counts(void **state)
{
	unsigned i;

	(void)state;
	sleepers_start(5, 4, 40);
	assert_int_equal(wake_run(2, 0), 0);
	assert_int_equal(wake_run(2, 7), 7);
	for (i = 0; i < 40; i++)
		assert_int_equal(sim.thread[i].is_over, i < 7);
	assert_int_equal(wake_run(1, 20), 20);
	assert_int_equal(wake_run(3, UINT32_MAX), 13);
	assert_true(all_over());
	assert_int_equal(wake_run(3, UINT32_MAX), 0);
	sim_stop();
}

/* Only who shares a bit is woken; the others keep their places. */
static void wake_bitset__skips_others(void **state)
{
	unsigned i;

	(void)state;
	sim_start(7, 3);
	for (i = 0; i < 12; i++) {
		sim_spawn(1 + i % 3, sleeper_main)->bitset = 1u << i % 2;
		assert_true(fake_world_run(all_queued, LIMIT));
	}
	sim.bitset = 6;
	assert_int_equal(wake_run(2, 4), 4);
	for (i = 0; i < 12; i++)
		assert_int_equal(sim.thread[i].is_over, i % 2 && i < 8);
	sim.bitset = 4;
	assert_int_equal(wake_run(2, 12), 0);
	sim.bitset = DIPC_FUTEX_ANY;
	assert_int_equal(wake_run(2, 12), 8);
	assert_true(fake_world_run(all_over, LIMIT));
	sim_stop();
}

/* What a wait and a wake cost: nothing at home, else two messages and one. */
static void wake__messages(void **state)
{
	(void)state;
	sleepers_start(5, 1, 1);
	assert_int_equal(wake_run(1, 1), 1);
	assert_int_equal(dipc_futexes_counters(sim.node[1].fs)->nr_requests, 0);
	sim_stop();
	sleepers_start(5, 3, 3);
	assert_int_equal(dipc_futexes_counters(sim.node[2].fs)->nr_requests, 1);
	assert_int_equal(wake_run(2, 3), 3);
	assert_int_equal(dipc_futexes_counters(sim.node[2].fs)->nr_requests, 2);
	assert_int_equal(dipc_futexes_counters(sim.node[1].fs)->nr_requests, 2);
	sim_stop();
}

/* ---- ends --------------------------------------------------------------- */

static void cancel__withdraws(void **state)
{
	unsigned i;

	(void)state;
	sleepers_start(9, 3, 9);
	assert_false(fake_world_run(NULL, LIMIT)); /* all sleep now */
	for (i = 0; i < 9; i += 2) {
		sim.thread[i].cancel.is_set = true;
		dipc_fiber_wake(sim.thread[i].cancel.fiber);
	}
	assert_false(fake_world_run(NULL, LIMIT));
	assert_int_equal(dipc_futexes_queued(sim.node[HOME].fs, &key), 4);
	assert_int_equal(wake_run(3, UINT32_MAX), 4);
	assert_true(fake_world_run(all_over, LIMIT));
	for (i = 0; i < 9; i++)
		assert_int_equal(sim.thread[i].result, i % 2 ? 0 : -EINTR);
	sim_stop();
}

static void timeout__withdraws(void **state)
{
	unsigned i;

	(void)state;
	sim_start(3, 3);
	for (i = 0; i < 9; i++)
		sim_spawn(1 + i % 3, sleeper_main)->timeout_ns = DIPC_MSEC;
	assert_true(fake_world_run(NULL, LIMIT));
	for (i = 0; i < 9; i++)
		assert_int_equal(sim.thread[i].result, -ETIMEDOUT);
	sim_stop();
}

static void wake_all_main(void *arg)
{
	struct sim_thread *t = arg;

	while (!sim.takes_nothing) {
		sim.nr_woken += (unsigned)sim_wake(t->node, 1);
		dipc_fiber_sleep(1 + fake_world_random(DELAY));
	}
}

static bool sleepers_over(void)
{
	return sim.nr_over == 20;
}

/* TAKEN-ONCE: so many waits end with 0 as WAKE says it woke. */
static void timeout__or_woken(void **state)
{
	unsigned i, nr;
	uint64_t seed;

	(void)state;
	for (seed = 1; seed <= 200; seed++) {
		sim_start(seed, 3);
		for (i = 0; i < 20; i++)
			sim_spawn(1 + i % 3, sleeper_main)->timeout_ns =
				fake_world_random(20 * DELAY);
		sim_spawn(1 + (unsigned)(seed % 3), wake_all_main);
		assert_true(fake_world_run(sleepers_over, LIMIT));
		sim.takes_nothing = true; /* and the waker ends */
		assert_true(fake_world_run(NULL, LIMIT));
		for (nr = 0, i = 0; i < 20; i++)
			nr += sim.thread[i].result == 0;
		assert_int_equal(nr, sim.nr_woken);
		sim_stop();
	}
}

static void forget__drops_the_queue(void **state)
{
	(void)state;
	sleepers_start(9, 2, 4);
	dipc_futexes_forget(sim.node[HOME].fs, key.id + 1);
	assert_int_equal(dipc_futexes_queued(sim.node[HOME].fs, &key), 4);
	dipc_futexes_forget(sim.node[HOME].fs, key.id);
	assert_int_equal(wake_run(2, 4), 0);
	assert_int_equal(sim.nr_over, 0); /* they sleep on */
	dipc_futexes_lost(sim.node[1].fs, HOME);
	dipc_futexes_lost(sim.node[2].fs, HOME);
	assert_true(fake_world_run(all_over, LIMIT));
	(void)fake_world_run(NULL, LIMIT);
	sim_stop();
}

/* Processes that are dead and not yet noticed take nothing. */
static void dead__takes_nothing(void **state)
{
	(void)state;
	sleepers_start(9, 3, 6);
	sim.takes_nothing = true;
	assert_int_equal(wake_run(2, 6), 0);
	assert_int_equal(sim.nr_over, 0);
	sim.takes_nothing = false;
	dipc_futexes_lost(sim.node[1].fs, HOME);
	dipc_futexes_lost(sim.node[2].fs, HOME);
	dipc_futexes_lost(sim.node[3].fs, HOME);
	assert_true(fake_world_run(NULL, LIMIT));
	sim_stop();
}

/* ---- a node dies -------------------------------------------------------- */

static bool survivors_over(void)
{
	unsigned i;

	for (i = 0; i < sim.nr_threads; i++)
		if (!fake_node_is_dead(sim.thread[i].node) &&
		    !sim.thread[i].is_over)
			return false;
	return true;
}

/*
 * One wake-up after the other until there is nobody: then no survivor sleeps,
 * though some were passed on from the node that died in the middle.
 */
static void waker_main(void *arg)
{
	struct sim_thread *t = arg;
	int ret;

	while ((ret = sim_wake(t->node, 1)) > 0)
		sim.nr_woken++;
	assert_int_equal(ret, 0);
	t->is_over = true;
	sim.nr_takers = 1;
}

static bool waker_done(void)
{
	return sim.nr_takers;
}

static bool is_time(void)
{
	return fake_world_now() >= DIPC_SEC + sim.done;
}

static void crash_run(uint64_t seed)
{
	unsigned i, node, had = 0;

	sim_start(seed, 4);
	for (i = 0; i < 24; i++) {
		sim_spawn(1 + i % 4, sleeper_main);
		if (!fake_world_run(all_queued, LIMIT))
			fail_msg("not queued");
	}
	assert_false(fake_world_run(NULL, LIMIT)); /* all sleep now */
	sim_spawn(seed % 2 ? 1 : 2, waker_main);
	sim.done = (uint32_t)(fake_world_now() - DIPC_SEC +
			      fake_world_random(40 * DELAY));
	/* a clock of its own, so that the crash comes in the middle */
	(void)fake_world_run(is_time, LIMIT);
	node = 3 + (unsigned)fake_world_random(2);
	for (i = 0; i < 24; i++)
		if (sim.thread[i].node == node && !sim.thread[i].cancel.fiber)
			had++;
	fake_node_crash(node);
	if (!fake_world_run(waker_done, LIMIT))
		fail_msg("seed %lu: WAKE does not end", (unsigned long)seed);
	if (!fake_world_run(survivors_over, LIMIT))
		fail_msg("seed %lu: a survivor sleeps on after %u wake-ups",
			 (unsigned long)seed, sim.nr_woken);
	/* of what the dead node took, the last answer may have been lost */
	assert_in_range(sim.nr_woken, 18 + had - (had > 0), 18 + had);
	/* the dead node's fibers have to end somewhere */
	dipc_futexes_lost(sim.node[node].fs, HOME);
	(void)fake_world_run(NULL, LIMIT);
	sim_stop();
}

static void crash__passes_wakes_on(void **state)
{
	uint64_t seed;

	(void)state;
	for (seed = 1; seed <= 400; seed++)
		if (!one_seed || seed == one_seed)
			crash_run(seed);
}

static void home_crash__ends_waits(void **state)
{
	unsigned i;

	(void)state;
	sleepers_start(4, 3, 9);
	fake_node_crash(HOME);
	assert_true(fake_world_run(survivors_over, LIMIT));
	for (i = 0; i < 9; i++)
		if (sim.thread[i].node != HOME)
			assert_int_equal(sim.thread[i].result, 0);
	assert_int_equal(wake_run(2, 1), -ENOLINK);
	(void)fake_world_run(NULL, LIMIT);
	sim_stop();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock__no_wake_is_lost),
		cmocka_unit_test(wake_one__first_come_first_served),
		cmocka_unit_test(wake_some__counts),
		cmocka_unit_test(wake_bitset__skips_others),
		cmocka_unit_test(wake__messages),
		cmocka_unit_test(cancel__withdraws),
		cmocka_unit_test(timeout__withdraws),
		cmocka_unit_test(timeout__or_woken),
		cmocka_unit_test(forget__drops_the_queue),
		cmocka_unit_test(dead__takes_nothing),
		cmocka_unit_test(crash__passes_wakes_on),
		cmocka_unit_test(home_crash__ends_waits),
	};

	if (argc > 1)
		one_seed = strtoull(argv[1], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
