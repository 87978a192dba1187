/* SPDX-License-Identifier: BSD-2-Clause */
/* Every operation, alone and in chains; what is refused. */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

#define MIB (1u << 20)

static uint8_t pattern(uint32_t seed, size_t i)
{
	return (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

static void pattern_fill(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(seed, i);
}

static bool pattern_is(const uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(seed, i))
			return false;
	return true;
}

static void check_size(struct ct_state *s, uint32_t len, size_t from, size_t to)
{
	uint8_t *a = s->a->mem->base, *b = s->b->mem->base;
	struct dipc_wr wr;

	pattern_fill(a + from, len, len);
	b[to - 1] = 0xee;
	b[to + len] = 0xee;
	wr = ct_write(s->ab, from, to, len);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	/* The completion says it is there; both are this process. */
	assert_true(pattern_is(b + to, len, len));
	assert_int_equal(b[to - 1], 0xee);
	assert_int_equal(b[to + len], 0xee);

	memset(a + from, 0, len);
	a[from - 1] = 0xdd;
	a[from + len] = 0xdd;
	wr = ct_read(s->ab, from, to, len);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	assert_true(pattern_is(a + from, len, len));
	assert_int_equal(a[from - 1], 0xdd);
	assert_int_equal(a[from + len], 0xdd);
}

static void read_write__sizes(void **state)
{
	static const uint32_t odd[] = {3,    7,    9,    13,    127,    129,
				       1000, 4095, 4097, 65537, MIB - 1};
	struct ct_state *s = *state;
	uint32_t len;
	unsigned i;

	for (len = 1; len <= MIB; len *= 2) {
		check_size(s, len, 4096, 4096);
		check_size(s, len, 4096 + 1, 4096 + 3);
	}
	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		check_size(s, odd[i], 4096, 4096 + 8);
		check_size(s, odd[i], 4096 + 5, 4096 + 5);
		check_size(s, odd[i], 4096 + 2, 4096 + 1);
	}
}

static void read_write__whole_region(void **state)
{
	struct ct_state *s = *state;
	uint32_t len = CT_MEM;
	struct dipc_wr wr;

	if (len > dipc_transport_limits(s->a->t)->max_len)
		len = (uint32_t)dipc_transport_limits(s->a->t)->max_len;
	pattern_fill(s->a->mem->base, len, 5);
	wr = ct_write(s->ab, 0, CT_MEM - len, len);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	assert_true(pattern_is(s->b->mem->base + CT_MEM - len, len, 5));
}

static void cas__hit_and_miss(void **state)
{
	struct ct_state *s = *state;
	struct dipc_wr wr;

	*ct_word(s->b, 64) = 5;
	wr = ct_cas(s->ab, 0, 64, 5, UINT64_MAX);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	assert_int_equal(*ct_word(s->a, 0), 5);
	assert_true(*ct_word(s->b, 64) == UINT64_MAX);

	wr = ct_cas(s->ab, 8, 64, 5, 7);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	assert_true(*ct_word(s->a, 8) == UINT64_MAX);
	assert_true(*ct_word(s->b, 64) == UINT64_MAX);
	assert_int_equal(*ct_word(s->b, 56), 0);
	assert_int_equal(*ct_word(s->b, 72), 0);
}

static void faa__adds_and_wraps(void **state)
{
	struct ct_state *s = *state;
	struct dipc_wr wr;

	*ct_word(s->b, 64) = UINT64_MAX - 1;
	wr = ct_faa(s->ab, 0, 64, 3);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	assert_true(*ct_word(s->a, 0) == UINT64_MAX - 1);
	assert_int_equal(*ct_word(s->b, 64), 1);
	wr = ct_faa(s->ab, 0, 64, 0);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	assert_int_equal(*ct_word(s->a, 0), 1);
	wr = ct_faa(s->ab, 0, 64, UINT64_MAX); /* minus one */
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	assert_int_equal(*ct_word(s->b, 64), 0);
}

