/* SPDX-License-Identifier: BSD-2-Clause */
/* Slabs for home memory: pieces do not overlap, are zero, and slabs go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/protocol/homemem.h"

#define PAGE    4096u
#define LARGEST (513u * PAGE)

static unsigned nr_regions, nr_created;
static uint64_t available;
static bool must_fail;

int dipc_region_create(struct dipc_transport *t, const char *path, size_t len,
		       struct dipc_region **region_out)
{
	struct dipc_region *region;

	assert_null(t);
	assert_null(path);
	if (must_fail)
		return -ENOMEM;
	region = calloc(1, sizeof(*region));
	assert_non_null(region);
	/* what nobody touches costs nothing, as on shm */
	region->base = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(region->base, MAP_FAILED);
	region->len = len;
	region->remote.addr = 64 * PAGE; /* not where it is mapped */
	region->remote.rkey = ++nr_created;
	nr_regions++;
	*region_out = region;
	return 0;
}

void dipc_region_destroy(struct dipc_region *region)
{
	munmap(region->base, region->len);
	free(region);
	nr_regions--;
}

static uint64_t on_available(void *arg)
{
	assert_null(arg);
	return available;
}

static struct dipc_homemem *mem_new(void)
{
	struct dipc_homemem_config config = {.largest = LARGEST,
					     .available = on_available};
	struct dipc_homemem *mem;

	nr_regions = nr_created = 0;
	available = UINT64_MAX;
	must_fail = false;
	assert_int_equal(dipc_homemem_create(&config, &mem), 0);
	return mem;
}

static void mem_end(struct dipc_homemem *mem)
{
	dipc_homemem_destroy(mem);
	assert_int_equal(nr_regions, 0);
}

static bool is_zero(const uint8_t *at, size_t len)
{
	return at[0] == 0 && memcmp(at, at + 1, len - 1) == 0;
}

/* Pieces of all sizes, taken and given back at random, each with its mark. */
static void take__zeroed_and_alone(void **state)
{
	struct dipc_homemem *mem = mem_new();
	struct dipc_piece piece[64] = {0};
	size_t len[64];
	unsigned round, i;

	(void)state;
	srandom(7);
	for (round = 0; round < 4000; round++) {
		i = (unsigned)random() % 64;
		if (piece[i].slab) {
			assert_int_equal(piece[i].base[0], i + 1);
			assert_memory_equal(piece[i].base, piece[i].base + 1,
					    len[i] - 1);
			dipc_homemem_give(mem, &piece[i]);
			continue;
		}
		len[i] = 2 + (size_t)random() %
				     (random() % 4 ? 9 * PAGE : LARGEST - 1);
		assert_int_equal(dipc_homemem_take(mem, len[i], &piece[i]), 0);
		assert_int_equal((uintptr_t)piece[i].base % PAGE, 0);
		assert_true(is_zero(piece[i].base, len[i]));
		memset(piece[i].base, (int)i + 1, len[i]);
	}
	for (i = 0; i < 64; i++)
		if (piece[i].slab)
			dipc_homemem_give(mem, &piece[i]);
	assert_true(nr_regions <= 1);
	mem_end(mem);
}

static void remote__is_the_region_s(void **state)
{
	struct dipc_homemem *mem = mem_new();
	struct dipc_piece a, b;

	(void)state;
	assert_int_equal(dipc_homemem_take(mem, 8, &a), 0);
	assert_int_equal(dipc_homemem_take(mem, 8, &b), 0);
	assert_int_equal(a.remote.addr, 64 * PAGE);
	assert_int_equal(b.remote.addr, 65 * PAGE);
	assert_ptr_equal(b.base, a.base + PAGE);
	assert_int_equal(a.remote.rkey, b.remote.rkey);
	dipc_homemem_give(mem, &a);
	dipc_homemem_give(mem, &b);
	mem_end(mem);
}

