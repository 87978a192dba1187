/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dipc-bench: what the parts share. A benchmark has sides: ours first, then
 * its references. A side is one worker or several, processes of this program;
 * the controller (main.c) starts them anew in every round.
 */
#ifndef DIPC_BENCH_BENCH_H
#define DIPC_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "dipc/dipc.h"

#define BENCH_SIDES_MAX  8u
#define BENCH_ROLES_MAX  9u
#define BENCH_ROUNDS_MAX 31u
#define BENCH_SETS_MAX   8u

/* Set in a worker's environment: segments are small, whatever they should be. */
#define BENCH_SMOKE_ENV "DIPC_BENCH_SMOKE"

struct bench_run; /* what a worker has measured: run.c */

/* A worker's order. Strings are borrowed from argv. */
struct bench_job {
	unsigned role; /* 0 makes the object, and runs on node 1; 1 on node 2 */
	unsigned nr_roles; /* of bench_side */
	int flag;          /* IPC_DIPC, or 0: the kernel's objects */
	key_t key;
	size_t size;           /* of bench_side */
	unsigned per_sample;   /* of bench_side */
	unsigned count;        /* samples wanted */
	const char *transport; /* raw: "shm" or "verbs" */
	const char *address;   /* raw: where to listen */
};

struct bench_side {
	const char *name; /* NULL: no such side */
	/* In the worker: 0, or -1 with the cause said on stderr. */
	int (*work)(const struct bench_job *job, struct bench_run *run);
	unsigned nr_roles;
	bool is_on_nodes;
	bool is_one_node;    /* all roles on node 1 */
	const char *faults;  /* DIPC_FAULTS of its workers; NULL: as it is */
	size_t size;         /* bytes of a message or an operation */
	unsigned per_sample; /* raw: operations, one after the other */
	/* No workers: what these two sides before it took together. */
	unsigned sum_of[2];
};

struct bench {
	const char *name;
	const char *what; /* a sample, in words */
	unsigned count;   /* samples of a round */
	bool is_stream;   /* the ratio is of ops/s, not of p50 */
	struct bench_side side[BENCH_SIDES_MAX]; /* [0]: ours */
};

/* Ended by one without a name. */
extern const struct bench bench_sem[];
extern const struct bench bench_msg[];
extern const struct bench bench_page[];

/* How many nodes a cluster needs for it. */
unsigned bench_nr_nodes(const struct bench *bench);

/* raw.c: PER_SAMPLE operations of SIZE bytes on a transport's own memory. */
int bench_raw_cas(const struct bench_job *job, struct bench_run *run);
int bench_raw_read(const struct bench_job *job, struct bench_run *run);
/* The same, many in flight. */
int bench_raw_read_stream(const struct bench_job *job, struct bench_run *run);
/* raw_imm.c: the last role to all others at once, and their answers. */
int bench_raw_imm(const struct bench_job *job, struct bench_run *run);

/* ---- in a worker: run.c ------------------------------------------------- */

/* A line on stderr, with errno's text; -1. */
int bench_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* How often to go round: warm-up (not counted) and samples. */
unsigned bench_run_loops(const struct bench_run *run);
/* The objects are there: the next role may start. */
void bench_run_ready(struct bench_run *run);
/* A sample goes from begin(), or else the last end(), to end(). */
void bench_run_begin(struct bench_run *run);
void bench_run_end(struct bench_run *run);
/* Until the other role is done with the objects. */
void bench_run_hold(struct bench_run *run);

/* The whole worker: order from argv, result to stdout. Exit status. */
int bench_worker_main(int argc, char **argv);

/* What a side's round came to. */
struct bench_result {
	double p50_ns, p99_ns, max_ns, ops_per_s;
};

/* ---- in the controller -------------------------------------------------- */

struct bench_cluster {
	char work[64];             /* our own directory; removed at the end */
	char dir[128];             /* of the cluster */
	char transport[16];        /* "shm" or "verbs" */
	char address[160];         /* raw workers listen there */
	char self[512], dipc[520]; /* this program, and the one beside it */
	bool is_ours;              /* started by us, so stopped by us */
	unsigned nr_nodes;         /* of ours */
	const struct bench_start *start;
};

/* How to start a cluster. */
struct bench_start {
	const char *transport;               /* NULL: as `dipc up` chooses */
	const char *set[BENCH_SETS_MAX + 1]; /* for --set; NULL ends */
};

/*
 * Use the cluster in DIR, or start one (DIR NULL) of two nodes. START is
 * borrowed. 0, or -1, said. Either way bench_cluster_close() comes after.
 */
int bench_cluster_open(struct bench_cluster *cluster, const char *dir,
		       const struct bench_start *start);
/* Ours is to have NR nodes or more: started anew if need be. 0, or -1, said. */
int bench_cluster_grow(struct bench_cluster *cluster, unsigned nr);
void bench_cluster_close(struct bench_cluster *cluster);
/* A key that nothing has: random, and unknown to the kernel. */
key_t bench_key_choose(void);
/* KEY's objects, that a worker which failed has left, here and there. */
void bench_cluster_forget(struct bench_cluster *cluster, key_t key);

/* One round of BENCH's side SIDE. 0, or -1, said. */
int bench_round(const struct bench_cluster *cluster, const struct bench *bench,
		unsigned side, key_t key, unsigned count,
		struct bench_result *result_out);
/* Set by SIGINT and SIGTERM: end soon. */
bool bench_is_stopped(void);
void bench_catch_signals(void);

/* Find a benchmark by name; NULL if there is none. */
const struct bench *bench_find(const char *name);

/* ---- report.c ----------------------------------------------------------- */

struct bench_report;

struct bench_report *bench_report_create(const struct bench_cluster *cluster,
					 bool is_json, unsigned nr_rounds);
/* RESULT[round][side]. One line for each reference. */
void bench_report_add(struct bench_report *report, const struct bench *bench,
		      unsigned count,
		      struct bench_result result[][BENCH_SIDES_MAX]);
/* Prints what is not yet printed. 0, or -1 if stdout did not take it. */
int bench_report_finish(struct bench_report *report);

#endif
