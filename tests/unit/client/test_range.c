/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of attachments, against a page-by-page list of the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/client/range.h"

#define PAGE  4096u
#define PAGES 400u
#define BASE  ((char *)0x7000000000)

/* What is at each page: the segment's page + 1, and its id. */
static struct {
	uint64_t page;
	int32_t id;
} model[PAGES];

static char *at(unsigned page)
{
	return BASE + (size_t)page * PAGE;
}

static void add(unsigned page, unsigned nr, int32_t id)
{
	struct dipc_range r = {.start = at(page),
			       .len = (size_t)nr * PAGE,
			       .segment_size = (size_t)nr * PAGE,
			       .id = id};
	unsigned i;

	assert_int_equal(dipc_range_add(&r), 0);
	for (i = 0; i < nr; i++) {
		model[page + i].page = i + 1;
		model[page + i].id = id;
	}
}

static void drop(unsigned page, unsigned nr)
{
	dipc_range_remove(at(page), (size_t)nr * PAGE);
	memset(&model[page], 0, nr * sizeof(model[0]));
}

static void move(unsigned from, unsigned nr, unsigned to)
{
	unsigned room = dipc_range_count(at(from), (size_t)nr * PAGE) + 2;

	assert_int_equal(dipc_range_reserve(room), 0);
	dipc_range_move(at(from), (size_t)nr * PAGE, at(to));
	memcpy(&model[to], &model[from], nr * sizeof(model[0]));
	memset(&model[from], 0, nr * sizeof(model[0]));
}

static void check(void)
{
	struct dipc_range r;
	unsigned i, any = 0;

	for (i = 0; i < PAGES; i++) {
		int ret = dipc_range_find(at(i) + 17, &r);

		assert_int_equal(ret, model[i].page ? 0 : -ENOENT);
		assert_int_equal(dipc_range_overlaps(at(i), 1),
				 model[i].page != 0);
		if (!model[i].page)
			continue;
		any = 1;
		assert_int_equal(r.id, model[i].id);
		assert_int_equal(r.offset, (model[i].page - 1) * PAGE + 17);
	}
	assert_int_equal(dipc_range_any(), any);
}

static void range__starts_empty(void **state)
{
	struct dipc_range r;

	(void)state;
	assert_false(dipc_range_any());
	assert_false(dipc_range_overlaps(NULL, SIZE_MAX));
	assert_int_equal(dipc_range_find(BASE, &r), -ENOENT);
	assert_int_equal(dipc_range_next(NULL, &r), -ENOENT);
}

static void range__overlaps_at_its_edges(void **state)
{
	(void)state;
	add(10, 2, 7);
	assert_false(dipc_range_overlaps(at(10) - 1, 1));
	assert_true(dipc_range_overlaps(at(10) - 1, 2));
	assert_true(dipc_range_overlaps(at(12) - 1, 1));
	assert_false(dipc_range_overlaps(at(12), 100));
	assert_false(dipc_range_overlaps(at(10) - 1, 0));
	assert_true(dipc_range_overlaps(at(0), SIZE_MAX));
	drop(10, 2);
	check();
}

static void range__moves_over_its_neighbour(void **state)
{
	(void)state;
	add(10, 4, 1);
	add(14, 4, 2);
	move(12, 4, 20); /* pieces of both */
	check();
	move(20, 4, 10);
	check();
	drop(0, PAGES);
	check();
}

static void range__random_changes_equal_the_model(void **state)
{
	unsigned round, seed = 42;

	(void)state;
	for (round = 0; round < 3000; round++) {
		unsigned page = (unsigned)rand_r(&seed) % (PAGES / 2 - 40);
		unsigned nr = 1 + (unsigned)rand_r(&seed) % 20;

		switch (rand_r(&seed) % 4) {
		case 0:
		case 1:
			add(page, nr, (int32_t)round);
			break;
		case 2:
			drop(page, nr);
			break;
		default:
			move(page, nr,
			     page + PAGES / 2 * ((unsigned)rand_r(&seed) % 2) +
				     20);
			break;
		}
		check();
	}
	drop(0, PAGES);
	check();
}

/* ---- readers beside a writer --------------------------------------------- */

static _Atomic bool is_over;

static void *read_always(void *arg)
{
	uintptr_t bad = 0;
	struct dipc_range r;

	(void)arg;
	while (!atomic_load(&is_over)) {
		/* always there, whatever goes on around it */
		if (dipc_range_find(at(100) + 1, &r) || r.id != 100 ||
		    r.offset != 1 || r.start != at(100) || r.len != PAGE)
			bad++;
		/* never there */
		if (!dipc_range_find(at(399), &r))
			bad++;
	}
	return (void *)bad;
}

static void range__readers_see_whole_tables(void **state)
{
	unsigned round, seed = 1;
	pthread_t thread;
	void *bad;

	(void)state;
	add(100, 1, 100);
	assert_int_equal(pthread_create(&thread, NULL, read_always, NULL), 0);
	for (round = 0; round < 20000; round++) {
		unsigned page = (unsigned)rand_r(&seed) % 100;

		if (round % 3)
			add(page, 1, (int32_t)round);
		else
			drop(page, 1);
	}
	atomic_store(&is_over, true);
	pthread_join(thread, &bad);
	assert_int_equal((uintptr_t)bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(range__starts_empty),
		cmocka_unit_test(range__overlaps_at_its_edges),
		cmocka_unit_test(range__moves_over_its_neighbour),
		cmocka_unit_test(range__random_changes_equal_the_model),
		cmocka_unit_test(range__readers_see_whole_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
