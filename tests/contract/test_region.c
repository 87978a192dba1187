/* SPDX-License-Identifier: BSD-2-Clause */
/* Registered memory: anonymous, and in files that outlive us. */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEN (1u << 20)

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void anonymous__is_zeroed_and_aligned(void **state)
{
	struct ct_state *s = *state;
	struct dipc_region *region;
	unsigned i;

	assert_int_equal(dipc_region_create(s->a->t, NULL, 0, &region),
			 -EINVAL);
	for (i = 0; i < 5; i++) {
		assert_int_equal(
			dipc_region_create(s->a->t, NULL, 100, &region), 0);
		assert_int_equal(region->len, sysconf(_SC_PAGESIZE));
		assert_int_equal((uintptr_t)region->base % region->len, 0);
		assert_ptr_equal(region->transport, s->a->t);
		assert_true(is_zero(region->base, region->len));
		memset(region->base, 1, region->len);
		dipc_region_destroy(region);
	}
}

/* Made and destroyed while a peer goes on using others. */
static void anonymous__many(void **state)
{
	struct ct_state *s = *state;
	struct dipc_region *region[50];
	struct dipc_wr wr;
	unsigned i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 50; i++) {
			assert_int_equal(dipc_region_create(s->b->t, NULL, 4096,
							    &region[i]),
					 0);
			memset(s->a->mem->base, (int)i + 1, 4096);
			wr = ct_write(s->ab, 0, 0, 4096);
			wr.remote = region[i]->remote;
			assert_int_equal(ct_do(s->ab, &wr, 1), 0);
		}
		for (i = 0; i < 50; i++) {
			assert_int_equal(region[i]->base[4095], i + 1);
			dipc_region_destroy(region[i]);
		}
		ct_poll_for(10); /* peers let go of them */
	}
}

static void file__survives(void **state)
{
	struct ct_state *s = *state;
	struct dipc_region *region;
	struct ct_node *c;
	struct dipc_wr wr;
	char path[96];

	snprintf(path, sizeof(path), "%s/region", ct_backend.dir);
	c = ct_node_create();
	assert_int_equal(dipc_region_create(c->t, path, LEN, &region), 0);
	assert_true(is_zero(region->base, LEN));
	wr = ct_write(s->ab, 0, 0, LEN);
	memset(s->a->mem->base, 42, LEN);
	struct ct_link *ca, *ac = ct_connect_to(s->a, c, &ca);

	wr.remote = region->remote;
	assert_int_equal(ct_do(ac, &wr, 1), 0);
	dipc_region_destroy(region);
	ct_node_destroy(c);

	c = ct_node_create();
	assert_int_equal(dipc_region_create(c->t, path, LEN, &region), 0);
	assert_int_equal(region->base[0], 42);
	assert_int_equal(region->base[LEN - 1], 42);
	ac = ct_connect_to(s->a, c, &ca);
	wr = ct_read(ac, 0, 0, LEN);
	wr.remote = region->remote;
	memset(s->a->mem->base, 0, LEN);
	assert_int_equal(ct_do(ac, &wr, 1), 0);
	assert_int_equal(s->a->mem->base[LEN - 1], 42);
	dipc_region_destroy(region);
	unlink(path);
}

static void file__other_size_is_EINVAL(void **state)
{
	struct ct_state *s = *state;
	struct dipc_region *region;
	struct stat st;
	char path[96];

	ct_expect_log();
	snprintf(path, sizeof(path), "%s/region", ct_backend.dir);
	assert_int_equal(dipc_region_create(s->a->t, path, LEN, &region), 0);
	dipc_region_destroy(region);
	assert_int_equal(dipc_region_create(s->a->t, path, 2 * LEN, &region),
			 -EINVAL);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, LEN);
	assert_int_equal(st.st_mode & 077, 0);
	unlink(path);
	snprintf(path, sizeof(path), "%s/no/region", ct_backend.dir);
	assert_int_equal(dipc_region_create(s->a->t, path, LEN, &region),
			 -ENOENT);
}

int ct_run_region(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(anonymous__is_zeroed_and_aligned),
		CT_TEST(anonymous__many),
		CT_TEST(file__survives),
		CT_TEST(file__other_size_is_EINVAL),
	};

	return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
