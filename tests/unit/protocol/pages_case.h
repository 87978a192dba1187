/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A simulated cluster with one segment, and threads of programs on it that
 * check what they read: for tests of the page protocol.
 */
#ifndef DIPC_TESTS_PAGES_CASE_H
#define DIPC_TESTS_PAGES_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/protocol/pages_private.h"
#include "tests/support/array_pager.h"
#include "tests/support/fake_fabric.h"
#include "tests/support/home_entry.h"

#define MAX_NODES   5u
#define MAX_THREADS 4u /* a node */
#define MAX_PAGES   ARRAY_PAGER_PAGES
#define SEGMENT     0x40000001
#define NS_LIMIT    (600 * DIPC_SEC)
#define WORDS       ARRAY_PAGER_WORDS

struct sim_node {
	unsigned id;
	struct dipc_fabric *fabric;
	struct dipc_pages *pages;
	struct dipc_homes *homes;
	struct dipc_segment *seg;
	struct array_pager pager;
	unsigned nr_released;
	unsigned nr_running; /* threads */
};

struct sim_thread {
	struct sim_node *node;
	unsigned who;
	unsigned nr_ops;
	unsigned percent_writes;
	unsigned percent_hints; /* fetch or release instead */
	bool is_stream;         /* one page after the other, not at random */
	unsigned nr_pages;      /* uses pages 0..nr_pages-1 */
	uint64_t pause_ns;      /* between operations, at most */
	unsigned done, nr_sigbus;
};

/* The layout of the directory follows from it. */
extern unsigned max_nodes;
/* Of the nodes that sim_start() makes; 0: no limit. */
extern unsigned sim_cache_pages;

/* Nodes 1 to this are homes, of a chunk each in turn; 1 unless told. */
extern unsigned nr_homes;
/* What homes have to give; no end unless told. */
extern uint64_t home_available;

struct sim {
	unsigned nr_nodes;
	struct sim_node node[MAX_NODES + 1];
	struct sim_thread thread[MAX_NODES * MAX_THREADS];
	unsigned nr_threads;
	uint64_t truth[MAX_PAGES]; /* the value written last */
	struct home_view home;
	struct dipc_arena_shm shm;
	uint64_t hold_ns;
	uint64_t seed;
};

extern struct sim sim;

/*
 * Node 1 is the home. Where there are more, threads use pages of both chunks,
 * and homes must learn of the segment from the arena.
 */
void sim_start(uint64_t seed, unsigned nr_nodes, uint64_t delay_ns,
	       uint64_t hold_ns);
void sim_stop(void);
struct sim_thread *add_thread(unsigned node, unsigned nr_ops,
			      unsigned percent_writes, unsigned nr_pages);
/* All threads, to their end; then every segment is given back. */
void run_all(void);
/* After everyone gave everything back: no traces, and the truth at home. */
void check_home(void);
/* As the thread would: what it reads must be true. False: SIGBUS. Fiber. */
bool thread_access(struct sim_thread *th, unsigned page, bool is_write);

#endif
