/* SPDX-License-Identifier: BSD-2-Clause */
/* What may be concluded from an event, and that atomics are atomic. */
#include "harness.h"

#include <errno.h>
#include <string.h>

#define SLOTS    32u
#define SLOT_LEN 8192u

struct receipt {
	unsigned nr;
	unsigned nr_bad;
};

/* imm N says that slot N % SLOTS is full of N. */
static void slot_check(struct ct_link *link, uint32_t imm)
{
	struct receipt *r = link->owner->user;
	const uint8_t *p = link->owner->mem->base + imm % SLOTS * SLOT_LEN;
	bool is_bad = imm != r->nr;

	for (unsigned i = 0; i < SLOT_LEN; i++)
		is_bad |= p[i] != (uint8_t)imm;
	r->nr++;
	r->nr_bad += is_bad;
}

/* WRITEs then a WRITE_IMM, far ahead of the receiver, many rounds. */
static void imm__data_is_visible(void **state)
{
	struct ct_state *s = *state;
	unsigned n, nr = ct_scaled(5000);
	struct ct_op op[SLOTS];
	struct receipt r = {0};
	struct dipc_wr wr[3];
	size_t at;
	int ret;

	memset(op, 0, sizeof(op));
	s->b->user = &r;
	s->b->on_imm = slot_check;
	for (n = 0; n < nr; n++) {
		struct ct_op *slot = &op[n % SLOTS];

		at = n % SLOTS * SLOT_LEN;
		CT_WAIT(n < SLOTS || (slot->nr_done && r.nr + SLOTS > n));
		assert_int_equal(slot->status, 0);
		memset(s->a->mem->base + at, (int)(n & 0xff), SLOT_LEN);
		wr[0] = ct_write(s->ab, at, at, SLOT_LEN / 2);
		wr[1] = ct_write(s->ab, at + SLOT_LEN / 2, at + SLOT_LEN / 2,
				 SLOT_LEN / 2 - 64);
		wr[2] = ct_write_imm(s->ab, at + SLOT_LEN - 64,
				     at + SLOT_LEN - 64, 64, n);
		CT_WAIT((ret = ct_post(s->ab, wr, 3, slot)) != -EAGAIN);
		assert_true(ret == 0 || ret == -EINPROGRESS);
	}
	CT_WAIT(r.nr == nr && !s->ab->nr_outstanding);
	assert_int_equal(r.nr_bad, 0);
}

static void chain__write_cas_read(void **state)
{
	struct ct_state *s = *state;
	unsigned n, nr = ct_scaled(1000);
	struct dipc_wr wr[4];

	for (n = 0; n < nr; n++) {
		memset(s->a->mem->base, (int)(n & 0xff), 4096);
		wr[0] = ct_write(s->ab, 0, 4096, 4096);
		wr[1] = ct_cas(s->ab, 8192, 0, n, n + 1);
		wr[2] = ct_read(s->ab, 16384, 4096, 4096);
		wr[3] = ct_read(s->ab, 8200, 0, 8);
		assert_int_equal(ct_do(s->ab, wr, 4), 0);
		assert_int_equal(*ct_word(s->a, 8192), n);
		assert_int_equal(*ct_word(s->a, 8200), n + 1);
		assert_memory_equal(s->a->mem->base, s->a->mem->base + 16384,
				    4096);
	}
}

/* The same as separate operations, none waited for. */
static void posts__write_cas_read(void **state)
{
	struct ct_state *s = *state;
	unsigned n, i, nr = ct_scaled(1000);
	struct ct_op op[3];
	struct dipc_wr wr[3];
	int ret;

	for (n = 0; n < nr; n++) {
		*ct_word(s->a, 0) = n;
		wr[0] = ct_write(s->ab, 0, 64, 8);
		wr[1] = ct_cas(s->ab, 8, 128, n, n + 1);
		wr[2] = ct_read(s->ab, 64, 64, 72);
		for (i = 0; i < 3; i++) {
			CT_WAIT((ret = ct_post(s->ab, &wr[i], 1, &op[i])) !=
				-EAGAIN);
			assert_true(ret == 0 || ret == -EINPROGRESS);
		}
		CT_WAIT(op[2].nr_done);
		assert_int_equal(op[0].nr_done + op[1].nr_done, 2);
		assert_true(op[0].serial < op[1].serial);
		assert_true(op[1].serial < op[2].serial);
		assert_int_equal(*ct_word(s->a, 8), n);
		assert_int_equal(*ct_word(s->a, 64), n);
		assert_int_equal(*ct_word(s->a, 128), n + 1);
	}
}

/* Two processes and the owner, who goes through a loopback connection. */
static void atomics__sum_exactly(void **state)
{
	struct ct_state *s = *state;
	unsigned i, nr = ct_scaled(4000);
	struct ct_link *x, *y, *self, *self_b;
	pid_t px, py;
	struct dipc_wr wr;
	uint64_t old = 0;

	self = ct_connect_to(s->a, s->a, &self_b);
	px = ct_spawn(s->a, "adder", nr, &x);
	py = ct_spawn(s->a, "adder", nr, &y);
	for (i = 0; i < nr; i++) {
		wr = ct_faa(self, 64, 0, 1);
		assert_int_equal(ct_do(self, &wr, 1), 0);
		if (!(i % 16))
			ct_poll();
	}
	for (i = 0; i < nr;) {
		wr = ct_cas(self, 64, 8, old, old + 1);
		assert_int_equal(ct_do(self, &wr, 1), 0);
		old = *ct_word(s->a, 64) + (*ct_word(s->a, 64) == old ? 1 : 0);
		i += wr.compare == *ct_word(s->a, 64);
	}
	CT_WAIT(x->nr_imm && y->nr_imm);
	wr = ct_read(self, 64, 0, 16);
	assert_int_equal(ct_do(self, &wr, 1), 0);
	assert_int_equal(*ct_word(s->a, 64), 3 * nr);
	assert_int_equal(*ct_word(s->a, 72), 3 * nr);
	dipc_conn_close(x->conn);
	dipc_conn_close(y->conn);
	CT_WAIT(x->nr_closed && y->nr_closed);
	ct_join(px);
	ct_join(py);
}

/* A READ beside WRITEs may be torn, but no aligned word of it. */
static void read__aligned_words_are_whole(void **state)
{
	static const uint32_t sizes[] = {8, 16, 24, 72, 120, 256, 1000, 4096};
	const uint64_t ones = 0x0101010101010101, twos = 2 * ones;
	struct ct_state *s = *state;
	struct ct_link *link, *self, *self_b;
	unsigned i, k, n, nr = ct_scaled(2000);
	struct dipc_wr wr;
	pid_t pid;

	memset(s->a->mem->base + 65536, 1, 4096);
	self = ct_connect_to(s->a, s->a, &self_b);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		pid = ct_spawn(s->a, "scribble", sizes[i], &link);
		for (n = 0; n < nr; n++) {
			wr = ct_read(self, n % 8, 65536, sizes[i]);
			assert_int_equal(ct_do(self, &wr, 1), 0);
			for (k = 0; k < sizes[i]; k += 8) {
				uint64_t w;

				memcpy(&w, s->a->mem->base + n % 8 + k, 8);
				assert_true(w == ones || w == twos);
			}
		}
		dipc_conn_close(link->conn);
		CT_WAIT(link->nr_closed);
		ct_join(pid);
	}
}

int ct_run_order(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(imm__data_is_visible),
		CT_TEST(chain__write_cas_read),
		CT_TEST(posts__write_cas_read),
		CT_TEST(atomics__sum_exactly),
		CT_TEST(read__aligned_words_are_whole),
	};

	return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
