/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "runtime/base/fiber.h"

/* A clock that a test moves by hand. */
static uint64_t now_ns;

static uint64_t hand_mono(struct dipc_clock *clock)
{
	(void)clock;
	return now_ns;
}

static struct dipc_clock hand_clock = {.mono_ns = hand_mono};
static struct dipc_sched *sched;
static int trace[64];
static int nr_trace;

static int setup(void **state)
{
	(void)state;
	now_ns = 1000;
	nr_trace = 0;
	return dipc_sched_create(&hand_clock, &sched);
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(dipc_sched_alive(sched), 0);
	dipc_sched_destroy(sched);
	return 0;
}

static void note(int what)
{
	trace[nr_trace++] = what;
}

static void talker(void *arg)
{
	int *id = arg;

	note(*id);
	dipc_fiber_yield();
	note(*id + 10);
}

static void yield__takes_turns(void **state)
{
	int a = 1, b = 2;

	(void)state;
	dipc_fiber_spawn(sched, talker, &a);
	dipc_fiber_spawn(sched, talker, &b);
	dipc_sched_run(sched);
	assert_int_equal(trace[0], 1);
	assert_int_equal(trace[1], 2);
	assert_int_equal(trace[2], 11);
	assert_int_equal(trace[3], 12);
}

static struct dipc_fiber *parked;
static int park_result;

static void parker(void *arg)
{
	const uint64_t *deadline = arg;

	parked = dipc_fiber_self();
	park_result = dipc_fiber_park(*deadline);
	note(99);
}

static void park__until_the_deadline(void **state)
{
	uint64_t deadline = 5000;

	(void)state;
	dipc_fiber_spawn(sched, parker, &deadline);
	dipc_sched_run(sched);
	assert_int_equal(dipc_sched_next(sched), 5000);
	now_ns = 4999;
	dipc_sched_run(sched);
	assert_int_equal(nr_trace, 0);
	now_ns = 5000;
	dipc_sched_run(sched);
	assert_int_equal(park_result, -ETIMEDOUT);
	assert_int_equal(nr_trace, 1);
}

static void park__woken_before_the_deadline(void **state)
{
	uint64_t deadline = 5000;

	(void)state;
	dipc_fiber_spawn(sched, parker, &deadline);
	dipc_sched_run(sched);
	dipc_fiber_wake(parked);
	now_ns = 6000;
	dipc_sched_run(sched);
	assert_int_equal(park_result, 0);
}

static void wake_self_then_park(void *arg)
{
	(void)arg;
	dipc_fiber_wake(dipc_fiber_self());
	park_result = dipc_fiber_park(DIPC_NEVER);
	note(1);
}

static void wake__before_park_is_not_lost(void **state)
{
	(void)state;
	dipc_fiber_spawn(sched, wake_self_then_park, NULL);
	dipc_sched_run(sched);
	assert_int_equal(nr_trace, 1);
	assert_int_equal(park_result, 0);
}

static struct dipc_fmutex mutex;

static void locker(void *arg)
{
	int *id = arg;

	dipc_fmutex_lock(&mutex);
	note(*id);
	dipc_fiber_yield();
	note(*id);
	dipc_fmutex_unlock(&mutex);
}

static void fmutex__is_exclusive_and_in_order(void **state)
{
	int id[4] = {0, 1, 2, 3};
	int i;

	(void)state;
	dipc_fmutex_init(&mutex);
	for (i = 0; i < 4; i++)
		dipc_fiber_spawn(sched, locker, &id[i]);
	dipc_sched_run(sched);
	for (i = 0; i < 8; i++)
		assert_int_equal(trace[i], i / 2);
}

static struct dipc_waitq queue;
static int wait_result[2];

static void queue_waiter(void *arg)
{
	int *slot = arg;

	*slot = dipc_waitq_wait(&queue, 5000);
}

static void waitq__one_woken_one_times_out(void **state)
{
	(void)state;
	dipc_waitq_init(&queue);
	wait_result[0] = wait_result[1] = 1;
	dipc_fiber_spawn(sched, queue_waiter, &wait_result[0]);
	dipc_fiber_spawn(sched, queue_waiter, &wait_result[1]);
	dipc_sched_run(sched);
	dipc_waitq_wake_one(&queue);
	dipc_sched_run(sched);
	assert_int_equal(wait_result[0], 0);
	assert_int_equal(wait_result[1], 1);
	now_ns = 5001;
	dipc_sched_run(sched);
	assert_int_equal(wait_result[1], -ETIMEDOUT);
	assert_true(dipc_list_is_empty(&queue.waiters));
}

static struct dipc_timer timer_a, timer_b;

static void timer_fires(struct dipc_timer *timer)
{
	note(timer == &timer_a ? 1 : 2);
	/* a due timer may cancel another that is due in the same round */
	if (timer == &timer_a)
		dipc_timer_cancel(&timer_b);
}

static void timer__fires_once_and_can_be_cancelled(void **state)
{
	(void)state;
	dipc_timer_init(&timer_a, timer_fires);
	dipc_timer_init(&timer_b, timer_fires);
	dipc_timer_set(sched, &timer_a, 2000);
	dipc_timer_set(sched, &timer_b, 2000);
	dipc_sched_run(sched);
	assert_int_equal(nr_trace, 0);
	now_ns = 2000;
	dipc_sched_run(sched);
	now_ns = 9000;
	dipc_sched_run(sched);
	assert_int_equal(nr_trace, 1);
	assert_int_equal(trace[0], 1);
}

static void counter(void *arg)
{
	int *count = arg;

	dipc_fiber_yield();
	(*count)++;
}

static void spawner(void *arg)
{
	int i;

	for (i = 0; i < 200; i++)
		assert_int_equal(dipc_fiber_spawn(sched, counter, arg), 0);
	dipc_fiber_yield();
	(*(int *)arg)++;
}

static void spawn__many_from_a_fiber(void **state)
{
	int count = 0;

	(void)state;
	dipc_fiber_spawn(sched, spawner, &count);
	dipc_sched_run(sched);
	assert_int_equal(count, 201);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(yield__takes_turns, setup,
						teardown),
		cmocka_unit_test_setup_teardown(park__until_the_deadline, setup,
						teardown),
		cmocka_unit_test_setup_teardown(park__woken_before_the_deadline,
						setup, teardown),
		cmocka_unit_test_setup_teardown(wake__before_park_is_not_lost,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			fmutex__is_exclusive_and_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(waitq__one_woken_one_times_out,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			timer__fires_once_and_can_be_cancelled, setup,
			teardown),
		cmocka_unit_test_setup_teardown(spawn__many_from_a_fiber, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("base.fiber", tests, NULL, NULL);
}
