/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where pages live: chunks made when somebody asks, homes that learn of a
 * segment from the arena, several homes, one of which may die, memory that is
 * not there, and memory that is free again; homes that forget a node which
 * lives.
 *
 * test_homes            everything
 * test_homes SEED       the random runs with this seed only
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/protocol/homemem.h"
#include "tests/unit/protocol/pages_case.h"

static uint64_t only_seed; /* 0: all */

static void run(void (*fn)(void *arg))
{
	assert_int_equal(dipc_fiber_spawn(fake_world_sched(), fn, NULL), 0);
	assert_true(fake_world_run(NULL, NS_LIMIT));
}

static uint64_t used(unsigned node)
{
	struct dipc_homemem_usage usage;

	dipc_homes_usage(sim.node[node].homes, &usage);
	return usage.used;
}

static void open_on(unsigned node)
{
	assert_int_equal(dipc_segment_open(sim.node[node].pages, SEGMENT,
					   &sim.shm, &sim.node[node].seg),
			 0);
}

/* ---- whose chunk it is -------------------------------------------------- */

static void home_of__round_from_the_first(void **state)
{
	struct dipc_arena_shm shm = {
		.homes = 0x8000000015u, .home = 3, .block_chunks = 2};
	static const unsigned want[] = {3, 3, 5, 5, 40, 40, 1, 1, 3, 3};
	unsigned c;

	(void)state;
	for (c = 0; c < sizeof(want) / sizeof(want[0]); c++)
		assert_int_equal(dipc_shm_home_of(&shm, c), want[c]);
	assert_int_equal(dipc_shm_home_of(&shm, (1ull << 40) + 7), 1);
	shm.homes = 4;
	assert_int_equal(dipc_shm_home_of(&shm, UINT64_MAX), 3);
	assert_true(dipc_shm_is_home(&shm, 3));
	assert_false(dipc_shm_is_home(&shm, 1000));
}

/* What would overflow a nodeset, or a count of pages, is not used at all. */
static void is_sane__not_if_too_large(void **state)
{
	const struct dipc_arena_shm good = {.size = DIPC_SHM_SIZE_MAX - 1,
					    .homes = 1,
					    .home = 1,
					    .block_chunks = 1,
					    .unit_pages = 1,
					    .nr_sharer_words = NODESET_WORDS};
	struct dipc_arena_shm shm = good;

	(void)state;
	assert_true(dipc_shm_is_sane(&shm));
	shm.nr_sharer_words++;
	assert_false(dipc_shm_is_sane(&shm));
	shm = good;
	shm.size++;
	assert_false(dipc_shm_is_sane(&shm));
	shm.size = UINT64_MAX;
	assert_false(dipc_shm_is_sane(&shm));
}

/* ---- several homes ------------------------------------------------------ */

static void two_homes__always_current(void **state)
{
	uint64_t seed;
	unsigned i, t;

	(void)state;
	nr_homes = 2;
	for (seed = 1; seed <= 40; seed++) {
		if (only_seed && seed != only_seed)
			continue;
		sim_start(seed, 4, 20 * DIPC_USEC, 0);
		for (i = 1; i <= 4; i++)
			for (t = 0; t < 3; t++)
				add_thread(i, 100, 40, seed % 2 ? 3 : 80)
					->percent_hints = seed % 2 * 5;
		run_all();
		for (i = 0; i < sim.nr_threads; i++) {
			assert_int_equal(sim.thread[i].done, 100);
			assert_int_equal(sim.thread[i].nr_sigbus, 0);
		}
		check_home();
		/* 512 pages here, 88 there, and a page or two of directory */
		assert_int_equal(used(1) / DIPC_PAGE_SIZE / 8, 513 / 8);
		assert_int_equal(used(2) / DIPC_PAGE_SIZE / 8, 89 / 8);
		assert_int_equal(used(3), 0);
		sim_stop();
	}
	nr_homes = 1;
}

static unsigned victim;

static void crash_fiber(void *arg)
{
	(void)arg;
	dipc_fiber_sleep(fake_world_random(3 * DIPC_MSEC));
	fake_node_crash(victim);
}

