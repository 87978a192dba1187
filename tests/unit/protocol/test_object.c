/* SPDX-License-Identifier: BSD-2-Clause */
/* What all objects share: look-up, permissions, STAT, SET, the lock. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/protocol/object.h"
#include "tests/support/arena_fixture.h"
#include "tests/support/slow_wire.h"

static const struct fixture_object objects[] = {
	{.kind = DIPC_KIND_SEM, .uid = 10, .gid = 20, .mode = 0640, .nr = 5},
	{.kind = DIPC_KIND_MSG,
	 .uid = 10,
	 .gid = 20,
	 .mode = 0622,
	 .qbytes = 16384},
};

static struct arena_fixture fx;

static int setup(void **state)
{
	(void)state;
	slow_wire_drop();
	arena_fixture_start(&fx, 3, objects, 2);
	slow_wire_start(fx.loop, 99);
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

CASE(read__finds_what_the_id_names)
{
	struct dipc_fabric *f = fx.node[1].fabric;
	int32_t id = arena_fixture_id(&fx, 0);
	struct dipc_arena_object obj;
	struct dipc_stat st;

	assert_int_equal(dipc_object_read(f, id, DIPC_KIND_SEM, &obj), 0);
	dipc_object_stat(&obj, &st);
	assert_int_equal(st.id, id);
	assert_int_equal(st.key, 1);
	assert_int_equal(st.size, 5);
	assert_int_equal(st.mode, 0640);
	assert_int_equal(dipc_object_read(f, id, DIPC_KIND_MSG, &obj), -EINVAL);
	assert_int_equal(dipc_object_read(f, -1, DIPC_KIND_SEM, &obj), -EINVAL);
	assert_int_equal(dipc_object_read(f, 0, DIPC_KIND_SEM, &obj), -EINVAL);
	assert_int_equal(
		dipc_object_read(f, dipc_id_make(7, 3), DIPC_KIND_SEM, &obj),
		-EINVAL);
	assert_int_equal(dipc_object_read(f, dipc_id_make(0x3ffff, 3),
					  DIPC_KIND_SEM, &obj),
			 -EINVAL);
	arena_fixture_remove(&fx, 0);
	assert_int_equal(dipc_object_read(f, id, DIPC_KIND_SEM, &obj), -EIDRM);
}

static void allows__is_ipcperms(void **state)
{
	static const uint32_t groups[] = {7, 20};
	struct dipc_arena_object obj = {
		.uid = 1, .cuid = 2, .gid = 3, .cgid = 20, .mode = 0604};
	struct dipc_cred cred = {.uid = 1};

	(void)state;
	assert_int_equal(dipc_object_allows(&obj, &cred, 6), 0);
	cred.uid = 2; /* the creator is an owner too */
	assert_int_equal(dipc_object_allows(&obj, &cred, 6), 0);
	assert_int_equal(dipc_object_is_owner(&obj, &cred), 0);
	cred.uid = 5;
	assert_int_equal(dipc_object_is_owner(&obj, &cred), -EPERM);
	assert_int_equal(dipc_object_allows(&obj, &cred, 4), 0);
	assert_int_equal(dipc_object_allows(&obj, &cred, 2), -EACCES);
	/* the group's bits count for a member, though others have more */
	cred.groups = groups;
	cred.nr_groups = 2;
	assert_int_equal(dipc_object_allows(&obj, &cred, 4), -EACCES);
	cred.has_ipc_owner = true;
	assert_int_equal(dipc_object_allows(&obj, &cred, 6), 0);
	cred.has_sys_admin = true;
	assert_int_equal(dipc_object_is_owner(&obj, &cred), 0);
}

