/* SPDX-License-Identifier: BSD-2-Clause */
/* The benchmarks of shared pages, each beside its floors. */
#include "page.h"

#define RAW_READ                                                               \
	{                                                                      \
		.name = "raw READ 4096", .work = bench_raw_read,               \
		.nr_roles = 1, .size = BENCH_PAGE, .per_sample = 1             \
	}
#define RAW_CAS                                                                \
	{                                                                      \
		.name = "raw CAS", .work = bench_raw_cas, .nr_roles = 1,       \
		.size = 8, .per_sample = 1                                     \
	}
#define LOCAL(NAME, WORK)                                                      \
	{                                                                      \
		.name = (NAME), .work = (WORK), .nr_roles = 1                  \
	}
#define SUM(NAME, A, B)                                                        \
	{                                                                      \
		.name = (NAME), .sum_of = {(A), (B) }                          \
	}
#define NODES(NR, WORK)                                                        \
	{                                                                      \
		.name = "dipc", .work = (WORK), .nr_roles = (NR),              \
		.is_on_nodes = true                                            \
	}

/* clang-format off */
const struct bench bench_page[] = {
	{
		.name = "page.read_miss",
		.what = "first read of a page that only its home has, one node off",
		.count = 500,
		.side = {
			NODES(2, bench_page_read),
			RAW_READ,
			LOCAL("fault", bench_fault_read),
			SUM("READ + fault", 1, 2),
			LOCAL("fault, asleep", bench_fault_read_asleep),
			LOCAL("SIGBUS fault", bench_fault_read_signal),
			LOCAL("memfd fault", bench_fault_memfd),
		},
	},
	{
		.name = "page.write_miss",
		.what = "first write to a page that only its home has, one node off",
		.count = 500,
		.side = {
			NODES(2, bench_page_write),
			RAW_READ,
			LOCAL("fault", bench_fault_write),
			SUM("READ + fault", 1, 2),
			LOCAL("fault, asleep", bench_fault_write_asleep),
			LOCAL("SIGBUS fault", bench_fault_write_signal),
			LOCAL("memfd fault", bench_fault_memfd),
		},
	},
	{
		.name = "page.upgrade",
		.what = "write to a page that only this node has, for reading",
		.count = 500,
		.side = {
			NODES(2, bench_page_upgrade),
			RAW_CAS,
			LOCAL("protect", bench_fault_protect),
			SUM("CAS + protect", 1, 2),
			LOCAL("protect, asleep", bench_fault_protect_asleep),
			LOCAL("SIGBUS protect", bench_fault_protect_signal),
		},
	},
	{
		.name = "page.pingpong",
		.what = "a word changed there and back",
		.count = 200,
		.side = {
			NODES(2, bench_page_pingpong),
			{.name = "local memory", .work = bench_page_pingpong,
			 .nr_roles = 2},
		},
	},
	{
		.name = "page.local",
		.what = "a word changed there and back, on one node",
		.count = 2000,
		.side = {
			{.name = "dipc", .work = bench_page_pingpong,
			 .nr_roles = 2, .is_on_nodes = true,
			 .is_one_node = true},
			{.name = "local memory", .work = bench_page_pingpong,
			 .nr_roles = 2},
		},
	},
	{
		.name = "page.read_modified",
		.what = "first read of a page that a third node has modified",
		.count = 300,
		.side = {
			NODES(3, bench_page_read_modified),
			RAW_READ,
			LOCAL("fault", bench_fault_read),
			SUM("READ + fault", 1, 2),
		},
	},
	{
		.name = "page.write_modified",
		.what = "first write to a page that a third node has modified",
		.count = 300,
		.side = {
			NODES(3, bench_page_write_modified),
			RAW_READ,
			LOCAL("fault", bench_fault_write),
			SUM("READ + fault", 1, 2),
		},
	},
	{.name = NULL},
};
/* clang-format on */