static void write_imm__with_and_without_data(void **state)
{
	struct ct_state *s = *state;
	struct dipc_wr wr;

	pattern_fill(s->a->mem->base, 5000, 1);
	wr = ct_write_imm(s->ab, 0, 100, 5000, 0xdeadbeef);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	CT_WAIT(s->ba->nr_imm == 1);
	assert_int_equal(s->ba->last_imm, 0xdeadbeef);
	assert_true(pattern_is(s->b->mem->base + 100, 5000, 1));

	wr = ct_imm(0);
	assert_int_equal(ct_do(s->ab, &wr, 1), 0);
	CT_WAIT(s->ba->nr_imm == 2);
	assert_int_equal(s->ba->last_imm, 0);
	wr = ct_imm(UINT32_MAX);
	assert_int_equal(ct_do(s->ba, &wr, 1), 0);
	CT_WAIT(s->ab->nr_imm == 1);
	assert_int_equal(s->ab->last_imm, UINT32_MAX);
}

static void chain__all_kinds(void **state)
{
	struct ct_state *s = *state;
	struct dipc_wr wr[5];

	pattern_fill(s->a->mem->base + 4096, 4096, 9);
	pattern_fill(s->b->mem->base + 8192, 4096, 8);
	*ct_word(s->b, 0) = 10;
	*ct_word(s->b, 8) = 20;
	wr[0] = ct_write(s->ab, 4096, 4096, 4096);
	wr[1] = ct_cas(s->ab, 0, 0, 10, 11);
	wr[2] = ct_faa(s->ab, 8, 8, 2);
	wr[3] = ct_read(s->ab, 8192, 8192, 4096);
	wr[4] = ct_write_imm(s->ab, 4096, 16384, 128, 77);
	assert_int_equal(ct_do(s->ab, wr, 5), 0);
	/* One completion stands for all of them. */
	assert_true(pattern_is(s->b->mem->base + 4096, 4096, 9));
	assert_int_equal(*ct_word(s->a, 0), 10);
	assert_int_equal(*ct_word(s->b, 0), 11);
	assert_int_equal(*ct_word(s->a, 8), 20);
	assert_int_equal(*ct_word(s->b, 8), 22);
	assert_true(pattern_is(s->a->mem->base + 8192, 4096, 8));
	CT_WAIT(s->ba->nr_imm == 1);
	assert_true(pattern_is(s->b->mem->base + 16384, 128, 9));
}

/* The READ must have its bytes before the WRITE changes them. */
static void chain__read_then_fenced_write(void **state)
{
	struct ct_state *s = *state;
	unsigned i, nr = ct_scaled(200);
	uint8_t *a = s->a->mem->base, *b = s->b->mem->base;
	struct dipc_wr wr[2];

	for (i = 0; i < nr; i++) {
		pattern_fill(b, 16384, i);
		pattern_fill(a + 65536, 16384, i + 1);
		wr[0] = ct_read(s->ab, 0, 0, 16384);
		wr[1] = ct_write(s->ab, 65536, 0, 16384);
		wr[1].flags = DIPC_WR_FENCE;
		assert_int_equal(ct_do(s->ab, wr, 2), 0);
		assert_true(pattern_is(a, 16384, i));
		assert_true(pattern_is(b, 16384, i + 1));
	}
}