static void small_segments__share_slabs(void **state)
{
	struct dipc_homemem *mem = mem_new();
	static struct dipc_piece piece[4096];
	struct dipc_homemem_usage usage;
	unsigned i;

	(void)state;
	for (i = 0; i < 4096; i++)
		assert_int_equal(dipc_homemem_take(mem, PAGE + 8, &piece[i]),
				 0);
	dipc_homemem_usage(mem, &usage);
	assert_int_equal(usage.used, 4096 * 2 * PAGE);
	assert_true(usage.nr_slabs <= 10);
	assert_int_equal(usage.nr_slabs, nr_regions);
	for (i = 0; i < 4096; i++)
		dipc_homemem_give(mem, &piece[i]);
	dipc_homemem_usage(mem, &usage);
	assert_int_equal(usage.used, 0);
	assert_int_equal(usage.nr_slabs, 1);
	mem_end(mem);
}

/* Every chunk of 256 GiB: regions stay few, and little is registered unused. */
static void grows__geometrically(void **state)
{
	const unsigned nr = 128 * 1024;
	struct dipc_piece *piece = calloc(nr, sizeof(*piece));
	struct dipc_homemem *mem = mem_new();
	struct dipc_homemem_usage usage;
	unsigned i;

	(void)state;
	assert_non_null(piece);
	for (i = 0; i < nr; i++) {
		assert_int_equal(dipc_homemem_take(mem, LARGEST, &piece[i]), 0);
		dipc_homemem_usage(mem, &usage);
		assert_true(usage.registered - usage.used <=
			    usage.registered / 8 + 2 * LARGEST);
		if (i == 32 * 1024)
			assert_true(usage.nr_slabs < 2048); /* 64 GiB */
	}
	assert_true(usage.nr_slabs < 3500);
	for (i = 0; i < nr; i++)
		dipc_homemem_give(mem, &piece[i]);
	assert_true(nr_regions <= 1);
	free(piece);
	mem_end(mem);
}

static void no_memory__refused_then_given(void **state)
{
	struct dipc_homemem *mem = mem_new();
	struct dipc_piece a, b, c;

	(void)state;
	available = LARGEST - 1;
	assert_int_equal(dipc_homemem_take(mem, LARGEST, &a), -ENOMEM);
	/* less than a slab, but enough for this one */
	available = LARGEST;
	assert_int_equal(dipc_homemem_take(mem, LARGEST, &a), 0);
	available = UINT64_MAX;
	must_fail = true;
	assert_int_equal(dipc_homemem_take(mem, 8, &b), -ENOMEM);
	must_fail = false;
	assert_int_equal(dipc_homemem_take(mem, 8, &b), 0);
	must_fail = true; /* there is room in that slab */
	assert_int_equal(dipc_homemem_take(mem, LARGEST, &c), 0);
	dipc_homemem_give(mem, &a);
	dipc_homemem_give(mem, &b);
	dipc_homemem_give(mem, &c);
	mem_end(mem);
}

/* One spare slab is kept; the last piece of another unregisters it. */
static void give__says_when_a_slab_goes(void **state)
{
	struct dipc_homemem *mem = mem_new();
	struct dipc_piece piece[4];
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(dipc_homemem_take(mem, LARGEST, &piece[i]), 0);
	assert_int_equal(nr_regions, 2);
	assert_false(dipc_homemem_give(mem, &piece[0]));
	assert_false(dipc_homemem_give(mem, &piece[1]));
	assert_false(dipc_homemem_give(mem, &piece[2]));
	assert_true(dipc_homemem_give(mem, &piece[3]));
	assert_int_equal(nr_regions, 1);
	mem_end(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(take__zeroed_and_alone),
		cmocka_unit_test(remote__is_the_region_s),
		cmocka_unit_test(small_segments__share_slabs),
		cmocka_unit_test(grows__geometrically),
		cmocka_unit_test(no_memory__refused_then_given),
		cmocka_unit_test(give__says_when_a_slab_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
