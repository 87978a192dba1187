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

/* A sample is a MiB. */
#define RAW_STREAM(NAME, SIZE, NR)                                             \
	{                                                                      \
		.name = (NAME), .work = bench_raw_read_stream, .nr_roles = 1,  \
		.size = (SIZE), .per_sample = (NR)                             \
	}
#define SIGNAL(NR, WORK)                                                       \
	{                                                                      \
		.name = "dipc", .work = (WORK), .nr_roles = (NR),              \
		.is_on_nodes = true, .faults = "signal"                        \
	}
#define RUNS(NAME, PAGES)                                                      \
	{                                                                      \
		.name = (NAME), .work = bench_fault_stream, .nr_roles = 1,     \
		.size = (PAGES)*BENCH_PAGE                                     \
	}
#define KERNEL(NR, WORK)                                                       \
	{                                                                      \
		.name = "kernel", .work = (WORK), .nr_roles = (NR)             \
	}

/* NR sharers, the home among them; and the writer, a sharer itself. */
#define INVALIDATE(NR, TEXT)                                                   \
	{                                                                      \
		.name = "page.invalidate." #NR,                                \
		.what = "write to a page that " TEXT " read, too",             \
		.count = 200,                                                  \
		.side = {                                                      \
			NODES(NR + 1, bench_page_invalidate),                  \
			{.name = "raw IMM to " #NR,                            \
			 .work = bench_raw_imm,                                \
			 .nr_roles = NR + 1},                                  \
			LOCAL("protect", bench_fault_protect),                 \
			SUM("IMM + protect", 1, 2),                            \
		},                                                             \
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
		.name = "page.read_miss.signal",
		.what = "the same, DIPC_FAULTS=signal",
		.count = 500,
		.side = {
			SIGNAL(2, bench_page_read),
			RAW_READ,
			LOCAL("SIGBUS fault", bench_fault_read_signal),
			SUM("READ + SIGBUS", 1, 2),
		},
	},
	{
		.name = "page.write_miss.signal",
		.what = "the same, DIPC_FAULTS=signal",
		.count = 500,
		.side = {
			SIGNAL(2, bench_page_write),
			RAW_READ,
			LOCAL("SIGBUS fault", bench_fault_write_signal),
			SUM("READ + SIGBUS", 1, 2),
		},
	},
	{
		.name = "page.upgrade.signal",
		.what = "the same, DIPC_FAULTS=signal",
		.count = 500,
		.side = {
			SIGNAL(2, bench_page_upgrade),
			RAW_CAS,
			LOCAL("SIGBUS protect", bench_fault_protect_signal),
			SUM("CAS + SIGBUS", 1, 2),
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
		.name = "page.seq_read",
		.what = "MiB after MiB, 256 of them, home elsewhere (op: a MiB)",
		.count = 256,
		.is_stream = true,
		.side = {
			NODES(2, bench_page_seq_read),
			RAW_STREAM("raw READ 4K x32", BENCH_PAGE, 256),
			RAW_STREAM("raw READ 64K x32", 65536, 16),
			RUNS("fault 16 pages", 16),
			RUNS("fault 256 pages", 256),
			SUM("READ + 256 pages", 2, 4),
			KERNEL(2, bench_page_seq_read),
		},
	},
	{
		.name = "page.seq_write",
		.what = "the same, written (op: a MiB)",
		.count = 256,
		.is_stream = true,
		.side = {
			NODES(2, bench_page_seq_write),
			RAW_STREAM("raw READ 4K x32", BENCH_PAGE, 256),
			RAW_STREAM("raw READ 64K x32", 65536, 16),
			RUNS("fault 16 pages", 16),
			RUNS("fault 256 pages", 256),
			SUM("READ + 256 pages", 2, 4),
			KERNEL(2, bench_page_seq_write),
		},
	},
	{
		.name = "page.random_read",
		.what = "a page somewhere in 128 MiB, home elsewhere",
		.count = 4000,
		.side = {
			{.name = "dipc", .work = bench_page_random_read,
			 .nr_roles = 2, .is_on_nodes = true, .size = 128 << 20},
			RAW_READ,
			LOCAL("fault", bench_fault_read),
			SUM("READ + fault", 1, 2),
		},
	},
	{
		.name = "page.attach_64g",
		.what = "64 GiB: create, attach, one write, detach, remove",
		.count = 20,
		.side = {
			{.name = "dipc", .work = bench_page_attach,
			 .nr_roles = 1, .is_on_nodes = true,
			 .size = 64ul << 30},
			{.name = "kernel", .work = bench_page_attach,
			 .nr_roles = 1, .size = 64ul << 30},
		},
	},
	{
		.name = "page.fork_1g",
		.what = "fork() with 1 GiB attached and written",
		.count = 20,
		.side = {
			{.name = "dipc", .work = bench_page_fork, .nr_roles = 1,
			 .is_on_nodes = true, .size = 1 << 30},
			{.name = "fork, protected", .work = bench_fault_fork,
			 .nr_roles = 1, .size = 1 << 30},
			{.name = "kernel", .work = bench_page_fork,
			 .nr_roles = 1, .size = 1 << 30},
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
	INVALIDATE(1, "another node has"),
	INVALIDATE(2, "two other nodes have"),
	INVALIDATE(4, "four other nodes have"),
	INVALIDATE(8, "eight other nodes have"),
	{.name = NULL},
};
/* clang-format on */