static void chain__longest(void **state)
{
	struct ct_state *s = *state;
	unsigned i, max = dipc_transport_limits(s->a->t)->max_chain;
	struct dipc_wr *wr = calloc(max + 1, sizeof(*wr));

	assert_non_null(wr);
	assert_true(max >= 2);
	assert_true(dipc_transport_limits(s->a->t)->max_depth >= max);
	for (i = 0; i <= max; i++)
		wr[i] = ct_faa(s->ab, 8 * i, 0, 1);
	assert_int_equal(ct_do(s->ab, wr, max), 0);
	assert_int_equal(*ct_word(s->b, 0), max);
	for (i = 0; i < max; i++)
		assert_int_equal(*ct_word(s->a, 8 * i), i);
	assert_int_equal(ct_do(s->ab, wr, max + 1), -EINVAL);
	assert_int_equal(ct_do(s->ab, wr, 0), -EINVAL);
	for (i = 0; i < max; i++)
		wr[i] = ct_read(s->ab, 4096 + 64 * i, 0, 64);
	assert_int_equal(ct_do(s->ab, wr, max), 0);
	assert_int_equal(*ct_word(s->a, 4096), max);
	free(wr);
}

static int post_one(struct ct_state *s, struct dipc_wr wr)
{
	return ct_do(s->ab, &wr, 1);
}

static void post__bad_arguments_are_EINVAL(void **state)
{
	struct ct_state *s = *state;
	struct dipc_wr wr, chain[2];

	assert_int_equal(post_one(s, ct_write(s->ab, 0, 0, 0)), -EINVAL);
	assert_int_equal(post_one(s, ct_read(s->ab, CT_MEM - 8, 0, 9)),
			 -EINVAL);
	assert_int_equal(post_one(s, ct_read(s->ab, CT_MEM, 0, 1)), -EINVAL);
	wr = ct_read(s->ab, 0, 0, 8);
	wr.local = s->a->mem->base - 1;
	assert_int_equal(post_one(s, wr), -EINVAL);
	wr.local = NULL;
	assert_int_equal(post_one(s, wr), -EINVAL);
	wr = ct_read(s->ab, 0, 0, 8);
	wr.region = NULL;
	assert_int_equal(post_one(s, wr), -EINVAL);
	wr = ct_write_imm(s->ab, 0, 0, 8, 1);
	wr.region = s->b->mem; /* another transport's */
	assert_int_equal(post_one(s, wr), -EINVAL);
	assert_int_equal(post_one(s, ct_cas(s->ab, 0, 4, 0, 1)), -EINVAL);
	assert_int_equal(post_one(s, ct_faa(s->ab, 4, 0, 1)), -EINVAL);
	wr = ct_faa(s->ab, 0, 0, 1);
	wr.op = (enum dipc_wr_op)77;
	assert_int_equal(post_one(s, wr), -EINVAL);
	wr = ct_write(s->ab, 0, 0, 8);
	wr.flags = 0x80;
	assert_int_equal(post_one(s, wr), -EINVAL);
	/* A chain is checked before any of it starts. */
	chain[0] = ct_faa(s->ab, 0, 0, 1);
	chain[1] = ct_write(s->ab, 0, 0, 0);
	assert_int_equal(ct_do(s->ab, chain, 2), -EINVAL);
	/* None of it broke the connection or did anything. */
	assert_int_equal(ct_do(s->ab, chain, 1), 0);
	assert_int_equal(*ct_word(s->a, 0), 0);
	assert_int_equal(*ct_word(s->b, 0), 1);
}

static void user__is_kept(void **state)
{
	struct ct_state *s = *state;
	int x;

	assert_ptr_equal(dipc_conn_user(s->ab->conn), s->ab);
	dipc_conn_set_user(s->ab->conn, &x);
	assert_ptr_equal(dipc_conn_user(s->ab->conn), &x);
	dipc_conn_set_user(s->ab->conn, s->ab);
}

int ct_run_ops(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(read_write__sizes),
		CT_TEST(read_write__whole_region),
		CT_TEST(cas__hit_and_miss),
		CT_TEST(faa__adds_and_wraps),
		CT_TEST(write_imm__with_and_without_data),
		CT_TEST(chain__all_kinds),
		CT_TEST(chain__read_then_fenced_write),
		CT_TEST(chain__longest),
		CT_TEST(post__bad_arguments_are_EINVAL),
		CT_TEST(user__is_kept),
	};

	return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
