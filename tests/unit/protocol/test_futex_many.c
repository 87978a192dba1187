/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * More WAKEs at once than a link has request slots, over real links: each
 * waits for WOKENs that need slots the other way (SLOTS in futex.md).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/protocol/futex.h"
#include "tests/support/arena_fixture.h"

#define MANY (3u * DIPC_CALL_SLOTS)

static struct arena_fixture fx;
static unsigned nr_queued, nr_slept, nr_woken;

/* Who is on node 1 waits for a word at home on 2, and the reverse. */
static struct dipc_futex_key key_of(unsigned node)
{
	struct dipc_futex_key key = {
		.id = 0x40000001, .home = 3 - node, .off = node * 8};

	return key;
}

static void sleeper_main(void *arg)
{
	struct fixture_node *node = arg;
	struct dipc_futex_key key = key_of(dipc_fabric_node(node->fabric));
	struct dipc_futex_wait wait = {.bitset = DIPC_FUTEX_ANY};

	assert_int_equal(dipc_futex_register(node->futexes, &key, &wait), 0);
	nr_queued++;
	assert_int_equal(
		dipc_futex_sleep(node->futexes, &wait, DIPC_NEVER, NULL), 0);
	assert_true(dipc_futex_withdraw(node->futexes, &wait));
	nr_slept++;
}

static void waker_main(void *arg)
{
	struct fixture_node *node = arg;
	struct dipc_futex_key key = key_of(dipc_fabric_node(node->fabric));
	int ret;

	ret = dipc_futex_wake(node->futexes, &key, DIPC_FUTEX_ANY, 1);
	assert_int_equal(ret, 1);
	nr_woken++;
}

static void all_main(void *arg)
{
	unsigned i;

	(void)arg;
	for (i = 0; i < 2 * MANY; i++)
		arena_fixture_spawn(&fx, sleeper_main, &fx.node[1 + i % 2]);
	while (nr_queued < 2 * MANY)
		dipc_fiber_sleep(DIPC_MSEC);
	for (i = 0; i < 2 * MANY; i++)
		arena_fixture_spawn(&fx, waker_main, &fx.node[1 + i % 2]);
}

static void wake__more_than_slots(void **state)
{
	unsigned i;

	(void)state;
	arena_fixture_start(&fx, 2, NULL, 0);
	for (i = 1; i <= 2; i++)
		assert_int_equal(dipc_futexes_create(fx.node[i].fabric, NULL,
						     &fx.node[i].futexes),
				 0);
	arena_fixture_run(&fx, all_main, NULL);
	assert_int_equal(nr_slept, 2 * MANY);
	assert_int_equal(nr_woken, 2 * MANY);
	for (i = 1; i <= 2; i++)
		dipc_futexes_destroy(fx.node[i].futexes);
	arena_fixture_stop(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wake__more_than_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