/* Every wait ends; who is alive meets SIGBUS sooner or later, never old data. */
static void one_of_two_homes_dies__all_end(void **state)
{
	unsigned i, nr_sigbus = 0;
	uint64_t seed;

	(void)state;
	nr_homes = 2;
	for (seed = 100; seed < 140; seed++) {
		if (only_seed && seed != only_seed)
			continue;
		sim_start(seed, 4, 20 * DIPC_USEC, 0);
		victim = 1 + (unsigned)(seed % 2);
		for (i = 1; i <= 4; i++)
			add_thread(i, 200, 40, 20)->pause_ns = 20 * DIPC_USEC;
		assert_int_equal(
			dipc_fiber_spawn(fake_world_sched(), crash_fiber, NULL),
			0);
		run_all();
		for (i = 0; i < sim.nr_threads; i++)
			nr_sigbus += sim.thread[i].nr_sigbus;
		sim_stop();
	}
	assert_true(only_seed || nr_sigbus > 100);
	nr_homes = 1;
}

/* ---- asking ------------------------------------------------------------- */

static void ask_fiber(void *arg)
{
	struct dipc_segment *seg = arg;

	assert_int_equal(dipc_page_locate(dipc_page_get(seg, 1)), 0);
}

/* Two nodes, and two fibers of each, ask at once: one chunk, one answer. */
static void all_at_once_fiber(void *arg)
{
	struct page *first, *other;
	unsigned i;

	(void)arg;
	for (i = 2; i <= 3; i++)
		open_on(i);
	for (i = 0; i < 4; i++)
		assert_int_equal(dipc_fiber_spawn(fake_world_sched(), ask_fiber,
						  sim.node[2 + i % 2].seg),
				 0);
	dipc_fiber_sleep(DIPC_SEC);
	first = dipc_page_get(sim.node[2].seg, 1);
	other = dipc_page_get(sim.node[3].seg, 1);
	assert_int_equal(dipc_page_word_at(first).addr,
			 dipc_page_word_at(other).addr);
	assert_int_equal(dipc_page_data_at(first).addr,
			 dipc_page_data_at(other).addr);
	assert_int_equal(used(1), 513 * DIPC_PAGE_SIZE);
	for (i = 2; i <= 3; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void two_nodes_ask_at_once(void **state)
{
	(void)state;
	sim_start(3, 3, 20 * DIPC_USEC, 0);
	run(all_at_once_fiber);
	sim_stop();
}

/* Node 2 asks for PAGE of ID at node 1. */
static int ask(int32_t id, uint64_t page)
{
	struct dipc_request request = {
		.type = DIPC_REQ_CHUNK, .object = (uint32_t)id, .page = page};
	struct dipc_link *link;
	struct dipc_call call;

	assert_int_equal(dipc_fabric_link(sim.node[2].fabric, 1, &link), 0);
	assert_int_equal(dipc_call_start(link, &request, &call), 0);
	assert_int_equal(dipc_call_wait(&call), 0);
	return call.answer.status;
}

static void refused_fiber(void *arg)
{
	const uint64_t live = (uint64_t)DIPC_KIND_SHM << 32;
	struct dipc_arena_object *obj = fake_world_object(1);

	(void)arg;
	assert_int_equal(ask(0x40000002, 0), -EIDRM); /* a free slot */
	assert_int_equal(ask(0x400fffff, 0), -EIDRM); /* beyond the last */
	obj->shm = sim.shm;
	obj->id = 0x40000001;
	obj->state = live;
	obj->shm.born = 0; /* we joined later, under the same number */
	assert_int_equal(ask(obj->id, 0), -EIDRM);
	obj->shm.born = 1;
	obj->shm.homes = 2;
	obj->shm.home = 2;
	assert_int_equal(ask(obj->id, 0), -EIDRM);
	obj->shm.homes = 3;
	obj->state = (uint64_t)DIPC_KIND_SEM << 32;
	assert_int_equal(ask(obj->id, 0), -EIDRM);
	/* removed, and still attached: it lives */
	obj->state = live | DIPC_OBJECT_REMOVED;
	assert_int_equal(ask(obj->id, 512), 0);
	assert_int_equal(ask(obj->id, 0), -EIDRM); /* the other home's */
	assert_int_equal(ask(obj->id, 1024), -EIDRM);
	assert_int_equal(ask(obj->id, UINT64_MAX), -EIDRM);
}

static void asked_for_what_is_not_here__says_so(void **state)
{
	(void)state;
	nr_homes = 2; /* nobody is told of the segment */
	sim_start(4, 2, 20 * DIPC_USEC, 0);
	run(refused_fiber);
	sim_stop();
	nr_homes = 1;
}

static void no_memory_fiber(void *arg)
{
	struct dipc_page_counters c;

	(void)arg;
	open_on(2);
	home_available = 0;
	assert_false(thread_access(&sim.thread[0], 3, true));
	assert_false(dipc_segment_is_dead(sim.node[2].seg));
	assert_false(thread_access(&sim.thread[0], 3, false));
	/* a hint ends, too */
	(void)dipc_pages_fetch(sim.node[2].seg, 10, 5, false);
	home_available = UINT64_MAX;
	assert_true(thread_access(&sim.thread[0], 4, true));
	c = dipc_segment_counters(sim.node[2].seg);
	assert_int_equal(c.nr_fills, 1);
	dipc_segment_put(sim.node[2].seg);
}

static void no_memory__that_page_is_SIGBUS(void **state)
{
	(void)state;
	sim_start(5, 2, 20 * DIPC_USEC, 0);
	add_thread(2, 0, 0, 1);
	run(no_memory_fiber);
	check_home();
	sim_stop();
}

/* ---- freeing ------------------------------------------------------------ */

static void reap_fiber(void *arg)
{
	struct dipc_homes *homes = sim.node[1].homes;
	unsigned i;

	(void)arg;
	assert_int_equal(ask(SEGMENT, 0), 0);
	assert_int_equal(ask(SEGMENT, 512), 0);
	for (i = 0; i < 3; i++)
		dipc_homes_reap(homes);
	assert_int_equal(used(1), (513 + 89) * DIPC_PAGE_SIZE);
	fake_world_object(dipc_id_slot(SEGMENT))->state = 0;
	/* nobody looks before the count says so */
	for (i = 0; i < 3; i++)
		dipc_homes_reap(homes);
	assert_int_equal(used(1), (513 + 89) * DIPC_PAGE_SIZE);
	fake_world_node(1)->homes_freed++;
	dipc_homes_reap(homes);
	dipc_fiber_sleep(DIPC_MSEC);
	/* a late write of a dead node must not meet another's page */
	assert_int_equal(used(1), (513 + 89) * DIPC_PAGE_SIZE);
	dipc_homes_reap(homes);
	dipc_fiber_sleep(DIPC_MSEC);
	assert_int_equal(used(1), 0);
	assert_int_equal(ask(SEGMENT, 0), -EIDRM);
}

static void reap__a_pass_later(void **state)
{
	(void)state;
	sim_start(6, 2, 20 * DIPC_USEC, 0);
	run(reap_fiber);
	sim_stop();
}

/* ---- a node dies while memory is short ------------------------------------ */

#define SHARED 8u /* pages */

static void evict_fiber(void *arg)
{
	unsigned i;

	(void)arg;
	for (i = 2; i <= 3; i++) {
		open_on(i);
		assert_int_equal(
			dipc_pages_fetch(sim.node[i].seg, 0, SHARED, false), 0);
	}
	fake_node_crash(2);
	while (fake_world_now() <= fake_node_fenced_at(2))
		dipc_fiber_sleep(DIPC_USEC);
	fake_world_no_memory(20);
	assert_int_equal(dipc_homes_evict(sim.node[1].homes, 2), 0);
	for (i = 0; i < SHARED; i++)
		assert_int_equal(home_entry(&sim.home, i).sharers.bits[0],
				 1u << (3 - 1));
	/* for good: it is told */
	assert_int_equal(dipc_pages_fetch(sim.node[3].seg, 0, SHARED, true), 0);
	fake_world_no_memory(100000);
	assert_int_equal(dipc_homes_evict(sim.node[1].homes, 3), -ENOMEM);
	fake_world_no_memory(0);
	for (i = 2; i <= 3; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void evict__patient_without_memory(void **state)
{
	(void)state;
	for (max_nodes = 0; max_nodes <= 80; max_nodes += 80) {
		sim_start(7, 3, 20 * DIPC_USEC, 0);
		run(evict_fiber);
		sim_stop();
	}
	max_nodes = 0;
}

/* ---- forgetting one that lives ------------------------------------------- */

/* As when the link broke after the home had begun: it is asked again. */
static void forget_twice_fiber(void *arg)
{
	struct dipc_request request = {.type = DIPC_REQ_FORGET,
				       .object = SEGMENT};
	struct dipc_link *link;
	struct dipc_call call;
	struct home_entry e;
	unsigned i;

	(void)arg;
	for (i = 2; i <= 3; i++) {
		open_on(i);
		assert_int_equal(
			dipc_pages_fetch(sim.node[i].seg, 0, SHARED, false), 0);
	}
	assert_int_equal(dipc_fabric_link(sim.node[2].fabric, 1, &link), 0);
	dipc_segment_fail(sim.node[2].seg, "a test"); /* asks once */
	assert_int_equal(dipc_call_start(link, &request, &call), 0);
	assert_int_equal(dipc_call_wait(&call), 0);
	assert_int_equal(call.answer.status, 0);
	dipc_fiber_sleep(10 * DIPC_MSEC);
	for (i = 0; i < SHARED; i++) {
		e = home_entry(&sim.home, i);
		assert_int_equal(e.sharers.bits[0], 1u << (3 - 1));
		assert_int_equal(e.sharers.bits[1], 0);
	}
	for (i = 2; i <= 3; i++)
		dipc_segment_put(sim.node[i].seg);
}

static void forget_twice__others_keep_their_bits(void **state)
{
	(void)state;
	for (max_nodes = 0; max_nodes <= 80; max_nodes += 80) {
		sim_start(5, 3, 20 * DIPC_USEC, 0);
		run(forget_twice_fiber);
		check_home();
		sim_stop();
	}
	max_nodes = 0;
}

/* A request comes while the homes are being asked, and waits for long. */
static void asked_while_forgetting_fiber(void *arg)
{
	struct dipc_request request = {.type = DIPC_REQ_INVALIDATE,
				       .object = SEGMENT};
	struct dipc_segment *seg;
	struct dipc_link *link;
	struct dipc_call call;

	(void)arg;
	open_on(2);
	seg = sim.node[2].seg;
	assert_int_equal(dipc_fabric_link(sim.node[3].fabric, 2, &link), 0);
	assert_int_equal(dipc_pages_fetch(seg, 0, 1, true), 0);
	/* as if just now */
	dipc_page_find(seg, 0)->hold_until =
		dipc_fabric_now(sim.node[2].fabric) + 50 * DIPC_MSEC;
	dipc_segment_fail(seg, "a test");
	dipc_segment_put(seg);
	assert_int_equal(dipc_call_start(link, &request, &call), 0);
	dipc_fiber_sleep(25 * DIPC_MSEC);
	assert_false(seg->is_forgetting);
	assert_int_equal(sim.node[2].nr_released, 0);
	assert_int_equal(dipc_call_wait(&call), 0);
	dipc_fiber_sleep(DIPC_MSEC);
	assert_int_equal(sim.node[2].nr_released, 1);
}

static void asked_while_forgetting__is_not_freed(void **state)
{
	(void)state;
	sim_start(6, 3, 20 * DIPC_USEC, 0);
	run(asked_while_forgetting_fiber);
	sim_stop();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(home_of__round_from_the_first),
		cmocka_unit_test(is_sane__not_if_too_large),
		cmocka_unit_test(two_homes__always_current),
		cmocka_unit_test(one_of_two_homes_dies__all_end),
		cmocka_unit_test(two_nodes_ask_at_once),
		cmocka_unit_test(asked_for_what_is_not_here__says_so),
		cmocka_unit_test(no_memory__that_page_is_SIGBUS),
		cmocka_unit_test(reap__a_pass_later),
		cmocka_unit_test(evict__patient_without_memory),
		cmocka_unit_test(forget_twice__others_keep_their_bits),
		cmocka_unit_test(asked_while_forgetting__is_not_freed),
	};

	if (argc > 1)
		only_seed = strtoull(argv[1], NULL, 0);
	max_nodes = DIPC_NODES_MAX;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