CASE(set__changes_what_it_may)
{
	struct dipc_cred owner = {.uid = 10}, other = {.uid = 11};
	struct dipc_stat st = {
		.uid = 33, .gid = 44, .mode = 07777, .size = 9000};
	struct dipc_fabric *f = fx.node[2].fabric;
	int32_t id = arena_fixture_id(&fx, 1);
	const struct dipc_arena_object *obj = arena_fixture_object(&fx, 1);

	assert_int_equal(dipc_object_set(f, id, DIPC_KIND_MSG, &other, &st),
			 -EPERM);
	assert_int_equal(dipc_object_set(f, id, DIPC_KIND_MSG, &owner, &st), 0);
	assert_int_equal(obj->uid, 33);
	assert_int_equal(obj->gid, 44);
	assert_int_equal(obj->cuid, 10);
	assert_int_equal(obj->mode, 0777);
	assert_int_equal(obj->msg.qbytes, 9000);
	assert_true(obj->ctime > 0);
	st.size = 20000; /* above msgmnb */
	assert_int_equal(dipc_object_set(f, id, DIPC_KIND_MSG, &owner, &st),
			 -EPERM);
	owner.has_sys_resource = true;
	assert_int_equal(dipc_object_set(f, id, DIPC_KIND_MSG, &owner, &st), 0);
	assert_int_equal(obj->lock, 0);
}

/* ---- the lock ----------------------------------------------------------- */

#define LOCKERS 9u
#define ROUNDS  100u

static struct {
	unsigned inside, most, failed, nr_left;
	unsigned locked[LOCKERS];
} shared;

static void locker_main(void *arg)
{
	unsigned *nr = arg;
	unsigned node = 1 + (unsigned)(nr - shared.locked) % 3;
	int32_t id = arena_fixture_id(&fx, 0);
	struct dipc_arena_object obj;
	struct dipc_lock lock;

	while (*nr < ROUNDS) {
		if (dipc_object_lock(fx.node[node].fabric, id, DIPC_KIND_SEM,
				     &lock, &obj)) {
			shared.failed++;
			break;
		}
		if (++shared.inside > shared.most)
			shared.most = shared.inside;
		/* the word says whose it is */
		if (obj.lock != lock.word || lock.word >> 56 != node)
			shared.failed++;
		dipc_fiber_sleep(2 * DIPC_USEC);
		shared.inside--;
		(*nr)++;
		dipc_object_unlock(&lock);
	}
	shared.nr_left--;
}

CASE(lock__excludes)
{
	unsigned i;

	memset(&shared, 0, sizeof(shared));
	shared.nr_left = LOCKERS;
	for (i = 0; i < LOCKERS; i++)
		arena_fixture_spawn(&fx, locker_main, &shared.locked[i]);
	while (shared.nr_left)
		dipc_fiber_sleep(DIPC_MSEC);
	assert_int_equal(shared.failed, 0);
	assert_int_equal(shared.most, 1);
	dipc_fiber_sleep(DIPC_MSEC);
	assert_int_equal(arena_fixture_object(&fx, 0)->lock, 0);
}

CASE(lock__refuses_what_is_gone)
{
	const struct dipc_cred cred = {.has_sys_admin = true};
	const struct dipc_stat stat = {0};
	struct dipc_fabric *f = fx.node[1].fabric;
	int32_t id = arena_fixture_id(&fx, 0);
	struct dipc_arena_object obj;
	struct dipc_lock lock;

	assert_int_equal(dipc_object_lock(f, id, DIPC_KIND_MSG, &lock, &obj),
			 -EINVAL);
	arena_fixture_remove(&fx, 0);
	assert_int_equal(dipc_object_lock(f, id, DIPC_KIND_SEM, &lock, &obj),
			 -EIDRM);
	/* a new call finds nothing */
	assert_int_equal(dipc_object_set(f, id, DIPC_KIND_SEM, &cred, &stat),
			 -EINVAL);
	dipc_fiber_sleep(DIPC_MSEC);
	assert_int_equal(arena_fixture_object(&fx, 0)->lock, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(read__finds_what_the_id_names),
		cmocka_unit_test(allows__is_ipcperms),
		T(set__changes_what_it_may),
		T(lock__excludes),
		T(lock__refuses_what_is_gone),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
