/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc-bench: what a program gets from DIPC, beside what it gets without. */
#include "bench.h"

#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS       7u
#define SMOKE_ROUNDS 2u
#define SMOKE_COUNT  10u
#define SAMPLES_MAX  1000000u

static const char usage[] =
	"dipc-bench [OPTION]... [NAME]...: measure a cluster on this machine\n"
	"\n"
	"  --json         all results as one JSON object\n"
	"  --dir D        use the cluster in D, nodes 1, 2 and so on\n"
	"  --transport T  start one with transport T, shm or verbs\n"
	"  --set K=V      start one with this setting, as `dipc up` takes it\n"
	"  --rounds N     rounds to take medians of, 1 to 31 (7)\n"
	"  --samples N    at most so many samples in a round\n"
	"  --smoke        a few samples only, to see that it works\n"
	"  --list         names and what a sample is\n"
	"\n"
	"NAME may be a pattern: 'msg.*'. As root, or whoever may run dipcd.\n";

struct options {
	const char *dir;
	struct bench_start start;
	bool is_json, is_smoke;
	unsigned nr_rounds, nr_samples;
	char **names; /* NULL ends */
};

static const struct bench *const groups[] = {
	bench_sem,
	bench_msg,
	bench_page,
};

#define NR_GROUPS (sizeof(groups) / sizeof(groups[0]))

const struct bench *bench_find(const char *name)
{
	const struct bench *bench;
	size_t i;

	for (i = 0; i < NR_GROUPS; i++) {
		for (bench = groups[i]; bench->name; bench++) {
			if (!strcmp(bench->name, name))
				return bench;
		}
	}
	return NULL;
}

unsigned bench_nr_nodes(const struct bench *bench)
{
	unsigned side, nr = 1;

	for (side = 0; side < BENCH_SIDES_MAX; side++) {
		const struct bench_side *s = &bench->side[side];

		if (s->name && s->is_on_nodes && !s->is_one_node &&
		    s->nr_roles > nr)
			nr = s->nr_roles;
	}
	return nr;
}

static bool is_wanted(const struct bench *bench, char *const *names)
{
	if (!*names)
		return true;
	for (; *names; names++) {
		if (!fnmatch(*names, bench->name, 0))
			return true;
	}
	return false;
}

static void list_print(void)
{
	const struct bench *bench;
	size_t i;

	for (i = 0; i < NR_GROUPS; i++) {
		for (bench = groups[i]; bench->name; bench++)
			printf("%-24s%s\n", bench->name, bench->what);
	}
}

/* Each NAME must stand for something, or a typing error measures nothing. */
static int names_check(char *const *names)
{
	const struct bench *bench;
	bool is_known;
	size_t i;

	for (; *names; names++) {
		is_known = false;
		for (i = 0; i < NR_GROUPS; i++) {
			for (bench = groups[i]; bench->name; bench++)
				is_known |= !fnmatch(*names, bench->name, 0);
		}
		if (!is_known) {
			fprintf(stderr,
				"dipc-bench: no benchmark '%s': see "
				"--list\n",
				*names);
			return -1;
		}
	}
	return 0;
}

/* ---- measuring ---------------------------------------------------------- */

/* Of two operations one after the other. */
static struct bench_result result_sum(const struct bench_result *a,
				      const struct bench_result *b)
{
	return (struct bench_result){
		.p50_ns = a->p50_ns + b->p50_ns,
		.p99_ns = a->p99_ns + b->p99_ns,
		.max_ns = a->max_ns + b->max_ns,
		.ops_per_s = 1 / (1 / a->ops_per_s + 1 / b->ops_per_s),
	};
}

static int measure_side(struct bench_cluster *cluster,
			const struct bench *bench, unsigned side, key_t key,
			unsigned count, struct bench_result *results)
{
	const unsigned *sum_of = bench->side[side].sum_of;

	if (bench->side[side].work)
		return bench_round(cluster, bench, side, key, count,
				   &results[side]);
	results[side] = result_sum(&results[sum_of[0]], &results[sum_of[1]]);
	return 0;
}

