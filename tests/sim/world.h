/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cluster in a simulated world (transport/sim): node 0 has an arena with the
 * node table and nothing else, nodes 1.. run the real fabric and the real page
 * protocol with array pagers. Membership is made up here: a crashed node is
 * declared dead after a while, everybody fences it, homes take its traces
 * away.
 *
 * One world at a time, made by a seed. What is known of it from outside, and
 * from what its threads did, is in this struct for the checks to look at.
 */
#ifndef DIPC_TESTS_SIM_WORLD_H
#define DIPC_TESTS_SIM_WORLD_H

#include "runtime/protocol/pages_private.h"
#include "tests/sim/pager.h"
#include "tests/support/home_entry.h"
#include "transport/sim/sim.h"

#define SIM_NODES    5u
#define SIM_SEGMENTS 2u
#define SIM_PAGES    24u /* of a segment, that anybody touches, at most */
#define SIM_WORDS    4u  /* of a page that anybody looks at */

struct sim_view; /* what a node has of a segment */

struct sim_node {
	unsigned id;
	struct dipc_fabric *fabric;
	struct dipc_pages *pages;
	struct dipc_homes *homes;
	bool is_ready;
	bool is_over; /* it has crashed, and that is known */
	/* of the others: when they are out */
	bool has_buried[SIM_NODES + 1];
};

struct sim_view {
	struct sim_node *node;
	struct dipc_segment *seg; /* NULL: not open */
	struct sim_pager pager;
	bool may_die; /* a home crashed, or the link to it broke */
	unsigned nr_made;
};

struct sim_segment {
	int32_t id;
	unsigned nr_pages;         /* that are touched */
	unsigned index[SIM_PAGES]; /* which ones: in one or more chunks */
	struct dipc_arena_shm shm;
	struct home_view home;
	uint64_t truth[SIM_PAGES][SIM_WORDS]; /* what was written last */
	uint64_t nr_incs[SIM_PAGES];          /* of the page's last word */
	bool may_lose[SIM_PAGES]; /* its holder died, or its view did */
	bool is_lost[SIM_PAGES];  /* somebody was told so */
	struct sim_view view[SIM_NODES + 1];
};

struct sim_totals {
	uint64_t nr_seeds, nr_steps, virtual_ns;
	uint64_t nr_reads, nr_writes, nr_incs, nr_sigbus;
	uint64_t nr_crashes, nr_home_crashes, nr_breaks, nr_lost;
	uint64_t nr_units; /* segments */
	uint64_t nr_opens, nr_reopened, nr_fetches, nr_releases;
	uint64_t nr_invalidations, nr_recalls, nr_run_recalls, nr_discards;
	uint64_t nr_prefetched, nr_useful, nr_evicted_clean,
		nr_evicted_modified;
	uint64_t nr_forgets;
};

struct sim_world {
	uint64_t seed;
	bool is_verbose;
	bool is_blind; /* look at the histories only, at the end */
	bool is_quiet; /* no crashes, no breaks: everything must be right */
	bool is_long;  /* segments that are walked through */
	uint64_t hash; /* of everything that happened, in order */
	struct dipc_sim *sim;
	unsigned nr_nodes, nr_segments, max_nodes, prefetch_pages;
	uint64_t cache_pages;
	uint64_t hold_ns;
	unsigned percent_puts; /* of operations */
	struct dipc_fabric *referee;
	struct dipc_region *arena;
	struct sim_node node[SIM_NODES + 1];
	struct sim_segment segment[SIM_SEGMENTS];
	struct sim_totals totals;
};

extern struct sim_world world;

/* Says what is wrong, and how to see it again; does not return. */
void sim_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));
/* With -v. */
void sim_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint64_t sim_random(uint64_t below);
void sim_hash(uint64_t value);

/* world.c */
void sim_world_start(uint64_t seed);
void sim_world_stop(void);
/* Step until UNTIL or the end; checks after each. False: the end. */
bool sim_world_run(bool (*until)(void));
bool sim_is_dead(unsigned node);
void sim_spawn(unsigned node, void (*fn)(void *), void *arg);
void sim_break(unsigned a, unsigned b);
bool sim_is_home(const struct sim_segment *s, unsigned node);
/* A home of the page is dead: what was there is nowhere now. */
bool sim_has_lost_home(const struct sim_segment *s, unsigned page);
/* After a while. */
void sim_later(uint64_t ns, void (*fn)(void *arg), void *arg);

/* invariants.c */
extern const unsigned sim_word_at[SIM_WORDS]; /* word of the page */
void sim_check_invariants(void);
/* NODE has just crashed: what it held may be lost. */
void sim_note_holder_gone(unsigned node);
/* Everybody has given everything back. */
void sim_check_homes(void);

/* history.c: what threads saw, per location, for a check at the end. */
enum sim_access { SIM_READ, SIM_WRITE };
void sim_history_start(void);
void sim_history_add(const struct sim_segment *s, unsigned page, unsigned word,
		     enum sim_access kind, uint64_t value, uint64_t called,
		     uint64_t returned);
void sim_history_check(void);

/* threads.c */
void sim_threads_start(void);
bool sim_threads_are_done(void);
void sim_threads_check(void);

#endif
