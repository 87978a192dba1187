/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiter records: one of completion, timeout and cancel wins. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/protocol/waiter.h"
#include "tests/support/arena_fixture.h"
#include "tests/support/slow_wire.h"

static struct arena_fixture fx;

static int setup(void **state)
{
	(void)state;
	slow_wire_drop();
	arena_fixture_start(&fx, 2, NULL, 0);
	slow_wire_start(fx.loop, 7);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	slow_wire_stop();
	arena_fixture_stop(&fx);
	return 0;
}

#define CASE(name)                                                             \
	static void name##_fiber(void *arg);                                   \
	static void name(void **state)                                         \
	{                                                                      \
		(void)state;                                                   \
		arena_fixture_run(&fx, name##_fiber, NULL);                    \
	}                                                                      \
	static void name##_fiber(void *arg __attribute__((unused)))

static uint64_t now(void)
{
	return dipc_fabric_now(fx.node[1].fabric);
}

/* A record of node 1, pending, as an object's code would have linked it. */
static void take(struct dipc_waiter *w)
{
	uint64_t state;

	assert_int_equal(dipc_waiter_get(fx.node[1].ws, DIPC_NEVER, NULL, w),
			 0);
	state = dipc_waiter_pending(w);
	assert_int_equal(dipc_arena_write(fx.node[1].fabric, w->off, &state,
					  sizeof(state)),
			 0);
}

struct completer {
	struct dipc_waiter *w;
	uint64_t after;
	bool is_silent;
	int ret;
};

/* Node 2 completes it, with 5. */
static void completer_main(void *arg)
{
	struct completer *c = arg;
	struct dipc_arena_waiter rec = {.state = dipc_waiter_pending(c->w)};

	dipc_fiber_sleep(c->after);
	c->ret = dipc_waiter_complete(fx.node[2].fabric, c->w->off, &rec, 5);
	if (c->ret == 1 && !c->is_silent)
		dipc_fabric_wake(fx.node[2].fabric, 1, c->w->index);
}

CASE(sleep__is_ended_by_completion)
{
	struct dipc_waiter w;
	struct completer c = {.w = &w, .after = DIPC_MSEC};
	uint64_t start = now();
	int32_t result = 0;

	take(&w);
	arena_fixture_spawn(&fx, completer_main, &c);
	assert_int_equal(dipc_waiter_sleep(&w, DIPC_NEVER, NULL, &result), 0);
	assert_int_equal(result, 5);
	assert_true(now() - start < 900 * DIPC_MSEC);
	dipc_waiter_put(&w);
}

CASE(sleep__finds_out_without_a_hint)
{
	struct dipc_waiter w;
	struct completer c = {.w = &w, .is_silent = true};
	int32_t result = 0;

	take(&w);
	arena_fixture_spawn(&fx, completer_main, &c);
	assert_int_equal(dipc_waiter_sleep(&w, DIPC_NEVER, NULL, &result), 0);
	assert_int_equal(result, 5);
	dipc_waiter_put(&w);
}

CASE(sleep__knows_of_a_hint_that_came_before_it)
{
	struct dipc_arena_waiter rec = {0};
	struct dipc_waiter w;
	int32_t result = 0;
	uint64_t start;

	take(&w);
	rec.state = dipc_waiter_pending(&w);
	assert_int_equal(
		dipc_waiter_complete(fx.node[2].fabric, w.off, &rec, 7), 1);
	dipc_waiters_hint(fx.node[1].ws, w.index);
	start = now();
	assert_int_equal(dipc_waiter_sleep(&w, DIPC_NEVER, NULL, &result), 0);
	assert_int_equal(result, 7);
	assert_true(now() - start < DIPC_SEC / 2);
	dipc_waiter_put(&w);
}

CASE(sleep__wins_or_loses_against_its_deadline)
{
	unsigned i, nr_done = 0;

	for (i = 0; i < 200; i++) {
		struct dipc_waiter w;
		struct completer c = {.w = &w, .after = 300 * DIPC_USEC};
		int32_t result = 0;
		int ret;

		take(&w);
		arena_fixture_spawn(&fx, completer_main, &c);
		ret = dipc_waiter_sleep(&w, now() + i * 4 * DIPC_USEC, NULL,
					&result);
		dipc_fiber_sleep(DIPC_MSEC);
		if (ret == 0) {
			assert_int_equal(result, 5);
			assert_int_equal(c.ret, 1);
			nr_done++;
		} else {
			assert_int_equal(ret, -EAGAIN);
			assert_int_equal(c.ret, 0);
		}
		dipc_waiter_put(&w);
	}
	assert_in_range(nr_done, 1, 199);
}

static void cancel_main(void *arg)
{
	dipc_fiber_sleep(DIPC_MSEC);
	dipc_cancel_set(arg);
}

CASE(sleep__is_cancelled)
{
	struct dipc_cancel cancel = {0};
	struct dipc_waiter w;
	int32_t result = 0;

	take(&w);
	arena_fixture_spawn(&fx, cancel_main, &cancel);
	assert_int_equal(dipc_waiter_sleep(&w, DIPC_NEVER, &cancel, &result),
			 -EINTR);
	assert_null(cancel.fiber);
	dipc_waiter_put(&w);
}

CASE(complete__does_not_hit_a_later_life)
{
	struct dipc_arena_waiter rec = {0};
	struct dipc_waiter w, again;

	take(&w);
	rec.state = dipc_waiter_pending(&w);
	dipc_waiter_put(&w);
	take(&again);
	assert_int_equal(again.index, w.index);
	assert_int_not_equal(again.seq, w.seq);
	assert_int_equal(
		dipc_waiter_complete(fx.node[2].fabric, w.off, &rec, 5), 0);
	dipc_waiter_put(&again);
}

CASE(get__waits_when_all_are_taken)
{
	static struct dipc_waiter w[DIPC_WAITERS_PER_NODE];
	struct dipc_cancel cancel = {.is_set = true};
	struct dipc_waiter one;
	unsigned i;

	for (i = 0; i < DIPC_WAITERS_PER_NODE; i++)
		assert_int_equal(dipc_waiter_get(fx.node[1].ws, 0, NULL, &w[i]),
				 0);
	assert_int_equal(
		dipc_waiter_get(fx.node[1].ws, now() + DIPC_MSEC, NULL, &one),
		-EAGAIN);
	assert_int_equal(
		dipc_waiter_get(fx.node[1].ws, DIPC_NEVER, &cancel, &one),
		-EINTR);
	/* a peer may name any index */
	dipc_waiters_hint(fx.node[1].ws, DIPC_WAITERS_PER_NODE);
	dipc_waiters_hint(fx.node[1].ws, 77);
	dipc_waiter_put(&w[9]);
	assert_int_equal(dipc_waiter_get(fx.node[1].ws, 0, NULL, &one), 0);
	assert_int_equal(one.index, w[9].index);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(sleep__is_ended_by_completion),
		T(sleep__finds_out_without_a_hint),
		T(sleep__knows_of_a_hint_that_came_before_it),
		T(sleep__wins_or_loses_against_its_deadline),
		T(sleep__is_cancelled),
		T(complete__does_not_hit_a_later_life),
		T(get__waits_when_all_are_taken),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