/* A B A B: each round has every side, so that all meet the same noise. */
static int measure(struct bench_cluster *cluster, const struct bench *bench,
		   const struct options *options, struct bench_report *report)
{
	/* too much for a stack */
	static struct bench_result result[BENCH_ROUNDS_MAX][BENCH_SIDES_MAX];
	unsigned count = options->nr_samples < bench->count
				 ? options->nr_samples
				 : bench->count;
	key_t key = bench_key_choose();
	unsigned round, side;

	if (bench_cluster_grow(cluster, bench_nr_nodes(bench)))
		return -1;
	memset(result, 0, sizeof(result));
	for (round = 0; round < options->nr_rounds; round++) {
		for (side = 0; side < BENCH_SIDES_MAX; side++) {
			if (!bench->side[side].name)
				break;
			if (!measure_side(cluster, bench, side, key, count,
					  result[round]))
				continue;
			bench_cluster_forget(cluster, key);
			return -1;
		}
	}
	bench_report_add(report, bench, count, result);
	return 0;
}

static int measure_all(struct bench_cluster *cluster,
		       const struct options *options)
{
	const struct bench *bench;
	struct bench_report *report;
	int ret = 0;
	size_t i;

	report = bench_report_create(cluster, options->is_json,
				     options->nr_rounds);
	if (!report)
		return -1;
	for (i = 0; i < NR_GROUPS; i++) {
		for (bench = groups[i]; bench->name; bench++) {
			if (bench_is_stopped())
				ret = -1;
			else if (is_wanted(bench, options->names) &&
				 measure(cluster, bench, options, report))
				ret = -1; /* the others may work */
		}
	}
	if (bench_report_finish(report))
		ret = -1;
	return ret;
}

/* ---- options ------------------------------------------------------------ */

static int set_add(struct bench_start *start, const char *text)
{
	unsigned n = 0;

	while (start->set[n])
		n++;
	if (n == BENCH_SETS_MAX) {
		fprintf(stderr, "dipc-bench: --set: at most %u\n",
			BENCH_SETS_MAX);
		return -1;
	}
	start->set[n] = text;
	return 0;
}

static int number_parse(const char *option, const char *text, unsigned max,
			unsigned *nr_out)
{
	char *end;
	unsigned long nr = strtoul(text, &end, 10);

	if (*end || !nr || nr > max) {
		fprintf(stderr, "dipc-bench: --%s: 1 to %u, not '%s'\n", option,
			max, text);
		return -1;
	}
	*nr_out = (unsigned)nr;
	return 0;
}

/* 0; > 0: done, nothing to measure; -1: wrong usage, said. */
static int options_parse(struct options *options, int argc, char **argv)
{
	static const struct option table[] = {
		{"json", no_argument, NULL, 'j'},
		{"dir", required_argument, NULL, 'd'},
		{"transport", required_argument, NULL, 't'},
		{"set", required_argument, NULL, 'S'},
		{"rounds", required_argument, NULL, 'r'},
		{"samples", required_argument, NULL, 'n'},
		{"smoke", no_argument, NULL, 's'},
		{"list", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (c) {
		case 'j':
			options->is_json = true;
			break;
		case 'd':
			options->dir = optarg;
			break;
		case 't':
			options->start.transport = optarg;
			break;
		case 'S':
			if (set_add(&options->start, optarg))
				return -1;
			break;
		case 'r':
			if (number_parse("rounds", optarg, BENCH_ROUNDS_MAX,
					 &options->nr_rounds))
				return -1;
			break;
		case 'n':
			if (number_parse("samples", optarg, SAMPLES_MAX,
					 &options->nr_samples))
				return -1;
			break;
		case 's':
			options->is_smoke = true;
			break;
		case 'l':
			list_print();
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			return -1;
		}
	}
	if (!options->nr_samples)
		options->nr_samples =
			options->is_smoke ? SMOKE_COUNT : SAMPLES_MAX;
	if (!options->nr_rounds)
		options->nr_rounds = options->is_smoke ? SMOKE_ROUNDS : ROUNDS;
	options->names = argv + optind;
	return names_check(options->names);
}

int main(int argc, char **argv)
{
	struct options options = {0};
	struct bench_cluster cluster;
	int ret;

	if (argc > 1 && !strcmp(argv[1], "--worker"))
		return bench_worker_main(argc - 2, argv + 2);
	ret = options_parse(&options, argc, argv);
	if (ret)
		return ret < 0 ? 2 : 0;
	/* the environment reaches workers on nodes, too */
	if (options.is_smoke)
		setenv(BENCH_SMOKE_ENV, "1", 1);
	bench_catch_signals();
	ret = bench_cluster_open(&cluster, options.dir, &options.start);
	if (!ret)
		ret = measure_all(&cluster, &options);
	bench_cluster_close(&cluster);
	return ret ? 1 : 0;
}
